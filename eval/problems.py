"""What was wrong with an input: one line a problem, and never a flood of them."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hilum.datasets.box_units import doubtful_units, wrong_units
from hilum.errors import HilumError

MOST_LINES = 20


class Problems:
    """Collects lines by kind; beyond the twentieth of a kind they are only counted."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._lines: dict[str, list[str]] = {}
        self._count: Counter[str] = Counter()

    def add(self, kind: str, line: str) -> None:
        """Adds one line.

        Args:
            kind: What such problems are called in the plural: "boxes without a size".
            line: Where, what was given, what was done.
        """
        self._count[kind] += 1
        lines = self._lines.setdefault(kind, [])
        if len(lines) < MOST_LINES:
            lines.append(line)

    def lines(self) -> list[str]:
        """Returns kind by kind, in the order in which they first came up, up to 20 lines and how many more there are.

        Examples:
            >>> problems = Problems("a.csv")
            >>> for row in range(2, 50):
            ...     problems.add("rows without an id", f"a.csv, row {row}: no id")
            >>> problems.lines()[-2:]
            ['a.csv, row 21: no id', 'a.csv: and 28 more rows without an id']
        """
        told: list[str] = []
        for kind, lines in self._lines.items():
            told += lines
            if more := self._count[kind] - len(lines):
                told.append(f"{self._source}: and {more} more {kind}")
        return told


def question_units(source: str, boxes_xywh: Sequence[NDArray[Any]], sizes_wh: ArrayLike) -> list[str]:
    """Asks whether predicted boxes are left, top, width, height in pixels of their images, and each there once.

    Args:
        source: What they are from.
        boxes_xywh: One (N, 4) an image.
        sizes_wh: (images, 2) pixels.

    Returns:
        A line where they could be something else, and one where a tenth of them repeat others.

    Raises:
        HilumError: They are something else: they would score next to nothing.
    """
    boxes = np.concatenate([np.zeros((0, 4)), *boxes_xywh])
    sizes = np.repeat(np.asarray(sizes_wh).reshape(-1, 2), [len(each) for each in boxes_xywh], axis=0)
    if wrong := wrong_units(boxes, sizes):
        raise HilumError(f"{source}: {wrong}")
    image = np.repeat(np.arange(len(boxes_xywh)), [len(each) for each in boxes_xywh])
    again = len(boxes) - len(np.unique(np.column_stack([image, boxes]), axis=0))
    doubts = [doubtful_units(boxes, sizes)]
    if 10 * again > len(boxes):
        doubts.append(f"{again:,} of {len(boxes):,} boxes repeat others of their image; each counts: keep one of them")
    return [f"{source}: {doubt}" for doubt in doubts if doubt]
