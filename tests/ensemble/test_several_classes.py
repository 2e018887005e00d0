"""A composition of several classes: fused and adjusted within each, with one set of parameters."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_configs import RESNET

from hilum.comparison.ablation import ablation
from hilum.config import check_config
from hilum.datasets.boxes import xyxy_to_xywh
from hilum.datasets.folder import Dataset
from hilum.datasets.fusion import Boxes
from hilum.ensemble.composed import MemberView
from hilum.ensemble.composed_config import ComposedConfig
from hilum.ensemble.composition import (
    MemberPredictions,
    Parameters,
    choose_parameters,
    compose,
    operating_point,
    operating_points,
)
from hilum.ensemble.folds import fold_datasets
from hilum.ensemble.views import View
from hilum.errors import HilumError
from hilum.predict import load
from hilum.result import of_classes
from hilum.train_run import train

SIZE = (100, 100)


def config(**values: Any) -> ComposedConfig:
    members = {name: {"config": RESNET} for name in "ab"}
    return ComposedConfig.model_validate({"backend": "compose", "members": members, **values})


def some_boxes(rng: np.random.Generator) -> Boxes:
    corner, count = rng.uniform(0, 40, (4, 2)), int(rng.integers(0, 4))
    confidence = -np.sort(-rng.uniform(0.1, 1, count))
    return Boxes(np.hstack([corner, corner + rng.uniform(20, 50, (4, 2))])[:count], confidence)


def test_each_class_is_composed_as_alone() -> None:
    rng = np.random.default_rng(0)
    found = [[some_boxes(rng), some_boxes(rng)] for _ in range(6 * 3)]
    probability, sizes = rng.uniform(size=(1, 18)), np.full((18, 2), 100)
    settings = config(fusion={"method": "votes"})
    parameters = Parameters(
        weights={"a": 1, "b": 2}, gate_mode="multiply", gate_threshold=0.3, relative=0.4, shrink=0.9
    )
    together = compose(MemberPredictions(("a", "b"), found, sizes, probability, classes=3), parameters, settings.fusion)
    for k in range(3):
        alone = MemberPredictions(("a", "b"), found[k::3], sizes[k::3], probability[:, k::3])
        for one, other in zip(together[k::3], compose(alone, parameters, settings.fusion), strict=True):
            np.testing.assert_array_equal(one.xyxy, other.xyxy)
            np.testing.assert_array_equal(one.confidence, other.confidence)


def test_what_is_best_in_the_mean_is_chosen_for_all() -> None:
    """One class would have its boxes shrunk, the other as they are, and is right by more."""
    truth, found = [], []
    for _ in range(10):
        box = np.array([[20.0, 20, 80, 80]])
        truth += [xyxy_to_xywh(box)] * 2
        found += [[Boxes(box + np.array([-3, -3, 3, 3]), np.array([0.8]))], [Boxes(box, np.array([0.3]))]]
    settings = ComposedConfig.model_validate(
        {"backend": "compose", "members": {"a": {"config": RESNET}}, "shrink": "val"}
    )
    predictions = MemberPredictions(("a",), found, np.full((20, 2), 100), None, classes=2)
    chosen = choose_parameters(settings, predictions, truth)
    scores = {}
    for factor in (1.0, 0.975, 0.95, 0.925, 0.9):
        answers = compose(predictions, Parameters(weights={"a": 1}, shrink=factor), settings.fusion)
        confidence, scores[factor] = operating_points(truth, answers, 2)
        assert confidence == (0.8, 0.3)
        assert scores[factor] == pytest.approx(
            np.mean([operating_point(truth[k::2], answers[k::2])[1] for k in (0, 1)])
        )
    assert scores[chosen.shrink] == max(scores.values())


def test_a_view_brings_each_class_back() -> None:
    boxes = np.array([[10.0, 10, 30, 30]]), np.array([[50.0, 50, 90, 90]])

    class Both:
        def predict_batch(self, images: list[Any]) -> list[Any]:
            given = [(boxes[0], np.array([0.4])), (boxes[1], np.array([0.9]))]
            return [of_classes(given, [0.1, 0.7]) for _ in images]

    view = MemberView("a", Both(), View(mirrored=True), 2)  # type: ignore[arg-type]
    (one, likely), (other, certain) = view.predict_batch([np.zeros(SIZE, np.uint8)])
    np.testing.assert_array_equal(one.xyxy, [[70, 10, 90, 30]])
    np.testing.assert_array_equal(other.xyxy, [[10, 50, 50, 90]])
    assert (likely, certain) == (0.1, 0.7)


@pytest.fixture(scope="module")
def composed(three_classes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("composed") / "run"
    few = {**RESNET, "train": {**RESNET["train"], "epochs": 1}, "boxes": {"threshold": 0.3, "min_area_px": 200}}
    values = {"backend": "compose", "members": {"a": {"config": few}}, "relative": "val"}
    train(check_config(values, "test"), Dataset.open(three_classes), run)
    return run


def test_a_member_of_other_classes_is_no_part(composed: Path) -> None:
    path = composed / "config.yaml"
    text = path.read_text()
    try:
        path.write_text(text.replace("right", "other"))
        with pytest.raises(
            HilumError, match=r"members/a: looks for left, right, low, and the composition for left, other"
        ):
            load(composed)
    finally:
        path.write_text(text)


def test_what_each_part_adds_is_told_of_one_class_alone(composed: Path, three_classes: Path) -> None:
    with pytest.raises(HilumError, match=r"has 3 classes; what each part adds is told of data of one$"):
        ablation([(composed, Dataset.open(three_classes))])


def test_folds_share_out_the_classes(three_classes: Path) -> None:
    for fold in fold_datasets(Dataset.open(three_classes), 2, seed=0):
        assert json.loads((fold.path / "conversion.json").read_text())["class_names"] == ["left", "right", "low"]
        for name in ("train", "val"):
            assert all(each.shows_opacity for each in fold.split(name).by_class().values())
