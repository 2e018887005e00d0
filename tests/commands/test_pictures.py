"""The pictures that a word on the command line stands for, and what each is called."""

import os
import random
from pathlib import Path

import pytest

from hilum.commands.pictures import picture_names, picture_paths, picture_places
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


def test_a_list_names_files(tmp_path: Path) -> None:
    (tmp_path / "all.txt").write_text("a.png\n\n/\n")
    with pytest.raises(HilumError, match=r"all\.txt: line 3: names no file"):
        picture_paths(tmp_path / "all.txt")


def relative(source: Path) -> list[str]:
    return picture_places(picture_paths(source), source)


def test_what_is_no_picture_is_counted_by_kind_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree(tmp_path, "a.dcm", "b/c.TIF", "b/d.bmp", "e.webp", "f.jp2", "g.txt", "b/h.txt", "i.PDF", "README", "x.\x1b[2J")
    tree(tmp_path, "._a.dcm", ".DS_Store", ".hidden/z.png", "DICOMDIR")
    os.mkfifo(tmp_path / "b" / "queue")
    os.mkfifo(tmp_path / "b" / "queue.png")
    assert relative(tmp_path) == ["a.dcm", "b/c.TIF", "b/d.bmp", "b/queue.png", "e.webp", "f.jp2"]
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    counted = set(told[0].partition("passed over: ")[2].split(", "))
    assert counted == {
        "3 hidden",
        "2 .txt",
        "1 .pdf",
        "2 of no known ending",
        "1 DICOMDIR",
        "1 that cannot be read",
    }


def test_a_folder_of_pictures_alone_is_not_talked_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert relative(tree(tmp_path, "a.dcm", "b/c.png")) == ["a.dcm", "b/c.png"]
    assert capsys.readouterr().err == ""


def test_dicom_without_preamble_and_ending_is_found(tmp_path: Path) -> None:
    (tmp_path / "IM0001").write_bytes(b"\x08\0\x05\0CS\x0a\0ISO_IR 100")
    (tmp_path / "IM0002").write_bytes(b"\x08\0\x16\0\x1a\0\0\0001.2.840.10008.5.1.4.1.1.7")
    (tmp_path / "notes").write_bytes(b"some text")
    assert relative(tmp_path) == ["IM0001", "IM0002"]


def test_a_folder_that_is_linked_into_itself_is_read_once(tmp_path: Path) -> None:
    tree(tmp_path, "a/x.png")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "nowhere")
    assert relative(tmp_path) == ["a/gone.png", "a/x.png"]


def test_a_list_may_come_from_any_editor(tmp_path: Path) -> None:
    tree(tmp_path, "x.png", "y.png", " blank .png")
    (tmp_path / "all.txt").write_bytes(b"\xef\xbb\xbfx.png\r\n\r\n  y.png  \r\n blank .png\r\nnowhere.png\r\n")
    assert relative(tmp_path / "all.txt") == ["x.png", "y.png", " blank .png", "nowhere.png"]


def test_a_list_that_is_no_text_or_a_pipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "utf16.txt").write_bytes("x.png".encode("utf-16"))
    os.mkfifo(tmp_path / "pipe.txt")
    for name, reason in {"utf16.txt": "not text in UTF-8", "pipe.txt": "a pipe"}.items():
        with pytest.raises(HilumError, match=reason):
            picture_paths(tmp_path / name)


def test_folders_of_hilum_are_refused_or_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree(tmp_path, "run/config.yaml", "run/environment.json", "run/curves.png")
    tree(tmp_path, "found/images.csv", "found/predictions.json", "found/pictures/00001-x.jpg")
    tree(tmp_path, "data/conversion.json", "data/images/x.jpg")
    with pytest.raises(HilumError, match="is a run folder"):
        picture_paths(tmp_path / "run")
    with pytest.raises(HilumError, match="holds predictions"):
        picture_paths(tmp_path / "found")
    assert len(picture_paths(tmp_path / "data" / "images")) == 1
    assert f"give {tmp_path / 'data'}" in capsys.readouterr().err


def test_places_lead_from_the_source_to_each_picture(tmp_path: Path) -> None:
    tree(tmp_path, "lists/x.png", "other/y.png")
    source = tmp_path / "lists" / "all.txt"
    source.write_text(f"x.png\n{tmp_path}/other/y.png\n")
    assert relative(source) == ["x.png", "../other/y.png"]
    assert all((source.parent / place).is_file() for place in relative(source))
    assert relative(tmp_path / "lists" / "x.png") == ["x.png"]
