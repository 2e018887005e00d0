"""Speed of exported networks on a CPU: ONNX Runtime and OpenVINO beside PyTorch, from arrays to boxes.

    python speed/export.py                       # yolo26n at 640, the report's unet and resnet
    python speed/export.py yolo26n --rounds 20

The runs have random weights, which cost the network the same time. All three get the same drawn pictures of 1024 x 1024
through `predict_batch`, letterbox and boxes included; the network's share is timed inside. The same number of threads,
in turn, each after a pause, after a warm-up; the medians count. `hilum export` has compared the outputs before.
"""

import argparse
import os
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from hilum.backend import Backend
from hilum.config import dump_config, load_config
from hilum.export import export
from hilum.predict import load
from hilum.run import Format, write_json
from hilum.training.checkpoint import save_weights

KINDS: tuple[Format, ...] = ("onnx", "openvino")
# Threads of a runtime wait busily for some time after a call, and would take that of the next one's.
PAUSE = 0.1
NAMES = {"pytorch": "PyTorch", "onnx": "ONNX Runtime", "openvino": "OpenVINO"}


def main() -> None:
    """Write the runs, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="*", default=["yolo26n", "unet", "resnet"])
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "onnxruntime", "openvino"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {versions}")
    print(
        "| config | images a batch | runtime | ms an image [least, most] | PyTorch's / this "
        "| network alone, ms [least, most] | PyTorch's / this |"
    )
    print("| --- | ---: | --- | ---: | ---: | ---: | ---: |")
    for config in options.configs:
        with tempfile.TemporaryDirectory() as work:
            measure(config, Path(work), options.batches, options.rounds)


def untrained(name: str, run: Path) -> None:
    """A whole run of a config, with random weights."""
    config = load_config(name)
    run.mkdir()
    torch.manual_seed(0)
    if config.backend == "yolo":
        from hilum.detectors.yolo_network import build_network, read_architecture
        from hilum.run import MODEL

        architecture = read_architecture(config.model, config.model_yaml)
        (run / MODEL).write_text(yaml.safe_dump(architecture))
        network = build_network(architecture)
        for branch in network.get_submodule("model")[-1].cv3:  # trained, a detector finds nothing in most places
            branch[-1].bias.data -= 2.0
    else:
        network = config.network()
    save_weights(network, run)
    (run / "config.yaml").write_text(dump_config(config))
    write_json(run / "environment.json", {})
    write_json(run / "operating_point.json", {"confidence": 0.5})


def measure(name: str, work: Path, batches: list[int], rounds: int) -> None:
    """Print a row for each runtime and size of a batch."""
    untrained(name, work / "pytorch")
    for kind in KINDS:
        export(work / "pytorch", kind, work / kind)
    backends = {kind: load(work / kind).backend for kind in NAMES}
    clocks = {kind: Clock(backend) for kind, backend in backends.items()}
    for batch in batches:
        pictures = drawn(batch)
        whole: dict[str, list[float]] = {kind: [] for kind in NAMES}
        inside: dict[str, list[float]] = {kind: [] for kind in NAMES}
        for number in range(rounds + 1):
            for kind, backend in backends.items():
                clocks[kind].seconds = 0.0
                time.sleep(PAUSE)
                start = time.perf_counter()
                backend.predict_batch(pictures)
                if number:  # the first one warms up
                    whole[kind].append(time.perf_counter() - start)
                    inside[kind].append(clocks[kind].seconds)
        for kind, label in NAMES.items():
            cells = []
            for seconds in (whole, inside):
                ms = [1000 * one / batch for one in seconds[kind]]
                ratio = median(seconds["pytorch"]) / median(seconds[kind])
                cells.append(f"{median(ms):.1f} [{min(ms):.1f}, {max(ms):.1f}] | {ratio:.2f}")
            print(f"| {name} | {batch} | {label} | {' | '.join(cells)} |", flush=True)


class Clock:
    """Seconds that a backend's network takes, the outermost module that it calls."""

    def __init__(self, backend: Backend) -> None:
        self.seconds = self._begun = 0.0
        called: list[nn.Module] = []
        hook = register_module_forward_pre_hook(lambda module, _: called.append(module))
        backend.predict_batch(drawn(1))
        hook.remove()
        called[0].register_forward_pre_hook(self._start)
        called[0].register_forward_hook(self._stop)

    def _start(self, *_: Any) -> None:
        self._begun = time.perf_counter()

    def _stop(self, *_: Any) -> None:
        self.seconds += time.perf_counter() - self._begun


def drawn(count: int) -> list[NDArray[np.uint8]]:
    """Smooth pictures with some grain."""
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(count):
        smooth = cv2.resize(rng.integers(0, 256, (16, 16), np.uint8), (1024, 1024), interpolation=cv2.INTER_CUBIC)
        pictures.append(cv2.add(smooth, rng.integers(0, 16, smooth.shape, np.uint8)))
    return pictures


if __name__ == "__main__":
    main()
