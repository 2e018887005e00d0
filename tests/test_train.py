"""The run folder is prepared without harm to what lies there."""

import fcntl
import os
from pathlib import Path

import pytest

from hilum.config import load_config
from hilum.datasets.folder import Dataset
from hilum.errors import HilumError
from hilum.train import train


def test_a_config_of_the_users_own_is_not_written_over(dataset: Path, tmp_path: Path) -> None:
    mine = tmp_path / "config.yaml"
    mine.write_text("# mine\nbase: sample/unet\n")
    with pytest.raises(HilumError, match="give a new folder"):
        train(load_config(str(mine)), Dataset.open(dataset), tmp_path)
    assert mine.read_text() == "# mine\nbase: sample/unet\n"
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_a_second_training_in_the_same_folder_is_refused(dataset: Path, tmp_path: Path) -> None:
    first = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(first, fcntl.LOCK_EX)
    try:
        with pytest.raises(HilumError, match="another training is writing there"):
            train(load_config("sample/unet"), Dataset.open(dataset), tmp_path)
    finally:
        os.close(first)
    assert not list(tmp_path.iterdir())
