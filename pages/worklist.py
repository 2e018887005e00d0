"""`worklist.html`: what a prediction found, the likeliest first, for a reader who looks through it and marks it.

Pictures are small on the page, and in a folder beside it as large as they are shown. Both are known by numbers, which
`images.csv` tells names of: a file's name may be that of a person. Cards are written as results come, and put in order
as they lie on the disk, so that memory does not grow with their number.
"""

import base64
import math
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.class_names import ONE_CLASS, Confidence, confidence_text, confidence_words
from hilum.datasets.bits import as_bits
from hilum.datasets.boxes import xyxy_to_xywh
from hilum.errors import HilumError
from hilum.eval.calibration import Calibration
from hilum.files import own_folder, read_regular, refuse_links, replacing, write_atomically
from hilum.pages.page import Fold, Page, Part, Section, Table, asset, line_sample, page_html
from hilum.pages.shots import boxes_svg, shrunk, window_html
from hilum.pages.wording import many
from hilum.result import Result

PAGE: Final = "worklist.html"
_FOLDER: Final = "worklist"
_LONGEST_PX = 2048  # of a picture beside the page
_PAGE_BYTES = 20_000_000  # of all pictures on it, about, before base64
_BYTES_PER_PIXEL = 0.12  # of a small radiograph as a JPEG of this quality
_QUALITY = 60
_SIDES_PX = (112, 256)  # of a small picture, at least and at most
_MANY = 1500  # images, from which on they are shown smaller
_MAX_PICTURE_BYTES = 1 << 26
_CARDS = "<!-- cards -->"
_REDUCED = {
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
}
_KEYS = (
    ("left, right", "the image before, the next; Home and End: the first, the last; Escape closes"),
    ("a, n, u", "marks the image: agree, no, unsure; the same again: no mark"),
    ("b", "boxes on and off"),
    ("mouse, pressed", "sideways: contrast; up and down: brightness; twice quickly, or r: as it was"),
)
_MARKS = (
    "they stay in this browser, on this computer, until its data are cleared; saved as CSV, hilum evaluate PREDICTIONS "
    "marks.csv reads them as labels"
)
_NUMBERS = "those of the column coco_id of images.csv, which tells names; none is on this page"
_NAMES = "those of images.csv; they may be those of people"


@dataclass(frozen=True)
class Pictures:
    """The pictures beside the page, a JPEG each, by number.

    Those of other images lie in another folder, so that a page never shows what is not its own.

    Attributes:
        out: the predictions folder.
        of_images: digest of the images.
    """

    out: Path
    of_images: str

    def link(self, number: int) -> str:
        """Where a picture lies, from the page on."""
        return f"{_FOLDER}/{self.of_images}/{number:05d}.jpg"

    def write(self, number: int, pixels: NDArray[Any]) -> None:
        """Write a picture, (H, W) of 8 or 16 bits, at most 2,048 px long.

        Raises:
            HilumError, OSError: it cannot be written.
        """
        own_folder(self.out, _FOLDER, self.of_images)
        write_atomically(self.out / self.link(number), _jpeg(shrunk(as_bits(pixels, 8), _LONGEST_PX), 85))

    def small(self, number: int, side: int, size_wh: tuple[int, int]) -> NDArray[np.uint8] | None:
        """A picture with a longer side of so many pixels; None where it is not there, or no picture.

        Args:
            number: of the picture.
            side: pixels.
            size_wh: of its image, to read no more of it than is needed.
        """
        least = min(_LONGEST_PX, *size_wh) // side
        flag = next((flag for factor, flag in _REDUCED.items() if factor <= least), cv2.IMREAD_GRAYSCALE)
        try:
            content = read_regular(self.out / self.link(number), _MAX_PICTURE_BYTES)
            pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flag)
        except (HilumError, OSError, cv2.error):
            return None
        return None if pixels is None else shrunk(np.asarray(pixels, np.uint8), side)

    def clear(self, *, own: bool) -> None:
        """Remove the pictures of other images, or these too; other files stay.

        Raises:
            HilumError: the folder is a link, behind which they would be somebody else's.
        """
        refuse_links(self.out, _FOLDER)
        for folder in (self.out / _FOLDER).glob("[0-9a-f]" * 16):
            if folder.is_symlink() or (folder.name == self.of_images and not own):
                continue
            for path in folder.glob("[0-9][0-9][0-9][0-9][0-9]*.jpg"):
                if re.fullmatch(r"\d+\.jpg", path.name):
                    path.unlink()
            if not any(folder.iterdir()):
                folder.rmdir()
        if own and (self.out / _FOLDER).is_dir() and not any((self.out / _FOLDER).iterdir()):
            (self.out / _FOLDER).rmdir()


@dataclass(frozen=True)
class Made:
    """What made a worklist, and what is told on it.

    Attributes:
        images: how many.
        run: the run's name.
        hilum: the version.
        confidence: from which on boxes are there.
        calibration: what is known of probabilities; None where nobody measured.
        named: whether images are called by their names, which may identify people.
        class_names: of what was looked for.
    """

    images: int
    run: str
    hilum: str
    confidence: Confidence
    calibration: Calibration | None = None
    named: bool = False
    class_names: tuple[str, ...] = ONE_CLASS


def _looked_for(made: Made) -> str:
    return "lung opacity" if made.class_names == ONE_CLASS else ", ".join(made.class_names)


def write_worklist(pictures: Pictures, results: Iterable[tuple[int, Result]], made: Made) -> None:
    """Write the page in the place of an earlier one; the pictures beside it are there, or are shown as missing.

    Raises:
        HilumError: the way leads through a link.
        OSError: it cannot be written.
    """
    side = int(np.clip(math.sqrt(_PAGE_BYTES / _BYTES_PER_PIXEL / max(1, made.images)), *_SIDES_PX))
    places: list[tuple[float, int, int]] = []
    with_boxes = 0
    with tempfile.TemporaryFile(dir=pictures.out) as cards, replacing(pictures.out / PAGE) as page:
        for number, result in results:
            card = _card(number, result, pictures, side, made).encode()
            sort = math.inf if result.error else -result.image_probability
            places.append((sort, cards.tell(), cards.write(card)))
            with_boxes += len(result.detections) > 0
        unread = sum(sort == math.inf for sort, _, _ in places)
        before, _, after = page_html(_page(pictures, made, with_boxes, unread)).partition(_CARDS)
        page.write(before)
        for _, start, length in sorted(places):
            cards.seek(start)
            page.write(cards.read(length).decode())
        page.write(after)


def _page(pictures: Pictures, made: Made, with_boxes: int, unread: int) -> Page:
    if made.calibration:
        measured = sum(each.images for each in made.calibration.bins)
        told = (
            f"{many(measured, 'image')} were measured, in ten groups by probability: each image tells how many of its "
            "group showed an opacity. Where opacities are more or less frequent than there, it is another share."
        )
    else:
        told = (
            "A probability is the detector's own word. How often it is right was not measured: hilum evaluate RUN DATA "
            "--json FILE does that, hilum predict --calibration FILE tells it here."
        )
    rows = [*_KEYS, ("marks", _MARKS), ("names", _NAMES) if made.named else ("numbers", _NUMBERS)]
    section = Section(
        "The images",
        f"{many(with_boxes, 'image has', 'images have')} a box from a confidence of "
        f"{confidence_words(made.confidence)} on. Press an image to enlarge and to mark it.",
        [told],
        folds=[Fold("Keys, mouse, marks and numbers", Table(("what", "it does, or is"), rows))],
        widget=_widget(pictures, made),
    )
    figures = [
        (f"{made.images:,}", "images"),
        (f"{with_boxes:,}", "with a box"),
        (confidence_words(made.confidence), "operating point"),
        *([(f"{unread:,}", "could not be read")] if unread else []),
    ]
    return Page(
        title=f"Worklist of {many(made.images, 'radiograph')}",
        summary=f"Research, not for diagnosis: what a detector of {_looked_for(made)} found, for a reader to check.",
        figures=figures,
        parts=[Part("Likeliest first", [section])],
        footer=(f"Made by hilum {made.hilum} with the run {made.run}.",),
        style=asset("gallery.css") + asset("worklist.css"),
        script=asset("viewer.js") + asset("worklist.js"),
        beside=True,
    )


def _widget(pictures: Pictures, made: Made) -> str:
    named = ' data-named="1"' if made.named else ""
    marks = "".join(
        f'<button type="button" value="{value}"><span>{value}</span><kbd>{value[0]}</kbd></button>'
        for value in ("agree", "no", "unsure")
    )
    aside = f"""<div id="marks" role="group" aria-label="Mark">{marks}
<label><input type="checkbox" id="go-on">on to the next after a mark</label></div>
<p class="shades"><output id="shades"></output><button type="button" id="reset">Reset</button></p>"""
    about = f'data-images="{escape(pictures.of_images)}"{named}' + ' class="many"' * (made.images > _MANY)
    return f"""<div id="gallery" {about}>
<div class="controls">
<div><fieldset id="toggles"><legend>Boxes</legend>
<label><input type="checkbox" data-b="0" checked>{line_sample("b0")}found</label></fieldset></div>
<div class="choices">
<label>Show <select id="kind"><option value="all">all images</option><option value="boxes">with a box</option>
<option value="none">without a box</option><option value="warned">with a warning</option>
<option value="unread">not read</option></select></label>
<label>marked <select id="marked"><option value="all">or not</option><option value="open">not yet</option>
<option value="done">in any way</option><option value="agree">agree</option><option value="no">no</option>
<option value="unsure">unsure</option></select></label>
<label>Order <select id="order"><option value="likely">likeliest first</option>
<option value="unlikely">least likely first</option><option value="listed">by number</option></select></label>
<label>Find <input type="search" id="find" placeholder="{"number, name" if made.named else "number"}"></label>
</div>
<div class="status"><p id="count" role="status"></p><output id="tally"></output>
<button type="button" id="save">Save marks as CSV</button>
<span id="kept" hidden>This browser does not keep marks: save them before you close the page.</span></div>
</div>
<div id="shots">{_CARDS}</div>
{window_html(aside)}</div>
"""


def _card(number: int, result: Result, pictures: Pictures, side: int, made: Made) -> str:
    name = escape(result.image_id) if made.named else ""
    shown = f"No. {number}" + (f": {name}" if name else "")
    lines = [f'<span class="id">{shown}</span>']
    data = f'data-n="{number}"' + (f' data-name="{name}"' if name else "")
    if result.error:
        lines.append(f'<span class="warning">not read: {escape(result.error)}</span>')
        frame, alt = '<span class="unread">picture could not be read</span>', f"image {number}, which could not be read"
    else:
        boxes = many(len(result.detections), "box", "boxes") if len(result.detections) else "no box"
        lines.append(f'<span class="chance">{confidence_text(result.image_probability)} &middot; {boxes}</span>')
        if made.calibration and (words := made.calibration.words(result.image_probability)):
            lines.append(f"<span>{escape(words)}</span>")
        if result.warning:
            lines.append(f'<span class="warning" title="{escape(result.warning)}">{escape(result.warning)}</span>')
        data += f' data-p="{result.image_probability:.6f}" data-w="{int(bool(result.warning))}"'
        data += f' data-src="{pictures.link(number)}"'
        alt = f"Radiograph {number}, probability {confidence_text(result.image_probability)}, {boxes}"
        frame = _frame(number, result, pictures, side, alt)
    return (
        f'<figure class="shot" {data} data-b="{len(result.detections)}"><button type="button" class="open" '
        f'aria-label="Enlarge {alt}">{frame}</button>'
        f'<figcaption>{"".join(lines)}<span class="mark"></span></figcaption></figure>\n'
    )


def _frame(number: int, result: Result, pictures: Pictures, side: int, alt: str) -> str:
    width, height = size_wh = result.size_wh or (1, 1)
    small = pictures.small(number, side, size_wh)
    if small is None:
        return '<span class="unread">picture could not be read</span>'
    jpeg = base64.b64encode(_jpeg(small, _QUALITY)).decode("ascii")
    found = result.detections
    boxes = boxes_svg("b0", xyxy_to_xywh(found.xyxy), result.box_labels(), size_wh, 0)
    return (
        f'<img src="data:image/jpeg;base64,{jpeg}" alt="{alt}" width="{small.shape[1]}" height="{small.shape[0]}" '
        f'loading="lazy" decoding="async">'
        f'<svg class="overlay" viewBox="0 0 {width} {height}" preserveAspectRatio="none" aria-hidden="true">'
        f"{boxes}</svg>"
    )


def _jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
