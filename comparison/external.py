"""Data of other sources, where the runs of a benchmark are measured too, as they were chosen at home."""

import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path

from hilum.class_names import check_same_classes
from hilum.comparison.measured import Measured, compare_measured, entries_of
from hilum.comparison.meeting import Meeting, meeting_lines, meetings
from hilum.comparison.results import External
from hilum.datasets.folder import Dataset, Split
from hilum.errors import HilumError
from hilum.eval.travel import travel

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


@dataclass
class Place:
    """Data of another source, and what was measured there.

    Attributes:
        name: what it is called.
        data: the dataset folder.
        split: its images that are measured.
        shared: what it shares with the data at home, once it has been looked for.
        measured: the baselines, then the runs, in the order of those at home.
    """

    name: str
    data: Dataset
    split: Split
    shared: tuple[Meeting, ...] = ()
    measured: list[Measured] = field(default_factory=list)

    def of_class(self, class_id: int) -> "Place":
        """The same images as far as one class is concerned; nothing is measured there yet."""
        return replace(self, split=self.split.of_class(class_id), measured=[])

    @property
    def folder(self) -> str:
        """Of a run's predictions, below those of the run."""
        return f"away-{self.name}"

    def look(self, home: Dataset, tell: Callable[[str], None], warn: Callable[[str], None] | None = None) -> None:
        """Look for what it shares with the data at home, which takes all pictures, and warn of it."""
        tell(f"{self.name}: {len(self.split):,} images are compared with those of {home.path}")
        self.shared = meetings(home, self.data, self.split, self.name)
        told = [] if self.split.shows_opacity else ["no image shows opacity, so only false alarms can be told"]
        for line in (*told, *meeting_lines(self.shared)):
            (warn or tell)(f"{self.name}: {line}")

    def found(self, home: Split, at_home: Sequence[Measured]) -> External:
        """All that is told of it, once everything is measured; of one class also how each run travels."""
        travels = {
            there.name: travel((home, here.answer, here.measures), (self.split, there.answer, there.measures))
            for here, there in zip(at_home, self.measured, strict=True)
            if there.run is not None and len(home.class_names) == 1
        }
        groups, differences = compare_measured(self.measured)
        return External(
            name=self.name,
            data_fingerprint=self.data.fingerprint,
            source=Dataset.open(self.data.root).conversion.get("source"),
            split=self.split.name,
            images=len(self.split),
            patients=len(set(self.split.patients)),
            patients_known=self.data.patients_known,
            positive_images=int(self.split.positive.sum()),
            meetings=self.shared,
            groups=groups,
            differences=differences,
            entries=entries_of(self.measured, travels),
        )


def away_split(data: Dataset, trained_on: AbstractSet[str]) -> Split:
    """The images that runs have not learned from: all, or the holdout where the data are those trained on.

    Args:
        data: the dataset folder, or a further split of it.
        trained_on: fingerprints of the data that the runs were trained on.

    Raises:
        HilumError: there is none.
    """
    split = data.split("holdout") if data.family() & trained_on else data.labelled()
    if not len(split):
        which = "it has no labelled image" if split.name == "all" else "it is the data at home, whose holdout is empty"
        raise HilumError(f"{data.path}: {which}")
    return split


def open_places(external: Mapping[str, Path], home: Dataset, out: Path) -> list[Place]:
    """Open data sets by name.

    Args:
        external: name -> dataset folder.
        home: what the runs are, or will be, trained on.
        out: where what is made of a folder goes that cannot be written.

    Raises:
        HilumError: a name is none for a folder, or is taken; or a folder is no dataset folder or has no image.
    """
    places: dict[str, Place] = {}
    for name, path in external.items():
        if not _NAME.fullmatch(name):
            raise HilumError(f"external '{name}': no name for a data set; use letters, digits, '.', '_' and '-'")
        if name.casefold() in places:
            raise HilumError(f"external '{name}': another one is called so; give it a name of its own")
        data = replace(Dataset.open(path), scratch=out / "external" / name)
        check_same_classes(home.class_names, data.class_names, f"external '{name}': the benchmark")
        places[name.casefold()] = Place(name, data, away_split(data, home.family()))
    return list(places.values())
