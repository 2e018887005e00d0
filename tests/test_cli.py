"""The command line end to end, as a user runs it."""

import csv
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from commandline import complaint, hilum

import hilum.predict as hilum_predict
from hilum.cli import WORK
from hilum.config import shipped_configs
from hilum.datasets.folder import Dataset

TEST_IMAGES = 5  # of `sample_folder`
TINY = [
    "image_size=64",
    "model.channels=4",
    "model.blocks=1",
    "model.depth=2",
    "model.head=plain",
    "train.epochs=1",
    "boxes.threshold=0.2",
]


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "tiny"
    done = hilum("train", "resnet", dataset, run, *TINY)
    assert "competition score" in done.stdout
    return run


def test_sample_and_convert(tmp_path):
    hilum("sample", tmp_path / "kaggle", "--images", 6, "--seed", 1)
    done = hilum("convert", tmp_path / "kaggle", tmp_path / "data")
    assert "no patient map was given" in done.stderr
    assert json.loads((tmp_path / "data" / "conversion.json").read_text())["images"] == 6


def test_predict_writes_json_csv_and_pictures(trained, sample_folder, tmp_path):
    mixed = tmp_path / "mixed"
    shutil.copytree(sample_folder / "stage_2_test_images", mixed)
    (mixed / "broken.dcm").write_bytes(b"nothing")
    done = hilum("predict", trained, mixed, tmp_path / "out", "--confidence", 0, code=3)  # one cannot be read
    assert "broken.dcm: not a DICOM file" in done.stderr
    rows = (tmp_path / "out" / "images.csv").read_text().splitlines()
    assert len(rows) == 1 + TEST_IMAGES + 1
    assert sum(",failed," in row for row in rows) == 1
    boxes = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert len(boxes) == len((tmp_path / "out" / "predictions.csv").read_text().splitlines()) - 1
    assert len(list((tmp_path / "out" / "pictures").glob("*.jpg"))) == TEST_IMAGES
    # Predicted again into the same folder, others stand there: what was drawn before goes, what was not drawn stays.
    shutil.copy(next(mixed.glob("[!b]*.dcm")), tmp_path / "one.dcm")
    (tmp_path / "out" / "pictures" / "00001-mine.jpg").write_text("mine")
    hilum("predict", trained, tmp_path / "one.dcm", tmp_path / "out", "--overwrite")
    names = {path.name for path in (tmp_path / "out" / "pictures").iterdir()}
    assert names == {"00001-one.jpg", "00001-mine.jpg"}


def test_killed_among_hundreds_of_pictures_it_goes_on(trained, tmp_path):
    draw, names = np.random.default_rng(0), [f"{at:03d}" for at in range(200)]
    for name in names:
        (tmp_path / "many").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "many" / f"{name}.png"), draw.integers(0, 256, (48, 64), np.uint8))
    words = ["predict", trained, tmp_path / "many", tmp_path / "out", "--confidence", 0, "--batch-size", 1]
    process = subprocess.Popen([sys.executable, "-m", "hilum", *map(str, words)], stderr=subprocess.DEVNULL)
    journal, deadline = tmp_path / "out" / ".predictions.jsonl", time.monotonic() + 120
    while not (journal.is_file() and journal.stat().st_size > 2_000) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [journal.name, "worklist"]
    assert re.search(r"goes on after [1-9]\d* of 200 images", hilum(*words).stderr)
    assert not journal.exists()
    paths = [tmp_path / "many" / f"{name}.png" for name in names[::10]]
    expected = list(hilum_predict.load(trained).predict(paths, confidence=0, batch_size=1))
    with (tmp_path / "out" / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image_id"] for row in rows] == names
    assert [int(row["boxes"]) for row in rows[::10]] == [len(result.detections) for result in expected]
    probability = pytest.approx([result.image_probability for result in expected], abs=1e-6)
    assert [float(row["probability"]) for row in rows[::10]] == probability
    entries = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert len(entries) == sum(int(row["boxes"]) for row in rows) > 0


def test_pictures_of_one_name_stay_apart_in_all_that_is_written(trained, dataset, tmp_path):
    """Two images under one name in a tree of studies, a third one beside them: each keeps its own boxes."""
    one, other, third = Dataset.open(dataset).split("holdout").paths[:3]
    tree = {"a/x.jpg": one, "b/x.jpg": other, third.name: third}
    for name, path in tree.items():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "tree" / name)
    out = tmp_path / "out"
    hilum("predict", trained, tmp_path / "tree", out, "--confidence", 0)
    with (out / "images.csv").open(newline="") as file:
        names = {row["image_id"]: int(row["coco_id"]) for row in csv.DictReader(file)}
    assert names.keys() == {"a/x", "b/x", third.stem}
    with (out / "predictions.csv").open(newline="") as file:
        table = [(row["image_id"], float(row["confidence"])) for row in csv.DictReader(file)]
    coco = json.loads((out / "predictions.json").read_text())
    paths = [next((tmp_path / "tree").rglob(f"{name}.*")) for name in names]
    for name, result in zip(names, hilum_predict.load(trained).predict(paths, confidence=0), strict=True):
        confidence = pytest.approx(result.detections.confidence.tolist(), abs=2e-6)
        assert [value for image, value in table if image == name] == confidence
        assert [entry["score"] for entry in coco if entry["image_id"] == names[name]] == confidence
    # Neither of the two can be taken for an image of the data set; the third is scored.
    done = hilum("evaluate", out, dataset)
    assert "2 images are not in the holdout split and were passed over" in done.stderr
    assert "twice" not in done.stderr


def test_evaluate_a_run_and_its_own_predictions_agree(trained, dataset, tmp_path):
    hilum("evaluate", trained, dataset, "--json", tmp_path / "run.json")
    hilum("predict", trained, dataset, tmp_path / "found", "--pictures", 0)
    done = hilum("evaluate", tmp_path / "found", dataset, "--json", tmp_path / "found.json")
    assert "not a medical device" in done.stdout
    scores = [json.loads((tmp_path / f"{name}.json").read_text())["entries"][-1] for name in ("run", "found")]
    assert scores[0]["score"] == pytest.approx(scores[1]["score"], abs=1e-9, nan_ok=True)
    assert scores[0]["sensitivity"] == pytest.approx(scores[1]["sensitivity"])


def test_submit(trained, dataset, tmp_path):
    hilum("submit", trained, dataset, tmp_path / "submission.csv")
    rows = (tmp_path / "submission.csv").read_text().splitlines()
    assert rows[0] == "patientId,PredictionString"
    assert len(rows) == 1 + TEST_IMAGES


@pytest.mark.parametrize(
    ("words", "code"), [(("config", "sample/unet"), 0), (("config", "unett"), 1), (("--nope",), 1)]
)
def test_as_a_program_of_its_own_it_does_what_it_does_in_this_process(words, code):
    command = [sys.executable, "-m", "hilum", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    here = hilum(*words, code=code)
    assert (done.returncode, done.stdout, done.stderr) == (code, here.stdout, here.stderr)


def test_backends_and_configs():
    assert "resnet" in hilum("backends").stdout
    listed = hilum("config").stdout
    assert [name for name in shipped_configs() if f"  {name} " not in listed] == []
    assert max(map(len, listed.splitlines())) <= 80
    assert "image_size: 96" in hilum("config", "sample/unet", "image_size=96").stdout


def test_help_leads_through_the_work_in_its_order():
    shown = hilum("--help").stdout
    places = [shown.index(f"\n│ {name} ") for commands in WORK.values() for name in (c.__name__ for c in commands)]
    assert places == sorted(places)
    assert shown.index("─ Options ─") > places[-1]


@pytest.mark.parametrize("command", [command for commands in WORK.values() for command in commands])
def test_help_of_a_command_ends_with_what_follows_it(command):
    name = command.__name__
    last = " ".join(hilum(name, "--help").stdout.rpartition("\nNext: ")[2].split())
    known = {command.__name__ for commands in WORK.values() for command in commands}
    assert last
    assert set(re.findall(r"hilum ([a-z]+)", last)) <= known - {name}


def test_an_empty_source(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "the folder is empty" in complaint("convert", tmp_path / "empty", tmp_path / "data")
    assert "no such folder" in complaint("convert", tmp_path / "nowhere", tmp_path / "data")


def test_a_folder_of_somebody_elses(sample_folder, tmp_path):
    (tmp_path / "theirs.txt").write_text("keep me")
    assert "is not a dataset folder" in complaint("convert", sample_folder, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.txt"]


def test_a_folder_that_is_no_dataset(tmp_path):
    assert "conversion.json is missing" in complaint("train", "resnet", tmp_path, tmp_path / "run")


def test_mistyped_configs(dataset, tmp_path):
    assert "did you mean 'train.epochs'?" in complaint("train", "resnet", dataset, tmp_path / "r", "train.epoch=3")
    assert "train.epochs" in complaint("train", "resnet", dataset, tmp_path / "r", "train.epochs=many")
    assert "did you mean 'resnet'?" in complaint("train", "resnett", dataset, tmp_path / "r")
    assert "did you mean 'unet'?" in complaint("train", "unet", dataset, tmp_path / "r", "backend=unett")
    assert not (tmp_path / "r").exists()


def test_unfinished_and_missing_runs(trained, dataset, tmp_path):
    (tmp_path / "config.yaml").write_bytes((trained / "config.yaml").read_bytes())
    assert "weights.safetensors" in complaint("predict", tmp_path, dataset, tmp_path / "out")
    assert "no such run folder" in complaint("predict", tmp_path / "none", dataset, tmp_path / "out")


def test_a_damaged_run(trained, dataset, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / "weights.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ")
    assert "weights.safetensors" in complaint("evaluate", tmp_path / "run", dataset)


def test_no_pictures(trained, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no .dcm" in complaint("predict", trained, tmp_path / "empty", tmp_path / "out")


def test_predictions_of_other_images(dataset, tmp_path):
    (tmp_path / "submission.csv").write_text("patientId,PredictionString\nx,\n")
    assert "none of the" in complaint("evaluate", tmp_path / "submission.csv", dataset)


def test_a_benchmark_calls_configs_by_their_files_and_wants_each_name_once(dataset, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.yaml").write_text("base: sample/unet\n")
    files = [tmp_path / folder / "mine.yaml" for folder in ("one", "two")]
    said = complaint("benchmark", dataset, *files, "--out", tmp_path / "out")
    assert "'mine' is given twice" in said
    assert not (tmp_path / "out").exists()


def test_figures_of_what_a_run_has_seen_are_said_to_flatter(trained, dataset):
    assert (
        "was trained on train, so these figures flatter"
        in hilum("evaluate", trained, dataset, "--split", "train").stderr
    )
    assert "flatter" not in hilum("evaluate", trained, dataset).stderr


def test_help_imports_nothing_heavy():
    code = (
        "import sys, hilum.cli as c\n"
        "try: c.app(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'cv2', 'pandas', 'matplotlib', 'supervision', 'ultralytics'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_run_of_other_data_is_pointed_out(trained, sample_folder, tmp_path):
    hilum("convert", sample_folder, tmp_path / "again", "--seed", 7)
    done = hilum("evaluate", trained, tmp_path / "again")
    assert "may have seen these very images" in done.stderr
    assert "were chosen on another data set" in done.stdout


def test_nothing_is_written_over_or_into_a_dataset(trained, dataset, tmp_path):
    (tmp_path / "labels.csv").write_text("mine")
    assert "is there already" in complaint("submit", trained, dataset, tmp_path / "labels.csv")
    assert (tmp_path / "labels.csv").read_text() == "mine"
    assert "a folder of its own" in complaint("predict", trained, dataset, dataset)
    assert "RUN" in complaint("train", "resnet", dataset, "train.epochs=1")
