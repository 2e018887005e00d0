"""Boxes of several readers of one image made one set: their union, or fused where they agree."""

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np

from hilum.converters.labels import ImageLabels, Mark
from hilum.datasets.boxes import xywh_to_xyxy, xyxy_to_xywh
from hilum.datasets.fusion import Boxes, overlaps, weighted_box_fusion
from hilum.datasets.left_out import LeftOut

Readers = Literal["union", "fused"]
SAME_IOU: Final = 0.4
"""Boxes of two readers that overlap by more are of one finding: the threshold of VinBigData's own metric."""


def merge_readers(image: ImageLabels, readers: Readers, votes: int, left_out: list[LeftOut]) -> None:
    """Make the boxes of an image's readers one set.

    With "union" every box stays; of those that are the same to the digit the first. With "fused" the boxes of a class
    that overlap by more than `SAME_IOU` are averaged (weighted box fusion, all readers weighing the same), and stay
    where at least `votes` readers drew one. Where so many drew boxes of a class that agree nowhere, the image is left
    out: it is no negative.
    """
    clear = ", ".join(sorted(reader for reader in image.clear_for if reader))
    if image.marks and clear:
        seen = ", ".join(sorted({mark.reader for mark in image.marks}))
        reason = f"readers contradict each other: {seen} drew boxes, {clear} saw nothing"
        left_out.append(LeftOut("note", image.image_id, image.table, image.marks[0].row, reason))
    if readers == "fused":
        votes = min(votes, max(len(image.readers), 1))  # of a consensus there is one
        fused = [mark for name in dict.fromkeys(m.name for m in image.marks) for mark in _fused(image, name, votes)]
        alone = [mark for mark in image.marks if not _is_in(fused, mark)] if votes > 1 else []
        for mark in alone:
            reason = f"fewer than {votes} of {len(image.readers)} readers drew {mark.name!r} there"
            left_out.append(LeftOut("box", image.image_id, mark.table, mark.row, reason))
        if alone and not fused and len({mark.reader for mark in image.marks}) >= votes:
            image.reason = f"{votes} readers or more drew boxes, and agree on none"
            left_out.append(LeftOut("image", image.image_id, image.table, image.row, image.reason))
        image.marks = fused
    first: dict[tuple[object, ...], Mark] = {}
    for mark in image.marks:
        same = first.setdefault((mark.name, mark.box_xywh), mark)
        if same is not mark:
            reason = f"the same box a second time, first in row {same.row}"
            left_out.append(LeftOut("box", image.image_id, mark.table, mark.row, reason))
    image.marks = list(first.values())


def _fused(image: ImageLabels, name: str, votes: int) -> list[Mark]:
    marks = [mark for mark in image.marks if mark.name == name]
    found = [_boxes([mark for mark in marks if mark.reader == reader]) for reader in image.readers]
    xyxy = weighted_box_fusion(found, [1.0] * len(found), iou=SAME_IOU, votes=votes).xyxy
    fused = []
    for box, corners in zip(xyxy_to_xywh(xyxy).tolist(), xyxy, strict=True):
        nearest = marks[int(np.argmax(overlaps(corners, _boxes(marks).xyxy)))]
        left, top, width, height = box
        fused.append(Mark(name, (left, top, width, height), nearest.table, nearest.row))
    return fused


def _is_in(fused: Sequence[Mark], mark: Mark) -> bool:
    """Whether a box has gone into one of those that were fused."""
    same = [other for other in fused if other.name == mark.name]
    return bool((overlaps(_boxes([mark]).xyxy[0], _boxes(same).xyxy) > SAME_IOU).any())


def _boxes(marks: Sequence[Mark]) -> Boxes:
    return Boxes(xywh_to_xyxy(np.array([mark.box_xywh for mark in marks], np.float64)), np.ones(len(marks)))
