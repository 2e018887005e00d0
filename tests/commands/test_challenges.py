"""`hilum submit --layout` and `hilum evaluate --metric`: the form, and the score, of other challenges."""

import json
import shutil

import numpy as np
import pytest
from commandline import complaint, hilum

from hilum.datasets.boxes import xyxy_to_xywh
from hilum.datasets.folder import Dataset
from hilum.eval.challenges import class_aps, found_rows, truth_rows
from hilum.eval.layouts import SIIM, VINBIGDATA
from hilum.eval.submission import read_rows, rows_text
from hilum.predict import Predictor, load, predict_all
from hilum.result import IMAGE_PROBABILITY


@pytest.fixture(scope="module")
def holdout(dataset):
    return Dataset.open(dataset).split("holdout")


@pytest.fixture(scope="module")
def studies(holdout, tmp_path_factory):
    """The holdout's pictures as SIIM's download has them, two in the first study, and one that cannot be read."""
    folder = tmp_path_factory.mktemp("siim") / "test"
    for number, path in enumerate(holdout.paths):
        place = folder / f"study{max(number, 1)}" / f"series{number}"
        place.mkdir(parents=True)
        shutil.copy(path, place)
    (folder / "study9x" / "series").mkdir(parents=True)
    (folder / "study9x" / "series" / "bad.png").write_bytes(b"no picture")
    return folder


def probabilities(run, split):
    return [result.image_probability for result in predict_all(Predictor(load(run).backend, 0.0), split.paths)]


def test_all_boxes_are_written_with_images_without_a_box_and_studies(tiny_run, studies, holdout, tmp_path):
    done = hilum("submit", tiny_run, studies, tmp_path / "s.csv", "--layout", "siim", code=3)
    assert "bad.png: " in done.stderr
    assert "it gets the row of an image without a box" in done.stderr
    layout, rows, problems = read_rows(tmp_path / "s.csv")
    assert (layout, problems) == (SIIM, [])
    said = probabilities(tiny_run, holdout)
    found = {r.image_id: r.detections for r in predict_all(Predictor(load(tiny_run).backend, 0.0), holdout.paths)}
    assert sum(map(len, found.values())) > 0
    for image_id, probability in zip(holdout.image_ids, said, strict=True):
        assert rows[image_id].of("none")[1].tolist() == [pytest.approx(1 - probability)]
        boxes, sure = rows[image_id].of("opacity")
        np.testing.assert_allclose(boxes, xyxy_to_xywh(found[image_id].xyxy), atol=2e-6)
        np.testing.assert_array_equal(sure, found[image_id].confidence)
    assert rows["bad"].of("none")[1].tolist() == [1]
    first = rows["study1_study"]
    assert first.classes == ("negative", "typical", "indeterminate", "atypical")
    assert first.confidence.tolist() == pytest.approx([1 - max(said[:2]), *[max(said[:2])] * 3])
    assert len([name for name in rows if name.endswith("_study")]) == len(holdout) - 1 + 1


def test_pictures_of_a_dataset_folder_are_of_no_study(tiny_run, dataset, tmp_path):
    hilum("submit", tiny_run, dataset, tmp_path / "s.csv", "--layout", "siim")
    _, rows, problems = read_rows(tmp_path / "s.csv")
    assert problems == []
    assert set(rows) == {path.stem for path in Dataset.open(dataset).unlabelled()}


def test_vinbigdata_has_numbers_and_no_studies(tiny_run, studies, tmp_path):
    hilum("submit", tiny_run, studies, tmp_path / "s.csv", "--layout", "vinbigdata", code=3)
    text = (tmp_path / "s.csv").read_text()
    assert text.startswith("image_id,PredictionString\n")
    assert "bad,14 1 0 0 1 1\n" in text
    layout, rows, problems = read_rows(tmp_path / "s.csv")
    assert (layout, problems) == (VINBIGDATA, [])
    assert {name for row in rows.values() for name in row.classes} <= {"Lung Opacity", "No finding"}
    assert not [name for name in rows if "study" in name]


def test_evaluate_tells_the_score_and_each_class_of_a_run(tiny_run, dataset, holdout, tmp_path):
    out = tmp_path / "e.json"
    said = hilum("evaluate", tiny_run, dataset, "--metric", "siim", "--metric", "froc", "--json", out).stdout
    results = predict_all(Predictor(load(tiny_run).backend, 0.0), holdout.paths)
    for result in results:
        result.detections.metadata[IMAGE_PROBABILITY] = result.image_probability
    rows = found_rows(holdout.image_ids, [r.detections for r in results], holdout.class_names, SIIM)
    aps = class_aps(truth_rows(holdout, SIIM), rows, iou=0.5)
    assert list(aps) == ["opacity", "none"] or list(aps) == ["none", "opacity"]
    *baselines, entry = json.loads(out.read_text())["entries"]
    title = "SIIM mAP, IoU > 0.5"
    assert entry["metrics"][title] == pytest.approx(sum(aps.values()) / 2)
    assert entry["metrics"][f"{title}: none"] == pytest.approx(aps["none"])
    assert entry["metrics"]["FROC mean"] == pytest.approx(entry["froc"]["mean"]["estimate"])
    assert all(set(each["metrics"]) == set(entry["metrics"]) for each in baselines)
    for words in (title, f"{title}: opacity", f"{title}: none", "whose confidence is 1 - the image's probability"):
        assert words in " ".join(said.split())
    assert "VinBigData" not in said


def test_nothing_is_added_where_nothing_is_asked_for(tiny_run, dataset, tmp_path):
    said = hilum("evaluate", tiny_run, dataset, "--json", tmp_path / "e.json").stdout
    assert "mAP" not in said
    assert not [entry for entry in json.loads((tmp_path / "e.json").read_text())["entries"] if "metrics" in entry]


@pytest.mark.parametrize("layout", [SIIM, VINBIGDATA])
def test_a_submission_is_scored_by_its_own_rows(layout, dataset, holdout, tmp_path):
    """The truth, but for images without a box, of which it says nothing: opacity 1, and nothing of the other class."""
    rows = {
        layout.row_id(name): row
        for name, row in truth_rows(holdout, layout).items()
        if layout.nothing not in row.classes
    }
    (tmp_path / "s.csv").write_text(rows_text(layout, rows))
    out = tmp_path / "e.json"
    hilum("evaluate", tmp_path / "s.csv", dataset, "--metric", layout.name, "--json", out)
    *_, entry = json.loads(out.read_text())["entries"]
    assert sorted(entry["metrics"].values()) == [0, 0.5, 1]
    assert entry["score"]["estimate"] == 1
    assert "cross-fitted" in json.loads(out.read_text())["chosen"]
    # With them it is the truth, and images are told apart by them.
    (tmp_path / "s.csv").write_text(
        rows_text(layout, {layout.row_id(name): row for name, row in truth_rows(holdout, layout).items()})
    )
    hilum("evaluate", tmp_path / "s.csv", dataset, "--metric", layout.name, "--json", out)
    *_, entry = json.loads(out.read_text())["entries"]
    assert set(entry["metrics"].values()) == {1}
    assert (entry["score"]["estimate"], entry["auroc"]["estimate"]) == (1, 1)


def test_boxes_of_classes_that_the_data_lack_are_told(dataset, holdout, tmp_path):
    rows = "".join(f"{name},3 0.5 1 1 9 9 14 0.2 0 0 1 1\n" for name in holdout.image_ids)
    (tmp_path / "s.csv").write_text(f"image_id,PredictionString\n{rows}")
    said = hilum("evaluate", tmp_path / "s.csv", dataset).stderr
    assert f"{len(holdout)} boxes of classes that the data do not have were left out" in " ".join(said.split())


@pytest.mark.parametrize("of_siim", [True, False])
def test_studies_count_where_the_data_know_them(dataset, holdout, tmp_path, of_siim):
    data = tmp_path / "data"
    shutil.copytree(dataset, data)
    header, *lines = (data / "metadata.csv").read_text().splitlines()
    columns = header.split(",")
    kinds = {name: list(SIIM.study_classes)[number % 4] for number, name in enumerate(holdout.image_ids)}
    written = [header if of_siim else f"{header},study"]
    for line in lines:
        cells = line.split(",")
        name = cells[columns.index("image_id")]
        cells[columns.index("class")] = kinds.get(name, "Typical Appearance")
        cells[columns.index("patient")] = f"of-{name}"
        written.append(",".join([*cells, *([] if of_siim else [f"of-{name}"])]))
    (data / "metadata.csv").write_text("\n".join(written) + "\n")
    if of_siim:
        record = json.loads((data / "conversion.json").read_text())
        (data / "conversion.json").write_text(json.dumps(record | {"read_as": "siim"}))
    split = Dataset.open(data).split("holdout")
    truth = truth_rows(split, SIIM, [f"of-{name}" for name in split.image_ids])
    rows = {name if name.endswith("_study") else SIIM.row_id(name): row for name, row in truth.items()}
    (tmp_path / "s.csv").write_text(rows_text(SIIM, rows))
    out = tmp_path / "e.json"
    hilum("evaluate", tmp_path / "s.csv", data, "--metric", "siim", "--json", out)
    *_, entry = json.loads(out.read_text())["entries"]
    classes = {"opacity", "none", "negative", "typical", "indeterminate", "atypical"}
    assert {title.split(": ")[1] for title in entry["metrics"] if ": " in title} == classes
    assert set(entry["metrics"].values()) == {1}


def test_bad_words_are_named(tiny_run, dataset, tmp_path):
    assert complaint("evaluate", tiny_run, dataset, "--metric", "sim").endswith(
        "metric: no metric is called 'sim'; did you mean 'siim'?"
    )
    (tmp_path / "marks.csv").write_text("image_id,mark\n")
    assert "--metric: marks say of images alone" in complaint(
        "evaluate", tiny_run, tmp_path / "marks.csv", "--metric", "siim"
    )
