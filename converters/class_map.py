"""Class maps: which classes of a source are one of those that are looked for, and what becomes of all others.

A map is YAML: the name of a class, and the classes of the source that are it. Two keys are no classes:
`other finding`, whose images stay as negatives of that kind, and `left out`, for what may or may not be one of the
classes: an image that shows it and none of the classes is neither a positive nor a negative. "*" stands for all that
the map does not name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from hilum.class_names import check_class_names
from hilum.converters.labels import ImageLabels
from hilum.datasets.left_out import LeftOut
from hilum.datasets.tables import listed, plain
from hilum.documents import check, read_yaml
from hilum.errors import HilumError

OTHER: Final = "other finding"
LEFT_OUT: Final = "left out"
_ALL = "*"
_SHIPPED = Path(__file__).parent / "class_maps"


@dataclass(frozen=True)
class ClassMap:
    """A class map.

    Attributes:
        name: as messages show it.
        class_names: of the dataset, in the order of their ids.
        becomes: plain name of a source's class -> a class, `OTHER` or `LEFT_OUT`.
        rest: what all others become.
        shipped: whether it is one of hilum's, which name classes of several sources.
    """

    name: str
    class_names: tuple[str, ...]
    becomes: Mapping[str, str]
    rest: str
    shipped: bool

    @property
    def members(self) -> dict[str, list[str]]:
        """The map as `conversion.json` shows it: what each name is made of, by plain names."""
        named = {name: [key for key, value in self.becomes.items() if value == name] for name in self.becomes.values()}
        return {**named, self.rest: [*named.get(self.rest, []), _ALL]}

    def of(self, name: str) -> str:
        """What a class of the source becomes."""
        return self.becomes.get(plain(name), self.rest)


def read_class_map(source: str) -> ClassMap:
    """Read a class map: a YAML file, or the name of a shipped one.

    Raises:
        HilumError: there is none, it is damaged, or it names a class of the source twice.
    """
    path, shipped = Path(source), sorted(each.stem for each in _SHIPPED.glob("*.yaml"))
    is_shipped = source in shipped and not path.is_file()
    if not is_shipped and not path.is_file():
        raise HilumError(f"{source}: no such class map; give a YAML file, or one of {', '.join(shipped)}")
    values = check(read_yaml(_SHIPPED / f"{source}.yaml" if is_shipped else path), dict[str, list[str] | str], source)
    becomes: dict[str, str] = {}
    for name, members in values.items():
        for member in [members] if isinstance(members, str) else members:
            key = member if member == _ALL else plain(member)
            if key in becomes:
                raise HilumError(f"{source}: {member!r} is named twice, for {becomes[key]!r} and {name!r}")
            becomes[key] = name
    rest = becomes.pop(_ALL, OTHER)
    try:
        names = check_class_names([name for name in values if name not in {OTHER, LEFT_OUT}])
    except HilumError as error:
        raise HilumError(f"{source}: {error}") from error
    return ClassMap(source, names, becomes, rest, is_shipped)


def as_they_are(class_names: tuple[str, ...]) -> ClassMap:
    """The map by which every class stays what it is.

    Raises:
        HilumError: two names differ in blanks and punctuation alone. The reason alone.
    """
    becomes: dict[str, str] = {}
    for name in class_names:
        if (same := becomes.setdefault(plain(name), name)) != name:
            raise HilumError(f"two classes have one name, but for blanks and punctuation: {same!r} and {name!r}")
    return ClassMap("", class_names, becomes, OTHER, shipped=True)


def check_members(class_map: ClassMap, there: Sequence[str], tell: Callable[[str], None]) -> None:
    """Refuse a map that takes none of the classes that boxes have, and tell which of its classes no box has.

    Raises:
        HilumError: it takes none.
    """
    if there and not any(class_map.of(name) in class_map.class_names for name in there):
        raise HilumError(f"{class_map.name}: takes none of the classes that there are: {listed(there)}")
    known = {plain(name): name for name in there}
    for member in () if class_map.shipped else sorted(class_map.becomes.keys() - known.keys()):
        near = get_close_matches(member, known, 1)
        hint = f"; did you mean {known[near[0]]!r}?" if near else f"; there are {listed(there)}"
        tell(f"{class_map.name}: no box has the class {member!r}{hint}")


def apply(class_map: ClassMap, image: ImageLabels, left_out: list[LeftOut]) -> None:
    """Give the boxes of an image the classes of a map; those of no class go, and are told row by row.

    An image that shows one of the classes, and nobody drew where, is left out.
    """

    def leave_out(reason: str) -> None:
        image.reason = reason
        left_out.append(LeftOut("image", image.image_id, image.table, image.row, reason))

    became = [(mark, class_map.of(mark.name)) for mark in image.marks]
    image.marks = [mark.named(name) for mark, name in became if name in class_map.class_names]
    for mark, name in became:
        if name not in class_map.class_names:
            reason = f"class {mark.name!r} is {'left out' if name == LEFT_OUT else 'an other finding'} by the class map"
            left_out.append(LeftOut("box", image.image_id, mark.table, mark.row, reason))
    shown = {name for _, name in became} | {class_map.of(name) for name in image.unlocated}
    nowhere = shown & set(class_map.class_names) - {mark.name for mark in image.marks}
    if nowhere:
        leave_out(f"shows {min(nowhere)!r}, and nobody drew where")
    elif not image.marks and LEFT_OUT in shown:
        leave_out("shows what the class map leaves out, and none of its classes")
    elif not image.marks and OTHER in shown:
        image.kind = OTHER
