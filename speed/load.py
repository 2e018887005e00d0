"""Time how pictures and masks reach a segmenter that learns: the capstone report's loader against ours.

    python speed/load.py                    # 128 generated files at 320 px, medians of five interleaved rounds
    python speed/load.py --source KAGGLE    # files of your own download instead
    python speed/load.py --rows 26684       # as many squares as the challenge has images: does memory hold?

The report decodes a DICOM with pydicom, resizes picture and mask with scikit-image (extra `dev`) and flips half of
them, in one process, at every epoch. Ours decodes and resizes once, into a file of bytes that is mapped into memory;
then it flips, and paints masks from the boxes. Both end in float tensors (N, 1, size, size) of a batch, in one thread;
files are in the page cache. What decoding once takes is printed beside it.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 16


def main() -> None:
    """Parse the arguments, prepare the files, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=128, help="generated, or taken of the source")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--source", type=Path, help="Kaggle's layout; generated where not given")
    parser.add_argument("--rows", type=int, help="measure memory with so many squares instead of time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        if options.rows:
            measure_memory(Path(work), options.rows, options.size)
        else:
            measure(Path(work), options.source, options.images, options.size, options.rounds)


def reports_batch(paths: list[Path], boxes_xywh: list[Any], size: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """The report's loader."""
    import pydicom
    import torch
    from skimage.transform import resize

    pictures, masks = [], []
    for path, boxes in zip(paths, boxes_xywh, strict=True):
        picture = pydicom.dcmread(path).pixel_array
        mask = np.zeros(picture.shape)
        for x, y, width, height in boxes.astype(int):
            mask[y : y + height, x : x + width] = 1
        picture = resize(picture, (size, size), mode="reflect")
        mask = resize(mask, (size, size), mode="reflect") > 0.5
        if rng.random() < 0.5:
            picture, mask = np.fliplr(picture), np.fliplr(mask)
        pictures.append(picture)
        masks.append(mask)
    return tuple(torch.from_numpy(np.stack(part)[:, None].astype(np.float32)) for part in (pictures, masks))


def measure(folder: Path, source: Path | None, images: int, size: int, rounds: int) -> None:
    """Interleave both loaders, print medians and ratios."""
    import torch

    from hilum.config import load_config
    from hilum.converters.convert import convert
    from hilum.datasets.cache import square_pictures
    from hilum.datasets.folder import Dataset
    from hilum.sample.challenge import write_sample
    from hilum.segmenters.batches import load_batch, prepare_batch

    torch.set_num_threads(1)
    if source is None:
        source = folder / "kaggle"
        write_sample(source, images, 0)
    convert(source, folder / "data")
    data = Dataset.open(folder / "data")
    start = time.perf_counter()
    squares = square_pictures(data, "train", size)
    building = (time.perf_counter() - start) / len(squares.mapped) * 1000
    train = data.split("train")
    dicoms = [source / "stage_2_train_images" / f"{name}.dcm" for name in train.image_ids]
    config = load_config("report/resnet_try_1", [f"image_size={size}"])
    rng = np.random.default_rng(0)
    count = min(images, len(train)) // BATCH * BATCH
    if not count:
        raise SystemExit(f"--images {images}: {len(train)} are for training; a batch of {BATCH} is the least")

    def theirs(numbers: np.ndarray, _: int) -> Any:
        return reports_batch([dicoms[n] for n in numbers], [train.boxes_xywh[n] for n in numbers], size, rng)

    def ours(numbers: np.ndarray, epoch: int) -> Any:
        pictures, masks = prepare_batch(*load_batch(squares, train, config, epoch, numbers))
        return pictures, masks.float()

    loaders = {"the report's loader": theirs, "hilum": ours}
    times: dict[str, list[float]] = {name: [] for name in loaders}
    for number in range(rounds + 1):  # the first warms up
        for name, load in loaders.items():
            order = rng.permutation(len(train))[:count].reshape(-1, BATCH)
            start = time.perf_counter()
            for numbers in order:
                pictures, masks = load(numbers, number)
            seconds = time.perf_counter() - start
            if pictures.shape != masks.shape or pictures.shape != (BATCH, 1, size, size):
                raise SystemExit(f"{name}: {pictures.shape} and {masks.shape}")
            if number:
                times[name].append(seconds / count * 1000)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine}")
    print(f"{count} pictures of {size} px in batches of {BATCH}, medians of {rounds} interleaved rounds, ms an image")
    for name, values in times.items():
        print(f"  {name:20} {statistics.median(values):7.3f} [{min(values):.3f}, {max(values):.3f}]")
    slow, fast = (statistics.median(values) for values in times.values())
    print(f"hilum is {slow / fast:.0f} times as fast; 50 is asked for")
    print(f"decoding once, in {os.cpu_count()} threads: {building:.2f} ms an image")
    print(f"an epoch of the report, 24,124 images: {slow * 24.124:.0f} s and {fast * 24.124:.1f} s")


def measure_memory(folder: Path, rows: int, size: int) -> None:
    """Batches at random from a file of so many squares, and what of it the process holds."""
    from hilum.datasets.cache import Squares

    path = folder / "squares"
    with path.open("wb") as file:
        for _ in range(rows):
            file.write(b"\x55" * size**2)
    squares = Squares(np.memmap(path, np.uint8, "r", 0, (rows, size, size)), np.arange(rows))
    order = np.random.default_rng(0).permutation(rows)
    before, start = _held_mb(), time.perf_counter()
    for at in range(0, rows, BATCH):
        squares[order[at : at + BATCH]].sum()
    seconds = time.perf_counter() - start
    print(f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, Python {platform.python_version()}")
    print(f"{rows:,} squares of {size} px, {rows * size**2 / 1e9:.1f} GB on disk, every one read once, at random")
    print(f"{seconds / rows * 1000:.3f} ms an image; memory of the process's own grew by {_held_mb() - before:.1f} MB")


def _held_mb() -> float:
    """Memory that the kernel cannot take back from this process by dropping pages of a file."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


if __name__ == "__main__":
    main()
