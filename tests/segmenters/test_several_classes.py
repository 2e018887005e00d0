"""A plane a class: each is what a segmenter of that class alone would be given, lose and choose."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hilum.config import check_config
from hilum.datasets.cache import square_pictures
from hilum.datasets.folder import Dataset
from hilum.result import class_probabilities
from hilum.segmenters.batches import load_batch, prepare_batch
from hilum.segmenters.losses import iou_loss, with_image_loss
from hilum.segmenters.tune import sweep
from hilum.segmenters.unet import UNetSegmenter

NAMES = ("left", "right", "low")
TINY: dict[str, Any] = {
    "backend": "unet",
    "image_size": 32,
    "model": {"start_channels": 2, "depth": 2},
    "train": {"epochs": 1, "batch_size": 8, "image_loss": 0.5},
    "augmentation": {"flip": 0.5, "rotate_degrees": 20, "translate": 0.4, "cutout": 0.5},
}
CONFIG = check_config(TINY, "test")


def of_planes(*logits: float) -> UNetSegmenter:
    """A segmenter that says the same everywhere, of each class something else."""
    config = CONFIG.with_classes(NAMES)
    network = config.network().requires_grad_(requires_grad=False)
    network.last.weight.zero_()
    network.last.bias.copy_(torch.tensor(logits))
    return UNetSegmenter(network, config)


def test_each_plane_is_painted_as_of_its_class_alone(three_classes: Path) -> None:
    data = Dataset.open(three_classes)
    split, squares = data.split("train"), square_pictures(data, "train", 32)
    numbers = np.arange(len(split))
    pictures, masks = prepare_batch(*load_batch(squares, split, CONFIG.with_classes(NAMES), 1, numbers))
    assert masks.shape == (len(split), 3, 32, 32)
    assert masks.sum((0, 2, 3)).min() > 0
    for class_id in range(3):
        alone = prepare_batch(*load_batch(squares, split.of_class(class_id), CONFIG, 1, numbers))
        assert torch.equal(alone[0], pictures)
        assert torch.equal(alone[1][:, 0], masks[:, class_id])


def test_a_loss_is_the_mean_over_the_planes() -> None:
    rng = torch.Generator().manual_seed(0)
    logits, images = torch.randn(4, 3, 8, 8, generator=rng), torch.randn(4, 3, generator=rng)
    masks = (torch.rand(4, 3, 8, 8, generator=rng) > 0.7).byte()
    masks[1:, 2] = 0
    loss = with_image_loss(iou_loss, 0.3)
    planes = [
        with_image_loss(iou_loss, 0.3)((logits[:, k : k + 1], images[:, k]), masks[:, k : k + 1]) for k in range(3)
    ]
    assert float(loss((logits, images), masks)) == pytest.approx(float(torch.stack(planes).mean()), abs=1e-6)
    with pytest.raises(ValueError, match="one shape"):
        loss(logits, masks[:, :2])


def test_each_plane_gives_boxes_of_its_class_and_the_head_a_probability_of_each() -> None:
    segmenter = of_planes(5.0, -5.0, 2.0)
    (found,) = segmenter.predict_batch([np.full((40, 80), 128, np.uint8)])
    np.testing.assert_allclose(found.xyxy, [[0, 0, 80, 40]] * 2)
    assert found.class_id.tolist() == [0, 2]
    np.testing.assert_allclose(found.confidence, 1 / (1 + np.exp([-5.0, -2.0])), atol=1e-6)
    assert len(set(class_probabilities(found, 3))) == 3
    (seen,) = segmenter.probability_maps([np.full((40, 80), 128, np.uint8)])
    np.testing.assert_allclose(seen, 1 / (1 + np.exp(-5.0)), atol=1e-6)  # the likeliest class


def test_the_figures_of_val_are_means_over_classes(three_classes: Path) -> None:
    data = Dataset.open(three_classes)
    val, squares = data.split("val"), square_pictures(data, "val", 32)
    figures = of_planes(9.0, -9.0, -9.0).validate(squares, val)
    alone = []
    for class_id, logit in enumerate((9.0, -9.0, -9.0)):
        network = CONFIG.network().requires_grad_(requires_grad=False)
        network.last.weight.zero_()
        network.last.bias.fill_(logit)
        alone.append(UNetSegmenter(network, CONFIG).validate(squares, val.of_class(class_id)))
    for name in ("val_pixel_accuracy", "val_mean_iou"):
        assert figures[name] == pytest.approx(np.mean([each[name] for each in alone]))
    shown = [each["val_score"] for each, its in zip(alone, val.by_class().values(), strict=True) if its.shows_opacity]
    assert figures["val_score"] == pytest.approx(np.mean(shown))


@pytest.fixture
def maps() -> Callable[[int], tuple[list[Any], list[Any]]]:
    """Blobs of noise, and truth near half of the middles."""

    def make(seed: int) -> tuple[list[Any], list[Any]]:
        rng = np.random.default_rng(seed)
        made, truth = [], []
        for number in range(8):
            plane = np.zeros((16, 16), np.float32)
            x, y = rng.integers(0, 8, 2)
            plane[y : y + 6, x : x + 6] = rng.uniform(0.2, 1)
            made.append((plane, (32, 32)))
            truth.append(np.array([[2 * x, 2 * y, 12.0, 12.0]]) if number % 2 else np.zeros((0, 4)))
        return made, truth

    return make


def test_one_set_of_parameters_with_a_confidence_of_each_class(
    maps: Callable[[int], tuple[list[Any], list[Any]]],
) -> None:
    classes = [maps(0), maps(1), (maps(2)[0], [np.zeros((0, 4))] * 8)]  # of the last no image has one
    grid = {
        "threshold": (0.3, 0.7),
        "connectivity": (8,),
        "fill_holes": (False,),
        "min_area_px": (1, 100),
        "confidence": ("max",),
    }

    def in_turn(part: int) -> Iterator[Any]:
        for of_image in zip(*(each[part] for each in classes), strict=True):
            yield from of_image

    points = sweep(in_turn(0), list(in_turn(1)), grid, classes=3)
    alone = [sweep(iter(made), truth, grid) for made, truth in classes]
    assert len({point.score for point in points}) > 1
    for point, *of_classes in zip(points, *alone, strict=True):
        assert point.parameters == of_classes[0].parameters
        assert point.confidence == tuple(each.confidence for each in of_classes)
        assert point.score == pytest.approx((of_classes[0].score + of_classes[1].score) / 2)
