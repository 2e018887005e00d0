"""The string of one row of a submission, word by word: see `hilum.eval.submission.read_rows`."""

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hilum.datasets.boxes import LARGEST_PX
from hilum.eval.layouts import STUDY, Layout
from hilum.eval.problems import Problems

COUNT: Final = {5: "five", 6: "six"}
_EXPECTED: Final = {5: "five finite numbers", 6: "a class and five finite numbers"}
# A box that is drawn to the edge may pass it by rounding.
_OUTSIDE_PIXELS = 0.01


class Row(NamedTuple):
    """The boxes of an image or a study.

    Attributes:
        boxes_xywh: (N, 4) pixels.
        confidence: (N,).
        classes: their names in the layout; "" where it has none.
    """

    boxes_xywh: NDArray[np.float64]
    confidence: NDArray[np.float64]
    classes: tuple[str, ...]

    def of(self, *classes: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The boxes of some classes (K, 4), and their confidences (K,)."""
        kept = np.array([name in classes for name in self.classes], bool)
        return self.boxes_xywh[kept], self.confidence[kept]


def reaches_out(box_xywh: Sequence[float], size_wh: tuple[int, int]) -> bool:
    """Whether a box is, in part or whole, outside its image, by more than a hundredth of a pixel."""
    x, y, width, height = box_xywh
    return (
        min(x, y) < -_OUTSIDE_PIXELS
        or x + width > size_wh[0] + _OUTSIDE_PIXELS
        or y + height > size_wh[1] + _OUTSIDE_PIXELS
    )


def read_row(
    words: list[str],
    row: str,
    size_wh: tuple[int, int] | None,
    problems: Problems,
    layout: Layout,
    of: str,
) -> Row:
    """Reads the boxes of a row.

    Args:
        words: Of its string; a multiple of `Layout.values_per_box`.
        row: What to call it in lines on its problems.
        size_wh: Of the image, in pixels; where None, no box is outside.
        problems: Takes those lines.
        layout: Of the file.
        of: `IMAGE` or `STUDY`.
    """
    count = layout.values_per_box
    names = layout.names_by_word(study=of == STUDY)
    boxes: list[tuple[str, list[float]]] = []
    for begin in range(0, len(words), count):
        where = f"{row}, box {begin // count + 1}"
        if box := _read_box(words[begin : begin + count], where, names, problems):
            name, numbers = box
            if of == STUDY or (name and name == layout.nothing):
                if numbers[1:] != [0, 0, 1, 1]:
                    problems.add(
                        "boxes of whole images that are not 0 0 1 1",
                        f"{where}: {name} has the box {_box(words, begin, count)}, expected 0 0 1 1; kept as it is",
                    )
            elif size_wh and reaches_out(numbers[1:], size_wh):
                problems.add(
                    "boxes that reach out of their image",
                    f"{where}: {_box(words, begin, count)} reaches out of the {size_wh[0]} x {size_wh[1]} image; kept "
                    "as it is",
                )
            boxes.append(box)
    table = np.array([numbers for _, numbers in boxes], dtype=np.float64).reshape(-1, 5)
    return Row(table[:, 1:], table[:, 0], tuple(name for name, _ in boxes))


def _box(words: Sequence[str], begin: int, count: int) -> str:
    return " ".join(words[begin + count - 4 : begin + count])


def _read_box(
    words: Sequence[str], where: str, names: Mapping[str, str], problems: Problems
) -> tuple[str, list[float]] | None:
    """The class of a box, and its confidence, x, y, width and height; None where it is skipped, which is said."""
    numbers = _numbers(words[-5:])
    if numbers is None:
        expected = _EXPECTED[len(words)]
        told = f"{where}: '{' '.join(words)[:80]}' is not {expected}; box skipped"
        problems.add(f"boxes that are not {expected}", told)
        return None
    name = names.get(_plain(words[0])) if names else ""
    if name is None:
        told = f"{where}: '{words[0][:40]}' is none of {', '.join(names)}; box skipped"
        problems.add("boxes of other classes", told)
        return None
    size = list(words[-2:])
    if names:  # corners
        numbers[3:] = [numbers[3] - numbers[1], numbers[4] - numbers[2]]
        size = [shortest(number) for number in numbers[3:]]
    if min(numbers[3:]) <= 0:
        told = f"{where}: width {size[0]} and height {size[1]} are not both above 0; box skipped"
        problems.add("boxes without a size", told)
        return None
    if not 0 <= numbers[0] <= 1:
        told = f"{where}: confidence {words[-5]} is outside 0..1; kept as it is"
        problems.add("confidences outside 0..1", told)
    return name, numbers


def _numbers(five: Sequence[str]) -> list[float] | None:
    """Confidence and the box's four numbers, as they are written; None where they are not five finite ones."""
    try:
        numbers = [float(word) for word in five]
    except ValueError:
        return None
    far = max(map(abs, numbers[1:])) > LARGEST_PX
    # float() takes 1_000, which no other reader of the file would.
    return None if far or not all(map(math.isfinite, numbers)) or any("_" in word for word in five) else numbers


def _plain(word: str) -> str:
    """The word of a class; a number that pandas made a fraction (`14.0`) is one all the same."""
    return word[:-2] if word.endswith(".0") and word[:-2].isdigit() else word


def shortest(value: float) -> str:
    """Writes 605.0 as 605, and every number with the fewest digits that give it back."""
    return repr(value).removesuffix(".0")
