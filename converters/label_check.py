"""Question a label table before anything is written: do its ids name the pictures, are its boxes in pixels of them?"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from hilum.converters.rsna import Labels
from hilum.converters.source import SourceFile
from hilum.datasets.box_units import doubtful_units, wrong_units
from hilum.datasets.id_lists import lost_zeros, one_of_each
from hilum.dicom.header import COLUMNS, ROWS
from hilum.dicom.plain import read_plain
from hilum.errors import HilumError

_LOOKED_AT = 64  # pictures: as many boxes and more tell their units, and to read them takes a blink


def check_labels(labels: Labels, table: str, files: Mapping[str, SourceFile], tell: Callable[[str], None]) -> None:
    """Refuse a label table that cannot be of these pictures, and tell what is doubtful of it.

    Args:
        labels: what was read.
        table: its name, for messages.
        files: the pictures by image id.
        tell: called with a line.

    Raises:
        HilumError: it names none of the pictures, ids lost their leading zeros, or its boxes are relative or corners.
    """
    ids = labels.boxes
    if ids and not ids.keys() & files.keys():
        raise HilumError(
            f"{table}: none of its {len(ids):,} images is among the {len(files):,} pictures: {one_of_each(ids, files)}"
        )
    if lost := lost_zeros(ids, files):
        raise HilumError(f"{table}: {len(lost):,} of its {len(ids):,} ids lost zeros: {one_of_each(ids, files)}")
    if reason := wrong_units(_array([box[:4] for boxes in ids.values() for box in boxes])):
        raise HilumError(f"{table}: {reason}")
    positive = sorted(image_id for image_id, boxes in ids.items() if boxes and image_id in files)
    boxes, sizes = [], []
    for at in np.linspace(0, len(positive) - 1, min(_LOOKED_AT, len(positive))).astype(int).tolist():
        if size_wh := _size_wh(files[positive[at]]):
            of_image = [box[:4] for box in ids[positive[at]]]
            boxes += of_image
            sizes += [size_wh] * len(of_image)
    if not boxes:
        return
    if reason := wrong_units(_array(boxes), np.array(sizes)):
        raise HilumError(f"{table}: {reason}")
    if reason := doubtful_units(_array(boxes), np.array(sizes)):
        tell(f"{table}: {reason}")


def _array(boxes: Sequence[Sequence[float]]) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    return np.array(boxes, np.float64).reshape(-1, 4)


def _size_wh(file: SourceFile) -> tuple[int, int] | None:
    """Width and height of a picture in pixels; None where it cannot be read, which is told when it is converted."""
    try:
        content = file.read()
        plain = read_plain(content)
        if plain is not None:
            return plain.stream.size_wh
        from hilum.dicom.reading import header_of, read_dicom

        header = header_of(read_dicom(content))
        width, height = int(header[COLUMNS]), int(header[ROWS])
    except Exception:  # noqa: BLE001 - whatever a damaged file may do
        return None
    return (width, height) if width > 0 and height > 0 else None
