"""Draw boxes on radiographs: one picture an image, or the same images through several detectors."""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.datasets.folder import Split
from hilum.datasets.pictures import read_picture
from hilum.errors import HilumError
from hilum.eval.answer import Answer
from hilum.eval.measures import scores_of
from hilum.files import refuse_links, write_atomically

# Okabe and Ito's colours, told apart by the colour-blind; the truth is always the first.
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#CC79A7", "#D55E00")
NOT_A_DEVICE = "Research software, not a medical device: not for diagnosis or any clinical decision."
# What `draw_boxes` writes carries this JPEG comment, behind the 20 bytes of OpenCV's header, and is known by it again.
_COMMENT = f"hilum predict. {NOT_A_DEVICE}".encode()
_DRAWN = b"\xff\xfe" + (len(_COMMENT) + 2).to_bytes(2, "big") + _COMMENT
_HEADER = 20
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_NAME = 60
_LONGEST_SIDE = 65_500  # pixels, of libjpeg


def drawn_name(number: int, image_id: str) -> str:
    """The name of an image's drawing: its number, and of its name so much as every file system takes."""
    return f"{number:05d}-{_UNSAFE.sub('_', image_id)[:_LONGEST_NAME]}.jpg"


def draw_boxes(pixels: NDArray[np.uint8], boxes_xyxy: NDArray[np.float64], labels: Sequence[str], path: Path) -> None:
    """Write a JPEG of one picture with its boxes and what is said of each, which `clear_drawn` knows again.

    Raises:
        HilumError: the picture is too large for a JPEG.
        OSError: it cannot be written.
    """
    if max(pixels.shape) > _LONGEST_SIDE:
        raise HilumError(f"{pixels.shape[1]} x {pixels.shape[0]} px do not go into a JPEG")
    canvas = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    line = max(1, round(max(pixels.shape) / 300))
    red, green, blue = (int(COLOURS[0][at : at + 2], 16) for at in (1, 3, 5))
    for (left, top, right, bottom), label in zip(np.rint(boxes_xyxy).astype(int).tolist(), labels, strict=True):
        cv2.rectangle(canvas, (left, top), (right, bottom), (blue, green, red), line)
        place = (left + 2, max(top - 4 * line, 12 * line))
        cv2.putText(canvas, label, place, cv2.FONT_HERSHEY_SIMPLEX, line / 3, (blue, green, red), line)
    jpeg = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
    write_atomically(path, jpeg[:_HEADER] + _DRAWN + jpeg[_HEADER:])


def clear_drawn(folder: Path) -> None:
    """Delete the pictures that `draw_boxes` wrote into a folder under a number and a name, and no others.

    Args:
        folder: of ours, in one that the user named.

    Raises:
        HilumError: it is a link, behind which they would be somebody else's.
    """
    refuse_links(folder.parent, folder.name)
    for path in folder.glob("[0-9][0-9][0-9][0-9][0-9]*-*.jpg"):
        if path.is_file() and _is_drawn(path):
            path.unlink()


def _is_drawn(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(_HEADER + len(_DRAWN)).endswith(_DRAWN)


def choose_images(split: Split, positives: int, negatives: int) -> list[int]:
    """Indices of images to show, the same for every detector: spread over the split, not picked by any result."""
    chosen: list[int] = []
    for wanted, kind in ((positives, split.positive), (negatives, ~split.positive)):
        at = np.flatnonzero(kind)
        chosen += at[np.linspace(0, len(at) - 1, min(wanted, len(at))).astype(int)].tolist() if len(at) else []
    return chosen


def draw_comparison(split: Split, answers: Mapping[str, Answer], images: Sequence[int], path: Path) -> None:
    """Draw the same images with the truth and with each detector's boxes at its operating point, as a PNG.

    Args:
        split: images and truth.
        answers: name -> boxes, one row each, below the truth.
        images: indices in the split, one column each.
        path: of the picture.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    kept = {name: answer.kept()[0] for name, answer in answers.items()}
    scores = {name: scores_of(split, answer) for name, answer in answers.items()}
    rows = ["truth", *answers]
    figure = Figure(figsize=(2.0 * len(images) + 0.3, 2.2 * len(rows) + 0.3), layout="constrained")
    axes = figure.subplots(len(rows), len(images), squeeze=False)
    for column, number in enumerate(images):
        pixels = read_picture(split.paths[number])
        for row, name in enumerate(rows):
            axis = axes[row][column]
            axis.imshow(pixels, cmap="gray", vmin=0, vmax=255)
            axis.set(xticks=[], yticks=[])
            if name == "truth":
                boxes, label = split.boxes_xywh[number], split.kinds[number] or "class unknown"
            else:
                boxes, score = kept[name][number], scores[name][number]
                label = "rightly nothing" if np.isnan(score) else f"score {score:.2f}"
            for left, top, width, height in boxes:
                colour = COLOURS[row % len(COLOURS)]
                axis.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=colour, linewidth=1.8))
            axis.set_title(label, fontsize=8, pad=3)
            if column == 0:
                axis.set_ylabel(name, fontsize=9)
    figure.supxlabel(NOT_A_DEVICE, fontsize=7)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    write_atomically(path, buffer.getvalue())
