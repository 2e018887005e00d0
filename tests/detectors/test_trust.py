"""What ultralytics' files and ultralytics itself must not do: run a stranger's code, call home, install packages."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from commandline import complaint

# Not `importorskip`, which would import ultralytics before hilum has told it to keep to itself.
if importlib.util.find_spec("ultralytics") is None:
    pytest.skip("the extra `yolo` is not installed", allow_module_level=True)

import hilum
from hilum.config import ExperimentConfig, dump_config, load_config
from hilum.datasets.folder import Dataset
from hilum.detectors.competition_trainer import CompetitionTrainer
from hilum.detectors.private_ultralytics import nothing_leaves, tasks, ultralytics
from hilum.detectors.yolo import YOLODetector
from hilum.detectors.yolo_network import read_checkpoint
from hilum.errors import HilumError
from hilum.training.checkpoint import nothing_allowed

TINY = ["image_size=64", "train.epochs=1", "model_yaml={scales: {n: [0.33, 0.03125, 256]}}", "ultralytics.mosaic=0"]


def new_run(folder: Path, config: ExperimentConfig) -> Path:
    """A run folder as `hilum train` prepares it."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(dump_config(config))
    return folder


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
    assert line.startswith("hilum: model: yolo26n.pt cannot be read as data (")
    assert "and is a pickle, which can run code when it is unpickled; say --trust if you trust where it comes" in line
    assert not ran.exists()
    assert not (tmp_path / "run").exists()


def test_the_same_file_would_have_run_code(checkpoint: Path, ran: Path) -> None:
    config = load_config("yolo26n", [f"model={checkpoint}"], trust=True)
    with pytest.raises(HilumError, match="not a checkpoint of ultralytics"):
        read_checkpoint(Path(config.model), trust=config.trust)
    assert ran.is_dir()


def test_an_official_checkpoint_is_read_as_data_to_the_same_tensors(tmp_path: Path) -> None:
    """In the form in which ultralytics stores its own: a whole network in half precision, three colours, 80 classes."""
    for model in ("yolo26n.yaml", "yolov10n.yaml"):
        source = tasks.DetectionModel(tasks.yaml_model_load(model), ch=3, nc=80, verbose=False).half()
        file = tmp_path / f"{model}.pt"
        torch.save({"epoch": -1, "model": source, "train_args": {"data": Path("coco.yaml")}, "date": "x"}, file)
        (one, expected), (other, found) = (read_checkpoint(file, trust=trust) for trust in (True, False))
        assert one == other
        assert expected.keys() == found.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
        assert len(found) > 0.8 * len(source.state_dict())


class Downloads:
    """Unpickled, even as ultralytics restricts it, it fetches weights from torchvision's server."""

    def __reduce__(self):
        return ultralytics.nn.modules.TorchVision, ("resnet18", "DEFAULT", True, 2, False)


class TakesMemory:
    def __reduce__(self):
        return torch.nn.Linear, (20_000, 20_000)


@pytest.mark.parametrize("hostile", [Downloads, TakesMemory])
def test_no_layer_of_a_checkpoint_is_called(hostile: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(ultralytics.nn.modules.TorchVision, "__init__", lambda *args: called.append(args))
    monkeypatch.setattr(torch.nn.Linear, "__init__", lambda *args: called.append(args))
    torch.save({"model": hostile(), "train_args": {}}, tmp_path / "evil.pt")
    with pytest.raises(HilumError, match=r"cannot be read as data \(holds no network with its architecture\)"):
        read_checkpoint(tmp_path / "evil.pt", trust=False)
    assert called == []
    with suppress(Exception), nothing_allowed():  # it allows its layers for good
        tasks.torch_safe_load(tmp_path / "evil.pt", safe_only=True)
    assert called  # else the test above would prove nothing


def test_what_others_allowed_torch_to_call_is_not_called_either_and_stays_allowed(tmp_path: Path) -> None:
    torch.save({"model": torch.nn.Linear(1, 1)}, tmp_path / "a.pt")
    with torch.serialization.safe_globals([torch.nn.Linear]):
        with pytest.raises(HilumError, match="holds no network with its architecture"):
            read_checkpoint(tmp_path / "a.pt", trust=False)
        assert torch.nn.Linear in torch.serialization.get_safe_globals()


def test_tensors_that_would_be_huge_are_left_out(tmp_path: Path) -> None:
    """A tensor of stride 0 has any shape in a file of a few bytes."""
    source = tasks.DetectionModel(tasks.yaml_model_load("yolo26n.yaml"), ch=3, nc=80, verbose=False)
    huge = torch.zeros(1).expand(1 << 20, 3, 1 << 10, 1 << 10)
    source.model[0].conv.weight = torch.nn.Parameter(huge, requires_grad=False)
    torch.save({"model": source}, tmp_path / "huge.pt")
    assert (tmp_path / "huge.pt").stat().st_size < 1 << 25
    _, tensors = read_checkpoint(tmp_path / "huge.pt", trust=False)
    assert "model.0.conv.weight" not in tensors
    assert len(tensors) > 100


def test_trust_is_nothing_to_a_backend_that_reads_no_pickle() -> None:
    assert load_config("unet", trust=True) == load_config("unet")


@pytest.mark.parametrize("config", ["yolo26n", "sample/winners"])
def test_trust_is_said_on_the_command_line_alone(config: str) -> None:
    key = "model" if config == "yolo26n" else "members.yolo.config.model"
    trusting = key.removesuffix("model") + "trust=true"
    with pytest.raises(HilumError, match="say --trust"):
        load_config(config, [f"{key}=x.pt", trusting])
    load_config(config, [f"{key}=x.pt"], trust=True)


@pytest.fixture
def hostile(dataset: Path, ran: Path, tmp_path: Path) -> Path:
    """A dataset folder in which all that stock ultralytics acts on runs code, downloads or leads elsewhere."""
    folder = tmp_path / "hostile"
    shutil.copytree(dataset, folder)
    code = f"import os; os.mkdir({str(ran)!r})"
    (folder / "data.yaml").write_text(
        f"path: .\ntrain: train.txt\nval: missing.txt\nchannels: 1\nnames: {{0: opacity}}\ndownload: {code!r}\n"
    )
    for name in ("train", "val"):
        (folder / f"{name}.txt").write_text("/etc/passwd.png\n../../elsewhere/a.png\nhttps://example.org/a.png\n")
    for picture in (folder / "images").iterdir():
        with picture.with_suffix(".npy").open("wb") as file:
            np.save(file, np.array([Evil(ran)], dtype=object), allow_pickle=True)
        (folder / "labels" / f"{picture.stem}.txt").write_text("7 nan nan 9 9\n")
    with (folder / "labels.cache").open("wb") as file:
        np.save(file, np.array({"version": Evil(ran)}, dtype=object), allow_pickle=True)
    return folder


def stock_trainer(data: Path, out: Path) -> CompetitionTrainer:
    return CompetitionTrainer(overrides={"model": "a.yaml", "data": str(data / "data.yaml"), "save_dir": str(out)})


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_dataset_folder_of_a_stranger_runs_no_code_and_is_left_as_it_is(
    hostile: Path, dataset: Path, ran: Path, tmp_path: Path
) -> None:
    before = contents(hostile)
    config = load_config("sample/yolo", TINY)
    YOLODetector.train(config, Dataset.open(hostile), new_run(tmp_path / "run", config))
    assert contents(hostile) == before
    YOLODetector.train(config, Dataset.open(dataset), new_run(tmp_path / "honest", config))
    assert not ran.exists()
    one, other = ((tmp_path / run / "weights.safetensors").read_bytes() for run in ("run", "honest"))
    assert one == other  # it learned from the pictures and their annotations, and from nothing else


def test_stock_ultralytics_would_have_run_it(hostile: Path, ran: Path) -> None:
    """Else the test above would prove nothing."""
    with nothing_leaves(), suppress(Exception):
        ultralytics.data.utils.check_det_dataset(str(hostile / "data.yaml"))
    assert ran.is_dir()
    ran.rmdir()
    with suppress(Exception):
        np.load(hostile / "labels.cache", allow_pickle=True)
    assert ran.is_dir()


def test_stock_training_with_our_metric_refuses_a_data_yaml_that_is_not_ours(hostile: Path, ran: Path) -> None:
    with pytest.raises(HilumError, match=r"data\.yaml: is not as hilum wrote it"):
        stock_trainer(hostile, ran.with_name("out"))
    assert not ran.exists()


def test_the_fault_of_the_hunt_is_refused(shared: Path, dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "data")
    shutil.copy(shared / "faults" / "foreign" / "dataset-download-exec.yaml", tmp_path / "data" / "data.yaml")
    with pytest.raises(HilumError, match=r"data\.yaml: is not as hilum wrote it"):
        stock_trainer(tmp_path / "data", tmp_path / "out")
    assert not list(tmp_path.rglob("PWNED"))


def test_a_dataset_folder_that_cannot_be_written_to_is_trained_on(dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "data")
    before = contents(tmp_path / "data")
    for place, folders, files in os.walk(tmp_path / "data"):
        for name in (*folders, *files, "."):
            path = Path(place, name)
            path.chmod(path.stat().st_mode & ~0o222)
    try:
        config = load_config("sample/yolo", TINY)
        YOLODetector.train(config, Dataset.open(tmp_path / "data"), new_run(tmp_path / "run", config))
        assert contents(tmp_path / "data") == before
    finally:
        for place, _, _ in os.walk(tmp_path / "data"):
            Path(place).chmod(0o755)


def test_a_checkpoint_is_no_run_folder(checkpoint: Path, ran: Path) -> None:
    with pytest.raises(HilumError, match="a file, where a run folder is expected, and a pickle, which can run code"):
        hilum.load(checkpoint)
    assert not ran.exists()


WATCH = """
import json, os, sys

tried = []
PRIVATE = (os.environ["HOME"], os.environ["TMPDIR"])

def watch(event, args):
    if event in {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}:
        tried.append(f"{event} {args[1:] if event in {'socket.connect', 'socket.sendto'} else args}")
        raise OSError("this test has no network")
    if event == "subprocess.Popen" and any(word in str(args[1]) for word in ("pip", "uv ", "'uv'")):
        tried.append(f"{event} {args[1]}")
        raise OSError("this test installs nothing")
    if event in {"os.mkdir", "os.rename", "open"} and str(args[0]).startswith(PRIVATE):
        trial = sys._getframe(1).f_code.co_name == "_get_default_tempdir"  # Python's own: is it writable?
        if event != "open" or (args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and not trial):
            tried.append(f"{event} {args[0]}")

sys.addaudithook(watch)
"""
TRAIN = """
from pathlib import Path
from hilum.config import load_config
from hilum.datasets.folder import Dataset
from hilum.train_run import train

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


def tried_by(code: str, *words: Path, private: Path) -> list[str]:
    """What a new Python process tried to connect to, to install, or to write into HOME or the temporary folder."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("YOLO_", "XDG_", "MPL"))}
    folders = {"HOME": private / "home", "TMPDIR": private / "tmp"}
    for folder in folders.values():
        folder.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", WATCH + code + TELL, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**kept, **{key: str(folder) for key, folder in folders.items()}, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("TRIED "))
    found: list[str] = json.loads(line.removeprefix("TRIED "))
    return found + [str(path) for folder in folders.values() for path in folder.iterdir()]


def test_training_and_prediction_try_no_connection_and_no_installation_and_leave_nothing(
    dataset: Path, tmp_path: Path
) -> None:
    """Not for a moment either, so that nothing is left wherever a training is killed."""
    assert tried_by(TRAIN, dataset, tmp_path / "run", private=tmp_path / "private") == []


def test_stock_ultralytics_does_try(tmp_path: Path) -> None:
    """Else the test above would prove nothing."""
    assert any("socket" in attempt for attempt in tried_by(STOCK, private=tmp_path))
