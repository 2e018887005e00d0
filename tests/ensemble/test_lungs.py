"""Lungs first: the law by which boxes lose confidence, and runs that apply it."""

import csv
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from small_configs import RESNET

import hilum
from hilum.comparison.ablation import ablation
from hilum.config import check_config
from hilum.converters.convert import convert
from hilum.datasets.boxes import xyxy_to_xywh
from hilum.datasets.folder import Dataset
from hilum.datasets.fusion import Boxes
from hilum.datasets.masks import share_inside
from hilum.datasets.pictures import read_picture
from hilum.ensemble.composed_config import ComposedConfig
from hilum.ensemble.composition import MemberPredictions, Parameters, choose_parameters, compose, operating_point
from hilum.ensemble.lungs import lung_maps, lungs_first
from hilum.errors import HilumError
from hilum.predict import predict_all
from hilum.train_run import train

SIZE = (1000, 800)
factors = st.floats(0, 1)


def left_half(columns=10):
    """Lungs that fill the left half of the image."""
    return np.repeat((np.arange(columns) < columns // 2)[None].astype(np.float32), 8, axis=0)


@given(factors)
def test_inside_nothing_changes_and_outside_the_factor_holds(outside):
    boxes = np.array([[10.0, 20, 500, 700], [510, 20, 990, 700], [250, 0, 750, 100]])
    confidence = np.array([0.9, 0.8, 0.6])
    found, lowered = lungs_first((boxes, confidence), left_half(), SIZE, outside)
    by_place = {tuple(box): value for box, value in zip(found, lowered, strict=True)}
    assert by_place[tuple(boxes[0])] == pytest.approx(0.9)
    assert by_place[tuple(boxes[1])] == pytest.approx(0.8 * outside)
    assert by_place[tuple(boxes[2])] == pytest.approx(0.6 * (1 + outside) / 2)
    assert (np.diff(lowered) <= 0).all()


@given(
    arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.floats(0, 1, width=32)),
    arrays(np.float64, (5, 4), elements=st.floats(0, 1)),
    factors,
    factors,
)
def test_laws(lungs, corners, one, other):
    boxes = np.hstack([np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])])
    boxes = boxes * (SIZE * 2)
    confidence = np.linspace(0.9, 0.1, 5)
    some, more = (
        dict(zip(map(tuple, found), values, strict=True))
        for found, values in (
            lungs_first((boxes, confidence), lungs, SIZE, min(one, other)),
            lungs_first((boxes, confidence), lungs, SIZE, max(one, other)),
        )
    )
    for box in some:
        assert some[box] <= more[box] + 1e-12 <= 0.9 + 2e-12  # the lower the factor, the lower each confidence
    same = lungs_first((boxes, confidence), lungs, SIZE, 1.0)
    np.testing.assert_array_equal(same[0], boxes)
    np.testing.assert_array_equal(same[1], confidence)


@given(
    arrays(np.float32, (6, 7), elements=st.floats(0, 1, width=32)),
    st.tuples(st.integers(0, 6), st.integers(0, 5), st.integers(1, 7), st.integers(1, 6)),
    st.integers(1, 5),
)
def test_a_share_is_the_mean_of_the_cells(covered, corners, finer):
    x1, y1, w, h = corners
    x2, y2 = min(x1 + w, 7), min(y1 + h, 6)
    (share,) = share_inside([[x1 * 10, y1 * 10, x2 * 10, y2 * 10]], (70, 60), covered)
    assert share == pytest.approx(float(covered[y1:y2, x1:x2].astype(np.float64).mean()), abs=1e-9)
    # Fractions of cells: the same map drawn finer.
    fine = covered.repeat(finer, axis=0).repeat(finer, axis=1)
    box = [[x1 * 10 + 3.7, y1 * 10 + 1.2, x2 * 10 - 2.9, y2 * 10 - 0.3]]
    assert share_inside(box, (70, 60), fine) == pytest.approx(share_inside(box, (70, 60), covered), abs=1e-9)


def test_a_box_without_an_area_lies_nowhere():
    assert share_inside([[5, 5, 5, 9]], (10, 10), np.ones((2, 2))).tolist() == [0.0]
    assert share_inside(np.zeros((0, 4)), (10, 10), np.ones((2, 2))).shape == (0,)


def config(**values):
    return ComposedConfig.model_validate({"backend": "compose", "members": {"a": {"config": RESNET}}, **values})


def test_the_factor_is_chosen_on_val():
    """False alarms outside the lungs are as confident as what is found inside."""
    truth = [np.array([[100.0, 100, 300, 300]]), np.zeros((0, 4))] * 6
    found = [np.array([[100.0, 100, 300, 300]]), np.array([[600.0, 100, 800, 300]])] * 6
    answers = [[Boxes(boxes, np.array([0.7]))] for boxes in found]
    predictions = MemberPredictions(("a",), answers, np.tile(SIZE, (12, 1)), None, [left_half()] * 12)
    xywh = [xyxy_to_xywh(boxes) for boxes in truth]
    settings = config(lungs={"run": "somewhere"})
    chosen = choose_parameters(settings, predictions, xywh)
    assert chosen.outside_lungs < 1
    assert operating_point(xywh, compose(predictions, chosen, settings.fusion))[1] == 1.0
    assert operating_point(xywh, compose(predictions, Parameters(weights={"a": 1}), settings.fusion))[1] == 0.5
    # Where nothing is gained, nothing is lowered.
    inside = MemberPredictions(("a",), answers[::2], np.tile(SIZE, (6, 1)), None, [left_half()] * 6)
    assert choose_parameters(settings, inside, xywh[::2]).outside_lungs == 1
    given = choose_parameters(config(lungs={"run": "somewhere", "outside": 0.3}), inside, xywh[::2])
    assert given.outside_lungs == 0.3


@pytest.fixture(scope="module")
def lungs_run(sample_folder, tmp_path_factory):
    """A segmenter that was trained to find lungs: about where the generated phantoms have them."""
    folder = tmp_path_factory.mktemp("lungs")
    shutil.copytree(sample_folder, folder / "kaggle")
    labels = folder / "kaggle" / "stage_2_train_labels.csv"
    with labels.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with labels.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for image_id in dict.fromkeys(row["patientId"] for row in rows):
            for x in (150, 560):
                writer.writerow({"patientId": image_id, "x": x, "y": 150, "width": 310, "height": 600, "Target": 1})
    info = folder / "kaggle" / "stage_2_detailed_class_info.csv"
    with info.open(newline="") as file:
        ids = list(dict.fromkeys(row["patientId"] for row in csv.DictReader(file)))
    info.write_text("patientId,class\n" + "".join(f"{each},Lung Opacity\n" * 2 for each in ids))
    convert(folder / "kaggle", folder / "data", patients=folder / "kaggle" / "patient_map.csv")
    train(check_config(RESNET, "test"), Dataset.open(folder / "data"), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def composed(lungs_run, data, tmp_path_factory):
    run = tmp_path_factory.mktemp("composed") / "run"
    values = {"backend": "compose", "members": {"resnet": {"config": RESNET}}}
    train(check_config({**values, "lungs": {"run": str(lungs_run), "outside": 0.4}}, "test"), data, run)
    return run


def test_a_segmenter_of_lungs_finds_the_opacities_inside(lungs_run, data):
    lungs = hilum.load(lungs_run).backend
    train_split = data.split("train")
    inside, outside = [], []
    for path, boxes in zip(train_split.paths, train_split.boxes_xyxy, strict=True):
        (covered,) = lung_maps(lungs, [read_picture(path)])
        inside += share_inside(boxes, (1024, 1024), covered).tolist()
        outside += share_inside([[0, 0, 120, 120], [900, 880, 1024, 1024]], (1024, 1024), covered).tolist()
    assert np.mean(inside) > 0.6
    assert np.mean(outside) < 0.2


def test_a_run_lowers_what_its_member_finds_outside(composed, data):
    holdout = data.split("holdout")
    member, lungs = (hilum.load(composed / "members" / name) for name in ("resnet", "lungs"))
    whole = hilum.load(composed)
    assert whole.backend.parameters.outside_lungs == 0.4
    lowered = 0
    for path, alone, result in zip(
        holdout.paths, predict_all(member, holdout.paths), predict_all(whole, holdout.paths), strict=True
    ):
        (covered,) = lung_maps(lungs.backend, [read_picture(path)])
        share = share_inside(alone.detections.xyxy, (1024, 1024), covered)
        expected = alone.detections.confidence * (0.4 + 0.6 * share)
        order = np.argsort(-expected, kind="stable")
        np.testing.assert_allclose(result.detections.confidence, expected[order], atol=1e-6)
        np.testing.assert_allclose(result.detections.xyxy, alone.detections.xyxy[order])
        lowered += int((expected < alone.detections.confidence - 0.02).sum())
    assert lowered > 0


def test_it_is_a_row_of_the_ablation(composed, data):
    rows = ablation([(composed, data)])
    assert [row.name for row in rows] == ["resnet", "+ lungs"]
    assert rows[0].folds[0].parameters["outside_lungs"] == 1
    assert rows[1].folds[0].parameters["outside_lungs"] == 0.4
    assert rows[1].folds[0].confidence == pytest.approx(hilum.load(composed).confidence)


@pytest.mark.parametrize(
    ("lungs", "message"),
    [
        ({"config": RESNET}, "resnet would learn where opacities are; expected backend: lungs"),
        ({"run": "somewhere", "outside": 1.5}, "expected a factor from 0 to 1, or val"),
        ({"run": "somewhere", "outsid": 0.5}, "did you mean 'outside'"),
    ],
)
def test_a_wrong_table_is_one_line(lungs, message):
    with pytest.raises(HilumError) as error:
        check_config({"backend": "compose", "members": {"a": {"config": RESNET}}, "lungs": lungs}, "mine.yaml")
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_backend_that_draws_no_map_is_refused(composed, data, tmp_path):
    values = {"backend": "compose", "members": {"resnet": {"run": str(composed / "members" / "resnet")}}}
    with pytest.raises(HilumError, match="its backend draws no map; expected a segmenter, or lungs"):
        train(check_config({**values, "lungs": {"run": str(composed)}}, "test"), data, tmp_path / "run")
