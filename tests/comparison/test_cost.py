"""What a detector costs: figures against hand counts and a clock that the tests turn."""

import getpass
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules import module as modules

from hilum.comparison import cost
from hilum.comparison.cost import BATCH_SIZE, NetworkClock, count_flops, describe_machine, measure_cost
from hilum.comparison.peak_memory import PeakMemory, peak_memory
from hilum.config import check_config
from hilum.datasets.folder import Dataset
from hilum.errors import HilumError
from hilum.predict import Predictor, load
from hilum.result import no_detections
from hilum.run import parameter_count, write_json
from hilum.train_run import train, training_seconds


class Clock:
    """Stands still unless it is told to go on."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(cost, "time", clock)
    return clock


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Network(nn.Module):
    """One convolution, and a sleep on the clock."""

    def __init__(self, sleep: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1))
        self.sleep = sleep

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.sleep()
        return self.inner(x)


class Sleeper:
    """A backend without an answer, which spends its time as it is told, a picture: in its network, and outside."""

    def __init__(self, clock: Clock, inside: float, outside: float) -> None:
        self.clock, self.outside, self.sizes = clock, outside, []
        self.network = Network(lambda: clock.sleep(inside * self.sizes[-1]))

    def predict_batch(self, images: list[Any]) -> list[Any]:
        self.sizes.append(len(images))
        self.clock.sleep(self.outside * len(images))
        self.network(torch.zeros(1, 1, 8, 8))
        return [no_detections()] * len(images)


class NoNetwork:
    """A backend that runs nothing of torch, and takes one second more with each call."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.calls = clock, 0

    def predict_batch(self, images: list[Any]) -> list[Any]:
        self.calls += 1
        self.clock.sleep(self.calls)
        return [no_detections()] * len(images)


def no_hook_is_left(network: nn.Module) -> bool:
    everywhere = (modules._global_forward_pre_hooks, modules._global_forward_hooks)
    own = [hooks for part in network.modules() for hooks in (part._forward_hooks, part._forward_pre_hooks)]
    return not any(everywhere) and not any(own)


ARRAYS = [np.zeros((8, 8), np.uint8), np.zeros((4, 9), np.uint8)]


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (nn.Conv2d(1, 4, 3, padding=1), (1, 1, 32, 32), 2 * 1 * 4 * 9 * 32 * 32),
        (nn.Conv2d(2, 6, 5, stride=2, padding=2, groups=2), (3, 2, 32, 20), 3 * 2 * 1 * 6 * 25 * 16 * 10),
        (nn.ConvTranspose2d(3, 5, 2, stride=2), (1, 3, 8, 8), 2 * 3 * 5 * 4 * 8 * 8),
        (nn.Linear(7, 11, bias=False), (13, 7), 2 * 7 * 11 * 13),
    ],
)
def test_flops_are_those_counted_by_hand(layer: nn.Module, shape: tuple[int, ...], expected: int) -> None:
    with torch.inference_mode():
        assert count_flops(lambda: layer(torch.zeros(shape))) == expected


def test_flops_without_torch_are_no_figure() -> None:
    assert np.isnan(count_flops(lambda: np.ones((8, 8)) @ np.ones((8, 8))))


def test_the_share_outside_the_network(clock: Clock) -> None:
    backend = Sleeper(clock, inside=0.001, outside=0.003)
    found = cost._latency(backend, ARRAYS, 16, 1.0)
    assert found.outside_network == pytest.approx(0.75)
    assert (found.p50_ms, found.p95_ms) == pytest.approx((4, 4))  # a picture, though a call takes 16 times as long
    assert found.calls == 16  # of 64 ms: the first to end after a second is the last
    assert set(backend.sizes) == {16}
    assert no_hook_is_left(backend.network)


def test_percentiles_and_at_least_five_calls(clock: Clock) -> None:
    found = cost._latency(NoNetwork(clock), ARRAYS, 1, 0.0)
    assert found.calls == 5
    assert (found.p50_ms, found.p95_ms) == pytest.approx((5000, 6800))  # of 3, 4, 5, 6, 7 s, after two to warm up
    assert np.isnan(found.outside_network)


def test_throughput_counts_whole_batches_from_the_call_on(clock: Clock) -> None:
    backend = Sleeper(clock, inside=0.01, outside=0.03)
    found = cost._throughput(Predictor(backend, 0.0), ARRAYS, "arrays", 0.0)
    assert (found.images, found.source) == (5 * BATCH_SIZE, "arrays")
    assert found.images_per_second == pytest.approx(25)
    assert set(backend.sizes) == {BATCH_SIZE}
    longer = cost._throughput(Predictor(backend, 0.0), ARRAYS, "arrays", 30.0)
    assert longer.images % BATCH_SIZE == 0
    assert longer.images / 25 == pytest.approx(30, abs=3 * BATCH_SIZE / 25)  # those in flight are still done


def test_throughput_ends_with_a_whole_batch(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Sleeper(clock, inside=0, outside=0)

    def tick() -> float:
        clock.sleep(1)
        return clock.now

    monkeypatch.setattr(clock, "perf_counter", tick)
    cost._throughput(Predictor(backend, 0.0), ARRAYS, "arrays", 100.0)
    assert set(backend.sizes) == {BATCH_SIZE}


def test_a_network_within_another_counts_once(clock: Clock) -> None:
    inner = Network(lambda: clock.sleep(1))
    outer = nn.Sequential(inner, Network(lambda: clock.sleep(10)))
    outer[1].inner[0] = nn.Conv2d(4, 1, 1)
    x = torch.zeros(1, 1, 8, 8)
    with NetworkClock() as network_clock:
        inner(x)
        clock.sleep(100)
        outer(x)
        clock.sleep(100)
        inner(x)
    assert (network_clock.seconds, network_clock.calls) == (1 + 11 + 1, 3)


def test_the_network_runs_without_hooks_of_ours() -> None:
    seen = []
    network = Network(lambda: seen.append(dict(modules._global_forward_pre_hooks)))
    with NetworkClock():
        network(torch.zeros(1, 1, 8, 8))
        assert modules._global_forward_pre_hooks  # armed again
    assert seen == [{}]


def test_a_failing_network_leaves_no_hook_and_is_counted(clock: Clock) -> None:
    def fail() -> None:
        clock.sleep(2)
        raise RuntimeError("no")

    network, sound = Network(fail), Network(lambda: clock.sleep(1))
    with NetworkClock() as network_clock:
        with pytest.raises(RuntimeError, match="no"):
            network(torch.zeros(1, 1, 8, 8))
        sound(torch.zeros(1, 1, 8, 8))
    assert (network_clock.seconds, network_clock.calls) == (3, 2)
    with pytest.raises(RuntimeError, match="no"), NetworkClock():
        network(torch.zeros(1, 1, 8, 8))

    def interrupt() -> None:
        raise KeyboardInterrupt

    interrupted = Network(interrupt)
    with pytest.raises(KeyboardInterrupt), NetworkClock():
        interrupted(torch.zeros(1, 1, 8, 8))
    assert no_hook_is_left(nn.ModuleList([network, sound, interrupted]))


def test_of_ultralytics_network() -> None:
    from hilum.detectors.yolo import YOLODetector
    from hilum.detectors.yolo_config import YOLOConfig
    from hilum.detectors.yolo_network import build_network, read_architecture

    values = {"backend": "yolo", "image_size": 64, "train": {"epochs": 1, "batch_size": 1}}
    config = check_config(values, "yolo")
    assert isinstance(config, YOLOConfig)
    tiny = {"scales": {"n": [0.33, 0.0625, 256]}}
    network = build_network(read_architecture("yolo26n.yaml", tiny))
    backend = YOLODetector(network, config)
    found = cost._latency(backend, ARRAYS, 2, 0.0)
    assert 0 < found.outside_network < 1
    assert 0 < found.p50_ms <= found.p95_ms
    assert no_hook_is_left(network)
    alone = count_flops(lambda: backend.predict_batch(ARRAYS[:1]))
    assert count_flops(lambda: backend.predict_batch(ARRAYS)) == 2 * alone > 0


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("cost") / "run"
    values = {
        "backend": "resnet",
        "image_size": 32,
        "model": {"channels": 4, "blocks": 1, "depth": 2},
        "train": {"epochs": 1, "batch_size": 4},
    }
    train(check_config(values, "cost"), Dataset.open(dataset), run)
    return run


def test_of_a_trained_run(run: Path, dataset: Path, sample_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def remember(*arguments: Any) -> PeakMemory:
        asked.append(arguments)
        return PeakMemory(5, float("nan"))

    monkeypatch.setattr(cost, "peak_memory", remember)
    pictures = Dataset.open(dataset).split("train").paths
    dicoms = [sample_folder / "stage_2_train_images" / f"{path.stem}.dcm" for path in pictures[:3]]
    predictor = load(run)
    network = predictor.backend._network
    found = measure_cost(predictor, run, pictures, dicoms, seconds=0.0)
    assert found.parameters == parameter_count(run)
    assert found.weights_bytes == len((run / "weights.safetensors").read_bytes())
    assert found.training_seconds == training_seconds(run) > 0
    assert (found.from_arrays.source, found.from_files.source) == ("arrays", "DICOM")
    for latency in (found.latency_alone, found.latency_batched):
        assert 0 < latency.p50_ms <= latency.p95_ms
        assert 0 < latency.outside_network < 1
        assert latency.calls == 5
    assert asked == [(run, dicoms * BATCH_SIZE)]  # three batches
    assert no_hook_is_left(network)

    theirs = measure_cost(predictor, run, pictures, [pictures[0], *dicoms], seconds=0.0)
    assert (theirs.from_files.source, asked[-1][1]) == ("DICOM", dicoms * BATCH_SIZE)
    assert measure_cost(predictor, run, pictures, pictures[:2], seconds=0.0).from_files.source == "pictures"

    convolutions: list[int] = []

    def count(layer: Any, inputs: Any, output: Any) -> None:
        one_place = layer.weight.numel()  # multiplications for a place of the output; of the input, transposed
        places = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        convolutions.append(2 * one_place * places.shape[2] * places.shape[3])

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(count)
    predictor.backend.predict_batch(ARRAYS[:1])
    assert found.flops == sum(convolutions) > 0

    write_json(run.parent / "cost.json", asdict(found))
    stored = json.loads((run.parent / "cost.json").read_text())
    assert stored["from_files"]["source"] == "DICOM"
    assert stored["peak_memory"] == {"resident_bytes": 5, "gpu_bytes": None}
    assert stored["batch_size"] == BATCH_SIZE

    without = measure_cost(predictor, run, pictures[:2], seconds=0.0)
    assert without.from_files.source == "dataset pictures"
    assert asked[-1] == (run, list(pictures[:2]) * 24)


def test_bad_pictures_are_a_line_each(run: Path, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    cv2.imwrite(str(good), np.zeros((8, 8), np.uint8))
    bad.write_bytes(b"\x89PNG\r\n\x1a\n")
    predictor = load(run)
    with pytest.raises(HilumError, match=r"^.*bad.png: cannot be decoded.*\n.*none.png: cannot be read.*$"):
        measure_cost(predictor, run, [good, bad, tmp_path / "none.png"])
    with pytest.raises(HilumError, match=r"bad.png: cannot be decoded"):
        measure_cost(predictor, run, [good], [bad])
    with pytest.raises(HilumError, match="no picture"):
        measure_cost(predictor, run, [])


def test_peak_memory_of_a_process_that_predicts(run: Path, dataset: Path) -> None:
    small = peak_memory(run, Dataset.open(dataset).split("train").paths[:2])
    assert 50 * 2**20 < small.resident_bytes < 8 * 2**30  # torch alone takes more than the first
    assert np.isnan(small.gpu_bytes) == (not torch.cuda.is_available())


def test_peak_memory_is_not_that_of_the_parent() -> None:
    program = "from hilum.system import peak_resident_bytes as peak; print(peak())"
    grow = "a = bytearray(b'x' * 200_000_000); del a; "

    def peak(code: str) -> int:
        return int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)

    before = peak(program)
    ballast = np.ones(50_000_000)
    assert abs(peak(program) - before) < 20_000_000
    assert ballast.nbytes == 400_000_000
    assert 180_000_000 < peak(grow + program) - before < 450_000_000


def test_a_failed_memory_process_is_one_clear_line(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HilumError, match=r"peak memory failed \(exit status 1\): .*: no such run folder") as caught:
        peak_memory(tmp_path / "none", [])
    assert "\n" not in str(caught.value)
    for script, message in {
        "kill -9 $$": "was killed, most likely for want of memory",
        "kill -11 $$": r"failed \(exit status -11\): it said nothing",
        "echo hello; echo; echo '  not this way ' >&2": r"failed \(exit status 0\): not this way$",
        "echo '{}'": r"failed \(exit status 0\)",
    }.items():
        program = tmp_path / "python"
        program.write_text(f"#!/bin/sh\ncat > /dev/null\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr("hilum.comparison.peak_memory.sys", SimpleNamespace(executable=str(program)))
        with pytest.raises(HilumError, match=message):
            peak_memory(run, [])


def test_the_machine_is_described_and_not_named() -> None:
    machine = describe_machine()
    assert machine["torch"] == torch.__version__
    assert machine["torch_threads"] == 1
    assert machine["cpu"]
    assert machine["cpu_cores"] >= 1
    assert machine["memory_gib"] > 0.5
    assert len(machine["gpus"]) == torch.cuda.device_count()
    told = json.dumps(machine)
    for name in (platform.node(), getpass.getuser(), str(Path.home()), str(Path.cwd())):
        assert name not in told.split()
        assert f'"{name}"' not in told


def test_pictures_come_in_turn(clock: Clock) -> None:
    seen: list[int] = []

    class Order(NoNetwork):
        def predict_batch(self, images: list[Any]) -> list[Any]:
            seen.extend(id(image) for image in images)
            return super().predict_batch(images)

    cost._latency(Order(clock), ARRAYS, 3, 0.0)
    assert len(seen) == 7 * 3
    assert all(one != other for one, other in pairwise(seen))
