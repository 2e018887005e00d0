"""A dataset folder that cannot be written is trained on like any other; splits of it lie elsewhere."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hilum.config import check_config
from hilum.datasets import derived
from hilum.datasets.cache import square_pictures
from hilum.datasets.folder import SPLITS, Dataset
from hilum.datasets.leaks import check_dataset
from hilum.datasets.resplit import Folds, Shares, resplit
from hilum.ensemble.folds import fold_datasets
from hilum.errors import HilumError
from hilum.pages.explore import explore
from hilum.train_run import train

SEGMENTER = {"image_size": 32, "train": {"epochs": 1, "batch_size": 8}, "boxes": {"threshold": 0.2}}
RESNET = {"backend": "resnet", "model": {"channels": 4, "blocks": 1, "depth": 2}, **SEGMENTER}
UNET = {"backend": "unet", "model": {"start_channels": 2, "depth": 2}, **SEGMENTER}
FOLDED = {"backend": "compose", "members": {"resnet": {"config": RESNET, "folds": 2}, "unet": {"config": UNET}}}


@pytest.fixture
def data(dataset, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(dataset, folder, ignore=shutil.ignore_patterns("cache", "splits", "explore"))
    return folder


@pytest.fixture
def read_only(data, monkeypatch):
    """As root, tests can write anywhere: what asks the system whether a folder can be written hears that it cannot."""
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: data not in (path, *Path(path).parents) and real(path, mode))
    before = sorted(data.rglob("*"))
    yield data
    assert sorted(data.rglob("*")) == before


def test_a_composition_with_folds_trains_and_says_where_its_cache_is(read_only, tmp_path, capsys):
    run = tmp_path / "run"
    train(check_config(FOLDED, "folded"), Dataset.open(read_only), run)
    said = capsys.readouterr().err
    assert f"{read_only}: cannot be written (read-only); {run / 'splits'} takes the place of its splits/" in said
    assert f"{run / 'cache'} takes the place of its cache/" in said
    assert said.count("decoding 48 pictures once") == 1  # for all members
    assert not (run / "cache").exists()  # it was of use for the training alone
    assert len(list((run / "splits").iterdir())) == 2


def test_a_cache_that_is_there_is_used(data, monkeypatch, tmp_path, capsys):
    expected = square_pictures(Dataset.open(data), "train", 16)[:]
    capsys.readouterr()
    monkeypatch.setattr(derived, "_cannot_be_written", lambda *_: "read-only")
    assert (square_pictures(Dataset.open(data), "train", 16)[:] == expected).all()
    assert capsys.readouterr().err == ""


def test_without_a_run_there_is_no_place_for_a_cache(read_only):
    with pytest.raises(HilumError, match=r"data/cache: cannot be written: read-only"):
        square_pictures(Dataset.open(read_only), "train", 16)


def test_explore_asks_for_another_folder(read_only, tmp_path):
    with pytest.raises(HilumError, match=r"explore: cannot be written; give the page another folder: --out"):
        explore(read_only)
    assert explore(read_only, tmp_path / "page").is_file()


def test_a_split_elsewhere_is_that_beside_the_data(data, tmp_path):
    beside = [Dataset.open(folder) for folder in resplit(data, "five", Folds(3), seed=2)]
    folders = resplit(data, "five", Folds(3), seed=2, out=tmp_path / "splits of mine")
    assert folders == [tmp_path / "splits of mine" / f"five-{fold}" for fold in range(3)]
    for one, folder in zip(beside, folders, strict=True):
        other = Dataset.open(folder)
        assert other.root == data
        assert other.fingerprint == one.fingerprint
        assert check_dataset(other) == check_dataset(one)
        for name in SPLITS:
            assert other.split(name).paths == one.split(name).paths
            assert all(Path(line).is_file() for line in (folder / f"{name}.txt").read_text().splitlines())


def test_it_can_be_folded_and_trained_on_and_nothing_is_written_to_its_data(data, tmp_path):
    (folder,) = resplit(data, "mine", Shares(), seed=1, out=tmp_path / "splits")
    before = sorted(data.rglob("*"))
    split = Dataset(folder, Dataset.open(folder).conversion, scratch=tmp_path / "run")
    folds = fold_datasets(split, 2, seed=0)
    assert [fold.path.parent for fold in folds] == [tmp_path / "run" / "splits"] * 2
    assert all(fold.root == data and fold.scratch == tmp_path / "run" for fold in folds)
    np.testing.assert_array_equal(
        square_pictures(folds[0], "holdout", 16)[:], square_pictures(folds[1], "holdout", 16)[:]
    )
    assert sorted(data.rglob("*")) == before


def test_it_belongs_to_its_data_wherever_it_is_moved(data, tmp_path):
    (folder,) = resplit(data, "mine", Shares(), out=tmp_path / "a")
    moved = folder.rename(tmp_path / "moved")
    assert Dataset.open(moved).root == data
    data.rename(tmp_path / "gone")
    with pytest.raises(HilumError, match=rf"^{moved}: a split of the dataset {data}; {data}: no such folder"):
        Dataset.open(moved)


def test_it_is_refused_where_its_data_are_others(data, sample_folder, tmp_path):
    (folder,) = resplit(data, "mine", Shares(), out=tmp_path / "splits")
    table = data / "metadata.csv"
    table.write_text(table.read_text().replace(",PA,", ",AP,", 1))
    with pytest.raises(HilumError, match=rf"`hilum split {data} mine ... --overwrite --out {tmp_path / 'splits'}`"):
        Dataset.open(folder)
    record = folder / "conversion.json"
    for parent in ("data", "../data", 5, None):
        record.write_text(json.dumps({**json.loads(record.read_text()), "parent_path": parent}))
        with pytest.raises(HilumError, match="parent_path"):
            Dataset.open(folder)


def test_the_data_folder_is_no_place_for_splits(data, tmp_path):
    with pytest.raises(HilumError, match="give the splits a folder of their own"):
        resplit(data, "mine", Shares(), out=data)
    (folder,) = resplit(data, "mine", Shares(), out=data / "splits")
    assert "parent_path" not in json.loads((folder / "conversion.json").read_text())


def _has_namespaces() -> bool:
    done = (
        subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False)
        if shutil.which("unshare")
        else None
    )
    return done is not None and done.returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not _has_namespaces(), reason="needs `unshare -rm`: a namespace of its own, to mount read-only")
def test_on_a_disk_that_is_really_read_only(data, tmp_path):
    """Training, tuning and splitting by the command line, with an empty home that is read-only as well."""
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "tiny.yaml").write_text(json.dumps(RESNET))
    hilum, run, splits = f"{sys.executable} -m hilum", tmp_path / "run", tmp_path / "splits"
    script = f"""
    set -e
    for folder in {data} {home}; do mount --bind $folder $folder; mount -o remount,ro,bind $folder; done
    ! touch {data}/file
    {hilum} train {tmp_path}/tiny.yaml {data} {run}
    {hilum} tune {run} {data}
    ! {hilum} split {data} mine
    {hilum} split {data} mine --out {splits}
    {hilum} split {data} mine --out {splits} --check
    {hilum} train {tmp_path}/tiny.yaml {splits}/mine {run}2
    """
    environment = {**os.environ, "HOME": str(home), "MPLCONFIGDIR": str(tmp_path / "matplotlib")}
    done = subprocess.run(
        ["unshare", "-rm", "bash", "-c", script], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"hilum: {data}/splits: Read-only file system; --out FOLDER writes splits elsewhere" in done.stderr
    assert f"{data}: cannot be written (read-only)" in done.stderr
