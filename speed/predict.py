"""Time prediction with YOLO against stock ultralytics, compare the boxes, and measure memory over many files.

    python speed/predict.py                               # 64 generated files, YOLO26n with random weights
    python speed/predict.py --run RUN --source KAGGLE     # a run of yours, on DICOM files of yours
    python speed/predict.py --memory 10000                # what a stream of so many files needs

Stock is `YOLO(...).predict(rect=False)` on the same files, with the same weights, batch size, NMS and floor. It does
not read DICOM, so it gets the JPEG streams out of them; on DICOM it gets what pydicom decodes, as in most notebooks.
Both show the network the same pictures (`interpolation=bilinear`); how far boxes move with hilum's default, which
averages areas, is printed too.

Stock and hilum are each a process of its own, with its own way of handling memory; they take turns, each over all
files, which are in the page cache. On a CPU stock leaves one core idle, so both are timed with as many threads as stock
has and with all. Latency is one picture alone, read included.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 16
FLOOR = 0.001
Predict = Callable[..., Any]


def main() -> None:
    """Parse the arguments, prepare weights and files, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="a run of the backend yolo; YOLO26n with random weights if not given")
    parser.add_argument("--source", type=Path, help="a folder of DICOM files; generated where not given")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--size", type=int, default=640, help="side of the square that the network sees")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", type=int, metavar="FILES", help="measure memory instead of time")
    parser.add_argument("--stream", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stream:
        stream(Path(options.stream[0]), Path(options.stream[1]), int(options.stream[2]))
        return
    if options.serve:
        serve(options.serve[0], Path(options.serve[1]))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run = run_folder(options.run, folder / "run", 64 if options.memory else options.size)
        dicoms = dicom_files(options.source, folder / "kaggle", options.images)
        print(
            f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, {platform.python_version()}"
        )
        if options.memory:
            command = [sys.executable, __file__, "--stream", str(run), str(dicoms[0].parent), str(options.memory)]
            subprocess.run(command, check=True)
            return
        compare(run, dicoms, folder, options.size, options.rounds)


def run_folder(source: Path | None, run: Path, size: int) -> Path:
    """A run of this image size: the weights of another, or random ones."""
    import torch
    import yaml
    from safetensors.torch import save_file

    from hilum.config import dump_config, load_config
    from hilum.detectors.yolo_network import build_network, read_architecture
    from hilum.run import write_json

    if source:
        shutil.copytree(source, run)
        config = yaml.safe_load((run / "config.yaml").read_text())
        (run / "config.yaml").write_text(yaml.safe_dump({**config, "image_size": size, "interpolation": "bilinear"}))
        return run
    run.mkdir()
    torch.manual_seed(0)
    architecture = read_architecture("yolo26n.yaml", {})
    overrides = [f"image_size={size}", "interpolation=bilinear"]
    (run / "model.yaml").write_text(yaml.safe_dump(architecture, sort_keys=False))
    (run / "config.yaml").write_text(dump_config(load_config("yolo26n", overrides)))
    save_file(build_network(architecture).state_dict(), run / "weights.safetensors")
    write_json(run / "operating_point.json", {"confidence": FLOOR})
    write_json(run / "environment.json", {})
    return run


def dicom_files(source: Path | None, folder: Path, images: int) -> list[Path]:
    """So many DICOM files."""
    from hilum.sample.challenge import write_sample

    if source is None:
        write_sample(folder, images, 0)
        source = folder / "stage_2_train_images"
    return sorted(source.rglob("*.dcm"))[:images]


def jpegs_of(dicoms: Sequence[Path], folder: Path) -> list[Path]:
    """The JPEG streams in the files."""
    folder.mkdir()
    paths = [folder / f"{path.stem}.jpg" for path in dicoms]
    for path, jpeg in zip(dicoms, paths, strict=True):
        content = path.read_bytes()
        jpeg.write_bytes(content[content.index(b"\xff\xd8\xff") :])
    return paths


def stock_predict(run: Path, folder: Path) -> Predict:
    """Stock ultralytics' `predict` with the run's weights and settings."""
    import torch

    from hilum.config import read_config
    from hilum.detectors.private_ultralytics import ultralytics
    from hilum.detectors.yolo import _read_model_yaml
    from hilum.detectors.yolo_config import YOLOConfig
    from hilum.detectors.yolo_network import build_network
    from hilum.training.checkpoint import load_weights

    config = read_config(run, YOLOConfig)
    network = build_network(_read_model_yaml(run / "model.yaml"))
    load_weights(network, run)
    network.end2end = config.boxes.end_to_end
    torch.save({"model": network, "train_args": {"task": "detect"}}, folder / "stock.pt")
    return partial(
        ultralytics.YOLO(folder / "stock.pt").predict,
        stream=True,
        rect=False,
        imgsz=config.image_size,
        conf=FLOOR,
        iou=config.boxes.nms_iou,
        max_det=100,
        device="cpu",
        verbose=False,
    )


def stock_boxes(predict: Predict, source: Any, batch: int = BATCH) -> list[np.ndarray]:
    """(boxes, 5) of each picture: xyxy in its pixels, confidence."""
    return [result.boxes.data[:, :5].double().numpy() for result in predict(source, batch=batch)]


def hilum_boxes(predictor: Any, source: Any) -> list[np.ndarray]:
    """(boxes, 5) of each picture: xyxy in its pixels, confidence."""
    found = predictor.predict(source, confidence=0.0, batch_size=BATCH)
    return [np.column_stack([one.detections.xyxy, one.detections.confidence]) for one in found]


def pixels_by_pydicom(dicoms: Sequence[Path]) -> Iterator[np.ndarray]:
    """What most notebooks give to stock ultralytics, a batch at a time."""
    import pydicom

    for path in dicoms:
        yield pydicom.dcmread(path).pixel_array[..., None]


def serve(contestant: str, run: Path) -> None:
    """A contestant: predicts the files that a line names, and says how long it took, for every line that comes in."""
    import torch

    if contestant == "stock":
        with tempfile.TemporaryDirectory() as folder:
            stock = stock_predict(run, Path(folder))
            stock_boxes(stock, np.zeros((64, 64, 1), np.uint8), 1)  # reads the weights, and sets torch's threads
    else:
        import hilum

        predictor = hilum.load(run)
    for line in sys.stdin:
        threads, *paths = json.loads(line)
        if threads:
            torch.set_num_threads(threads)
        start = time.perf_counter()
        if contestant == "hilum":
            hilum_boxes(predictor, paths[0] if len(paths) == 1 else paths)
        elif paths[0].endswith(".jpg"):
            stock_boxes(stock, paths, min(BATCH, len(paths)))
        else:
            decoded = pixels_by_pydicom([Path(path) for path in paths])
            while batch := list(islice(decoded, BATCH)):
                stock_boxes(stock, batch)
        sys.stdout.write(f"answer {time.perf_counter() - start} {torch.get_num_threads()}\n")
        sys.stdout.flush()


def compare(run: Path, dicoms: list[Path], folder: Path, size: int, rounds: int) -> None:
    """Boxes first, then times."""
    import hilum

    pictures = jpegs_of(dicoms, folder / "pictures")
    print(f"{len(dicoms)} files, the network sees {size} x {size}, batches of {BATCH}")
    of_stock = stock_boxes(stock_predict(run, folder), pictures)
    print_shift("shown alike", of_stock, hilum_boxes(hilum.load(run), pictures))
    averaged = folder / "averaged"
    shutil.copytree(run, averaged)
    (averaged / "config.yaml").write_text((run / "config.yaml").read_text().replace("bilinear", "area"))
    print_shift("shown as averages", of_stock, hilum_boxes(hilum.load(averaged), pictures))

    running = {name: start(name, run) for name in ("stock", "hilum")}
    _, few = ask(running["stock"], 0, pictures[:1])  # as many threads as it has set itself
    every = os.cpu_count() or 1
    candidates = {
        f"stock, JPEG, {few} (as it comes)": ("stock", few, pictures),
        f"stock, JPEG, {every}": ("stock", every, pictures),
        f"hilum, JPEG, {few}": ("hilum", few, pictures),
        f"hilum, JPEG, {every} (as it comes)": ("hilum", every, pictures),
        f"pydicom and stock, DICOM, {every}": ("stock", every, dicoms),
        f"hilum, DICOM, {every}": ("hilum", every, dicoms),
    }
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds + 1):  # the first warms up
        for name, (contestant, threads, paths) in candidates.items():
            seconds, _ = ask(running[contestant], threads, paths)
            time.sleep(0.3)  # threads that still spin would slow the next one
            if number:
                times[name].append(seconds / len(dicoms) * 1000)
    median = [statistics.median(values) for values in times.values()]
    print(f"medians of {rounds} interleaved rounds, ms an image [least, most]; after each name torch's threads")
    for name, values, middle in zip(times, times.values(), median, strict=True):
        low, high = min(values), max(values)
        print(f"  {name:30} {middle:7.2f} [{low:.2f}, {high:.2f}]  {1000 / middle:6.1f} images a second")
    stock_few, stock_all, hilum_few, hilum_all, stock_dicom, hilum_dicom = median
    print(f"from JPEG, as they come, hilum is {stock_few / hilum_all:.2f} times as fast as stock")
    print(f"with {few}, {stock_few / hilum_few:.2f} times; with {every}, {stock_all / hilum_all:.2f} times")
    print(f"from DICOM, with {every}, {stock_dicom / hilum_dicom:.2f} times as fast as pydicom and stock")
    alone: dict[str, list[float]] = {"stock, JPEG": [], "hilum, JPEG": [], "hilum, DICOM": []}
    for jpeg, dicom in zip(pictures, dicoms, strict=True):
        for name, path in zip(alone, (jpeg, jpeg, dicom), strict=True):
            seconds, _ = ask(running[name.split(",")[0]], every, [path])
            time.sleep(0.05)
            alone[name].append(seconds * 1000)
    print(f"latency of one picture alone, {every} threads, ms")
    for name, values in alone.items():
        print(f"  {name:25} p50 {np.quantile(values, 0.5):6.1f}  p95 {np.quantile(values, 0.95):6.1f}")
    for process in running.values():
        process.stdin.close()
        process.wait()


def start(contestant: str, run: Path) -> Any:
    """Start a contestant."""
    command = [sys.executable, __file__, "--serve", contestant, str(run)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ask(process: Any, threads: int, paths: Sequence[Path]) -> tuple[float, int]:
    """Have a contestant predict; its seconds, and its threads."""
    process.stdin.write(json.dumps([threads, *map(str, paths)]) + "\n")
    process.stdin.flush()
    for said in process.stdout:
        if said.startswith("answer "):
            _, seconds, threads_then = said.split()
            return float(seconds), int(threads_then)
    raise SystemExit("a contestant ended: see above")


def print_shift(what: str, stock: list[np.ndarray], ours: list[np.ndarray]) -> None:
    """How far our boxes are from stock's nearest ones."""
    counts = sum(map(len, stock)), sum(map(len, ours))
    shifts, confidences = [], []
    for theirs, mine in zip(stock, ours, strict=True):
        if len(theirs) and len(mine):
            apart = np.abs(theirs[:, None, :4] - mine[None, :, :4]).max(axis=2)
            shifts += apart.min(axis=1).tolist()
            confidences += np.abs(theirs[:, 4] - mine[apart.argmin(axis=1), 4]).tolist()
    middle, many = np.quantile(shifts, [0.5, 0.95])
    print(
        f"pictures {what}: {counts[0]:,} boxes of stock, {counts[1]:,} of hilum; the nearest one of hilum is "
        f"{middle:.2g} px away (median), {many:.2g} (95%), {max(shifts):.2g} (most), "
        f"its confidence at most {max(confidences):.2g}"
    )


def stream(run: Path, folder: Path, files: int) -> None:
    """Predict so many files, the same ones again and again, and print the memory of this process on the way."""
    import hilum

    predictor = hilum.load(run)
    paths = sorted(folder.glob("*.dcm"))
    start = time.perf_counter()
    for number, result in enumerate(predictor.predict(islice(cycle(paths), files)), 1):
        assert result.error is None, result.error  # noqa: S101
        if number in {files // 100, files // 10, files}:
            rate = number / (time.perf_counter() - start)
            print(f"{number:7,} files: {resident_mb():.0f} MB, {rate:.0f} files a second", flush=True)


def resident_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
