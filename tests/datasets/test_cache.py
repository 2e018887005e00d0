"""The cache of squares: the pictures themselves, in any split's order, whole after any interruption."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from hilum.datasets import cache
from hilum.datasets.cache import square_pictures
from hilum.datasets.folder import SPLITS, Dataset
from hilum.datasets.letterbox import Letterbox
from hilum.datasets.pictures import read_picture
from hilum.datasets.resplit import Folds, resplit
from hilum.errors import HilumError

SIZE = 24


@pytest.fixture
def data(dataset, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(dataset, folder, ignore=shutil.ignore_patterns("cache", "splits"))
    return Dataset.open(folder)


def files(data):
    return sorted(path.name for path in (data.root / "cache").iterdir())


def squares_of(split):
    """Decoded and resized one by one."""
    pictures = [read_picture(path) for path in split.paths]
    return np.stack([Letterbox.fit(picture.shape[::-1], SIZE).apply(picture) for picture in pictures])


def test_every_split_reads_its_own_pictures_from_one_file(data):
    folders = resplit(data.path, "three", Folds(3), seed=1)
    for one in (data, *map(Dataset.open, folders)):
        for name in SPLITS:
            split = one.split(name)
            squares = square_pictures(one, name, SIZE)
            expected = squares_of(split)
            assert len(squares) == len(split) > 0
            np.testing.assert_array_equal(squares[:], expected, strict=True)
            assert (squares[np.array([1, 0, 1])] == expected[[1, 0, 1]]).all()
            assert (squares[2:4] == expected[2:4]).all()
            assert (squares[-1] == expected[-1]).all()
    assert len(files(data)) == 1


def test_a_file_that_has_other_pictures_is_made_anew(data, capsys):
    """It may have come with the folder."""
    expected = square_pictures(data, "train", SIZE)[:]
    (path,) = (data.root / "cache").glob("*.npy")
    forged = np.load(path) // 2
    np.save(path, forged)
    capsys.readouterr()
    assert (square_pictures(data, "train", SIZE)[:] == expected).all()
    assert "has other pictures than the folder, and is made anew" in capsys.readouterr().err
    square_pictures(data, "train", SIZE)
    assert capsys.readouterr().err == ""


def test_it_is_mapped_and_cannot_be_written(data):
    squares = square_pictures(data, "train", SIZE)
    assert isinstance(squares.mapped.base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        squares[0][0, 0] = 1
    squares[np.array([0])][0, 0] = 1  # a copy


def test_built_once_and_its_size_is_said_before(data, monkeypatch, capsys):
    square_pictures(data, "train", SIZE)
    said = capsys.readouterr().err.split()
    assert " ".join(said[1:]) == f"decoding 48 pictures once, to {SIZE} px; it takes 0.0 MB of disk"
    read = []
    monkeypatch.setattr(cache, "read_picture", lambda path, _: read.append(path) or read_picture(path))
    square_pictures(data, "val", SIZE)
    assert len(set(read)) == 8  # to see that the file is these pictures'
    assert capsys.readouterr().err == ""


def test_changed_pictures_never_meet_an_old_file_which_goes(data):
    square_pictures(data, "train", SIZE)
    square_pictures(data, "train", 16)
    before = files(data)
    table = data.path / "metadata.csv"
    first = data.split("train").image_ids[0]
    lines = table.read_text().splitlines()
    changed = [line[:-3] + "000" if line.startswith(first) else line for line in lines]
    table.write_text("\n".join(changed) + "\n")
    square_pictures(Dataset.open(data.path), "train", SIZE)
    after = files(data)
    assert len(after) == 2
    assert len(set(before) & set(after)) == 1  # that of the other size


def test_a_file_that_is_not_whole_is_made_again(data):
    expected = square_pictures(data, "train", SIZE)[:]
    path = data.path / "cache" / files(data)[0]
    for damaged in (path.read_bytes()[:-1], b"x" + path.read_bytes()[1:]):
        path.write_bytes(damaged)
        assert (square_pictures(data, "train", SIZE)[:] == expected).all()


def test_an_interruption_is_gone_on_from(data, monkeypatch, capsys):
    """What was decoded is not decoded again, and the end is the same file."""
    expected = square_pictures(data, "train", SIZE)
    path = data.path / "cache" / files(data)[0]
    whole = path.read_bytes()
    path.unlink()
    monkeypatch.setattr(cache, "_AT_ONCE", 10)
    reads = []

    def read(picture, _):
        reads.append(picture)
        if len(reads) == 35:
            raise KeyboardInterrupt
        return read_picture(picture)

    monkeypatch.setattr(cache, "read_picture", read)
    with pytest.raises(KeyboardInterrupt):
        square_pictures(data, "train", SIZE)
    assert files(data) == [f".{path.name}.part"]
    with (path.parent / files(data)[0]).open("ab") as file:
        file.write(b"half a row")
    capsys.readouterr()
    reads = []
    monkeypatch.setattr(cache, "read_picture", lambda picture, _: reads.append(picture) or read_picture(picture))
    assert (square_pictures(data, "train", SIZE)[:] == expected[:]).all()
    assert len(reads) == 48 - 30
    assert "30 are there" in capsys.readouterr().err
    assert files(data) == [path.name]
    assert path.read_bytes() == whole


KILLED = """
import sys, time
from pathlib import Path
from hilum.datasets import cache
from hilum.datasets.folder import Dataset
cache._AT_ONCE = 2
read = cache.read_picture
cache.read_picture = lambda picture, _: time.sleep(0.02) or read(picture)
cache.square_pictures(Dataset.open(Path(sys.argv[1])), "train", 24)
"""


def test_killed_over_and_over_and_built_by_two_at_once_it_ends_the_same(data):
    expected = square_pictures(data, "train", SIZE)[:]
    path = data.path / "cache" / files(data)[0]
    whole = path.read_bytes()
    path.unlink()
    command = [sys.executable, "-c", KILLED, str(data.path)]
    partial = path.with_name(f".{path.name}.part")
    for rows in (5, 15, 25):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while not partial.is_file() or partial.stat().st_size < 128 + rows * SIZE**2:
            assert process.poll() is None
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    both = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert files(data) == [path.name]
    assert path.read_bytes() == whole
    assert (square_pictures(data, "train", SIZE)[:] == expected).all()


def test_a_disk_too_small_is_said_before_anything_is_decoded(data, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))
    monkeypatch.setattr(cache, "read_picture", None)
    with pytest.raises(HilumError, match=r"needs 0\.0 MB more, and the disk has 0\.0 MB; make room"):
        square_pictures(data, "train", SIZE)


def test_an_unreadable_picture_is_named(data):
    path = data.split("holdout").paths[0]
    path.write_bytes(b"no picture")
    with pytest.raises(HilumError, match=rf"{path}: .*; convert again"):
        square_pictures(data, "train", SIZE)
