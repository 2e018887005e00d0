"""What is done to an answer once it is one: gate it, answer fewer images, drop lesser boxes, shrink boxes."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hilum.datasets.fusion import Boxes

GateMode = Literal["multiply", "threshold"]


def gate(found: Boxes, probability: float, *, mode: GateMode, threshold: float = 0.0) -> Boxes:
    """Gate boxes by a classifier's probability, as the winners of the challenge did.

    An image less probable than the threshold, 0..1, gets no box. `multiply` lowers the others' confidences, too.
    """
    if probability < threshold:
        return found.where(slice(0))
    return Boxes(found.xyxy, found.confidence * probability) if mode == "multiply" else found


def by_image_score(found: Boxes, min_confidence: float) -> Boxes:
    """No box where the image's most confident one is below a threshold; elsewhere all, also those below it."""
    some = len(found.confidence) and found.confidence.max() >= min_confidence
    return found if some else found.where(slice(0))


def share_to_score(scores: ArrayLike, share: float) -> float:
    """The score that this share of the images reach: the least one of the `share * images` with the highest scores.

    Args:
        scores: (images,), 0 where nothing was found.
        share: above 0; 1 gives 0, which every image reaches.

    Returns:
        A threshold for `by_image_score`: what is chosen as a share of val's images is a score on a stream, of which
        nobody knows how long it is.
    """
    values = np.sort(np.asarray(scores, np.float64))[::-1]
    count = round(share * len(values))
    return 0.0 if count >= len(values) else float(values[max(count, 1) - 1])


def by_relative_score(found: Boxes, share: float) -> Boxes:
    """The boxes whose confidence is at least this share of the image's highest."""
    return found.where(found.confidence >= share * found.confidence.max(initial=0.0))


def shrink(boxes_xyxy: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """Width and height times `factor`; the middle stays.

    The challenge's test boxes were smaller than its training boxes, and its winners shrank theirs to 0.83 to 0.9.

    Args:
        boxes_xyxy: (N, 4).
        factor: above 0.
    """
    middle = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    half = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) / 2 * factor
    return np.hstack([middle - half, middle + half])
