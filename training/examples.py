"""Draw what a run finds in some pictures, beside the truth, for who watches a training."""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.datasets.folder import Split
from hilum.datasets.letterbox import Letterbox
from hilum.datasets.pictures import read_picture
from hilum.result import Result

_SIDE_PX: Final = 320
_TRUE, _FOUND = (0, 158, 115), (230, 159, 0)  # Okabe and Ito's green and orange, RGB


def examples(split: Split, most: int = 8) -> list[int]:
    """The numbers of the first images of a split with a true box, and of the first without; half of `most` each."""
    positive = split.positive
    return [*np.flatnonzero(positive)[: most // 2].tolist(), *np.flatnonzero(~positive)[: most // 2].tolist()]


def draw_examples(split: Split, numbers: Sequence[int], results: Sequence[Result]) -> NDArray[np.uint8]:
    """Pictures in squares side by side, (H, W, 3) RGB: true boxes green, those found orange with their confidence.

    Args:
        split: the truth.
        numbers: of the images, at least one.
        results: of each.
    """
    drawn = []
    for number, result in zip(numbers, results, strict=True):
        pixels = read_picture(split.paths[number])
        place = Letterbox.fit(pixels.shape[::-1], _SIDE_PX)
        square = cv2.cvtColor(place.apply(pixels), cv2.COLOR_GRAY2RGB)
        for box in np.rint(split.boxes_in_square(number, _SIDE_PX)).astype(int).tolist():
            cv2.rectangle(square, box[:2], box[2:], _TRUE, 2)
        found = np.rint(place.boxes_to_square(result.detections.xyxy)).astype(int).tolist()
        for box, confidence in zip(found, result.detections.confidence, strict=True):
            cv2.rectangle(square, box[:2], box[2:], _FOUND, 1)
            cv2.putText(square, f"{confidence:.2f}", (box[0], box[1] + 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, _FOUND)
        drawn.append(square)
    rows = [np.hstack(drawn[at : at + 4]) for at in range(0, len(drawn), 4)]
    missing = rows[0].shape[1] - rows[-1].shape[1]
    return np.vstack([*rows[:-1], np.pad(rows[-1], ((0, 0), (0, missing), (0, 0)))])
