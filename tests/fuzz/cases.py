"""What is fuzzed: for each kind of file that hilum reads, good folders with one thing changed, and a command."""

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mutators
from mutators import Mutator, put

Words = list[str]
OF_RUN: dict[str, Mutator] = {
    "config.yaml": mutators.of_yaml,
    "operating_point.json": mutators.of_json,
    "environment.json": mutators.of_json,
    "weights.safetensors": mutators.of_tensors,
    "log.jsonl": mutators.of_json_lines,
}
OF_DATA: dict[str, Mutator] = {
    "conversion.json": mutators.of_json,
    "annotations/train.json": mutators.of_json,
    "annotations/val.json": mutators.of_json,
    "annotations/holdout.json": mutators.of_json,
    "metadata.csv": mutators.of_csv,
    "left_out.csv": mutators.of_csv,
}
OF_PREDICTIONS: dict[str, Mutator] = {
    "predictions.json": mutators.of_json,
    "images.csv": mutators.of_csv,
    "about.json": mutators.of_json,
}


@dataclass(frozen=True)
class Place:
    """Where a case is made.

    Attributes:
        base: good folders: kaggle, tree, data, run, begun, yolo, exported, found, bench, ...
        case: an empty folder, from which the command is run.
        outside: what nothing may write to.
        rng: chance.
    """

    base: Path
    case: Path
    outside: Path
    rng: random.Random

    def take(self, *names: str) -> None:
        """Copy good folders."""
        for name in names:
            copy = shutil.copytree if (self.base / name).is_dir() else shutil.copy
            copy(self.base / name, self.case / name)

    def change(self, name: str, mutator: Mutator) -> str:
        """Put something else in a file's place."""
        return put(self.case / name, mutator, self.rng, self.outside)

    def change_one(self, folder: str, files: dict[str, Mutator]) -> None:
        """The same with one of several files."""
        name = self.rng.choice(list(files))
        if (self.case / folder / name).exists():
            self.change(f"{folder}/{name}", files[name])

    def link(self, *names: str) -> None:
        """Sometimes a folder is a link to one outside."""
        if self.rng.random() < 0.08:
            path = self.case / self.rng.choice(names)
            if path.is_dir():
                shutil.rmtree(path)
                path.symlink_to(self.outside / "folder")


def _one_of(folder: Path, rng: random.Random) -> str:
    return rng.choice(sorted(path.name for path in folder.iterdir()))


def dicom(place: Place) -> Words:
    """A DICOM file among good ones."""
    place.take("tree", "run")
    place.change(f"tree/{_one_of(place.case / 'tree', place.rng)}", mutators.of_dicom)
    return place.rng.choice(
        [
            ["predict", "run", "tree", "out"],
            ["convert", "tree", "out", "--workers", "1"],
            ["submit", "run", "tree", "out.csv"],
        ]
    )


def pictures(place: Place) -> Words:
    """A picture in each of the formats."""
    place.take("pictures", "run")
    name = _one_of(place.case / "pictures", place.rng)
    place.change(f"pictures/{name}", mutators.of_picture)
    return place.rng.choice(
        [
            ["predict", "run", "pictures", "out"],
            ["predict", "run", f"pictures/{name}", "out"],
            ["submit", "run", "pictures", "out.csv"],
        ]
    )


def names(place: Place) -> Words:
    """Files and folders whose names a terminal would obey, a table would break at, or a disk cannot hold longer."""
    place.take("run", "tree")
    odd = [
        mutators.ESCAPES.replace("/", ""),
        "\udcff\udc80",
        " lead",
        "x" * 250,
        'a,b"c',
        "._a",
        "[bold]x[",
        "\u202eb",
    ]
    (path := place.case / "tree" / _one_of(place.case / "tree", place.rng)).rename(
        path.with_name(place.rng.choice(odd) + place.rng.choice([".dcm", "", ".DCM"]))
    )
    if place.rng.random() < 0.3:
        next((place.case / "tree").iterdir()).write_bytes(b"nothing")
    out = place.rng.choice(["out", place.rng.choice(odd)])
    (place.case / "run").rename(place.case / (run := place.rng.choice(["run", "x[bold]", odd[0], odd[1]])))
    return place.rng.choice(
        [
            ["predict", run, "tree", out],
            ["submit", run, "tree", out + ".csv"],
            ["convert", "tree", out, "--workers", "1"],
        ]
    )


def tables(place: Place) -> Words:
    """The challenge's tables, and who a picture is of."""
    place.take("kaggle")
    name = place.rng.choice(["stage_2_train_labels.csv", "stage_2_detailed_class_info.csv", "patients.csv"])
    place.change(f"kaggle/{name}", mutators.of_csv)
    return ["convert", "kaggle", "out", "--workers", "1", "--patients", "kaggle/patients.csv"]


def split_tables(place: Place) -> Words:
    """Tables and lists that `hilum split` takes."""
    place.take("kaggle", "data", "list.txt", "val.txt", "stage_1_train_labels.csv")
    files = {
        "stage1": ("stage_1_train_labels.csv", mutators.of_csv),
        "list": ("list.txt", mutators.of_lines),
        "val": ("val.txt", mutators.of_lines),
        "patients": ("kaggle/patients.csv", mutators.of_csv),
    }
    kind = place.rng.choice(list(files))
    place.change(*files[kind])
    return {
        "stage1": ["split", "data", "mine", "--stage1", files["stage1"][0]],
        "list": ["split", "data", "mine", "--holdout-list", "list.txt"],
        "val": ["split", "data", "mine", "--holdout-list", "list.txt", "--val-list", "val.txt"],
        "patients": ["split", "data", "mine", "--patients", files["patients"][0]],
    }[kind]


def lists(place: Place) -> Words:
    """A text file that lists pictures."""
    place.take("run", "tree")
    paths = sorted((place.case / "tree").iterdir())
    (place.case / "list.txt").write_text("".join(f"tree/{path.name}\n" for path in paths))
    place.change("list.txt", mutators.of_lines)
    return place.rng.choice([["predict", "run", "list.txt", "out"], ["submit", "run", "list.txt", "out.csv"]])


def configs(place: Place) -> Words:
    """A config, one that goes on a base, and overrides."""
    from hilum.config import find_config, shipped_configs

    known = [name for name in shipped_configs() if not name.startswith(("yolo/", "report/", "lungs"))]
    name = place.rng.choice(known)
    (place.case / "mine.yaml").write_bytes(find_config(name).read_bytes())
    place.change("mine.yaml", mutators.of_yaml)
    (place.case / "child.yaml").write_text("base: mine.yaml\nseed: 3\n")
    override = place.rng.choice(
        ["a=1", "train.epochs=", "model={", "members.x.run=y", "seed=" + "9" * 500, "train={}", mutators.ESCAPES + "=1"]
    )
    return place.rng.choice(
        [
            ["config", "mine.yaml"],
            ["config", "child.yaml"],
            ["config", "child.yaml", override],
            ["config", name, override],
        ]
    )


def dataset(place: Place) -> Words:
    """Files of a dataset folder."""
    place.take("data", "run", "kaggle", "tiny.yaml")
    place.change_one("data", OF_DATA)
    place.link("data/images", "data/annotations", "data/unlabelled")
    return place.rng.choice(
        [
            ["evaluate", "run", "data"],
            ["explore", "data"],
            ["card", "data"],
            ["split", "data", "mine"],
            ["split", "data", "--check"],
            ["predict", "run", "data", "out"],
            ["tune", "run", "data"],
            ["submit", "run", "data", "out.csv"],
            ["train", "tiny.yaml", "data", "new"],
            ["convert", "kaggle", "data", "--overwrite", "--workers", "1"],
        ]
    )


def further_split(place: Place) -> Words:
    """Files of a split below a dataset folder."""
    place.take("data", "run")
    place.change_one("data/splits/five-0", OF_DATA)
    place.link("data/splits", "data/splits/five-0")
    return place.rng.choice(
        [
            ["evaluate", "run", "data/splits/five-0"],
            ["split", "data", "five-0", "--check"],
            ["split", "data", "five-0", "--overwrite"],
        ]
    )


def yolo_dataset(place: Place) -> Words:
    """What ultralytics reads of a dataset folder."""
    place.take("data")
    files = {"data.yaml": mutators.of_yaml, "train.txt": mutators.of_lines, "val.txt": mutators.of_lines}
    labels = sorted((place.case / "data" / "labels").rglob("*.txt"))
    name = place.rng.choice([*files, "a label"])
    if name == "a label":
        label = place.rng.choice(labels).relative_to(place.case)
        place.change(str(label), mutators.of_lines)
    else:
        place.change(f"data/{name}", files[name])
    return ["train", "sample/yolo", "data", "new", *YOLO]


def run(place: Place) -> Words:
    """Files of a run folder."""
    place.take("run", "data", "tree")
    place.change_one("run", OF_RUN)
    place.link("run")
    return place.rng.choice(
        [
            ["predict", "run", "tree", "out"],
            ["evaluate", "run", "data"],
            ["card", "run", "--data", "data"],
            ["tune", "run", "data"],
            ["submit", "run", "tree", "out.csv"],
        ]
    )


def yolo_run(place: Place) -> Words:
    """Files of a run of YOLO."""
    place.take("yolo", "tree")
    place.change_one("yolo", {"model.yaml": mutators.of_yaml} if place.rng.random() < 0.5 else OF_RUN)
    return ["predict", "yolo", "tree", "out"]


def exported_run(place: Place) -> Words:
    """Files of a run that was exported."""
    place.take("exported", "tree")
    files = {name: mutator for name, mutator in OF_RUN.items() if name not in {"weights.safetensors", "log.jsonl"}}
    if place.rng.random() < 0.6:
        place.change("exported/model.onnx", mutators.of_onnx)
        path = place.case / "exported" / "model.onnx"
        if path.is_file() and path.stat().st_size < 1 << 24 and place.rng.random() < 0.8:  # who changes it tells so
            record = place.case / "exported" / "environment.json"
            values = json.loads(record.read_text())
            values["exported"]["sha256"]["model.onnx"] = hashlib.sha256(path.read_bytes()).hexdigest()
            record.write_text(json.dumps(values))
    else:
        place.change_one("exported", files)
    return ["predict", "exported", "tree", "out"]


def composed_run(place: Place) -> Words:
    """Files of a composed run, and of its members."""
    place.take("composed", "tree")
    inner = sorted(path.relative_to(place.case / "composed") for path in (place.case / "composed").rglob("config.yaml"))
    folder = place.rng.choice(inner).parent
    place.change_one(str(Path("composed") / folder), OF_RUN)
    others = [p for p in (place.case / "composed").glob("*.json") if p.name not in OF_RUN]
    if others and place.rng.random() < 0.3:
        place.change(str(place.rng.choice(sorted(others)).relative_to(place.case)), mutators.of_json)
    return ["predict", "composed", "tree", "out"]


def resumed(place: Place) -> Words:
    """A training that was interrupted."""
    place.take("begun", "data", "longer.yaml")
    files: dict[str, Mutator] = {**OF_RUN, "checkpoint.pt": mutators.of_checkpoint}
    name = place.rng.choice(
        ["checkpoint.pt", "checkpoint.pt", "log.jsonl", "environment.json", "config.yaml", "weights.safetensors"]
    )
    place.change_one("begun", {name: files[name]})
    return ["train", "longer.yaml", "data", "begun"]


def reconverted(place: Place) -> Words:
    """A conversion that was interrupted."""
    place.take("converting", "tree")
    place.change("converting/.conversion.jsonl", mutators.of_sealed_lines)
    place.link("converting/unlabelled")
    return ["convert", "tree", "converting", "--workers", "1"]


def predictions(place: Place) -> Words:
    """Predictions in each of the forms."""
    place.take("found", "data", "submission.csv", "siim.csv", "vinbigdata.csv")
    kind = place.rng.choice(["folder", "coco", "submission", "siim", "vinbigdata"])
    if kind == "folder":
        place.change_one("found", OF_PREDICTIONS)
        place.link("found")
        return ["evaluate", "found", "data"]
    if kind == "submission":
        place.change("submission.csv", mutators.of_csv)
        return ["evaluate", "submission.csv", "data"]
    if kind in {"siim", "vinbigdata"}:
        place.change(f"{kind}.csv", mutators.of_csv)
        return ["evaluate", f"{kind}.csv", "data", "--metric", kind]
    shutil.copy(place.base / "found" / "predictions.json", place.case / "coco.json")
    place.change("coco.json", mutators.of_json)
    return ["evaluate", "coco.json", "data"]


def labels(place: Place) -> Words:
    """Labels that CVAT and Label Studio exported."""
    name = place.rng.choice(["labels.json", "tasks.json"])
    place.take("data", name)
    place.change(name, mutators.of_json)
    return ["relabel", "data", name, "relabelled"]


def marks(place: Place) -> Words:
    """A reader's marks of a worklist, and what was measured with them."""
    place.take("found", "marks.csv", "figures.json", "scored.json", "run", "data")
    if place.rng.random() < 0.5:
        place.change("marks.csv", mutators.of_csv)
        return ["evaluate", "found", "marks.csv"]
    if place.rng.random() < 0.5:
        place.change("scored.json", mutators.of_json)
        return ["card", "run", "--evaluation", "scored.json"]
    place.change("figures.json", mutators.of_json)
    return ["predict", "run", "data", "out", "--calibration", "figures.json"]


def repredicted(place: Place) -> Words:
    """A prediction that was interrupted."""
    place.take("predicting", "run", "data")
    place.change("predicting/.predictions.jsonl", mutators.of_sealed_lines)
    return ["predict", "run", "data", "predicting", "--confidence", "0"]


def benchmark(place: Place) -> Words:
    """A benchmark's folder."""
    place.take("bench", "data", "run")
    files = {
        **{f"predictions/run/holdout/{name}": mutator for name, mutator in OF_PREDICTIONS.items()},
        "results.json": mutators.of_json,
    }
    if place.rng.random() < 0.2:
        place.change("bench/predictions/run/cost.json", mutators.of_json)
        return ["benchmark", "data", "run", "--out", "bench"]
    shutil.copytree(place.case / "bench", place.case / "old")
    place.change_one("old", files)
    return ["benchmark", "data", "--out", "bench", "--against", "old"]


YOLO = ["image_size=32", "train.epochs=1", "model_yaml={scales: {n: [0.33, 0.125, 128]}}"]
# Each as often as its number says, in the order of seeds.
WEIGHTS: dict[Callable[[Place], Words], int] = {
    dicom: 8,
    pictures: 7,
    names: 3,
    tables: 6,
    split_tables: 4,
    lists: 3,
    configs: 7,
    dataset: 10,
    labels: 2,
    further_split: 3,
    yolo_dataset: 1,
    run: 8,
    yolo_run: 6,
    exported_run: 5,
    composed_run: 4,
    resumed: 6,
    reconverted: 3,
    predictions: 5,
    marks: 3,
    repredicted: 3,
    benchmark: 3,
}


def target(seed: int) -> Callable[[Place], Words]:
    """What is fuzzed with this seed: each of them once in so many seeds in a row."""
    turns = [each for each, weight in WEIGHTS.items() for _ in range(weight)]
    return turns[seed * 37 % len(turns)]  # 37 shares no factor with 100
