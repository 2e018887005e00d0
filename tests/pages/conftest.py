"""Dataset folders with whatever a test needs in them, and nothing else; a browser to look at pages with."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from hilum.datasets.coco import boxes_to_coco, coco_json
from hilum.datasets.writing import METADATA

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed, so no browser is driven"
    )
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("no Chromium on this machine; on Debian: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=OPTIONS)
        yield opened
        opened.close()


@pytest.fixture
def make_dataset(tmp_path):
    """A function: rows of metadata.csv (any of METADATA), each with `boxes` in pixels (left, top, width, height)."""

    def make(rows, *, left_out=(), name="data", pictures=True, **conversion) -> Path:
        folder = tmp_path / name
        for part in ("images", "annotations", "unlabelled/images"):
            (folder / part).mkdir(parents=True)
        full = []
        for number, given in enumerate(rows):
            row = dict.fromkeys(METADATA, "") | {"image_id": f"image-{number:03d}", "split": "train"}
            full.append(row | {"width": 64, "height": 64, "boxes": []} | given)
        for split in ("train", "val", "holdout"):
            here = [(number, row) for number, row in enumerate(full, start=1) if row["split"] == split]
            coco = boxes_to_coco(
                [number for number, _ in here],
                [f"{row['image_id']}.png" for _, row in here],
                [(row["width"], row["height"]) for _, row in here],
                [np.array(row["boxes"], float).reshape(-1, 4) for _, row in here],
            )
            (folder / "annotations" / f"{split}.json").write_text(coco_json(coco))
        for row in full if pictures else ():
            pixels = np.full((row["height"], row["width"]), 128, np.uint8)
            cv2.imwrite(str(folder / "images" / f"{row['image_id']}.png"), pixels)
        with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, METADATA, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(full)
        with (folder / "left_out.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("what", "image_id", "file", "row", "reason"), *left_out])
        (folder / "conversion.json").write_text(json.dumps({"hilum": "0", "complete": True} | conversion))
        return folder

    return make
