"""Files are written whole, under their own names, and through no link; errors of the system name them."""

import errno
import os
import resource
from contextlib import contextmanager

import pytest

from hilum.errors import HilumError
from hilum.files import (
    naming,
    open_to_append,
    own_folder,
    refuse_any_link,
    refuse_links,
    remove,
    replacing,
    write_atomically,
)


@pytest.fixture
def elsewhere(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "kept.txt").write_text("not yours")
    return folder


@contextmanager
def disk_of(size):
    """No file may grow beyond so many bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_takes_the_place_of_a_link_and_not_of_what_it_leads_to(elsewhere, tmp_path):
    for name in ("atomically", "bit by bit"):
        (tmp_path / name).symlink_to(elsewhere / "kept.txt")
    write_atomically(tmp_path / "atomically", "new")
    with replacing(tmp_path / "bit by bit") as file:
        file.write("new")
    for name in ("atomically", "bit by bit"):
        assert not (tmp_path / name).is_symlink()
        assert (tmp_path / name).read_text() == "new"
    assert (elsewhere / "kept.txt").read_text() == "not yours"


@pytest.mark.parametrize("plant", ["symlink_to", "hardlink_to"])
def test_the_hidden_file_of_another_try_is_not_written_through(elsewhere, tmp_path, plant):
    getattr(tmp_path / ".table.csv.part", plant)(elsewhere / "kept.txt")
    with replacing(tmp_path / "table.csv") as file:
        file.write("new")
    assert (tmp_path / "table.csv").read_text() == "new"
    assert (elsewhere / "kept.txt").read_text() == "not yours"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "table.csv"]


@pytest.mark.parametrize("plant", ["symlink_to", "hardlink_to"])
def test_nothing_is_appended_to_a_file_elsewhere(elsewhere, tmp_path, plant):
    log = tmp_path / "log.jsonl"
    getattr(log, plant)(elsewhere / "kept.txt")
    with open_to_append(log) as file:
        file.write(b", mine")
    assert (elsewhere / "kept.txt").read_text() == "not yours"
    assert log.read_text() == ("not yours, mine" if plant == "hardlink_to" else ", mine")  # a copy of its own
    with open_to_append(log) as file:
        file.write(b", more")
    assert log.read_text().endswith(", mine, more")


def test_a_pipe_in_the_place_of_a_file_is_not_waited_on(tmp_path):
    os.mkfifo(tmp_path / "log.jsonl")
    with open_to_append(tmp_path / "log.jsonl") as file:
        file.write(b"mine")
    assert (tmp_path / "log.jsonl").read_text() == "mine"


@pytest.mark.parametrize("way", ["images", "unlabelled/images", "unlabelled"])
def test_a_folder_below_a_named_one_is_reached_through_no_link(elsewhere, tmp_path, way):
    data = tmp_path / "data"
    link = data / way
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    with pytest.raises(HilumError, match=rf"^{link}: is a link; nothing outside {data} is written or removed: remove"):
        own_folder(data, *way.split("/"), "more")
    with pytest.raises(HilumError, match="is a link"):
        refuse_links(data, "annotations", f"{way}/not/there")
    with pytest.raises(HilumError, match="is a link"):
        refuse_any_link(data)
    assert [path.name for path in elsewhere.iterdir()] == ["kept.txt"]


def test_a_dangling_link_is_a_link(tmp_path):
    (tmp_path / "images").symlink_to(tmp_path / "nowhere")
    with pytest.raises(HilumError, match="is a link"):
        own_folder(tmp_path, "images")


def test_the_named_folder_itself_may_be_a_link(elsewhere, tmp_path):
    named = tmp_path / "data"
    named.symlink_to(elsewhere)
    assert own_folder(named, "images", "small").is_dir()
    refuse_any_link(named)
    assert (elsewhere / "images" / "small").is_dir()


def test_of_a_link_the_link_alone_is_removed(elsewhere, tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "inside").symlink_to(elsewhere)
    (tmp_path / "link").symlink_to(elsewhere)
    for path in (folder, tmp_path / "link", tmp_path / "nothing"):
        remove(path)
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]
    assert (elsewhere / "kept.txt").read_text() == "not yours"


def test_a_full_disk_is_told_with_the_file_that_did_not_fit(tmp_path):
    def bit_by_bit(path):
        with replacing(path) as file:
            file.write("x" * 5000)

    def appended(path):
        with naming(path), open_to_append(path) as file:
            file.write(b"x" * 5000)

    for number, write in enumerate((lambda path: write_atomically(path, "x" * 5000), bit_by_bit, appended)):
        path = tmp_path / f"{number}.csv"
        with disk_of(1000), pytest.raises(OSError, match="too large") as caught:
            write(path)
        assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert [path.name for path in tmp_path.iterdir()] == ["2.csv"]  # no half is left of those that are written whole


def test_an_error_of_another_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "table.csv"):
        (tmp_path / "picture.png").read_bytes()
    assert caught.value.filename == str(tmp_path / "picture.png")
    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(tmp_path / "nowhere" / "table.csv", "")
    assert caught.value.filename == str(tmp_path / "nowhere" / "table.csv")  # not its hidden name
