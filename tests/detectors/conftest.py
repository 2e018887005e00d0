"""Fixtures of the detectors' tests."""

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from hilum.class_names import ONE_CLASS
from hilum.datasets.boxes import xywh_to_xyxy
from hilum.datasets.folder import Split


@pytest.fixture
def split_of(tmp_path: Path) -> Callable[[Mapping[str, NDArray[np.uint8]], Mapping[str, list[list[float]]]], Split]:
    """Makes a split of pictures by name, and of the boxes (left, top, width, height) in those that have some."""

    def split(pictures: Mapping[str, NDArray[np.uint8]], boxes_xywh: Mapping[str, list[list[float]]]) -> Split:
        for name, pixels in pictures.items():
            cv2.imwrite(str(tmp_path / f"{name}.png"), pixels)
        nothing = ("",) * len(pictures)
        return Split(
            name="train",
            coco_ids=tuple(range(len(pictures))),
            image_ids=tuple(pictures),
            paths=tuple(tmp_path / f"{name}.png" for name in pictures),
            sizes_wh=np.array([pixels.shape[::-1] for pixels in pictures.values()]),
            boxes_xyxy=tuple(xywh_to_xyxy(np.array(boxes_xywh.get(name, [])).reshape(-1, 4)) for name in pictures),
            class_ids=tuple(np.zeros(len(boxes_xywh.get(name, [])), np.int64) for name in pictures),
            class_names=ONE_CLASS,
            kinds=nothing,
            patients=nothing,
            views=nothing,
            sexes=nothing,
            ages_years=nothing,
        )

    return split
