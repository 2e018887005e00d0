"""What the segmenters minimise, and the report's own two figures of a mask.

A loss takes logits of any shape, and a mask (0 or 1, any type) of the same shape: others are a ValueError. It gives a
float32 scalar of 0 or more, and 0 where they agree, whatever the network ran in, so that sums over millions of pixels
hold. The two figures take probabilities, 0..1, in place of logits; exactly 0.5 is background, as Keras rounds.
"""

import inspect
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from hilum.training.distributed import all_sum

Loss = Callable[..., Tensor]
Output = Tensor | tuple[Tensor, Tensor]
"""What a segmenter's network returns: (N, classes, H, W) logits of pixels, a plane a class; with an image head also
those of images, (N,), or of several classes (N, classes)."""


def iou_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """The capstone report's IoU loss: 1 - (I + 1) / (S - I + 1), over the whole batch at once.

    I is the sum of probability times mask, S the sum of the probabilities plus the sum of the mask. The sums run over
    the batch (where several processes share one, over all of it), so an image without opacity weighs only what its
    false pixels add.
    """
    _check_same_shape(logits, mask)
    probability, target = logits.float().sigmoid(), mask.float()
    sums = torch.stack([(probability * target).sum(), probability.sum() + target.sum()])
    intersection, both = all_sum(sums).unbind()
    return 1 - (intersection + 1) / (both - intersection + 1)


def bce_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy in nats, the mean over all pixels.

    From logits it is exact; Keras' own, from probabilities, counts no pixel for more than -log(1e-7) = 16.1.
    """
    _check_same_shape(logits, mask)
    return F.binary_cross_entropy_with_logits(logits.float(), mask.float())


def iou_bce_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """The loss the capstone report trained both networks with: half `bce_loss`, half `iou_loss`."""
    return 0.5 * bce_loss(logits, mask) + 0.5 * iou_loss(logits, mask)


def dice_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """1 - (2 I + 2) / (S + 2), I and S as in `iou_loss`: false pixels weigh half as much as there."""
    return tversky_loss(logits, mask, false_positives=0.5, false_negatives=0.5)


def dice_bce_loss(logits: Tensor, mask: Tensor, *, bce: float = 0.5) -> Tensor:
    """`bce` of `bce_loss` and the rest, 1 - `bce`, of `dice_loss`.

    Raises:
        ValueError: `bce` lies outside 0..1.
    """
    if not 0 <= bce <= 1:
        raise ValueError(f"bce: expected 0 to 1, got {bce}")
    return bce * bce_loss(logits, mask) + (1 - bce) * dice_loss(logits, mask)


def tversky_loss(logits: Tensor, mask: Tensor, *, false_positives: float = 0.3, false_negatives: float = 0.7) -> Tensor:
    """1 - (I + 1) / (I + a FP + b FN + 1) over the whole batch (Salehi et al., arXiv:1706.05721).

    With a = b = 1 it is `iou_loss`, with a = b = 1/2 `dice_loss`. The default, the paper's best, prefers to find too
    much over missing something.

    Args:
        logits: as the module says.
        mask: as the module says.
        false_positives: a, the weight of a background pixel for every probability of opacity that it gets.
        false_negatives: b, the weight of an opacity's pixel for every probability that it lacks.

    Raises:
        ValueError: A weight is negative.
    """
    _check_same_shape(logits, mask)
    if min(false_positives, false_negatives) < 0:
        raise ValueError(f"weights: expected 0 or more, got {false_positives} and {false_negatives}")
    probability, target = logits.float().sigmoid(), mask.float()
    sums = torch.stack([(probability * target).sum(), probability.sum(), target.sum()])
    intersection, predicted, true = all_sum(sums).unbind()
    false = false_positives * (predicted - intersection) + false_negatives * (true - intersection)
    return 1 - (intersection + 1) / (intersection + false + 1)


def focal_loss(logits: Tensor, mask: Tensor, *, gamma: float = 2, alpha: float = 0.25) -> Tensor:
    """Binary cross-entropy in which a pixel weighs the less the better it is known (Lin et al., arXiv:1708.02002).

    With q the probability given to what is there, a pixel's loss is -(1 - q)^gamma log q, times `alpha` in an opacity
    and 1 - `alpha` outside; the mean over all pixels.

    Args:
        logits: as the module says.
        mask: as the module says.
        gamma: 0 gives `bce_loss` times the weights.
        alpha: 0..1.

    Raises:
        ValueError: `gamma` is negative or `alpha` lies outside 0..1.
    """
    _check_same_shape(logits, mask)
    if gamma < 0 or not 0 <= alpha <= 1:
        raise ValueError(f"gamma and alpha: expected 0 or more and 0 to 1, got {gamma} and {alpha}")
    from torchvision.ops import sigmoid_focal_loss  # torchvision takes as long to import as torch

    value: Tensor = sigmoid_focal_loss(logits.float(), mask.float(), alpha=alpha, gamma=gamma, reduction="mean")
    return value


def with_image_loss(pixel_loss: Loss, weight: float) -> Callable[[Output, Tensor], Tensor]:
    """A loss for networks with an image head: the pixels' loss plus `weight` times the images' cross-entropy.

    The pixels' loss of several classes is the mean over their planes, so that a rare one weighs as much as others.

    Args:
        pixel_loss: of the map's logits and the mask.
        weight: of the image head's loss.

    Returns:
        A function of a network's output and the masks (N, classes, H, W). An image shows what its mask is not empty of.
        Of a network without an image head, the pixels' loss alone.
    """

    def of_planes(pixels: Tensor, mask: Tensor) -> Tensor:
        if pixels.shape[1] == 1:
            return pixel_loss(pixels, mask)
        _check_same_shape(pixels, mask)
        return torch.stack(list(map(pixel_loss, pixels.unbind(1), mask.unbind(1)))).mean()

    def loss(output: Output, mask: Tensor) -> Tensor:
        if isinstance(output, Tensor):
            return of_planes(output, mask)
        pixels, images = output
        return of_planes(pixels, mask) + weight * bce_loss(images, mask.flatten(2).amax(2).squeeze(1))

    return loss


def mean_iou(probability: Tensor, mask: Tensor) -> Tensor:
    """The capstone report's `mean_iou`: (I + 1) / (U + 1) of the rounded prediction, averaged over the images.

    Report it beside the score of an all-background mask: that one gets 1 for every image without opacity, and so
    0.7747 on the competition's labels, more than the 0.6585 that the report printed for its training.
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
    """
    _check_same_shape(probability, mask)
    return (probability.float().round() == mask.float()).float().mean()


LOSSES: dict[str, Loss] = {
    "iou_bce": iou_bce_loss,
    "bce": bce_loss,
    "iou": iou_loss,
    "dice": dice_loss,
    "dice_bce": dice_bce_loss,
    "tversky": tversky_loss,
    "focal": focal_loss,
}
"""The losses by the name a config gives them; their further arguments are a config's `loss_options`."""


def options_of(loss: Loss) -> list[str]:
    """The names of a loss's further arguments."""
    return list(inspect.signature(loss).parameters)[2:]


def _check_same_shape(prediction: Tensor, mask: Tensor) -> None:
    # Without this, (N, 1, H, W) against (N, H, W) would broadcast to N times as many pixels, without a word.
    if prediction.shape != mask.shape:
        raise ValueError(
            f"prediction and mask must have one shape, got {tuple(prediction.shape)} and {tuple(mask.shape)}"
        )
