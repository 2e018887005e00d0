"""Refuse labels that cannot be of the pictures beside them, and tell what is doubtful, before anything is written."""

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hilum.converters.picture import is_picture_file
from hilum.converters.source import SourceFile
from hilum.datasets.box_units import doubtful_units, wrong_units
from hilum.datasets.id_lists import lost_zeros, one_of_each
from hilum.dicom.header import COLUMNS, ROWS
from hilum.dicom.plain import read_plain
from hilum.errors import HilumError

_LOOKED_AT = 64  # pictures: as many boxes and more tell their units, and to read them takes a blink


def check_ids(ids: Collection[str], table: str, files: Mapping[str, SourceFile]) -> None:
    """Refuse a label table of other pictures.

    Args:
        ids: that it names.
        table: its name, for messages.
        files: the pictures by image id.

    Raises:
        HilumError: it names none of the pictures, or its ids lost their leading zeros.
    """
    if ids and not set(ids) & files.keys():
        raise HilumError(
            f"{table}: none of its {len(ids):,} images is among the {len(files):,} pictures: {one_of_each(ids, files)}"
        )
    if lost := lost_zeros(ids, files):
        raise HilumError(f"{table}: {len(lost):,} of its {len(ids):,} ids lost zeros: {one_of_each(ids, files)}")


def check_units(
    boxes_xywh: Mapping[str, Sequence[Sequence[float]]],
    table: str,
    files: Mapping[str, SourceFile],
    tell: Callable[[str], None],
    sizes_wh: Mapping[str, tuple[int, int]] | None = None,
) -> None:
    """Refuse boxes that are not left, top, width, height in pixels of their pictures.

    Args:
        boxes_xywh: of each image id.
        table: where they stand, for messages.
        files: the pictures by image id.
        tell: called with a line on what is doubtful.
        sizes_wh: of the pictures that the boxes were drawn in, where the table tells them.

    Raises:
        HilumError: they are relative, corners, or of pictures of other sizes.
    """
    if reason := wrong_units(_array([box for boxes in boxes_xywh.values() for box in boxes])):
        raise HilumError(f"{table}: {reason}")
    positive = sorted(image_id for image_id, boxes in boxes_xywh.items() if boxes and image_id in files)
    boxes: list[Sequence[float]] = []
    sizes, told = [], sizes_wh or {}
    for at in np.linspace(0, len(positive) - 1, min(_LOOKED_AT, len(positive))).astype(int).tolist():
        image_id = positive[at]
        if size_wh := _size_wh(files[image_id]):
            drawn = told.get(image_id, size_wh)
            if drawn != size_wh:
                what = f"is {size_wh[0]} x {size_wh[1]} px, its boxes were drawn in {drawn[0]} x {drawn[1]} px"
                raise HilumError(f"{table}: {image_id} {what}; give the pictures that they were drawn in")
            boxes += boxes_xywh[image_id]
            sizes += [size_wh] * len(boxes_xywh[image_id])
    if not boxes:
        return
    if reason := wrong_units(_array(boxes), np.array(sizes)):
        raise HilumError(f"{table}: {reason}")
    if reason := doubtful_units(_array(boxes), np.array(sizes)):
        tell(f"{table}: {reason}")


def _array(boxes: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    return np.array(boxes, np.float64).reshape(-1, 4)


def _size_wh(file: SourceFile) -> tuple[int, int] | None:
    """Width and height of a picture in pixels; None where it cannot be read, which is told when it is converted."""
    try:
        content = file.read()
        if is_picture_file(content, file.name):
            from hilum.datasets.pictures import decode_grey

            height, width = decode_grey(content).shape
            return width, height
        plain = read_plain(content)
        if plain is not None:
            return plain.stream.size_wh
        from hilum.dicom.reading import header_of, read_dicom

        header = header_of(read_dicom(content))
        width, height = int(header[COLUMNS]), int(header[ROWS])
    except Exception:  # noqa: BLE001 - whatever a damaged file may do
        return None
    return (width, height) if width > 0 and height > 0 else None
