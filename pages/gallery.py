"""The same images with the truth and every config's boxes, to be switched, filtered and stepped through.

Each picture is on the page once, as a small JPEG; boxes lie over it as an SVG in the picture's own pixels. Without
JavaScript all of it is there too, unsorted; `report.js` sorts and filters what is written here, and `viewer.js`
enlarges it.
"""

import base64
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.class_names import confidence_text
from hilum.datasets.folder import Split
from hilum.datasets.pictures import read_picture
from hilum.errors import HilumError
from hilum.eval.measures import scores_of
from hilum.eval.mistakes import Kind, worst_first
from hilum.pages.page import asset, line_sample
from hilum.pages.series import Series
from hilum.pages.shots import boxes_svg, shrunk, window_html
from hilum.pages.wording import decimal, many

MEANINGS = {
    Kind.FOUND: "overlaps a true box: IoU above 0.40",
    Kind.MERGED: "one box over two true ones or more",
    Kind.SPLIT: "one of several pieces of a true box",
    Kind.DOUBLE: "on a true box that another box has found",
    Kind.WRONG_SIZE: "touches a true box, but is wrong in size or place",
    Kind.FALSE_NORMAL: "on an image of the class Normal",
    Kind.FALSE_NOT_NORMAL: "on an image with another finding and no opacity",
    Kind.FALSE_UNKNOWN: "on an image without opacity, whose class is not known",
    Kind.FALSE_BESIDE: "on an image with opacity, away from it",
    Kind.MISSED: "a true box that nothing touches",
}
"""Each kind of box in words; of a true box, found, merged, split and wrong size say what became of it."""

PICTURE_BYTES = 10_000_000  # of all pictures, in base64
_SIZES = ((640, 85), (512, 82), (512, 75), (448, 70), (384, 60), (320, 50), (256, 40), (192, 30), (128, 20))
_KINDS = list(Kind)


def choose_images(split: Split, configs: Sequence[Series], most: int) -> list[int]:
    """Which images to show, by index, rising.

    Where there are more than `most`, each kind of error of each config is there with its worst image, as far as there
    are places. Up to two thirds of the places go to errors, in turn for each of these the worst that is not chosen yet;
    the rest are spread over the other images, half of them with opacity.
    """
    if len(split) <= most:
        return list(range(len(split)))
    worst = [images for config in configs for images in _worst(split, config) if images]
    chosen: dict[int, None] = {}
    for images in worst:
        if len(chosen) < most and chosen.keys().isdisjoint(images):
            chosen[images[0]] = None
    queues, limit = [iter(images) for images in worst], most * 2 // 3
    while queues and len(chosen) < limit:
        for queue in list(queues):
            image = next((image for image in queue if image not in chosen), None)
            if image is None:
                queues.remove(queue)
            elif len(chosen) < limit:
                chosen[image] = None
    positive = split.positive
    for kind in (positive, ~positive):
        rest = [image for image in np.flatnonzero(kind).tolist() if image not in chosen]
        wanted = most - len(chosen) if kind is not positive else -(-(most - len(chosen)) // 2)
        places = np.linspace(0, len(rest) - 1, min(wanted, len(rest))).astype(int)
        chosen.update(dict.fromkeys(rest[place] for place in places.tolist()))
    return sorted(chosen)


def gallery_html(split: Split, configs: Sequence[Series], chosen: Sequence[int]) -> str:
    """The gallery as markup; its look is in `gallery_style`, its behaviour in `viewer.js` and `report.js`.

    Args:
        split: images and truth.
        configs: whose first runs' boxes are shown.
        chosen: images, by index.
    """
    sides = [_Side.of(split, config) for config in configs]
    shots = "".join(
        _shot(split, sides, image, picture) for image, picture in zip(chosen, _pictures(split, chosen), strict=True)
    )
    toggles = "".join(
        f'<label><input type="checkbox" data-b="{config.number}" checked>{line_sample(config.mark)}'
        f"{escape(config.name)}</label>"
        for config in configs
    )
    present = {kind for side in sides for image in chosen for kind in side.kinds(image)} - {Kind.FOUND}
    kinds = "".join(
        f'<option value="{number}">{escape(kind)}</option>' for number, kind in enumerate(_KINDS) if kind in present
    )
    names = "".join(f'<option value="{config.number}">{escape(config.name)}</option>' for config in configs)
    return f"""<div id="gallery">
<div class="controls">
<fieldset id="toggles"><legend>Boxes</legend>
<label><input type="checkbox" data-b="t" checked>{line_sample("t")}truth</label>{toggles}</fieldset>
<div class="choices">
<label>Show <select id="kind"><option value="all">all images</option><option value="error">any error</option>
<option value="right">no error</option>{kinds}</select></label>
<label>of <select id="who"><option value="any">any config switched on</option>
<option value="every">every config switched on</option>{names}</select></label>
<label>Order <select id="order"><option value="worst">worst first</option><option value="best">best first</option>
<option value="apart">most disagreement first</option><option value="listed">as in the data</option></select></label>
</div>
<p id="count" role="status"></p>
</div>
<div id="shots">{shots}</div>
{window_html()}</div>
"""


def gallery_style(configs: Sequence[Series]) -> str:
    """CSS of the gallery and of each config's lines."""
    lines = []
    for config in configs:
        dashes = " ".join(f"{2.4 * length:g}" for length in config.dashes) or "none"
        lines.append(f".{config.mark} {{ --colour: {config.colour}; --dashes: {dashes}; }}")
        lines.append(f"#gallery.off-{config.number} svg .{config.mark} {{ display: none; }}")
        lines.append(f"#gallery.off-{config.number} li.{config.mark} {{ opacity: .4; }}")
    return asset("gallery.css") + "\n".join(lines)


@dataclass(frozen=True)
class _Side:
    """A config's answer, image by image."""

    config: Series
    boxes: list[NDArray[np.float64]]
    confidence: list[NDArray[np.float64]]
    scores: NDArray[np.float64]
    probability: NDArray[np.float64]

    @classmethod
    def of(cls, split: Split, config: Series) -> "_Side":
        answer = config.measured[0].answer
        return cls(config, *answer.kept(), scores_of(split, answer), answer.probabilities())

    def kinds(self, image: int) -> tuple[Kind, ...]:
        mistakes = self.config.measured[0].measures.mistakes
        return (*mistakes.boxes[image], *mistakes.truth[image])

    def badness(self, image: int) -> float:
        """What is lost on an image: 0 where all is right; among equals, surer errors are worse."""
        score = float(self.scores[image])
        kinds = self.config.measured[0].measures.mistakes.boxes[image]
        sure: float = sum(
            c for c, kind in zip(self.confidence[image].tolist(), kinds, strict=True) if kind is not Kind.FOUND
        )
        return (0 if math.isnan(score) else 1 - score) + min(sure, 50) / 1000


def _worst(split: Split, config: Series) -> Iterable[list[int]]:
    """For every kind of error the images that have it, the worst first."""
    mistakes = config.measured[0].measures.mistakes
    _, confidence = config.measured[0].answer.kept()
    areas = [boxes[:, 2:].prod(axis=1) for boxes in split.boxes_xywh]
    for kind in _KINDS:
        if kind is not Kind.FOUND:
            of_truth = kind is Kind.MISSED
            kinds, weights = (mistakes.truth, areas) if of_truth else (mistakes.boxes, confidence)
            yield worst_first(kinds, kind, weights).tolist()


def _pictures(split: Split, chosen: Sequence[int]) -> Iterable[str]:
    """Each picture as a data URI, as sharp as fits; "" where it cannot be read."""
    most = min(80_000, PICTURE_BYTES * 3 // 4 // max(1, len(chosen)))
    for image in chosen:
        try:
            jpeg = _jpeg(read_picture(split.paths[image]), most)
        except HilumError:
            yield ""
            continue
        yield f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"


def _jpeg(pixels: NDArray[np.uint8], most: int) -> bytes:
    """A JPEG of no more than so many bytes, as large and as fine as that allows."""
    jpeg = b""
    for side, quality in _SIZES:
        jpeg = cv2.imencode(".jpg", shrunk(pixels, side), [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(jpeg) <= most:
            break
    return jpeg


def _shot(split: Split, sides: Sequence[_Side], image: int, picture: str) -> str:
    truth = split.boxes_xywh[image]
    width, height = split.sizes_wh[image].tolist()
    name, kind = split.image_ids[image], split.kinds[image] or "class unknown"
    overlay = [boxes_svg("t", truth, [], (width, height), 0)]
    rows = []
    for side in sides:
        boxes, confidence, config = side.boxes[image], side.confidence[image].tolist(), side.config
        sure = list(map(confidence_text, confidence))
        overlay.append(boxes_svg(config.mark, boxes, sure, (width, height), config.number))
        mistakes = config.measured[0].measures.mistakes
        found = [f"{kind} ({value})" for kind, value in zip(mistakes.boxes[image], sure, strict=True)]
        lost = [f"{count} {kind}" for kind, count in Counter(mistakes.truth[image]).items() if kind is not Kind.FOUND]
        score = float(side.scores[image])
        more = [*found] or ["no box"]
        if lost:
            more.append(f"of the truth: {', '.join(lost)}")
        more.append(f"image probability {confidence_text(side.probability[image])}")
        told = "right: no box" if math.isnan(score) else decimal(score)
        rows.append(
            f'<li class="{config.mark}">{line_sample(config.mark)}<b>{escape(config.name)}</b> {told}'
            f"<small>{escape('; '.join(more))}</small></li>"
        )
    bad = " ".join(f"{side.badness(image):.4f}" for side in sides)
    kinds = "|".join(" ".join(str(_KINDS.index(kind)) for kind in sorted(set(side.kinds(image)))) for side in sides)
    truths = many(len(truth), "true box", "true boxes") if len(truth) else "no true box"
    alt = f"Radiograph {name}, {kind}, {truths}"
    frame = (
        f'<img src="{picture}" alt="{escape(alt)}" width="{width}" height="{height}" decoding="async">'
        if picture
        else '<span class="unread">picture could not be read</span>'
    )
    return (
        f'<figure class="shot" data-bad="{bad}" data-kinds="{kinds}">'
        f'<button type="button" class="open" aria-label="Enlarge {escape(alt)}">{frame}'
        f'<svg class="overlay" viewBox="0 0 {width} {height}" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(overlay)}</svg></button>"
        f'<figcaption><span class="id" title="{escape(name)}">{escape(name)}</span>'
        f"<span>{escape(kind)}, {truths}</span><ul>{''.join(rows)}</ul></figcaption></figure>\n"
    )
