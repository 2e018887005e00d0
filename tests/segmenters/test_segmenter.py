from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import nn

from hilum.config import check_config
from hilum.datasets.cache import square_pictures
from hilum.datasets.folder import Dataset, Split
from hilum.errors import HilumError
from hilum.eval.baselines import empty_mask
from hilum.segmenters.segmenter import count_parameters
from hilum.segmenters.unet import UNetSegmenter
from hilum.train import train
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
    return replace(split, **{f.name: getattr(split, f.name)[chosen] for f in fields(split) if f.name != "name"})


@pytest.mark.parametrize("name", ["train", "val"])
def test_an_empty_mask_scores_as_the_baseline_says(dataset, name):
    data = Dataset.open(dataset)
    split = data.split(name)
    assert any(len(boxes) for boxes in split.boxes_xyxy)
    figures = UNetSegmenter(_AllOf(-9.0), check_config(TINY, "test")).measure_masks(data, name)
    assert figures == pytest.approx(empty_mask(split.boxes_xyxy, split.sizes_wh, size=32), rel=1e-5)
    full = UNetSegmenter(_AllOf(9.0), check_config(TINY, "test")).measure_masks(data, name)
    assert full.pixel_accuracy == pytest.approx(1 - figures.pixel_accuracy, rel=1e-5)


def test_every_image_counts_alike_however_they_fall_into_batches(dataset):
    data = Dataset.open(dataset)
    split, squares = data.split("train"), square_pictures(data, "train", 32)
    assert len(split) % 16
    torch.manual_seed(0)
    segmenter = UNetSegmenter(check_config(TINY, "test").network(), check_config(TINY, "test"))
    one_by_one = [slice(number, number + 1) for number in range(len(split))]
    alone = [segmenter._measure(squares[one], _part(split, one))[1] for one in one_by_one]
    assert segmenter.measure_masks(data, "train") == pytest.approx(np.mean(alone, axis=0), rel=1e-4)


def test_the_log_says_what_the_kept_masks_score(dataset, tmp_path):
    data = Dataset.open(dataset)
    backend = train(check_config(TINY, "test"), data, tmp_path).backend
    log = read_log(tmp_path)
    kept = max(log, key=lambda line: (line["val_score"], line["epoch"]))
    assert (kept["val_pixel_accuracy"], kept["val_mean_iou"]) == pytest.approx(backend.measure_masks(data, "val"))


def test_a_split_without_images_has_no_figures(dataset, monkeypatch):
    data = Dataset.open(dataset)
    empty = _part(data.split("val"), slice(0))
    monkeypatch.setattr(Dataset, "split", lambda *_: empty)
    with pytest.raises(HilumError, match="the val split has no image"):
        UNetSegmenter(_AllOf(0.0), check_config(TINY, "test")).measure_masks(data, "val")


def test_another_network_than_the_reports_is_refused():
    total, trainable = count_parameters(check_config(TINY, "test").network())
    report = {"attempt": "try 9", "held_out": 5, "parameters": total, "trainable": trainable, "pixel_accuracy": 0.5}
    assert check_config({**TINY, "report": report}, "test").report.attempt == "try 9"
    for wrong in ({"parameters": total + 1}, {"trainable": trainable - 1}):
        with pytest.raises(HilumError, match=rf"report: try 9 has [\d,]+ parameters.* this `model` has {total:,} and"):
            check_config({**TINY, "report": report | wrong}, "test")
