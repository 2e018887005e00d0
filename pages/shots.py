"""A grid of radiographs with boxes over them, and a window that enlarges one: what is alike on every page with them.

Its look is in `gallery.css`, its behaviour in `viewer.js`.
"""

from collections.abc import Sequence
from html import escape

import cv2
import numpy as np
from numpy.typing import NDArray


def shrunk(pixels: NDArray[np.uint8], longer_side_px: int) -> NDArray[np.uint8]:
    """A picture, (H, W), with a longer side of no more than so many pixels; each is the mean of those it stands for."""
    scale = longer_side_px / max(pixels.shape)
    if scale >= 1:
        return pixels
    size_wh = [max(1, round(length * scale)) for length in pixels.shape[::-1]]
    return np.asarray(cv2.resize(pixels, size_wh, interpolation=cv2.INTER_AREA), np.uint8)


def window_html(aside: str = "") -> str:
    """The window that enlarges one picture; `aside` is markup below what is said of it."""
    return f"""<dialog id="large" aria-label="Enlarged image">
<div class="bar"><button type="button" id="back" aria-label="Previous image">&larr;</button>
<output id="place"></output>
<button type="button" id="on" aria-label="Next image">&rarr;</button>
<button type="button" id="close">Close</button></div>
<div class="spread"><div id="stage"></div>
<div class="aside"><div id="switches"></div><div id="about"></div>{aside}</div></div>
</dialog>
"""


def boxes_svg(
    mark: str, boxes: NDArray[np.float64], labels: Sequence[str], size_wh: tuple[int, int], number: int
) -> str:
    """Boxes, (N, 4) x, y, width, height, as one path with a light edge, and a label at one of each box's corners."""
    if not len(boxes):
        return ""
    path = "".join(f"M{x:.0f} {y:.0f}h{width:.0f}v{height:.0f}h{-width:.0f}z" for x, y, width, height in boxes.tolist())
    letter = max(size_wh) / 32
    texts = []
    for (x, y, width, height), label in zip(boxes.tolist(), labels, strict=False):
        # A corner and a line there, so that configs that agree do not write over each other.
        at_right, at_bottom, line = number % 2, number // 2 % 2, number // 4
        left = x + width if at_right else x
        top = y + height + (1 + line) * letter if at_bottom else y - (0.25 + line) * letter
        top = min(max(top, letter), size_wh[1] - letter / 4)
        side = ' text-anchor="end"' if at_right else ""
        texts.append(f'<text x="{left:.0f}" y="{top:.0f}" font-size="{letter:.0f}"{side}>{escape(label)}</text>')
    return f'<g class="{mark}"><path class="edge" d="{path}"/><path d="{path}"/>{"".join(texts)}</g>'
