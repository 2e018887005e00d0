"""A gate of several classes gives the probability of each."""

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("timm")

from hilum.classifiers.classes import shown_classes
from hilum.config import check_config
from hilum.datasets.folder import Dataset
from hilum.errors import HilumError
from hilum.eval.image_level import auroc, youden_threshold
from hilum.predict import load
from hilum.run import read_operating_point
from hilum.train_run import train

GATE = {"backend": "gate", "image_size": 32, "model": {"name": "test_resnet"}, "train": {"epochs": 1, "batch_size": 8}}


def test_an_image_shows_the_classes_of_its_boxes() -> None:
    found = shown_classes([np.array([2, 2]), np.zeros(0, np.int64), np.array([1, 0])], 3)
    np.testing.assert_array_equal(found, [[0, 0, 1], [0, 0, 0], [1, 1, 0]])


def test_each_class_has_its_probability_its_threshold_and_a_part_in_the_mean(
    three_classes: Path, tmp_path: Path
) -> None:
    data, run = Dataset.open(three_classes), tmp_path / "run"
    train(check_config(GATE, "test"), data, run)
    predictor, val = load(run), data.split("val")
    results = list(predictor.predict(val.paths))
    probability = np.array([result.class_probabilities for result in results])
    assert probability.shape == (len(val), 3)
    assert not np.allclose(probability.sum(1), 1)  # each for itself: an image may show several
    expected = [
        (youden_threshold(each.positive, its), auroc(each.positive, its))
        for each, its in zip(val.by_class().values(), probability.T, strict=True)
    ]
    point = read_operating_point(run)
    assert predictor.confidence == pytest.approx([least for least, _ in expected])
    assert point["val_score"] == pytest.approx(np.mean([area for _, area in expected]))


def test_the_loss_is_the_mean_cross_entropy_of_the_classes(three_classes: Path) -> None:
    from hilum.classifiers.gate import GateClassifier

    config = check_config(GATE, "test").with_classes(Dataset.open(three_classes).class_names)
    loss = GateClassifier(config.network(), config).loss(torch.zeros(2, 3), torch.tensor([[1, 0, 1], [0, 0, 0]]))
    assert float(loss) == pytest.approx(np.log(2))


def test_the_challenges_classes_are_no_target_of_other_data(three_classes: Path, tmp_path: Path) -> None:
    config = check_config({**GATE, "target": "three_classes"}, "test")
    with pytest.raises(HilumError, match=r"^target: three_classes are those of the challenge, and .* has 3 of its own"):
        train(config, Dataset.open(three_classes), tmp_path / "run")
    assert not (tmp_path / "run").exists()
