"""YOLO's label format: one text file an image, one line a box, centre and size as shares of the picture."""

import json
import re
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import TYPE_CHECKING

from hilum.class_names import ONE_CLASS

if TYPE_CHECKING:  # a worker that writes labels need not load NumPy
    import numpy as np
    from numpy.typing import NDArray

_YAML_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


def boxes_to_yolo(
    boxes_xywh: Iterable[Iterable[float]], size_wh: tuple[int, int], class_ids: Iterable[int] | None = None
) -> str:
    """Lines `class_id x_centre y_centre width height`; empty where there is no box, which makes the image a negative.

    Args:
        boxes_xywh: (boxes, 4) left, top, width, height in pixels.
        size_wh: the picture, pixels. Eight decimals keep a box to a ten-thousandth of a pixel at 10,000 px.
        class_ids: (boxes,) from 0 on; all 0 where None.
    """
    across, down = size_wh
    lines = []
    numbered = zip(boxes_xywh, repeat(0) if class_ids is None else class_ids, strict=class_ids is not None)
    for (left, top, width, height), class_id in numbered:
        shares = (left + width / 2) / across, (top + height / 2) / down, width / across, height / down
        lines.append(f"{class_id} " + " ".join(f"{share:.8f}" for share in shares) + "\n")
    return "".join(lines)


def yolo_to_boxes(text: str, size_wh: tuple[int, int]) -> "NDArray[np.float64]":
    """The way back: (boxes, 4) left, top, width, height in pixels."""
    import numpy as np

    shares = np.array([line.split()[1:5] for line in text.splitlines()], np.float64).reshape(-1, 4)
    size = np.array([*size_wh, *size_wh], np.float64)
    pixels = shares * size
    return np.hstack([pixels[:, :2] - pixels[:, 2:] / 2, pixels[:, 2:]])


def data_yaml(class_names: Sequence[str] = ONE_CLASS) -> str:
    """The text of `data.yaml`, by which ultralytics knows a dataset folder.

    The split files lie beside it and name pictures as `./images/...`; with a `path:` key ultralytics would look for
    them below the directory that it was started in.
    """
    names = "".join(f"  {number}: {_yaml_text(name)}\n" for number, name in enumerate(class_names))
    return f"train: train.txt\nval: val.txt\ntest: holdout.txt\nchannels: 1\nnames:\n{names}"


def _yaml_text(text: str) -> str:
    """A text as YAML reads it: quoted where it might be taken for something else."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z _-]*", text) and text.lower() not in _YAML_WORDS
    return text if plain else json.dumps(text, ensure_ascii=False)
