"""What the segmenters minimise, and the report's own two figures of a mask.

The losses take logits and compute in float32, whatever the network ran in, so that sums over millions of pixels hold.
"""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F


def iou_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """The capstone report's IoU loss: 1 - (I + 1) / (S - I + 1), over the whole batch at once.

    I is the sum of probability times mask, S the sum of the probabilities plus the sum of the mask. The sums run over
    the batch, so an image without opacity weighs only what its false pixels add.

    Args:
        logits: Any shape, floating point.
        mask: The same shape; 0 or 1, any type.

    Returns:
        A scalar in 0..1, float32; 0 where prediction and mask agree.

    Raises:
        ValueError: If the shapes differ.
    """
    _check_same_shape(logits, mask)
    probability, target = logits.float().sigmoid(), mask.float()
    intersection = (probability * target).sum()
    return 1 - (intersection + 1) / (probability.sum() + target.sum() - intersection + 1)


def bce_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy in nats, the mean over all pixels.

    From logits it is exact; Keras' own, from probabilities, counts no pixel for more than -log(1e-7) = 16.1.

    Args:
        logits: Any shape, floating point.
        mask: The same shape; 0 or 1, any type.

    Returns:
        A scalar of 0 or more, float32.

    Raises:
        ValueError: If the shapes differ.
    """
    _check_same_shape(logits, mask)
    return F.binary_cross_entropy_with_logits(logits.float(), mask.float())


def iou_bce_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """The loss the capstone report trained both networks with: half `bce_loss`, half `iou_loss`.

    Args:
        logits: Any shape, floating point.
        mask: The same shape; 0 or 1, any type.

    Returns:
        A scalar of 0 or more, float32.

    Raises:
        ValueError: If the shapes differ.
    """
    return 0.5 * bce_loss(logits, mask) + 0.5 * iou_loss(logits, mask)


def mean_iou(probability: Tensor, mask: Tensor) -> Tensor:
    """The capstone report's `mean_iou`: (I + 1) / (U + 1) of the rounded prediction, averaged over the images.

    Report it beside the score of an all-background mask: that one gets 1 for every image without opacity, and so
    0.7747 on the competition's labels, more than the 0.6585 that the report printed for its training.

    Args:
        probability: (N, ...) in 0..1. It is rounded half to even, as Keras does, so exactly 0.5 is background.
        mask: The same shape; 0 or 1, any type.

    Returns:
        A scalar in 0..1, float32.

    Raises:
        ValueError: If the shapes differ.
    """
    _check_same_shape(probability, mask)
    predicted, target = probability.float().round().flatten(1), mask.float().flatten(1)
    intersection = (predicted * target).sum(1)
    union = predicted.sum(1) + target.sum(1) - intersection
    return ((intersection + 1) / (union + 1)).mean()


def pixel_accuracy(probability: Tensor, mask: Tensor) -> Tensor:
    """The figure that the capstone report printed, Keras' binary accuracy: the share of pixels that are rounded right.

    Report it beside that of an all-background mask, 0.97353 on the competition's labels: the report's 0.9739 and
    0.9715 lie on either side of it.

    Args:
        probability: (N, ...) in 0..1; exactly 0.5 is background, as in `mean_iou`.
        mask: The same shape; 0 or 1, any type.

    Returns:
        A scalar in 0..1, float32.

    Raises:
        ValueError: If the shapes differ.
    """
    _check_same_shape(probability, mask)
    return (probability.float().round() == mask.float()).float().mean()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"iou_bce": iou_bce_loss, "bce": bce_loss, "iou": iou_loss}
"""The losses by the name a config gives them."""


def _check_same_shape(prediction: Tensor, mask: Tensor) -> None:
    # Without this, (N, 1, H, W) against (N, H, W) would broadcast to N times as many pixels, without a word.
    if prediction.shape != mask.shape:
        raise ValueError(
            f"prediction and mask must have one shape, got {tuple(prediction.shape)} and {tuple(mask.shape)}"
        )
