"""Time training: one step against the same network in Keras, and the whole loop against the bare step.

    python speed/train.py                                # ResNet at 320 px, UNet at 256; wants hilum[keras]
    python speed/train.py --variants bfloat16 compiled   # what else a step can be
    python speed/train.py --loop                         # the loop: loading, flips, masks, checkpoints
    python speed/train.py --device cuda --batch 64 --variants compiled     # a GPU: images a second, share of peak
    python speed/train.py --device cuda --batch 64 --loop --images 24124   # the report's epoch, as it is

A step is forward, the report's loss, backward and Adam, in float32 with the same threads on a CPU. Every contestant is
a process of its own that steps when it is told, in turns, while the others wait. Keras is the network's twin of
tests/segmenters/keras_twin.py on tensorflow-cpu (dropout 0 in both), through `train_on_batch`. The loop trains on
generated pictures, with a validation that costs nothing; its epochs after the first count, their checkpoints included.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ATTEMPTS = {"resnet_try_1": 320, "unet_try_1": 256}
EPOCH_IMAGES, EPOCH_SECONDS = 24_124, 2348  # of the report, on Colab's GPU
PEAK_TFLOPS = {"H100": 989, "H200": 989, "A100": 312, "L4": 121}  # dense bfloat16, from the makers' data sheets
TWIN = Path(__file__).parents[1] / "tests" / "segmenters" / "keras_twin.py"


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--attempts", nargs="+", default=list(ATTEMPTS), choices=ATTEMPTS)
    parser.add_argument("--size", type=int, help="pixels, another than the attempt's: a trial")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--variants", nargs="*", default=[], choices=["bfloat16", "compiled", "compiled-bfloat16"])
    parser.add_argument("--loop", action="store_true", help="the loop instead of the step")
    parser.add_argument("--images", type=int, default=64, help="of the loop's epoch")
    parser.add_argument("--epochs", type=int, default=4, help="of the loop")
    parser.add_argument("--contestant", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        serve(*options.contestant, options)
        return
    print(f"{datetime.now(UTC):%Y-%m-%d}, {_machine(options)}")
    for attempt in options.attempts:
        if options.loop:
            measure_loop(attempt, options)
        else:
            measure_steps(attempt, options)


def measure_steps(attempt: str, options: argparse.Namespace) -> None:
    """Let the contestants step in turns; print medians and ratios."""
    names = ["hilum", *(f"hilum {variant}" for variant in options.variants)]
    names += [] if options.device == "cuda" else ["keras"]
    running = {name: start(attempt, name) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(options.rounds + 2):  # the first two warm up: TensorFlow traces, inductor compiles
        for name, process in running.items():
            seconds = ask(process, name)
            time.sleep(0.3)  # threads that still spin would slow the next one
            if number > 1:
                times[name].append(seconds)
    flops = float(tell(running["hilum"], "flops"))
    for process in running.values():
        process.stdin.close()
        process.wait()
    size = options.size or ATTEMPTS[attempt]
    print(f"{attempt}, {size} px, batch {options.batch}, medians of {options.rounds} interleaved steps, ms an image")
    median = {name: statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        low, middle, high = (value / options.batch * 1000 for value in (min(values), median[name], max(values)))
        line = f"  {name:24} {middle:8.2f} [{low:.2f}, {high:.2f}]"
        line += f"  {flops / median[name] / 1e12:7.3f} TFLOPS" + _share_of_peak(flops / median[name], options.device)
        if "keras" in median and name != "keras":
            line += f"  {median['keras'] / median[name]:.2f} times as fast as Keras"
        print(line)
    if options.device == "cuda":
        best = min(median.values()) / options.batch
        print(f"  an epoch of the report at that speed: {EPOCH_IMAGES * best:.1f} s; the report took {EPOCH_SECONDS} s")


def measure_loop(attempt: str, options: argparse.Namespace) -> None:
    """Train epochs, with the bare step on one batch before and after; print the loop's share of its speed."""
    import torch

    from hilum.segmenters.batches import load_batch, prepare_batch
    from hilum.segmenters.keras_conventions import KerasAdam
    from hilum.segmenters.losses import with_image_loss
    from hilum.training.log import read_log
    from hilum.training.loop import fit, shuffled_batches, step
    from hilum.training.settings import TrainSettings

    torch.set_num_threads(options.threads)
    config, network = build(attempt, options)
    loss = with_image_loss(config.train.pixel_loss, 0)
    optimizer = KerasAdam(network.parameters(), lr=1e-3)
    compiled = any(variant.startswith("compiled") for variant in options.variants)
    precision = "bfloat16" if any("bfloat16" in variant for variant in options.variants) else "auto"
    uses = options.device == "cuda" or precision == "bfloat16"
    settings = TrainSettings(
        epochs=options.epochs,
        batch_size=options.batch,
        schedule="constant",
        precision=precision,
        compile=compiled,
    )
    model = torch.compile(network) if compiled else network
    with tempfile.TemporaryDirectory() as work:
        squares, split = pictures(Path(work), options.images, config.image_size)
        steps = options.images // options.batch
        first = load_batch(squares, split, config, 0, next(shuffled_batches(options.images, options.batch, 0, 0)))
        x, y = (part.to(options.device) for part in prepare_batch(*first))

        def bare() -> float:
            network.train()
            for _ in range(2):
                step(model, optimizer, loss, x, y, bfloat16=uses)
            begin = _now(options.device)
            for _ in range(steps):
                step(model, optimizer, loss, x, y, bfloat16=uses)
            return _now(options.device) - begin

        def loop(name: str) -> list[float]:
            run = Path(work) / name
            run.mkdir()
            fit(
                network,
                optimizer,
                settings,
                run,
                seed=0,
                loss=loss,
                batches=lambda epoch: shuffled_batches(options.images, options.batch, 0, epoch),
                load=lambda epoch, numbers: load_batch(squares, split, config, epoch, numbers),
                prepare=prepare_batch,
                validate=lambda _: {"val_score": 0.0},
            )
            return [line["seconds"] for line in read_log(run)[1:]]  # the first epoch compiles, and warms up

        bares, loops = [bare()], []
        for number in range(2):
            loops += loop(str(number))
            bares.append(bare())
    images = steps * options.batch
    bare_s, loop_s = statistics.median(bares), statistics.median(loops)
    print(
        f"{attempt}, {config.image_size} px, batch {options.batch}, {images} images an epoch, ms an image [least, most]"
    )
    for name, values in (("bare step", bares), ("loop", loops)):
        low, middle, high = (v / images * 1000 for v in (min(values), statistics.median(values), max(values)))
        print(f"  {name:24} {middle:8.2f} [{low:.2f}, {high:.2f}]  {1000 / middle:.1f} images a second")
    print(f"  the loop runs at {bare_s / loop_s:.3f} of the bare step's speed; 0.95 is asked for")
    epoch_s = EPOCH_IMAGES * loop_s / images
    print(f"  an epoch of the report at the loop's speed: {epoch_s:.0f} s; it took {EPOCH_SECONDS} s")


def build(attempt: str, options: argparse.Namespace) -> tuple[Any, Any]:
    """An attempt's config and its network, on the device, learning."""
    import torch

    from hilum.config import load_config

    overrides = ["model.dropout=0"] if attempt.startswith("unet") else []
    overrides += [f"train.batch_size={options.batch}", f"image_size={options.size or ATTEMPTS[attempt]}"]
    config = load_config(f"report/{attempt}", overrides)
    torch.manual_seed(0)
    return config, config.network().to(options.device).train()


def pictures(folder: Path, images: int, size: int) -> tuple[Any, Any]:
    """So many generated pictures and their truth: a few that are drawn, over and over."""
    from dataclasses import replace

    import numpy as np

    from hilum.converters.convert import convert
    from hilum.datasets.cache import square_pictures
    from hilum.datasets.folder import Dataset
    from hilum.sample.challenge import write_sample

    write_sample(folder / "kaggle", 64, 0)
    convert(folder / "kaggle", folder / "data")
    data = Dataset.open(folder / "data")
    squares, split = square_pictures(data, "train", size), data.split("train")
    which = np.arange(images) % len(split)
    boxes, sizes = tuple(split.boxes_xyxy[n] for n in which), split.sizes_wh[which]
    return replace(squares, rows=squares.rows[which]), replace(split, boxes_xyxy=boxes, sizes_wh=sizes)


def serve(attempt: str, name: str, options: argparse.Namespace) -> None:
    """A contestant: a step, and how long it took, for every line that comes in."""
    make = keras_step if name == "keras" else hilum_step
    one, count_flops = make(attempt, name, options)
    for line in sys.stdin:
        if line.strip() == "flops":
            answer = count_flops()
        else:
            begin = _now(options.device)
            one()
            answer = _now(options.device) - begin
        sys.stdout.write(f"answer {answer}\n")
        sys.stdout.flush()


def hilum_step(attempt: str, name: str, options: argparse.Namespace) -> tuple[Callable[[], Any], Callable[[], float]]:
    """A step of ours on one batch."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from hilum.segmenters.keras_conventions import KerasAdam
    from hilum.system import keep_freed_memory
    from hilum.training.loop import step

    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as the loop does
    torch.backends.cudnn.benchmark = True
    config, network = build(attempt, options)
    optimizer = KerasAdam(network.parameters(), lr=1e-3)
    model = torch.compile(network) if "compiled" in name else network
    bfloat16 = "bfloat16" in name or options.device == "cuda"
    x = torch.rand(options.batch, 1, config.image_size, config.image_size, device=options.device)
    y = (x > 0.9).to(torch.uint8)

    def one(model: Any = model) -> None:
        step(model, optimizer, config.train.pixel_loss, x, y, bfloat16=bfloat16)

    def count_flops() -> float:
        with FlopCounterMode(display=False) as counter:
            one(network)
        return float(counter.get_total_flops())

    return one, count_flops


def keras_step(attempt: str, _: str, options: argparse.Namespace) -> tuple[Callable[[], Any], Callable[[], float]]:
    """The same in Keras."""
    sys.path.insert(0, str(TWIN.parent))
    import keras
    import keras_twin
    import numpy as np
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    model = keras_twin.Twin(keras_twin.ATTEMPTS[attempt], "float32").model
    model.compile(keras.optimizers.Adam(1e-3), loss=keras_twin.iou_bce)
    size = options.size or ATTEMPTS[attempt]
    x = np.random.default_rng(0).random((options.batch, size, size, 1), np.float32)
    y = (x > 0.9).astype(np.float32)
    return lambda: model.train_on_batch(x, y), lambda: 0.0


def start(attempt: str, name: str) -> subprocess.Popen[str]:
    """Start a contestant with the arguments of this process."""
    command = [sys.executable, __file__, *sys.argv[1:], "--contestant", attempt, name]
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=quiet)


def ask(process: subprocess.Popen[str], name: str) -> float:
    """Have a contestant make one step; its seconds."""
    try:
        return float(tell(process, "step"))
    except (OSError, EOFError) as error:
        raise SystemExit(f"{name} ended: see above") from error


def tell(process: subprocess.Popen[str], line: str) -> str:
    """Say a line to a contestant; what it answers."""
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    for said in process.stdout:
        if said.startswith("answer "):
            return said.split()[1]
    raise EOFError


def _now(device: str) -> float:
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
    return time.perf_counter()


def _share_of_peak(flops: float, device: str) -> str:
    if device != "cuda":
        return ""
    import torch

    name = torch.cuda.get_device_name()
    peak = next((peak for card, peak in PEAK_TFLOPS.items() if card in name), None)
    return f"  {flops / peak / 1e12:.1%} of {name}'s bfloat16 peak" if peak else f"  {name}: peak unknown"


def _machine(options: argparse.Namespace) -> str:
    if options.device == "cuda":
        import torch

        return f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}"
    return f"{platform.machine()}, {os.cpu_count()} cores, {options.threads} threads, PyTorch {version('torch')}"


if __name__ == "__main__":
    main()
