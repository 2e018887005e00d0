"""The benchmark: its files, its figures, and that runs are reused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from hilum.config import ExperimentConfig, check_config
from hilum.datasets.folder import Dataset
from hilum.errors import HilumError
from hilum.eval.benchmark import AVERAGE, NOTHING, Entry, benchmark, predict_split
from hilum.eval.measures import measure
from hilum.eval.pictures import NOT_A_DEVICE
from hilum.predict import load


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def configs(**changes: Any) -> dict[str, ExperimentConfig]:
    common = {"image_size": 32, "train": {"epochs": 1, "batch_size": 4}, "boxes": {"threshold": 0.3}} | changes
    return {
        "small resnet": check_config(
            {"backend": "resnet", "model": {"channels": 4, "blocks": 1, "depth": 2}} | common, "a.yaml"
        ),
        "small unet": check_config({"backend": "unet", "model": {"start_channels": 2, "depth": 2}} | common, "b.yaml"),
    }


@pytest.fixture(scope="module")
def done(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Entry]]:
    out = tmp_path_factory.mktemp("benchmark")
    return out, benchmark(Dataset.open(dataset), configs(), out, tell=lambda line: None)


def test_its_files(done: tuple[Path, list[Entry]]) -> None:
    out, entries = done
    table = (out / "table.md").read_text()
    assert NOT_A_DEVICE in table
    for name in (NOTHING, AVERAGE, "small resnet", "small unet"):
        assert f"| {name} |" in table
    assert [entry.name for entry in entries] == [NOTHING, AVERAGE, "small resnet", "small unet"]
    assert len((out / "table.csv").read_text().splitlines()) == 5
    assert (out / "comparison.png").read_bytes()[:4] == b"\x89PNG"


def test_its_figures_are_those_computed_directly(done: tuple[Path, list[Entry]], dataset: Path) -> None:
    out, _ = done
    data = Dataset.open(dataset)
    holdout = data.split("holdout")
    results = json.loads((out / "results.json").read_text())
    assert results["images"] == len(holdout)
    assert results["data_fingerprint"] == data.fingerprint
    by_name = {entry["name"]: entry for entry in results["entries"]}
    assert by_name[NOTHING]["score"]["estimate"] == 0
    for name in configs():
        predictor = load(out / "runs" / name)
        expected = json.loads(json.dumps(measure(holdout, predict_split(predictor, holdout)).to_json()))
        for key, value in expected.items():
            assert by_name[name][key] == pytest.approx(value, nan_ok=True), (name, key)
        assert by_name[name]["least_confidence"] == predictor.confidence
        assert by_name[name]["latency_ms"] > 0
        difference = by_name[name]["above_nothing"]["estimate"]
        assert difference == pytest.approx(by_name[name]["score"]["estimate"])


def test_again_it_reuses_its_runs(done: tuple[Path, list[Entry]], dataset: Path) -> None:
    out, first = done
    logs = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*")}
    told: list[str] = []
    second = benchmark(Dataset.open(dataset), configs(), out, tell=told.append)
    assert {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*")} == logs
    assert sum("reuses" in line for line in told) == 2
    assert [entry.measures.score for entry in second] == [entry.measures.score for entry in first]


def test_a_run_of_another_config_is_refused(done: tuple[Path, list[Entry]], dataset: Path) -> None:
    with pytest.raises(HilumError, match="another config"):
        benchmark(Dataset.open(dataset), configs(seed=9), done[0], tell=lambda line: None)
