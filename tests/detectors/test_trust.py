"""What ultralytics' files and ultralytics itself must not do: run a stranger's code, call home, install packages."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from commandline import complaint

# Not `importorskip`, which would import ultralytics before hilum has told it to keep to itself.
if importlib.util.find_spec("ultralytics") is None:
    pytest.skip("the extra `yolo` is not installed", allow_module_level=True)

import hilum
from hilum.config import load_config
from hilum.detectors.competition_trainer import LetterboxDataset
from hilum.detectors.yolo_network import read_checkpoint
from hilum.errors import HilumError


class Evil:
    """Unpickled, it makes a folder."""

    def __init__(self, ran: Path) -> None:
        self.ran = ran

    def __reduce__(self):
        return os.mkdir, (str(self.ran),)


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    return tmp_path / "ran"


@pytest.fixture
def checkpoint(tmp_path: Path, ran: Path) -> Path:
    """A .pt file with the name of an official one, that runs code when it is read."""
    torch.save({"model": Evil(ran), "train_args": {}}, tmp_path / "yolo26n.pt")
    return tmp_path / "yolo26n.pt"


def test_a_checkpoint_is_refused_in_one_line_and_does_not_run(
    checkpoint: Path, ran: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = complaint("train", "yolo26n", dataset, tmp_path / "run", "model=yolo26n.pt")
    assert "model: yolo26n.pt is a pickle, which can run code when it is read; say --trust" in line
    assert not ran.exists()
    assert not (tmp_path / "run").exists()


def test_the_same_file_would_have_run_code(checkpoint: Path, ran: Path) -> None:
    config = load_config("yolo26n", [f"model={checkpoint}"], trust=True)
    with pytest.raises(HilumError, match="not a checkpoint of ultralytics"):
        read_checkpoint(Path(config.model))
    assert ran.is_dir()


def test_trust_is_nothing_to_a_backend_that_reads_no_pickle() -> None:
    assert load_config("unet", trust=True) == load_config("unet")


@pytest.mark.parametrize("config", ["yolo26n", "sample/winners"])
def test_trust_is_said_on_the_command_line_alone(config: str) -> None:
    key = "model" if config == "yolo26n" else "members.yolo.config.model"
    trusting = key.removesuffix("model") + "trust=true"
    for overrides in ([f"{key}=x.pt"], [f"{key}=x.pt", trusting]):
        with pytest.raises(HilumError, match="say --trust"):
            load_config(config, overrides)
    load_config(config, [f"{key}=x.pt"], trust=True)


def test_labels_cache_is_written_but_never_read(dataset: Path, ran: Path) -> None:
    """ultralytics keeps labels in a pickle beside them, and a dataset folder can come from anybody."""
    cache = dataset / "labels.cache"
    with cache.open("wb") as file:
        np.save(file, np.array({"version": Evil(ran)}, dtype=object), allow_pickle=True)
    pictures = LetterboxDataset(
        img_path=str(dataset / "train.txt"),
        data={"names": {0: "opacity"}, "channels": 1, "nc": 1},
        imgsz=64,
        augment=False,
    )
    assert len(pictures) > 0
    assert not ran.exists()


def test_a_checkpoint_is_no_run_folder(checkpoint: Path, ran: Path) -> None:
    with pytest.raises(HilumError, match="a file, where a run folder is expected, and a pickle, which can run code"):
        hilum.load(checkpoint)
    assert not ran.exists()


WATCH = """
import json, sys

tried = []

def watch(event, args):
    if event in {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}:
        tried.append(f"{event} {args[1:] if event in {'socket.connect', 'socket.sendto'} else args}")
        raise OSError("this test has no network")
    if event == "subprocess.Popen" and any(word in str(args[1]) for word in ("pip", "uv ", "'uv'")):
        tried.append(f"{event} {args[1]}")
        raise OSError("this test installs nothing")

sys.addaudithook(watch)
"""
TRAIN = """
from pathlib import Path
from hilum.config import load_config
from hilum.detectors.competition_trainer import LetterboxDataset
from hilum.datasets.folder import Dataset
from hilum.train import train

data, run = Dataset.open(Path(sys.argv[1])), Path(sys.argv[2])
small = ["image_size=64", "train.epochs=1", "model_yaml={scales: {n: [0.33, 0.03125, 256]}}", "ultralytics.plots=true"]
predictor = train(load_config("sample/yolo", small), data, run)
assert all(result.error is None for result in predictor.predict(data.split("val").paths))
"""
STOCK = """
import ultralytics.utils
"""
TELL = """
import threading, time

for thread in threading.enumerate():  # telemetry is sent by threads
    if thread is not threading.main_thread():
        thread.join(10)
print("TRIED", json.dumps(tried))
"""


def tried_by(code: str, *words: Path, settings: Path) -> list[str]:
    """What a new Python process tried to connect to or to install, with no settings of ultralytics."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("YOLO_")}
    done = subprocess.run(
        [sys.executable, "-c", WATCH + code + TELL, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**kept, "HOME": str(settings), "XDG_CONFIG_HOME": str(settings), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("TRIED "))
    found: list[str] = json.loads(line.removeprefix("TRIED "))
    return found


def test_training_and_prediction_try_no_connection_and_no_installation(dataset: Path, tmp_path: Path) -> None:
    assert tried_by(TRAIN, dataset, tmp_path / "run", settings=tmp_path) == []


def test_stock_ultralytics_does_try(tmp_path: Path) -> None:
    """Else the test above would prove nothing."""
    assert any("socket" in attempt for attempt in tried_by(STOCK, settings=tmp_path))
