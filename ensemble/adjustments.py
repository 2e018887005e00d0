"""What is done to an answer once it is one: gate it, answer fewer images, drop lesser boxes, shrink boxes."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hilum.ensemble.fusion import Found

GateMode = Literal["multiply", "threshold"]


def gate(found: Found, probability: float, *, mode: GateMode, threshold: float = 0.0) -> Found:
    """Let a classifier have its say, as the winners of the challenge did.

    Args:
        found: of one image.
        probability: 0..1, that the image shows an opacity.
        mode: `multiply` the confidences by the probability, or leave them and only apply the threshold.
        threshold: an image less probable than this gets no box, whatever the mode.
    """
    boxes, confidence = found
    if probability < threshold:
        return boxes[:0], confidence[:0]
    return boxes, confidence * probability if mode == "multiply" else confidence


def in_likely_image(found: Found, least: float) -> Found:
    """No box where the image's most confident one is below `least`; elsewhere all, also those below it."""
    boxes, confidence = found
    return found if len(confidence) and confidence.max() >= least else (boxes[:0], confidence[:0])


def top_images(scores: ArrayLike, share: float) -> float:
    """The score that this share of the images reach: the least one of the `share * images` with the highest scores.

    Args:
        scores: (images,), 0 where nothing was found.
        share: above 0; 1 gives 0, which every image reaches.

    Returns:
        A threshold for `in_likely_image`: what is chosen as a share of images on val is a score on a stream, of which
        nobody knows how long it is.
    """
    values = np.sort(np.asarray(scores, np.float64))[::-1]
    count = round(share * len(values))
    return 0.0 if count >= len(values) else float(values[max(count, 1) - 1])


def near_best(found: Found, share: float) -> Found:
    """The boxes whose confidence is at least this share of the image's highest."""
    boxes, confidence = found
    kept = confidence >= share * confidence.max(initial=0.0)
    return boxes[kept], confidence[kept]


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
