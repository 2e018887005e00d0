from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import nn

from hilum.config import check_config
from hilum.datasets.cache import Squares, square_pictures
from hilum.datasets.folder import Dataset, Split
from hilum.datasets.picture_tensors import to_unit
from hilum.datasets.pictures import read_picture
from hilum.errors import HilumError
from hilum.eval.baselines import empty_mask
from hilum.predict import load
from hilum.segmenters.batches import load_batch, mask_of, prepare_batch
from hilum.segmenters.keras_conventions import count_parameters
from hilum.segmenters.losses import bce_loss
from hilum.segmenters.unet import UNetSegmenter
from hilum.train_run import train
from hilum.training.log import read_log

TINY = {
    "backend": "unet",
    "image_size": 32,
    "model": {"start_channels": 2, "depth": 2, "momentum": 0.5},
    "train": {"epochs": 2, "batch_size": 8},
}


class _AllOf(nn.Module):
    """A network that answers the same everywhere."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(logit))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.logit.expand(image.shape)


def _part(split: Split, chosen: slice) -> Split:
    of_images = [f.name for f in fields(split) if f.name not in {"name", "class_names"}]
    return replace(split, **{name: getattr(split, name)[chosen] for name in of_images})


def _measured(segmenter: UNetSegmenter, squares: Squares, split: Split) -> tuple[float, float]:
    figures = segmenter.validate(squares, split)
    return figures["val_pixel_accuracy"], figures["val_mean_iou"]


@pytest.mark.parametrize("name", ["train", "val"])
def test_an_empty_mask_scores_as_the_baseline_says(dataset, name):
    data = Dataset.open(dataset)
    split = data.split(name)
    assert any(len(boxes) for boxes in split.boxes_xyxy)
    squares = square_pictures(data, name, 32)
    figures = _measured(UNetSegmenter(_AllOf(-9.0), check_config(TINY, "test")), squares, split)
    assert figures == pytest.approx(empty_mask(split.boxes_xyxy, split.sizes_wh, size=32), rel=1e-5)
    full = _measured(UNetSegmenter(_AllOf(9.0), check_config(TINY, "test")), squares, split)
    assert full[0] == pytest.approx(1 - figures[0], rel=1e-5)


def test_every_image_counts_alike_however_they_fall_into_batches(dataset):
    data = Dataset.open(dataset)
    split, squares = _part(data.split("train"), slice(21)), square_pictures(data, "train", 32)[:21]
    torch.manual_seed(0)
    segmenter = UNetSegmenter(check_config(TINY, "test").network(), check_config(TINY, "test"))
    one_by_one = [slice(number, number + 1) for number in range(len(split))]
    alone = [_measured(segmenter, squares[one], _part(split, one)) for one in one_by_one]
    assert 16 < len(split) < 32
    assert _measured(segmenter, squares, split) == pytest.approx(np.mean(alone, axis=0), rel=1e-4)


def test_the_log_says_what_the_kept_masks_score(dataset, tmp_path):
    data = Dataset.open(dataset)
    backend = train(check_config(TINY, "test"), data, tmp_path).backend
    log = read_log(tmp_path)
    kept = max(log, key=lambda line: (line["val_score"], line["epoch"]))
    measured = _measured(backend, square_pictures(data, "val", 32), data.split("val"))
    assert (kept["val_pixel_accuracy"], kept["val_mean_iou"]) == pytest.approx(measured)


def test_another_network_than_the_reports_is_refused():
    total, trainable = count_parameters(check_config(TINY, "test").network())
    report = {"attempt": "try 9", "held_out": 5, "parameters": total, "trainable": trainable, "pixel_accuracy": 0.5}
    assert check_config({**TINY, "report": report}, "test").report.attempt == "try 9"
    for wrong in ({"parameters": total + 1}, {"trainable": trainable - 1}):
        with pytest.raises(HilumError, match=rf"report: try 9 has [\d,]+ parameters.* this `model` has {total:,} and"):
            check_config({**TINY, "report": report | wrong}, "test")


def _with(train=None, **changes):
    return {**TINY, "train": {**TINY["train"], **(train or {})}, **changes}


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (
            {"loss": "focal", "loss_options": {"gama": 2}},
            "train: loss_options: the loss 'focal' has no 'gama'; did you",
        ),
        ({"loss_options": {"gamma": 2}}, "the loss 'iou_bce' has no 'gamma'; known here: none"),
        ({"loss": "tversky", "loss_options": {"false_positives": -1}}, "loss_options: weights: expected 0 or more"),
        ({"loss": "focall"}, r"train\.loss: .*'focal'"),
        ({"image_loss": -1}, r"train\.image_loss: .*got -1"),
    ],
)
def test_a_loss_that_is_none_is_refused(train, message):
    with pytest.raises(HilumError, match=message) as caught:
        check_config(_with(train), "test")
    assert "\n" not in str(caught.value)


def test_the_loss_takes_its_options():
    config = check_config(_with({"loss": "focal", "loss_options": {"gamma": 0, "alpha": 0.5}}), "test")
    logits, mask = torch.randn(2, 3), torch.ones(2, 3)
    assert config.train.pixel_loss(logits, mask).item() == pytest.approx(bce_loss(logits, mask).item() / 2)


def test_the_flip_of_older_runs_is_understood():
    old = check_config(_with({"flip": 0.2}, augmentation={"gamma": 0.1}), "test")
    assert old == check_config(_with(augmentation={"gamma": 0.1, "flip": 0.2}), "test")
    with pytest.raises(HilumError, match=r"train\.flip: is augmentation\.flip now"):
        check_config(_with({"flip": 0.2}, augmentation={"flip": 0.1}), "test")


def test_what_an_image_becomes_depends_on_epoch_and_image_alone(dataset):
    data = Dataset.open(dataset)
    split, squares = data.split("train"), square_pictures(data, "train", 32)
    varied = {"rotate_degrees": 15, "noise": 0.05, "cutout": 0.5, "gamma": 0.2}
    config = check_config(_with(augmentation=varied), "test")
    together = prepare_batch(*load_batch(squares, split, config, 3, np.array([4, 2, 7])))
    for at, number in enumerate((4, 2, 7)):
        alone = prepare_batch(*load_batch(squares, split, config, 3, np.array([number])))
        for one, other in zip(together, alone, strict=True):
            assert torch.equal(one[at], other[0])
    assert not torch.equal(prepare_batch(*load_batch(squares, split, config, 2, np.array([4])))[0], together[0][:1])


def test_masks_are_painted_from_the_boxes_that_are_left(dataset):
    """Moved out of sight, an opacity is none; without augmentation the mask is that of the boxes."""
    data = Dataset.open(dataset)
    split, squares = data.split("train"), square_pictures(data, "train", 32)
    numbers = np.arange(len(split))
    plain = check_config(_with(augmentation={"flip": 0}), "test")
    pictures, masks = prepare_batch(*load_batch(squares, split, plain, 0, numbers))
    assert torch.equal(pictures, to_unit(torch.from_numpy(squares[:])))
    assert torch.equal(masks[:, 0], torch.from_numpy(np.stack([mask_of(split, number, 32) for number in numbers])))
    far = check_config(_with(augmentation={"flip": 0, "translate": 0.5}), "test")
    moved = prepare_batch(*load_batch(squares, split, far, 0, numbers))[1]
    assert masks.sum() > moved.sum() > 0
    flipped = check_config(_with(augmentation={"flip": 1}), "test")
    mirrored = prepare_batch(*load_batch(squares, split, flipped, 0, numbers))
    assert torch.equal(mirrored[0], pictures.flip(3))


@pytest.mark.parametrize("backend", ["unet", "resnet"])
def test_with_an_image_head_images_are_judged_as_a_whole(backend, dataset, tmp_path):
    model = TINY["model"] if backend == "unet" else {"channels": 4, "blocks": 1, "depth": 2, "head": "plain"}
    values = _with({"image_loss": 0.5, "epochs": 12, "learning_rate": 0.01}, backend=backend, model=model)
    data = Dataset.open(dataset)
    predictor = train(check_config(values, "test"), data, tmp_path / "run")
    losses = [line["val_image_loss"] for line in read_log(tmp_path / "run")]
    assert all(0 < loss < 20 for loss in losses)
    split = data.split("train")
    probability = [result.image_probability for result in predictor.predict(split.paths)]
    shows = np.array([len(boxes) > 0 for boxes in split.boxes_xyxy])
    assert all(0 < value < 1 for value in probability)
    assert np.mean(np.array(probability)[shows]) > np.mean(np.array(probability)[~shows])


@pytest.mark.parametrize("backend", ["unet", "resnet"])
def test_the_image_head_leaves_the_mask_as_it_is(backend):
    model = TINY["model"] if backend == "unet" else {"channels": 4, "blocks": 1, "depth": 2, "head": "plain"}
    plain = check_config(_with(backend=backend, model=model), "test").network().eval()
    headed = check_config(_with({"image_loss": 1}, backend=backend, model=model), "test").network().eval()
    headed.load_state_dict(plain.state_dict(), strict=False)
    image = torch.rand(2, 1, 32, 32)
    with torch.inference_mode():
        pixels, images = headed(image)
        assert torch.equal(pixels, plain(image))
    assert images.shape == (2,)


def test_damage_to_the_image_head_is_said(tmp_path):
    config = check_config(_with({"image_loss": 1}), "test")
    network = config.network()
    torch.nn.init.constant_(network.image_head.linear.bias, float("nan"))
    with pytest.raises(HilumError, match="not finite"):
        UNetSegmenter(network, config).predict_batch([np.zeros((40, 30), np.uint8)])


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True])
def test_a_gpu_learns_and_finds_what_a_cpu_finds(compiled, dataset, tmp_path, monkeypatch):
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    varied = {"rotate_degrees": 15, "noise": 0.05, "cutout": 0.5, "gamma": 0.2}
    values = _with({"epochs": 2, "compile": compiled, "precision": "float32"}, augmentation=varied)
    data = Dataset.open(dataset)
    there = train(check_config(values, "test"), data, tmp_path / "run")
    assert all(np.isfinite(line["train_loss"]) for line in read_log(tmp_path / "run"))
    images = [read_picture(path) for path in data.split("val").paths]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    here = load(tmp_path / "run")
    for one, other in zip(there.backend.probability_maps(images), here.backend.probability_maps(images), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)
