"""Every source that is known, by a generated set in exactly its layout: labels, patients, resumption, zips."""

import csv
import json
import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from hilum.converters.convert import convert
from hilum.converters.record import Choices
from hilum.datasets.folder import SPLITS, Dataset
from hilum.errors import HilumError
from hilum.sample.layouts import LAYOUTS, write_layout

IMAGES, SEED = 12, 4
OWN = ("Cardiomegaly", "Lung Opacity", "Nodule/Mass", "Pleural effusion")
VINDR = ("Cardiomegaly", "Consolidation", "Infiltration", "Lung Opacity", "Nodule/Mass", "Pleural effusion")
NIH = ("Cardiomegaly", "Effusion", "Infiltrate", "Nodule", "Pneumonia")
CLASSES = {
    "csv": OWN,
    "coco": OWN,
    "yolo": OWN,
    "vinbigdata": VINDR,
    "vindr": VINDR,
    "nih": NIH,
    "siim": ("opacity",),
    "mdai": ("opacity",),
}


@pytest.fixture(scope="module")
def twins(tmp_path_factory) -> Path:
    """A set of each layout; not to be changed."""
    folder = tmp_path_factory.mktemp("twins")
    for name in LAYOUTS:
        write_layout(folder / name, name, IMAGES, SEED, opacity_share=0.5)
    return folder


@pytest.fixture(scope="module")
def converted(twins, tmp_path_factory) -> dict[str, Dataset]:
    """Each of them converted, told by what lies there."""
    folder = tmp_path_factory.mktemp("converted")
    for name in LAYOUTS:
        convert(twins / name, folder / name)
    return {name: Dataset.open(folder / name) for name in LAYOUTS}


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def boxes_of(data: Dataset) -> dict[str, list[tuple[str, list[float]]]]:
    """The class and the corners of all boxes, by image."""
    return {
        image_id: sorted(
            ((split.class_names[k], box) for k, box in zip(ids.tolist(), boxes.tolist(), strict=True)),
            key=lambda named: (named[0], sum(named[1])),
        )
        for split in map(data.split, SPLITS)
        for image_id, ids, boxes in zip(split.image_ids, split.class_ids, split.boxes_xyxy, strict=True)
    }


def test_all_three_ways_to_write_ones_own_say_the_same(converted):
    assert {row["view"] for row in read(converted["csv"].path / "metadata.csv")} <= {"AP", "PA"}
    expected = boxes_of(converted["coco"])
    assert sum(map(len, expected.values())) > 8
    for name in ("csv", "yolo"):
        found = boxes_of(converted[name])
        assert found.keys() == expected.keys()
        for image_id, boxes in expected.items():
            assert [what for what, _ in found[image_id]] == [what for what, _ in boxes]
            for (_, one), (_, other) in zip(found[image_id], boxes, strict=True):
                np.testing.assert_allclose(one, other, atol=0.06)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_source_is_told_by_what_lies_there(converted, name):
    data = converted[name]
    assert data.conversion["read_as"] == name
    assert set(data.class_names) <= set(CLASSES[name])
    assert ("class_names" in data.conversion) == (CLASSES[name] != ("opacity",))
    tests = sum("/test/" in str(path) for path in (data.path / "unlabelled").rglob("*"))
    assert data.conversion["images"] >= IMAGES
    assert tests == 0
    assert not {"box", "image", "label", "row"} & data.conversion["left_out"].keys()


@pytest.mark.parametrize("name", LAYOUTS)
def test_white_bones_and_the_size_of_the_file_whatever_its_bits(converted, name):
    data = converted[name]
    for split in map(data.split, SPLITS):
        for path, size_wh in zip(split.paths, split.sizes_wh.tolist(), strict=True):
            pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert pixels.dtype == np.uint8
            assert list(pixels.shape[::-1]) == size_wh
            height, width = pixels.shape  # the middle below the heart is white, lungs and air are dark
            middle = pixels[int(0.8 * height) :, int(0.4 * width) : int(0.6 * width)].mean()
            assert middle > pixels[:, : width // 20].mean() + 20


@pytest.mark.parametrize(("name", "known"), [(n, n not in {"yolo", "vinbigdata", "vindr"}) for n in LAYOUTS])
def test_who_is_on_one_side_is_not_on_another_where_patients_are_known(converted, name, known):
    data = converted[name]
    assert data.patients_known == known
    sides = [set(data.split(split).patients) for split in SPLITS]
    assert sum(map(len, sides)) == len(set.union(*sides))


@pytest.mark.parametrize("name", ["csv", "siim"])
def test_a_zip_and_an_interrupted_conversion_end_with_the_same_bytes(twins, tmp_path, tree_bytes, name):
    source = tmp_path / name
    shutil.copytree(twins / name, source)
    convert(source, tmp_path / "whole")
    with zipfile.ZipFile(tmp_path / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(source.rglob("*")):
            archive.write(path, path.relative_to(source))
    seen = 0

    def stop(done: int, total: int) -> None:
        nonlocal seen
        seen = done
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "again", progress=stop)
    assert seen
    convert(source, tmp_path / "again")
    convert(tmp_path / f"{name}.zip", tmp_path / "packed")
    whole = tree_bytes(tmp_path / "whole")
    assert tree_bytes(tmp_path / "again") == whole
    packed = tree_bytes(tmp_path / "packed")
    assert {**packed, "conversion.json": b""} == {**whole, "conversion.json": b""}


@pytest.mark.parametrize("readers", ["union", "fused"])
def test_readers_of_vindr(twins, tmp_path, readers):
    votes = 2 if readers == "fused" else None
    convert(twins / "vindr", tmp_path / "data", choices=Choices(classes="opacity", readers=readers, votes=votes))
    data = Dataset.open(tmp_path / "data")
    assert (data.class_names, data.conversion["readers"]) == (("opacity",), readers)
    rows = [r for r in read(twins / "vindr/annotations/annotations_train.csv") if r["class_name"] in VINDR[1:4]]
    drawn = {row["image_id"]: [r for r in rows if r["image_id"] == row["image_id"]] for row in rows}
    found = boxes_of(data)
    for image_id, its in drawn.items():
        assert len(found.get(image_id, [])) == len(its) if readers == "union" else len(found[image_id]) <= len(its)
    if readers == "fused":
        assert sum(map(len, found.values())) < len(rows)


def test_nih_is_no_other_hospital_and_leaves_out_patients_of_others(twins, converted, tmp_path):
    said: list[str] = []
    convert(twins / "nih", tmp_path / "data", tell=said.append)
    assert any("is made of pictures of it" in line for line in said)
    patients = sorted({row["patient"] for row in read(tmp_path / "data" / "metadata.csv")})
    (tmp_path / "map.csv").write_text(f"patientId,nih_patient\na,{int(patients[0]):05d}\n")
    said.clear()
    convert(twins / "nih", tmp_path / "out", choices=Choices(exclude_patients=tmp_path / "map.csv"), tell=said.append)
    assert len(said) == 1
    left = {row["patient"] for row in read(tmp_path / "out" / "metadata.csv")}
    assert left == set(patients[1:])
    with pytest.raises(HilumError, match="no labelled picture"):
        convert(twins / "nih", tmp_path / "none", choices=Choices(exclude_patients=converted["nih"].path))
    with pytest.raises(HilumError, match="does not tell whose its images are"):
        convert(twins / "vindr", tmp_path / "no", choices=Choices(exclude_patients=tmp_path / "map.csv"))


def test_a_finding_that_nobody_drew_leaves_its_picture_out(twins, tmp_path):
    source = tmp_path / "nih"
    shutil.copytree(twins / "nih", source)
    path = source / "Data_Entry_2017.csv"
    lines = path.read_text().splitlines()
    clear = next(number for number, line in enumerate(lines) if "No Finding" in line)
    other = next(number for number, line in enumerate(lines) if ",Cardiomegaly," in line)
    lines[clear] = lines[clear].replace("No Finding", "Infiltration")
    lines[other] = lines[other].replace("Cardiomegaly,", "Cardiomegaly|Hernia,")
    path.write_text("\n".join(lines) + "\n")
    convert(source, tmp_path / "data", choices=Choices(classes="opacity"))
    told = (tmp_path / "data" / "left_out.csv").read_text()
    assert f"image,{lines[clear].split('.')[0]},Data_Entry_2017.csv,{clear + 1},\"shows 'opacity', and nobody" in told
    rows = {row["image_id"]: row for row in read(tmp_path / "data" / "metadata.csv")}
    assert rows[lines[other].split(".")[0]]["class"] == "other finding"


def test_siim_runs_nothing_that_stands_in_its_boxes(twins, tmp_path):
    source = tmp_path / "siim"
    shutil.copytree(twins / "siim", source)
    path = source / "train_image_level.csv"
    rows = [list(row.values()) for row in read(path)]
    boxed = [row for row in rows if row[1]]
    boxed[0][1] = f"[__import__('pathlib').Path('{tmp_path}/ran').touch()]"
    boxed[1][2] = "opacity 1 0 0 1 1 " * 9
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["id", "boxes", "label", "StudyInstanceUID"], *rows])
    convert(source, tmp_path / "data")
    told = (tmp_path / "data" / "left_out.csv").read_text()
    assert "boxes is not a list of x, y, width and height" in told
    assert "label another number of opacities" in told
    assert not (tmp_path / "ran").exists()


def test_of_mdai_the_group_that_the_challenge_was_made_of_counts(twins, converted, tmp_path):
    source = tmp_path / "mdai"
    shutil.copytree(twins / "mdai", source)
    path = next(source.glob("*annotations*.json"))
    export = json.loads(path.read_text())
    both = export["datasets"][0]["annotations"]
    boxes = sum(map(len, boxes_of(converted["mdai"]).values()))
    assert 2 * boxes == sum(each["data"] is not None for each in both)
    export["labelGroups"][1]["name"] = "Other"
    path.write_text(json.dumps(export))
    with pytest.raises(HilumError, match="expected one that is called 'Calculated', found 'Initial', 'Other'"):
        convert(source, tmp_path / "data")
