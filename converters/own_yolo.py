"""A YOLO folder of one's own beside DICOM, JPEG or PNG files: `data.yaml`, `images/`, `labels/`, as ultralytics has it.

Source: https://docs.ultralytics.com/datasets/detect. A line of a label file is the class's number, then the middle,
width and height of a box as shares of the picture. An empty label file says that nothing is there; a picture without a
label file says nothing, and is left out. Splits of the folder are not taken over.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

from hilum.converters.annotated import Annotated, LabelTables, content_of, one_file
from hilum.converters.record import Request, Source
from hilum.converters.rows import Row
from hilum.converters.source import SourceFile
from hilum.datasets.tables import quoted
from hilum.documents import MAX_YAML_BYTES, parse_yaml
from hilum.errors import HilumError

_LABELS = "labels"
_MOST_BYTES = 1 << 20  # of a label file: some twenty thousand boxes


def find(request: Request) -> Source | None:
    """One's own pictures, where there are a `data.yaml` and label files in a folder `labels`."""
    about = one_file(request, {"data.yaml", "data.yml", "dataset.yaml"})
    labels = [f for f in request.files if _LABELS in f.parts[:-1] and f.parts[-1].lower().endswith(".txt")]
    if about is None or not labels:
        return None
    request.tell(f"{about.name}: read as a YOLO folder, whose ids are shown; --source tree leaves its labels out")
    names = _names(about)
    return Annotated(
        request,
        LabelTables(
            source="yolo",
            files=[about, *labels],
            rows=[row for file in labels for row in _rows(file, names)],
            form="centre shares",
            class_names=[names[number] for number in sorted(names)],
            patients_in_files=True,
        ),
    )


def _names(about: SourceFile) -> dict[int, str]:
    content = content_of(about)
    if len(content) > MAX_YAML_BYTES:
        raise HilumError(f"{about.name}: {len(content):,} bytes, at most {MAX_YAML_BYTES:,} are read")
    values = parse_yaml(content, about.name)
    names = values.get("names") if isinstance(values, dict) else None
    named = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(named, dict) or not named or set(named) != set(range(len(named))):
        raise HilumError(f"{about.name}: names: expected the classes' names, a list or numbered from 0")
    return {number: str(name) for number, name in named.items()}


def _rows(file: SourceFile, names: dict[int, str]) -> Iterator[Row]:
    """A row a line, numbered; of an empty file one that says that nothing is there."""
    image = PurePosixPath(file.name).stem
    content = content_of(file)
    lines = content.decode("utf-8-sig", "replace").splitlines() if len(content) <= _MOST_BYTES else []
    if len(content) > _MOST_BYTES:
        yield Row(file.name, 0, image, problem=f"{len(content):,} bytes, more than a label file has")
    elif not any(map(str.strip, lines)):
        yield Row(file.name, 0, image)
    for number, line in enumerate(lines, start=1):
        cells = line.split()
        if not cells:
            continue
        name = names.get(int(cells[0])) if cells[0].isdecimal() and len(cells[0]) < 4 else None
        problem = "" if name else f"class {quoted(cells[0])} is none of the {len(names)} of data.yaml"
        if len(cells) != 5:
            problem = f"{len(cells)} numbers; expected are a class and four of a box (outlines are not read)"
        yield Row(file.name, number, image, name=name or "", box=cells[1:5], problem=problem)
