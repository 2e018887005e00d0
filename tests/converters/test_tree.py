"""A hospital's tree: any depth, any names, no labels, and nothing that identifies a person gets out."""

import csv
import json
import shutil
import stat
import subprocess
import sys
import zipfile

import numpy as np
import pydicom
import pytest

from hilum.converters.convert import convert
from hilum.converters.tree import KEY, SOURCES
from hilum.datasets.folder import Dataset
from hilum.errors import HilumError


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


@pytest.fixture
def tree(tmp_path, make_dicom, make_jpeg, make_picture, make_segment, planted_name):
    """Pictures of two persons in folders of their names, with names wherever names can hide, and other files."""
    family = planted_name.split("^")[0]
    top = tmp_path / f"archive of {family}"
    pixels = make_picture(1)
    jpeg = make_jpeg(pixels)
    jpeg = jpeg[:2] + make_segment(0xFE, planted_name.encode()) + make_segment(0xE1, planted_name.encode()) + jpeg[2:]
    with pydicom.config.disable_value_validation():
        secrets = {
            "PatientComments": planted_name,
            "ViewPosition": family[:4].upper(),
            "PatientSex": planted_name,
            "StudyDescription": f"thorax {planted_name}",
        }
        files = {
            f"{family}/2019/IM0001": make_dicom(pixels, jpeg=jpeg, PatientAge="093Y", PatientID="17"),
            f"{family}/2020/x.dcm": make_dicom(make_picture(2), PatientAge="089Y", PatientID="17", **secrets),
            f"Other/{planted_name}.DCM": make_dicom(make_picture(3), PatientAge="007M", PatientID="18"),
            "Other/deep/er/1.2.840": make_dicom(make_picture(4).astype("uint16") * 16, PatientID=planted_name),
            f"Other/{family}.txt": planted_name.encode(),
            "DICOMDIR": b"\0" * 128 + b"DICM" + planted_name.encode(),
            f"{family}/report.dcm": make_dicom(None),
            f"{family}/cut.dcm": make_dicom(pixels, jpeg=jpeg)[:-40],
            f"{family}/named.dcm": make_dicom(pixels, jpeg=jpeg, BurnedInAnnotation="YES"),
            f"{family}/colour.dcm": make_dicom(
                np.random.default_rng(0).integers(0, 255, (20, 20, 3), np.uint8),
                SamplesPerPixel=3,
                PhotometricInterpretation="RGB",
                PlanarConfiguration=0,
                Rows=20,
                Columns=20,
            ),
        }
    for name, content in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(content)
    dataset = pydicom.dcmread(top / family / "2019" / "IM0001")
    dataset.private_block(0x0011, planted_name, create=True).add_new(0x01, "LO", planted_name)
    dataset.save_as(top / family / "2019" / "IM0001")
    return top


def test_nothing_that_identifies_a_person_gets_out(tree, tmp_path, tree_bytes, planted_name):
    out = tmp_path / "data"
    done = subprocess.run(
        [sys.executable, "-m", "hilum", "convert", tree.name, str(out)],
        check=False,
        capture_output=True,
        text=True,
        cwd=tree.parent,
    )
    assert done.returncode == 0, done.stderr
    for part in planted_name.split("^"):
        for spelling in (part, part.upper(), part[:4].upper()):
            assert spelling not in done.stdout + done.stderr
            for name, content in tree_bytes(out).items():
                assert spelling not in name
                assert name == SOURCES or spelling.encode() not in content, name
    assert "do not share" in done.stderr
    assert planted_name in (out / SOURCES).read_text()
    assert (out / SOURCES).read_text().lower().startswith("# do not share")


def test_pictures_have_keyed_names_and_the_way_back_is_whole(tree, tmp_path):
    out = tmp_path / "data"
    record = convert(tree, out)
    assert (record["images"], record["unlabelled_images"], record["left_out"]) == (0, 4, {"file": 6})
    assert "source" not in record
    back = {row["image_id"]: row["file"] for row in rows(out / SOURCES)}
    assert sorted(back.values()) == sorted(p.relative_to(tree).as_posix() for p in tree.rglob("*") if p.is_file())
    pictures = rows(out / "unlabelled" / "metadata.csv")
    assert sorted(row["image_id"] for row in pictures) == sorted(path.stem for path in Dataset.open(out).unlabelled())
    assert all(len(row["image_id"]) == 16 and set(row["image_id"]) <= set("0123456789abcdef") for row in pictures)
    by_file = {back[row["image_id"]].rsplit("/")[-1]: row for row in pictures}
    first, second = by_file["IM0001"], by_file["x.dcm"]
    assert first["patient"] == second["patient"] != by_file["1.2.840"]["patient"] != ""
    assert (first["age_years"], second["age_years"]) == ("90", "89")  # above 89 capped
    assert (second["sex"], second["view"]) == ("", "")  # not of the terms of the standard
    reasons = {back[row["image_id"]].rsplit("/")[-1]: row["reason"] for row in rows(out / "left_out.csv")}
    assert all(row["file"] == "" for row in rows(out / "left_out.csv"))
    assert "not a DICOM file" in next(reason for name, reason in reasons.items() if name.endswith(".txt"))
    assert "DICOMDIR" in reasons["DICOMDIR"]
    assert "no pixel data" in reasons["report.dcm"]
    assert "cut short" in reasons["cut.dcm"]
    assert "burned into its picture" in reasons["named.dcm"]
    assert "colour" in reasons["colour.dcm"]


def test_the_key_decides_the_names(tree, tmp_path, tree_bytes):
    key = tmp_path / "keys" / "site.key"
    convert(tree, tmp_path / "one", key=key)
    convert(tree, tmp_path / "two", key=key)
    assert tree_bytes(tmp_path / "one") == tree_bytes(tmp_path / "two")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert not (tmp_path / "one" / KEY).exists()
    convert(tree, tmp_path / "three")
    assert {p.stem for p in Dataset.open(tmp_path / "three").unlabelled()}.isdisjoint(
        p.stem for p in Dataset.open(tmp_path / "one").unlabelled()
    )
    key.write_text("abc\n")
    with pytest.raises(HilumError, match="32 hexadecimal digits"):
        convert(tree, tmp_path / "four", key=key)


def test_a_tree_in_a_zip_gives_the_same_pictures(tree, tmp_path, tree_bytes):
    key = tmp_path / "key"
    with zipfile.ZipFile(tmp_path / "tree.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(tree.rglob("*")):
            archive.write(path, path.relative_to(tree))
    convert(tree, tmp_path / "one", key=key)
    convert(tmp_path / "tree.zip", tmp_path / "two", key=key)
    assert tree_bytes(tmp_path / "one") == tree_bytes(tmp_path / "two")


def test_a_name_that_leads_out_of_the_zip_is_hidden_too(tree, tmp_path, tree_bytes, planted_name):
    with zipfile.ZipFile(tmp_path / "tree.zip", "w") as archive:
        archive.write(tree / "Other" / "deep" / "er" / "1.2.840", "fine")
        archive.writestr(f"../{planted_name}", b"x")
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(tree)}
    convert(tmp_path / "tree.zip", tmp_path / "data")
    assert all(
        p.is_relative_to(tmp_path / "data")
        for p in tmp_path.rglob("*")
        if p not in before and not p.is_relative_to(tree)
    )
    for name, content in tree_bytes(tmp_path / "data").items():
        assert name == SOURCES or planted_name.encode() not in content


def test_a_tree_without_a_radiograph_says_why(tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a.txt").write_text("x")
    with pytest.raises(HilumError, match="no picture among the 1 files could be converted: 1 x not a DICOM file"):
        convert(tmp_path / "tree", tmp_path / "data")


def test_options_of_the_other_layout_are_refused(tree, tmp_path, sample_source):
    with pytest.raises(HilumError, match="a patient map is for images that have labels"):
        convert(tree, tmp_path / "data", patients=sample_source / "patient_map.csv")
    with pytest.raises(HilumError, match=r"the ids of .* are public"):
        convert(sample_source, tmp_path / "data", key=tmp_path / "key")
    assert not (tmp_path / "data").exists()


def test_a_challenge_in_a_zip_gives_the_same_bytes(sample_source, tmp_path, tree_bytes):
    archive = shutil.make_archive(str(tmp_path / sample_source.name), "zip", sample_source)
    convert(sample_source, tmp_path / "one")
    convert(tmp_path / archive, tmp_path / "two")
    one, two = tree_bytes(tmp_path / "one"), tree_bytes(tmp_path / "two")
    records = [json.loads(files.pop("conversion.json")) for files in (one, two)]
    assert one == two
    assert {**records[0], "source": ""} == {**records[1], "source": ""}


def test_a_tree_of_damaged_files_is_converted_as_far_as_it_goes(make_dicom, make_jpeg, make_picture, tmp_path):
    """Every file becomes a picture or a row that says why not; none ends the conversion, or is written elsewhere."""
    rng = np.random.default_rng(0)
    pixels = make_picture(1)
    originals = [make_dicom(pixels, jpeg=make_jpeg(pixels)), make_dicom(pixels.astype("uint16") * 9)]
    (tmp_path / "tree").mkdir()
    for number in range(300):
        content = bytearray(originals[number % 2])
        for _ in range(rng.integers(1, 5)):
            content[rng.integers(128, 900 if rng.random() < 0.8 else len(content))] = rng.integers(256)
        (tmp_path / "tree" / f"{number}").write_bytes(
            content[: rng.integers(200, len(content))] if number % 7 == 0 else content
        )
    convert(tmp_path / "tree", tmp_path / "data")
    pictures = rows(tmp_path / "data" / "unlabelled" / "metadata.csv")
    left_out = [row for row in rows(tmp_path / "data" / "left_out.csv") if row["what"] == "file"]
    assert len(pictures) + len(left_out) == 300
    assert len(pictures) > 50
    assert len(left_out) > 50
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "tree"]


def test_a_dataset_is_not_its_own_source(tree, tmp_path, tree_bytes):
    convert(tree, tmp_path / "data")
    before = tree_bytes(tmp_path / "data")
    with pytest.raises(HilumError, match="is the source itself"):
        convert(tmp_path / "data", tmp_path / "data", overwrite=True)
    assert tree_bytes(tmp_path / "data") == before


def test_names_that_only_resemble_the_challenges_make_no_challenge(tree, tmp_path, planted_name, tree_bytes):
    (tree / "doe_train_images").mkdir()
    shutil.copy(tree / "Other" / f"{planted_name}.DCM", tree / "doe_train_images" / f"{planted_name}.dcm")
    (tree / "doe_train_labels.csv").write_text(f"patientId,x,y,width,height,Target\n{planted_name},,,,,0\n")
    convert(tree, tmp_path / "data")
    assert not any(planted_name in name for name in tree_bytes(tmp_path / "data"))


def test_what_leads_back_is_for_its_owner_alone_and_stays_apart_from_the_challenge(tree, tmp_path, sample_source):
    convert(tree, tmp_path / "data")
    for name in (SOURCES, KEY):
        assert stat.S_IMODE((tmp_path / "data" / name).stat().st_mode) == 0o600
    with pytest.raises(HilumError, match="tree of patients"):
        convert(sample_source, tmp_path / "data", overwrite=True)


def test_a_key_in_the_source_is_no_part_of_it(tree, tmp_path, tree_bytes):
    convert(tree, tmp_path / "one", key=tree / "key")
    convert(tree, tmp_path / "two", key=tree / "key")
    assert tree_bytes(tmp_path / "one") == tree_bytes(tmp_path / "two")
    with pytest.raises(HilumError, match="the key cannot be read or made"):
        convert(tree, tmp_path / "three", key=tree)
