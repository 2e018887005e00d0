import csv
import json
import shutil
import threading
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from hilum.cli import app
from hilum.datasets import left_out, writing
from hilum.datasets import resplit as module
from hilum.datasets.coco import boxes_to_coco, coco_json
from hilum.datasets.folder import SPLITS, Dataset
from hilum.datasets.leaks import check_dataset
from hilum.datasets.resplit import Folds, Lists, Report, Shares, Stage1, resplit
from hilum.datasets.yolo import data_yaml
from hilum.errors import HilumError
from hilum.files import csv_text

IMAGES = 60
PEOPLE = 23


def person(number):
    return number * 7 % PEOPLE


@pytest.fixture
def data(tmp_path):
    """A dataset folder of 60 images of 23 people without their pictures, which no split looks at."""
    ids = [f"img{n:02d}" for n in range(IMAGES)]
    boxes = [np.array([[n, 2.1, 30.3, 40.7], [50, 60, 7, 8]][: n % 4 - 1 if n % 4 > 1 else 0]) for n in range(IMAGES)]
    folder = tmp_path / "DATA"
    (folder / "annotations").mkdir(parents=True)
    (folder / "unlabelled" / "images").mkdir(parents=True)
    rows = []
    for name, share in [("train", 0), ("val", 1), ("holdout", 2)]:
        at = [n for n in range(IMAGES) if n % 3 == share]
        coco = boxes_to_coco(
            [n + 1 for n in at], [f"{ids[n]}.jpg" for n in at], [(100, 110)] * len(at), [boxes[n] for n in at]
        )
        (folder / "annotations" / f"{name}.json").write_text(coco_json(coco))
        for n in at:
            kind = "Lung Opacity" if len(boxes[n]) else "Normal"
            facts = [kind, f"p{person(n)}", "FM"[n % 2], 20 + n, ["PA", "AP"][n % 5 > 2], f"{n:064x}"]
            rows.append([ids[n], name, *facts])
    header = ["image_id", "split", "class", "patient", "sex", "age_years", "view", "sha256"]
    (folder / "metadata.csv").write_text(csv_text(header, sorted(rows)))
    (folder / "data.yaml").write_text(data_yaml())
    (folder / "conversion.json").write_text('{"complete": true, "patients_known": true}')
    return folder


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def images_of(folder):
    data = Dataset.open(folder)
    return {name: set(data.split(name).image_ids) for name in SPLITS}


def patients_shared(folder):
    return {tuple(pair["between"]): pair["patients"] for pair in check_dataset(Dataset.open(folder))["pairs"]}


def entries(folder):
    """Image id -> (COCO id, boxes), over all splits."""
    data = Dataset.open(folder)
    found = {}
    for name in SPLITS:
        split = data.split(name)
        found |= {i: (n, b.tolist()) for i, n, b in zip(split.image_ids, split.coco_ids, split.boxes_xyxy, strict=True)}
    return found


def lines(error):
    return str(error.value).splitlines()


# What a split holds


def test_a_split_holds_the_same_images_boxes_and_ids_and_no_picture(data):
    (folder,) = resplit(data, "mine", Shares(), seed=3)
    assert folder == data / "splits" / "mine"
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*")) == sorted(
        [f"annotations/{name}.json" for name in SPLITS]
        + [f"{name}.txt" for name in SPLITS]
        + ["conversion.json", "data.yaml", "left_out.csv", "metadata.csv"]
    )
    assert entries(folder) == entries(data)
    assert images_of(folder) != images_of(data)
    assert (folder / "data.yaml").read_bytes() == (data / "data.yaml").read_bytes()
    for name, ids in images_of(folder).items():
        assert (folder / f"{name}.txt").read_text().splitlines() == [f"./../../images/{i}.jpg" for i in sorted(ids)]
        coco = json.loads((folder / "annotations" / f"{name}.json").read_text())
        assert [box["id"] for box in coco["annotations"]] == list(range(1, len(coco["annotations"]) + 1))
        assert {box["image_id"] for box in coco["annotations"]} <= {image["id"] for image in coco["images"]}
    before = {row["image_id"]: row for row in table(data / "metadata.csv")}
    home = {image_id: name for name, ids in images_of(folder).items() for image_id in ids}
    assert table(folder / "metadata.csv") == [{**row, "split": home[i]} for i, row in before.items()]
    assert set(patients_shared(folder).values()) == {0}


def test_the_record_says_what_was_done(data):
    (folder,) = resplit(data, "mine", Shares((0.5, 0.25, 0.25)), seed=3)
    record = json.loads((folder / "conversion.json").read_text())
    assert record["parent_fingerprint"] == Dataset.open(data).fingerprint
    assert (record["kind"], record["seed"]) == ("shares", 3)
    assert record["options"] == {"shares": [0.5, 0.25, 0.25], "by": "patient"}
    assert (record["patients_known"], record["images_without_patient"]) == (True, 0)
    assert (record["images"], record["boxes"], record["positive_images"]) == (60, 45, 30)
    assert record["classes"] == {"Lung Opacity": 30, "Normal": 30}
    assert {name: counts["images"] for name, counts in record["splits"].items()} == {
        name: len(ids) for name, ids in images_of(folder).items()
    }
    assert record["left_out"] == {}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_split(data, tree_bytes):
    first = tree_bytes(resplit(data, "one", Shares(), seed=1)[0])
    assert tree_bytes(resplit(data, "same", Shares(), seed=1)[0]) == first
    assert images_of(resplit(data, "other", Shares(), seed=2)[0]) != images_of(data / "splits" / "one")


def test_the_dataset_folder_itself_stays_as_it_is(data, tree_bytes):
    before = tree_bytes(data)
    resplit(data, "mine", Shares())
    shutil.rmtree(data / "splits")
    assert tree_bytes(data) == before


# Which images go where


def test_shares_are_kept_and_by_image_tears_people_apart(data):
    (folder,) = resplit(data, "mine", Shares((0.5, 0.3, 0.2)))
    sizes = {name: len(ids) for name, ids in images_of(folder).items()}
    assert sizes == pytest.approx({"train": 30, "val": 18, "holdout": 12}, abs=2)
    (folder,) = resplit(data, "torn", Shares(by="image"))
    assert all(patients_shared(folder).values())


def test_folds_hold_out_each_image_once(data):
    folders = resplit(data, "f", Folds(4), seed=1)
    assert folders == [data / "splits" / f"f-{fold}" for fold in range(4)]
    held_out = Counter(image_id for folder in folders for image_id in images_of(folder)["holdout"])
    assert held_out == Counter(entries(data).keys())
    for folder, after in zip(folders, [*folders[1:], folders[0]], strict=True):
        assert images_of(folder)["val"] == images_of(after)["holdout"]
        assert set(patients_shared(folder).values()) == {0}
        assert entries(folder) == entries(data)


@pytest.fixture
def stage1(data, write_table):
    """A stage 1 table, one row a box, that lacks every sixth image of DATA and has one that DATA lacks."""
    rows = [[f"img{n:02d}", box] for n in range(IMAGES) for box in range(1 + n % 2) if n % 6]
    write_table(data.parent / "stage_1.csv", [["patientId", "x"], *rows, ["another", 1]])
    return data.parent / "stage_1.csv"


def test_stage1_holds_out_what_its_table_lacks_and_their_patients_leave(data, stage1):
    (folder,) = resplit(data, "s1", Stage1(stage1), seed=2)
    images = images_of(folder)
    held_out = range(0, IMAGES, 6)
    assert images["holdout"] == {f"img{n:02d}" for n in held_out}
    shared = {
        f"img{n:02d}" for n in range(IMAGES) if n not in held_out and person(n) in {person(other) for other in held_out}
    }
    assert images["train"] | images["val"] == set(entries(data)) - images["holdout"] - shared
    assert set(patients_shared(folder).values()) == {0}
    assert {row["image_id"] for row in table(folder / "metadata.csv")} == set().union(*images.values())
    left = table(folder / "left_out.csv")
    assert {(row["what"], row["image_id"], row["reason"]) for row in left} == {
        ("image", image_id, "shares a patient with holdout") for image_id in shared
    }
    assert Dataset.open(folder).conversion["left_out"] == {"shares a patient with holdout": len(shared)}
    assert entries(folder).items() <= entries(data).items()


def test_stage1_keeps_them_when_asked_and_the_leak_is_counted(data, stage1):
    (folder,) = resplit(data, "s1", Stage1(stage1, keep_shared=True))
    images = images_of(folder)
    assert set().union(*images.values()) == set(entries(data))
    shared = patients_shared(folder)
    assert shared["train", "val"] == 0
    assert shared["train", "holdout"] + shared["val", "holdout"] > 0
    assert Dataset.open(folder).conversion["patients_on_both_sides"] == {"-".join(k): n for k, n in shared.items()}


def test_the_wrong_table_for_stage1_is_refused(data, write_table):
    path = data.parent / "table.csv"
    write_table(path, [["patientId"], *([image_id] for image_id in entries(data))])
    with pytest.raises(HilumError, match=r"has all of the 60 images .*stage_1_train_labels.csv"):
        resplit(data, "s1", Stage1(path))
    write_table(path, [["patientId"], ["x"]])
    with pytest.raises(HilumError, match="has none of the 60 images"):
        resplit(data, "s1", Stage1(path))
    assert not (data / "splits").exists()


def test_the_reports_split_is_at_random_by_image(data):
    (folder,) = resplit(data, "report", Report(20, val_share=0.25))
    assert {name: len(ids) for name, ids in images_of(folder).items()} == {"train": 30, "val": 10, "holdout": 20}
    assert all(patients_shared(folder).values())
    with pytest.raises(HilumError, match="has 60 images; 2,560 cannot be held out"):
        resplit(data, "other", Report(2560))


def test_lists_are_followed_and_who_shares_a_patient_leaves(data):
    holdout, val = data.parent / "holdout.txt", data.parent / "val.csv"
    holdout.write_text("img03\nimg10\n")
    val.write_text("patientId\nimg04\nimg05\nimg26\n")  # 26 and 3 are of one person
    (folder,) = resplit(data, "listed", Lists(holdout, val))
    images = images_of(folder)
    assert (images["holdout"], images["val"]) == ({"img03", "img10"}, {"img04", "img05"})
    taken = {person(n) for n in (3, 10, 4, 5)}
    assert images["train"] == {f"img{n:02d}" for n in range(IMAGES) if person(n) not in taken}
    reasons = defaultdict(set)
    for row in table(folder / "left_out.csv"):
        reasons[row["reason"]].add(row["image_id"])
    assert reasons == {
        f"shares a patient with {side}": {
            f"img{n:02d}"
            for n in range(IMAGES)
            if person(n) in {person(other) for other in numbers} and f"img{n:02d}" not in images[side]
        }
        for side, numbers in [("holdout", (3, 10)), ("val", (4, 5))]
    }
    (folder,) = resplit(data, "kept", Lists(holdout, val, keep_shared=True))
    assert images_of(folder)["val"] == {"img04", "img05", "img26"}
    assert len(images_of(folder)["train"]) == IMAGES - 5
    (folder,) = resplit(data, "dealt", Lists(holdout))
    assert images_of(folder)["holdout"] == {"img03", "img10"}
    assert set(patients_shared(folder).values()) == {0}


def test_lists_that_do_not_fit_are_refused_line_by_line(data):
    holdout, val = data.parent / "holdout.txt", data.parent / "val.txt"
    holdout.write_text("img03\nnobody\nimg04\nsomebody\n")
    with pytest.raises(HilumError) as error:
        resplit(data, "listed", Lists(holdout))
    assert lines(error) == [
        f"{holdout}: line {n}: {data} has no image {i}" for n, i in [(2, "nobody"), (4, "somebody")]
    ]
    holdout.write_text("img03\nimg04\n")
    val.write_text("img07\nimg04\n")
    with pytest.raises(HilumError) as error:
        resplit(data, "listed", Lists(holdout, val))
    assert lines(error) == [f"{val}: line 2: img04 is in {holdout} too, on line 2"]
    holdout.write_text("\n".join(entries(data)))
    with pytest.raises(HilumError, match="of 60 images none would be left for train and val"):
        resplit(data, "listed", Lists(holdout))
    assert not (data / "splits").exists()


# Patients given later


def test_a_patient_map_given_later_counts_before_what_the_folder_says(data, write_table):
    path = data.parent / "map.csv"
    write_table(path, [["patientId", "patient"], *([f"img{n:02d}", n // 30] for n in range(58)), ["another", 7]])
    (folder,) = resplit(data, "mine", Lists(_listed(data, "img00")), patients=path)
    rows = {row["image_id"]: row["patient"] for row in table(folder / "metadata.csv")}
    assert set(rows) == {"img00"} | {f"img{n:02d}" for n in range(30, 60)}
    assert (rows["img00"], rows["img31"], rows["img59"]) == ("0", "1", f"p{person(59)}")
    assert Dataset.open(folder).conversion["patients_from"] == "map.csv"
    assert Dataset.open(data).metadata.loc["img00", "patient"] == "p0"
    write_table(path, [["patientId", "patient"], ["another", 7]])
    with pytest.raises(HilumError, match="has none of the 60 images"):
        resplit(data, "other", Shares(), patients=path)


def test_without_patients_images_count_as_people_and_nothing_leaves(data, stage1):
    text = (data / "metadata.csv").read_text()
    for n in range(PEOPLE):
        text = text.replace(f",p{n},", ",,")
    (data / "metadata.csv").write_text(text)
    (folder,) = resplit(data, "s1", Stage1(stage1))
    opened = Dataset.open(folder)
    assert not opened.patients_known
    assert opened.conversion["images_without_patient"] == IMAGES
    assert opened.conversion["left_out"] == {}
    assert set(patients_shared(folder).values()) == {None}


def _listed(data, *image_ids):
    path = data.parent / "listed.txt"
    path.write_text("\n".join(image_ids))
    return path


# What is there already


def test_a_split_is_only_replaced_when_asked_and_then_as_a_whole(data, tree_bytes):
    (folder,) = resplit(data, "mine", Shares(), seed=1)
    (folder / "labels.cache").write_text("of a tool")
    before = tree_bytes(folder)
    with pytest.raises(HilumError, match=r"mine: exists; --overwrite replaces it"):
        resplit(data, "mine", Shares(), seed=2)
    assert tree_bytes(folder) == before
    resplit(data, "mine", Shares(), seed=2, overwrite=True)
    resplit(data, "fresh", Shares(), seed=2)
    assert tree_bytes(folder) == tree_bytes(data / "splits" / "fresh")
    assert sorted(path.name for path in (data / "splits").iterdir()) == ["fresh", "mine"]


@pytest.mark.parametrize("content", [None, "{", "[1]", '{"complete": true}'])
def test_what_is_no_split_is_never_replaced(data, content):
    folder = data / "splits" / "mine"
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("mine")
    if content:
        (folder / "conversion.json").write_text(content)
    with pytest.raises(HilumError, match="is no split of hilum's"):
        resplit(data, "mine", Shares(), overwrite=True)
    assert (folder / "thesis.txt").read_text() == "mine"


def test_folds_of_a_larger_set_are_not_left_beside_a_smaller_one(data):
    resplit(data, "f", Folds(4))
    with pytest.raises(HilumError) as error:
        resplit(data, "f", Folds(3))
    assert len(lines(error)) == 3
    with pytest.raises(HilumError, match="f-3: is of a set of more folds"):
        resplit(data, "f", Folds(3), overwrite=True)
    resplit(data, "f", Folds(4), seed=9, overwrite=True)


@pytest.mark.parametrize("files", [0, 5, 14, 24])
def test_what_fails_on_the_way_leaves_no_trace(data, monkeypatch, tree_bytes, files):
    resplit(data, "f", Folds(3), seed=1)
    before = tree_bytes(data)
    written = []

    def fill_the_disk(path, content):
        written.append(path)
        if len(written) > files:
            raise OSError(28, "No space left on device", str(path))
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    for writer in (module, writing, left_out):
        monkeypatch.setattr(writer, "write_atomically", fill_the_disk)
    with pytest.raises(HilumError, match="No space left on device"):
        resplit(data, "f", Folds(3), seed=2, overwrite=True)
    assert tree_bytes(data) == before
    assert sorted(path.name for path in (data / "splits").iterdir()) == ["f-0", "f-1", "f-2"]


def test_a_split_comes_back_if_it_cannot_be_replaced(data, monkeypatch, tree_bytes):
    resplit(data, "mine", Shares(), seed=1)
    before = tree_bytes(data)
    rename = Path.rename

    def refuse(path, target):
        if path.suffix == ".part":
            raise OSError(13, "Permission denied", str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(HilumError, match="Permission denied"):
        resplit(data, "mine", Shares(), seed=2, overwrite=True)
    assert tree_bytes(data) == before
    assert [path.name for path in (data / "splits").iterdir()] == ["mine"]


def test_another_split_of_the_same_data_is_waited_for(data, monkeypatch):
    """Its half of a split looks like what a kill left, and would be mended away."""
    began, done, write = threading.Event(), [], module._write

    def second():
        began.wait()
        done.append(resplit(data, "second", Shares()))

    def meanwhile(part, *args):
        write(part, *args)
        if not began.is_set():
            began.set()
            other.join(0.5)  # it would be through by then
            assert part.is_dir()
            assert done == []

    monkeypatch.setattr(module, "_write", meanwhile)
    other = threading.Thread(target=second)
    other.start()
    (first,) = resplit(data, "first", Shares())
    other.join()
    assert sorted(path.name for path in (data / "splits").iterdir()) == ["first", "second"]
    assert images_of(first) == images_of(done[0][0])


def test_what_cannot_be_mended_is_told_in_one_line(data):
    (data / "splits").mkdir()
    (data / "splits" / ".mine.0123abcd.part").write_text("a file, which is no half of a split")
    with pytest.raises(HilumError, match=r"\.part: Not a directory"):
        resplit(data, "mine", Shares())


def test_what_cannot_be_split_is_refused(data):
    (folder,) = resplit(data, "mine", Shares())
    with pytest.raises(HilumError, match="is a split itself; split the dataset folder"):
        resplit(folder, "again", Shares())
    for name in ("", ".", "..", "a/b", ".hidden", "x" * 101):
        with pytest.raises(HilumError, match="no name for a split"):
            resplit(data, name, Shares())
    with pytest.raises(HilumError, match="24 folds of 23 patients cannot be made"):
        resplit(data, "f", Folds(24))
    shutil.copytree(data, data.parent / "empty")
    for name in SPLITS:
        coco = {"images": [], "annotations": [], "categories": []}
        (data.parent / "empty" / "annotations" / f"{name}.json").write_text(json.dumps(coco))
    with pytest.raises(HilumError, match="has no labelled image to split"):
        resplit(data.parent / "empty", "mine", Shares(), overwrite=True)
    (data / "annotations" / "val.json").write_text("{")
    with pytest.raises(HilumError, match=r"val\.json: not read as JSON: .*; convert again"):
        resplit(data, "other", Shares())


def test_a_conversion_anew_makes_its_splits_void_unless_it_gives_the_same(data):
    (folder,) = resplit(data, "mine", Shares())
    table_path = data / "metadata.csv"
    before = table_path.read_text()
    table_path.write_text(before.replace(f"{1:064x}", f"{1000:064x}"))
    with pytest.raises(HilumError, match="has been converted anew since it was split"):
        Dataset.open(folder)
    resplit(data, "mine", Shares(), overwrite=True)
    assert Dataset.open(folder).metadata.loc["img01", "sha256"] == f"{1000:064x}"


# What reads it


def test_a_backend_trains_and_predicts_on_a_split(dataset, tmp_path):
    from hilum.comparison.measured import predict_answers
    from hilum.config import load_config
    from hilum.train_run import train

    data = tmp_path / "DATA"
    shutil.copytree(dataset, data, ignore=shutil.ignore_patterns("cache"))
    (folder,) = resplit(data, "mine", Shares((0.4, 0.3, 0.3)), seed=4)
    tiny = ["image_size=32", "model.channels=4", "model.blocks=1", "model.depth=2", "train.epochs=1"]
    split = Dataset.open(folder)
    predictor = train(load_config("resnet", tiny), split, tmp_path / "run")
    assert len(predict_answers(predictor, split.split("holdout"))[0].boxes_xywh) == len(split.split("holdout")) > 0
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["data_fingerprint"] == split.fingerprint != Dataset.open(data).fingerprint
    assert {path.name.split("-")[0] for path in (data / "cache").iterdir()} == {"32"}
    assert not (folder / "cache").exists()


# The command


def run(*words):
    app([str(word) for word in ("split", *words)], result_action="return_value")


def test_the_command_writes_and_shows_what_leaks(data, stage1, capsys):
    run(data, "s1", "--stage1", stage1, "--seed", 3)
    shown = capsys.readouterr()
    left = Dataset.open(data / "splits" / "s1").conversion["left_out"]["shares a patient with holdout"]
    assert f"{left} images are in none of them" in shown.out
    assert shown.err == ""
    run(data, "kept", "--stage1", stage1, "--keep-shared")
    assert "LEAK: patients in both train and holdout" in capsys.readouterr().err
    run(data, "f", "--folds", 3, "--by", "image")
    assert sorted(path.name for path in (data / "splits").iterdir()) == ["f-0", "f-1", "f-2", "kept", "s1"]
    run(data, "mine", "--shares", 0.5, 0.3, 0.2)
    assert Dataset.open(data / "splits" / "mine").conversion["options"]["shares"] == [0.5, 0.3, 0.2]


def test_the_command_only_checks_when_asked(data, write_table, capsys, tree_bytes):
    run(data, "mine")
    before = tree_bytes(data)
    capsys.readouterr()
    run(data, "--check")  # dealt by number, not by person
    assert "LEAK: patients in both train and holdout: " in capsys.readouterr().err
    for words in ([data, "mine"], [data / "splits" / "mine"]):
        run(*words, "--check")
        shown = capsys.readouterr()
        assert str(data / "splits" / "mine") in shown.out
        assert shown.err == ""
    write_table(data.parent / "map.csv", [["patientId", "patient"], *([i, "one"] for i in entries(data))])
    run(data, "mine", "--check", "--patients", data.parent / "map.csv")
    assert "LEAK: patients in both train and val: 1, with" in capsys.readouterr().err
    assert tree_bytes(data) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "needs a name"),
        (["x", "--folds", 3, "--report", 2560], "--folds and --report: each makes a split of its own"),
        (["x", "--folds", 3, "--shares", 0.5, 0.3, 0.2], "--shares: does not go with --folds"),
        (["x", "--report", 2560, "--by", "patient"], "--by: does not go with --report"),
        (["x", "--report", 2560, "--keep-shared"], "--keep-shared: does not go with --report"),
        (["x", "--val-list", "v", "--val-share", 0.2], "--val-list, --val-share: does not go with a split by shares"),
        (["x", "--holdout-list", "h", "--val-list", "v", "--val-share", 0.2], "--val-share: does not go with"),
        (["x", "--check", "--overwrite"], "--overwrite: does not go with --check"),
        (["x", "--check", "--folds", 3], "--folds: does not go with --check"),
        (["x", "--shares", 0.5, 0.3, 0.3], "expected three numbers above 0 that add up to 1"),
        (["x", "--shares", 1.2, -0.1, -0.1], "expected three numbers above 0"),
        (["x", "--shares", "nan", "nan", "nan"], "expected three numbers above 0"),
    ],
)
def test_wrong_combinations_are_one_line(data, words, message):
    with pytest.raises(HilumError) as error:
        run(data, *words)
    assert len(lines(error)) == 1
    assert message in str(error.value)
    assert not (data / "splits").exists()
