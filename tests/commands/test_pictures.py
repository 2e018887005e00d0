"""The pictures that a word on the command line stands for, and what each is called."""

import os
import random
from pathlib import Path

import pytest

from hilum.commands.pictures import picture_names, picture_paths
from hilum.errors import HilumError


def tree(folder: Path, *files: str) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return folder


def named(source: Path) -> dict[str, str]:
    """Name by path in the source's folder."""
    paths = picture_paths(source)
    root = source if source.is_dir() else source.parent
    return {
        path.relative_to(root).as_posix(): name for path, name in zip(paths, picture_names(paths, source), strict=True)
    }


def test_pictures_of_one_name_are_named_by_their_path_and_others_by_their_file(tmp_path: Path) -> None:
    assert named(tree(tmp_path, "a/x.dcm", "b/x.dcm", "b/y.dcm", "b/c/1.2.3.DCM", "b/c/1.2.4.DCM")) == {
        "a/x.dcm": "a/x",
        "b/x.dcm": "b/x",
        "b/y.dcm": "y",
        "b/c/1.2.3.DCM": "1.2.3",
        "b/c/1.2.4.DCM": "1.2.4",
    }


def test_pictures_that_differ_by_their_ending_alone_keep_it(tmp_path: Path) -> None:
    assert named(tree(tmp_path, "a/x.dcm", "a/x.png", "b/x.png", "y.dcm", "y.png", "y.dcm.png")) == {
        "a/x.dcm": "a/x.dcm",
        "a/x.png": "a/x.png",
        "b/x.png": "b/x",
        "y.dcm": "y.dcm",
        "y.png": "y.png",
        "y.dcm.png": "y.dcm.png",
    }


def test_no_two_names_are_the_same_whatever_the_tree(tmp_path: Path) -> None:
    draw = random.Random(0)
    for _ in range(300):
        words = ["x", "y", "x.dcm", "x.png"]
        folders = ["/".join(draw.choices(words, k=draw.randrange(3))) for _ in range(8)]
        files = {f"{folder}/{draw.choice(words)}{draw.choice(['.dcm', '.PNG', ''])}" for folder in folders}
        paths = [tmp_path / file.lstrip("/") for file in sorted(files)]
        assert len(set(picture_names(paths, tmp_path))) == len(paths)


def test_in_a_folder_dicom_files_without_an_ending_are_pictures_and_indexes_are_none(tmp_path: Path) -> None:
    preamble = bytes(128) + b"DICM"
    tree(tmp_path, "study/1.2.826.0.1.0", "study/notes", "x.png", "DICOMDIR")
    for name in ("study/1.2.826.0.1.0", "DICOMDIR"):
        (tmp_path / name).write_bytes(preamble)
    assert named(tmp_path) == {"study/1.2.826.0.1.0": "1.2.826.0.1.0", "x.png": "x"}


def test_a_name_that_is_no_utf_8_is_spelt_out(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"fa\xe7ade")
    paths = [tree(folder, "x.png", "y.png") / "x.png", tree(tmp_path, "x.png") / "x.png", folder / "y.png"]
    assert picture_names([*paths, folder / os.fsdecode(b"\xe9.dcm")], tmp_path) == ["fa\\xe7ade/x", "x", "y", "\\xe9"]


def test_a_list_names_files_without_an_ending_and_outside_its_folder(tmp_path: Path) -> None:
    tree(tmp_path, "1.2.826.0.1.0", "1.2.826.0.1.1", "lists/x.png", "other/x.png")
    source = tmp_path / "lists" / "all.txt"
    source.write_text(f"../1.2.826.0.1.0\n../1.2.826.0.1.1\nx.png\n{tmp_path}/other/x.png\n")
    paths = picture_paths(source)
    assert picture_names(paths, source) == ["1.2.826.0.1.0", "1.2.826.0.1.1", "lists/x", "other/x"]


def test_no_name_holds_more_of_a_path_than_what_tells_pictures_apart(tmp_path: Path) -> None:
    """A list of absolute paths must not write them into the predictions."""
    paths = [tmp_path / "far/away/a/x.png", tmp_path / "far/away/b/x.png"]
    assert picture_names(paths, tmp_path / "lists" / "all.txt") == ["a/x", "b/x"]


def test_a_picture_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    tree(tmp_path, "x.png", "y.png")
    (tmp_path / "all.txt").write_text("x.png\ny.png\n./x.png\n")
    with pytest.raises(HilumError, match=r"x\.png: .*all\.txt lists it twice"):
        picture_names(picture_paths(tmp_path / "all.txt"), tmp_path / "all.txt")
