"""Time prediction from DICOM files with a segmenter against what it cannot do without: decoding and the bare network.

    python speed/predict_segmenter.py                       # 96 generated files, the report's networks
    python speed/predict_segmenter.py --source FOLDER       # DICOM files of your own
    python speed/predict_segmenter.py --configs sample/resnet sample/unet   # networks so small that all else shows

Of `hilum.load(run).predict(files)`, letterboxing, maps to boxes, results and the hand-over count; files are in the page
cache. The network's last bias is set so that a third of the images or more have components, more than radiographs do.
Three candidates in turns, each over all files: decoding alone, in the threads that prediction has; the network alone,
on batches that are ready; and prediction, which may overlap the two. It should cost at most 1.1 times their sum.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 16
THREADS = 4  # that prediction decodes in


def main() -> None:
    """Parse the arguments, prepare the files, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configs", nargs="+", default=["report/resnet_try_1", "report/unet_try_1"])
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--source", type=Path, help="a folder of DICOM files; generated where not given")
    options = parser.parse_args()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine}")
    with tempfile.TemporaryDirectory() as work:
        folder = options.source or generated(Path(work), options.images)
        paths = sorted(folder.glob("*.dcm"))[: options.images]
        for name in options.configs:
            measure(name, paths, options.rounds)


def generated(folder: Path, images: int) -> Path:
    """So many DICOM files."""
    from hilum.sample.challenge import write_sample

    write_sample(folder, images, 0)
    return folder / "stage_2_train_images"


def measure(name: str, paths: list[Path], rounds: int) -> None:
    """Interleave the candidates, print medians and the ratio."""
    import torch

    from hilum.config import load_config
    from hilum.datasets.letterbox import Letterbox
    from hilum.datasets.picture_tensors import to_unit
    from hilum.datasets.pictures import read_picture
    from hilum.predict import Predictor
    from hilum.segmenters.segmenter import Segmenter
    from hilum.system import keep_freed_memory
    from hilum.training.device import pick_device

    keep_freed_memory()  # as `hilum.load` does, for the bare network too
    config, device = load_config(name), pick_device()
    torch.manual_seed(0)
    network = config.network().to(device)
    segmenter = Segmenter(network, config)
    pictures = [read_picture(path) for path in paths]
    squares = np.stack([Letterbox.fit(picture.shape[::-1], config.image_size).apply(picture) for picture in pictures])
    find_something(network, segmenter, squares)
    batches = [
        to_unit(torch.from_numpy(part)).to(device) for part in np.array_split(squares, -(-len(squares) // BATCH))
    ]
    results: list[Any] = []

    def decode() -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            for _ in pool.map(read_picture, paths):
                pass

    @torch.inference_mode()
    def forward() -> None:
        for batch in batches:
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                network(batch).float().cpu()

    def predict() -> None:
        results[:] = Predictor(segmenter, 0.0).predict(paths, batch_size=BATCH)

    candidates: dict[str, Callable[[], None]] = {"decoding": decode, "bare network": forward, "prediction": predict}
    times: dict[str, list[float]] = {candidate: [] for candidate in candidates}
    for number in range(rounds + 1):  # the first warms up
        for candidate, run in candidates.items():
            start = time.perf_counter()
            run()
            if number:
                times[candidate].append((time.perf_counter() - start) / len(paths) * 1000)
    median = {candidate: statistics.median(values) for candidate, values in times.items()}
    found = sum(len(result.detections) > 0 for result in results)
    print(
        f"{name}, {config.image_size} px: {len(paths)} files, components in {found}, {network_name(device)}, "
        f"medians of {rounds} interleaved rounds, ms an image"
    )
    for candidate, values in times.items():
        print(f"  {candidate:14} {median[candidate]:8.2f} [{min(values):.2f}, {max(values):.2f}]")
    ratio = median["prediction"] / (median["decoding"] + median["bare network"])
    print(f"  prediction costs {ratio:.3f} times decoding and the bare network; 1.1 is allowed")


def find_something(network: Any, segmenter: Any, squares: np.ndarray) -> None:
    """Move the network's last bias until a third of the images have a thousandth of their pixels above a half."""
    import torch

    maps = segmenter.see(squares[:24])[0].numpy().reshape(min(24, len(squares)), -1)
    highest = np.quantile(np.quantile(maps.astype(float), 0.999, axis=1), 2 / 3)
    last = [module for module in network.modules() if getattr(module, "out_channels", 0) == 1][-1]
    with torch.no_grad():
        last.bias -= np.log(highest / (1 - highest))


def network_name(device: Any) -> str:
    """What the network runs on."""
    import torch

    return torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"


if __name__ == "__main__":
    main()
