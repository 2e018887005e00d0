"""Time `hilum explore` on as many images as the challenge has, beside reading the same folder and no more.

    python speed/explore.py            # 26,684 images, medians of three interleaved rounds

Boxes, classes, views, ages and patients are drawn with the challenge's shares; the pictures are 16 generated ones under
all the names. Reading, figures, contact sheets and the page count, the start of Python does not. The page should take
less than a minute.
"""

import argparse
import csv
import json
import os
import platform
import resource
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

SIDE = 1024
BOXES, BOX_SHARES = (0, 1, 2, 3, 4), (0.7747, 0.0980, 0.1224, 0.0044, 0.0005)


def main() -> None:
    """Write the folder, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=26_684)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        data = Path(work) / "data"
        write_folder(data, options.images)
        measure(data, options.rounds)


def write_folder(data: Path, images: int) -> None:
    """A dataset folder with so many labelled images."""
    import cv2

    from hilum.datasets.coco import boxes_to_coco, coco_json
    from hilum.datasets.writing import METADATA

    rng = np.random.default_rng(0)
    for part in ("images", "annotations", "unlabelled/images"):
        (data / part).mkdir(parents=True)
    for number in range(16):
        noise = cv2.resize(rng.integers(0, 256, (64, 64), np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(data / "images" / f"picture-{number}.jpg"), noise)
    counts = rng.choice(BOXES, images, p=BOX_SHARES)
    corners = rng.integers(0, SIDE // 2, (counts.sum(), 2))
    boxes = np.split(np.hstack([corners, rng.integers(40, SIDE // 2, corners.shape)]), np.cumsum(counts)[:-1])
    splits = rng.choice(["train", "val", "holdout"], images, p=[0.7, 0.15, 0.15])
    patients = np.sort(rng.zipf(2.2, images) * 100_003 % (images // 2))
    rows = []
    for number in range(images):
        image_id = f"image-{number:06d}"
        os.link(data / "images" / f"picture-{number % 16}.jpg", data / "images" / f"{image_id}.jpg")
        kind = "Lung Opacity" if counts[number] else ("Normal", "No Lung Opacity / Not Normal")[rng.integers(2)]
        tags = (
            "MF"[rng.integers(2)],
            rng.integers(1, 95),
            ("PA", "AP")[rng.integers(2)],
            (0.143, 0.168)[rng.integers(2)],
        )
        rows.append((image_id, splits[number], kind, patients[number], *tags, *[SIDE] * 4, ""))
    for split in ("train", "val", "holdout"):
        at = np.flatnonzero(splits == split).tolist()
        names = [f"image-{number:06d}.jpg" for number in at]
        coco = boxes_to_coco([n + 1 for n in at], names, [(SIDE, SIDE)] * len(at), [boxes[n].astype(float) for n in at])
        (data / "annotations" / f"{split}.json").write_text(coco_json(coco))
    with (data / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([METADATA, *rows])
    (data / "conversion.json").write_text(json.dumps({"complete": True, "patients_known": True}))


def measure(data: Path, rounds: int) -> None:
    """Print medians, their ratio, and the most memory."""
    from hilum.datasets.folder import Dataset
    from hilum.pages.collection import read_collection
    from hilum.pages.explore import explore

    seconds: dict[str, list[float]] = {"read": [], "explore": []}
    for _ in range(rounds):
        start = time.perf_counter()
        images = len(read_collection(Dataset.open(data)))
        middle = time.perf_counter()
        page = explore(data)
        seconds["read"].append(middle - start)
        seconds["explore"].append(time.perf_counter() - middle)
    read, whole = median(seconds["read"]), median(seconds["explore"])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {images:,} images")
    print(f"reading the folder   {read:6.2f} s")
    print(f"hilum explore        {whole:6.2f} s, {whole / read:.1f} times reading; a minute is allowed")
    print(f"the page             {page.stat().st_size / 1e6:6.2f} MB")
    print(f"peak memory          {memory:6.0f} MB")


if __name__ == "__main__":
    main()
