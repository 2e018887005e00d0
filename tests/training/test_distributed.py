"""Several processes that share each batch learn what one learns from it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from hilum.datasets.folder import Dataset
from hilum.training.distributed import all_sum, broadcast, is_rank_zero, rank_zero_first, shard, world_size
from hilum.training.log import read_log


def _started(*command: str | Path) -> None:
    quiet = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([*command], capture_output=True, text=True, env=os.environ | quiet, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _assert_same(runs: list[Path], *, rel: float) -> None:
    one, *others = runs
    for other in others:
        logs = [read_log(run) for run in (one, other)]
        assert [len(log) for log in logs] == [3, 3]
        for key in ("train_loss", "val_score"):
            assert [line[key] for line in logs[1]] == pytest.approx([line[key] for line in logs[0]], rel=rel)
        weights = [load_file(run / "weights.safetensors") for run in (one, other)]
        for name, tensor in weights[0].items():
            torch.testing.assert_close(weights[1][name], tensor, rtol=rel, atol=rel)


@pytest.mark.parametrize(
    ("losses", "counts"),
    [
        (("iou_bce",), (1, 2)),
        pytest.param(("iou_bce", "iou", "bce", "tversky", "dice_bce", "focal"), (1, 2, 3), marks=pytest.mark.slow),
    ],
)
def test_several_processes_learn_as_one(tmp_path: Path, losses: tuple[str, ...], counts: tuple[int, ...]) -> None:
    names = [f"{loss}-{count}" for loss in losses for count in counts]
    _started(sys.executable, Path(__file__).with_name("sharing.py"), tmp_path, *names)
    for loss in losses:
        runs = [tmp_path / f"{loss}-{count}" for count in counts]
        _assert_same(runs, rel=1e-4)
        assert read_log(runs[0])[0]["train_loss"] != read_log(runs[0])[2]["train_loss"]


@pytest.mark.slow
def test_torchrun_trains_as_one_process(dataset: Path, tmp_path: Path) -> None:
    batch = 5
    config = {
        "backend": "unet",
        "image_size": 32,
        "model": {"start_channels": 2, "depth": 2, "dropout": 0.0},
        "train": {"epochs": 3, "batch_size": batch, "learning_rate": 0.001, "freeze_batchnorm": True},
        "boxes": {"threshold": 0.3},
    }
    assert 2 <= len(Dataset.open(dataset).split("train")) % batch < 4, "no batch that is too small to share"
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    arguments = ("-m", "hilum", "train", tmp_path / "tiny.yaml", dataset)
    _started(sys.executable, *arguments, tmp_path / "one")
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    _started(sys.executable, *torchrun, *arguments, tmp_path / "two")
    _assert_same([tmp_path / "one", tmp_path / "two"], rel=1e-3)
    assert {path.name for path in (tmp_path / "one").iterdir()} == {path.name for path in (tmp_path / "two").iterdir()}


@pytest.mark.slow
def test_torchrun_is_refused_by_a_backend_that_cannot_share(dataset: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("-m", "hilum", "train", "sample/yolo", dataset, tmp_path / "run"),
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        check=False,
    )
    assert done.returncode != 0
    assert "backend 'yolo': does not train under torchrun; start it without" in done.stderr
    assert not (tmp_path / "run").exists()


def test_alone_nothing_is_shared() -> None:
    numbers = np.arange(3)
    share, count = shard(numbers)
    assert share.tolist() == [0, 1, 2]
    assert count == 3
    value = torch.tensor([1.0, 2.0])
    assert all_sum(value) is value
    assert (world_size(), is_rank_zero(), broadcast("x")) == (1, True, "x")
    with rank_zero_first():
        pass


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
@pytest.mark.parametrize("images", [1, 2, 3, 7, 16, 33])
def test_shares_cover_a_batch_once_and_count_for_all_of_it(
    monkeypatch: pytest.MonkeyPatch, processes: int, images: int
) -> None:
    monkeypatch.setattr("hilum.training.distributed.world_size", lambda: processes)
    parts = []
    for number in range(processes):
        monkeypatch.setattr("hilum.training.distributed.rank", lambda number=number: number)
        parts.append(shard(np.arange(images)))
    assert sum(count for _, count in parts) == pytest.approx(images)
    seen = [part.tolist() for part, _ in parts]
    if images < 2 * processes:
        assert seen == [list(range(images))] * processes
    else:
        assert [number for part in seen for number in part] == list(range(images))
        assert min(map(len, seen)) >= 2
