"""What a classifier learns: opacity or not, which of the challenge's three classes, or each of several findings."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hilum.classifiers.gate_config import CLASSES, Target


def possible_classes(target: Target, classes: Sequence[str], has_opacity: ArrayLike) -> NDArray[np.bool_]:
    """Which classes each image may have, (images, outputs of the network).

    One as a rule; where nobody says which, an image without boxes may be of any class but opacity.

    Args:
        target: `opacity` has two classes: without and with.
        classes: of the images, as `metadata.csv` has them; "" where unknown.
        has_opacity: whether each image has a box.
    """
    opacity = np.asarray(has_opacity, bool)
    if target == "opacity":
        return np.column_stack([~opacity, opacity])
    known = np.array([[name == kind for kind in CLASSES] for name in classes], bool).reshape(-1, 3)
    possible = np.column_stack([~opacity, ~opacity, opacity])
    agrees = (known & possible).any(axis=1)
    return np.where(agrees[:, None], known, possible)


def shown_classes(class_ids: Sequence[NDArray[np.int64]], classes: int) -> NDArray[np.bool_]:
    """Which of several classes each image shows, (images, classes), from those of its boxes."""
    shown = np.zeros((len(class_ids), classes), bool)
    for row, of_image in zip(shown, class_ids, strict=True):
        row[of_image] = True
    return shown


def class_loss(logits: Tensor, possible: Tensor) -> Tensor:
    """Minus the log of the probability that the classes which are possible have together; mean over the images.

    Where one class is possible this is cross-entropy; of two outputs it is binary cross-entropy of their difference.

    Args:
        logits: (N, classes).
        possible: (N, classes), 0 or 1.
    """
    right = torch.where(possible.bool(), logits.float(), torch.finfo(torch.float32).min)
    return (logits.float().logsumexp(1) - right.logsumexp(1)).mean()


def opacity_probability(logits: Tensor) -> Tensor:
    """(N, classes) to the probability of the last class, opacity; (N,)."""
    return logits.double().softmax(1)[:, -1]
