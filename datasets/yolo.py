"""YOLO's label format: one text file an image, one line a box, centre and size as shares of the picture."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a worker that writes labels need not load NumPy
    import numpy as np
    from numpy.typing import NDArray

CLASS_NAMES = {0: "opacity"}


def boxes_to_yolo(boxes_xywh: Iterable[Iterable[float]], size_wh: tuple[int, int]) -> str:
    """Lines `0 x_centre y_centre width height`; empty where there is no box, which makes the image a negative.

    Args:
        boxes_xywh: (boxes, 4) left, top, width, height in pixels.
        size_wh: the picture, pixels. Eight decimals keep a box to a ten-thousandth of a pixel at 10,000 px.
    """
    across, down = size_wh
    lines = []
    for left, top, width, height in boxes_xywh:
        shares = (left + width / 2) / across, (top + height / 2) / down, width / across, height / down
        lines.append("0 " + " ".join(f"{share:.8f}" for share in shares) + "\n")
    return "".join(lines)


def yolo_to_boxes(text: str, size_wh: tuple[int, int]) -> "NDArray[np.float64]":
    """The way back: (boxes, 4) left, top, width, height in pixels."""
    import numpy as np

    shares = np.array([line.split()[1:5] for line in text.splitlines()], np.float64).reshape(-1, 4)
    size = np.array([*size_wh, *size_wh], np.float64)
    pixels = shares * size
    return np.hstack([pixels[:, :2] - pixels[:, 2:] / 2, pixels[:, 2:]])


def data_yaml() -> str:
    """The text of `data.yaml`, by which ultralytics knows a dataset folder.

    The split files lie beside it and name pictures as `./images/...`; with a `path:` key ultralytics would look for
    them below the directory that it was started in.
    """
    names = "".join(f"  {number}: {name}\n" for number, name in CLASS_NAMES.items())
    return f"train: train.txt\nval: val.txt\ntest: holdout.txt\nchannels: 1\nnames:\n{names}"
