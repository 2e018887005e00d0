import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hilum.segmenters.losses import (
    LOSSES,
    bce_loss,
    dice_bce_loss,
    dice_loss,
    focal_loss,
    iou_bce_loss,
    iou_loss,
    mean_iou,
    pixel_accuracy,
    tversky_loss,
    with_image_loss,
)


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_by_hand():
    logits = torch.tensor([[0.0], [_logit(0.8)]])
    mask = torch.tensor([[1.0], [0.0]])
    # I = 0.5, S = 0.5 + 0.8 + 1
    iou = 1 - 1.5 / (2.3 - 0.5 + 1)
    bce = (-math.log(0.5) - math.log(0.2)) / 2
    assert iou_loss(logits, mask).item() == pytest.approx(iou)
    assert bce_loss(logits, mask).item() == pytest.approx(bce)
    assert iou_bce_loss(logits, mask).item() == pytest.approx((iou + bce) / 2)


def test_iou_is_of_the_batch_not_of_its_images():
    logits = torch.tensor([[20.0, 20.0], [-20.0, -20.0]])
    mask = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert iou_loss(logits, mask).item() == pytest.approx(1 - (1 + 1) / (3 - 1 + 1))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_perfect_prediction(loss):
    mask = torch.zeros(2, 1, 8, 8)
    mask[0, :, 2:5, 1:7] = 1
    assert loss((mask - 0.5) * 100, mask).item() == pytest.approx(0, abs=1e-6)
    assert loss((0.5 - mask) * 100, mask).item() > 0.9


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_mask_may_be_of_any_type(loss):
    mask = torch.rand(2, 1, 4, 4) > 0.5
    logits = torch.randn(2, 1, 4, 4)
    assert loss(logits, mask) == loss(logits, mask.to(torch.uint8)) == loss(logits, mask.float())


@pytest.mark.parametrize("loss", [*LOSSES.values(), mean_iou, pixel_accuracy])
def test_shapes_must_agree(loss):
    with pytest.raises(ValueError, match=r"\(2, 1, 4, 4\) and \(2, 4, 4\)"):
        loss(torch.zeros(2, 1, 4, 4), torch.zeros(2, 4, 4))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_half_precision_logits_are_summed_in_full(loss):
    logits = torch.full((1, 1, 512, 512), -4.0)
    mask = torch.zeros(1, 1, 512, 512)
    mask[..., :100, :100] = 1
    rough = loss(logits.bfloat16(), mask)
    assert rough.dtype == torch.float32
    # -4 is exact in bfloat16, so only the arithmetic could differ
    assert rough.item() == pytest.approx(loss(logits.double(), mask).item(), rel=1e-6)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_gradient_points_to_the_mask(loss):
    logits = torch.zeros(1, 1, 4, 4, requires_grad=True)
    mask = torch.eye(4)[None, None]
    loss(logits, mask).backward()
    assert (logits.grad[mask == 1] < 0).all()
    assert (logits.grad[mask == 0] > 0).all()


@given(st.integers(0, 2**31), st.floats(0, 1))
def test_iou_loss_lies_between_0_and_1(seed, share):
    generator = torch.Generator().manual_seed(seed)
    logits = 10 * torch.randn(2, 1, 5, 7, generator=generator)
    mask = torch.rand(2, 1, 5, 7, generator=generator) < share
    assert -1e-6 <= iou_loss(logits, mask).item() < 1
    assert 0 < mean_iou(logits.sigmoid(), mask).item() <= 1


def test_mean_iou_by_hand():
    # exactly 0.5 is background; the first image has I = 1 and U = 3, the second is empty and empty
    probability = torch.tensor([[[0.6, 0.5], [0.2, 0.9]], [[0.1, 0.5], [0.0, 0.4]]])[:, None]
    mask = torch.tensor([[[1, 1], [0, 0]], [[0, 0], [0, 0]]])[:, None]
    assert mean_iou(probability, mask).item() == pytest.approx((2 / 4 + 1) / 2)


def test_mean_iou_of_all_background():
    mask = torch.zeros(4, 1, 10, 10)
    mask[0, :, :3, :3] = 1
    assert mean_iou(torch.zeros(4, 1, 10, 10), mask).item() == pytest.approx((1 / 10 + 3) / 4)


def test_pixel_accuracy_by_hand():
    # exactly 0.5 is background
    probability = torch.tensor([[0.6, 0.5, 0.2, 0.51], [0.1, 0.5, 0.0, 1.0]])
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1]])
    assert pixel_accuracy(probability, mask).item() == 5 / 8


def test_further_losses_by_hand():
    logits = torch.tensor([[0.0], [_logit(0.8)]])
    mask = torch.tensor([[1.0], [0.0]])
    # I = 0.5, 0.8 wrongly found, 0.5 missed
    assert dice_loss(logits, mask).item() == pytest.approx(1 - (2 * 0.5 + 2) / (2.3 + 2))
    assert tversky_loss(logits, mask).item() == pytest.approx(1 - 1.5 / (0.5 + 0.3 * 0.8 + 0.7 * 0.5 + 1))
    focal = (0.25 * 0.5**2 * -math.log(0.5) + 0.75 * 0.8**2 * -math.log(0.2)) / 2
    assert focal_loss(logits, mask).item() == pytest.approx(focal)
    bce, dice = bce_loss(logits, mask).item(), dice_loss(logits, mask).item()
    assert dice_bce_loss(logits, mask, bce=0.2).item() == pytest.approx(0.2 * bce + 0.8 * dice)


@given(st.integers(0, 2**31), st.floats(0, 1))
def test_what_the_losses_are_to_each_other(seed, share):
    generator = torch.Generator().manual_seed(seed)
    logits = 5 * torch.randn(2, 1, 5, 7, generator=generator)
    mask = torch.rand(2, 1, 5, 7, generator=generator) < share
    same = [
        (tversky_loss(logits, mask, false_positives=1, false_negatives=1), iou_loss(logits, mask)),
        (tversky_loss(logits, mask, false_positives=0.5, false_negatives=0.5), dice_loss(logits, mask)),
        (focal_loss(logits, mask, gamma=0, alpha=0.5), 0.5 * bce_loss(logits, mask)),
        (dice_bce_loss(logits, mask, bce=1), bce_loss(logits, mask)),
    ]
    for one, other in same:
        assert one.item() == pytest.approx(other.item(), rel=1e-4, abs=1e-6)
    assert dice_loss(logits, mask) <= iou_loss(logits, mask) + 1e-6
    missing = [tversky_loss(logits, mask, false_negatives=weight).item() for weight in (0.0, 0.7, 3.0)]
    assert missing == sorted(missing)


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        (tversky_loss, {"false_positives": -1}),
        (focal_loss, {"gamma": -0.1}),
        (focal_loss, {"alpha": 1.5}),
        (dice_bce_loss, {"bce": 2}),
    ],
)
def test_options_out_of_range(loss, options):
    with pytest.raises(ValueError, match="expected 0"):
        loss(torch.zeros(2), torch.zeros(2), **options)


def test_the_image_head_learns_whether_there_is_any_opacity():
    pixels = torch.randn(3, 1, 4, 4)
    mask = torch.zeros(3, 1, 4, 4)
    mask[1, 0, 3, 3] = 1
    loss = with_image_loss(iou_loss, 0.3)
    images = torch.tensor([0.2, -0.4, 1.0])
    by_hand = (math.log1p(math.exp(0.2)) + math.log1p(math.exp(0.4)) + math.log1p(math.exp(1.0))) / 3
    assert loss((pixels, images), mask).item() == pytest.approx(iou_loss(pixels, mask).item() + 0.3 * by_hand)
    assert loss(pixels, mask) == iou_loss(pixels, mask)


def test_names_for_configs():
    assert list(LOSSES) == ["iou_bce", "bce", "iou", "dice", "dice_bce", "tversky", "focal"]
    assert all(loss.__name__ == f"{name}_loss" for name, loss in LOSSES.items())
