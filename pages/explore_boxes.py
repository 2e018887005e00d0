"""Sections on the boxes: how many, how large, where, and what they are in millimetres."""

from collections import Counter

import numpy as np

from hilum.pages import explore_figures as figures
from hilum.pages.collection import Collection
from hilum.pages.facts import box_coverage
from hilum.pages.page import Picture, Section, Table
from hilum.pages.wording import listed, many, percent

CASSETTE_MM = (350.0, 430.0)  # 35 x 43 cm (14 x 17 inch), upright or across: what an adult's chest is taken on


def boxes_per_image(images: Collection) -> Section:
    """Images by their number of boxes."""
    counts, positive = images.box_counts, int(images.positive.sum())
    most = int(counts.max())
    shown = min(most, 9)
    tally = [int((counts == number).sum()) for number in range(shown)] + [int((counts >= shown).sum())]
    names = [str(number) for number in range(shown)] + [f"{shown}+" if most > shown else str(shown)]
    text = []
    two = np.flatnonzero(counts == 2)
    if len(two):
        centres = [(images.boxes_xyxy[n][:, 0] + images.boxes_xyxy[n][:, 2]) / 2 / images.sizes_wh[n, 0] for n in two]
        apart = sum((centre < 0.5).any() and (centre > 0.5).any() for centre in centres)
        text.append(
            f"{percent(len(two), positive)} of the images with opacity have two boxes, and in "
            f"{percent(apart, len(two))} of these there is one on each side of the picture: both lungs are affected."
        )
    none = len(counts) - positive
    text.append(
        f"{percent(none, len(counts))} of all images have none: a detector that always finds something is wrong on "
        "every one of them."
    )
    pairs = listed(f"{name}: {count:,}" for name, count in zip(names, tally, strict=True))
    return Section(
        "Boxes per image",
        f"An image with opacity has {counts.sum() / positive:.1f} boxes on average, {most} at most.",
        text,
        Picture("boxes-per-image", figures.count_bars(names, tally), f"Bars of images by number of boxes. {pairs}."),
    )


def box_sizes(images: Collection) -> Section:
    """Widths and heights, as shares of the picture."""
    boxes = images.box_fractions
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    width, height = np.median(widths), np.median(heights)
    low, area, high = np.quantile(widths * heights, (0.05, 0.5, 0.95))
    taller = np.mean([b[3] - b[1] > b[2] - b[0] for found in images.boxes_xyxy for b in found])
    text = [
        (
            f"In area the middle box is {area:.1%} of the picture, and nine in ten lie between {low:.1%} and "
            f"{high:.1%}. {taller:.0%} are taller than wide. The dashed lines are the medians."
        ),
        (
            "A box holds the opacity and whatever else is in the rectangle: it says where to look, not how far the "
            "disease goes. The smallest are the hardest to find, and to hit by enough overlap."
        ),
    ]
    alt = f"Two-way histogram of box widths and heights. Medians: {width:.0%} of the width, {height:.0%} of the height."
    return Section(
        "Box sizes",
        f"A typical box takes {width:.0%} of the picture's width and {height:.0%} of its height.",
        text,
        Picture("box-sizes", figures.box_sizes(widths, heights), alt),
    )


def box_positions(images: Collection) -> Section:
    """Heat map of what the boxes cover."""
    at = np.flatnonzero(images.positive)
    sizes_wh = images.sizes_wh[at]
    coverage = box_coverage([images.boxes_xyxy[number] for number in at], sizes_wh)
    row, column = (int(place) for place in np.unravel_index(np.argmax(coverage), coverage.shape))
    boxes = images.box_fractions
    left = float(((boxes[:, 0] + boxes[:, 2]) / 2 < 0.5).mean())
    low = float(((boxes[:, 1] + boxes[:, 3]) / 2 > 0.5).mean())
    side = "right" if column < coverage.shape[1] / 2 else "left"
    text = [
        (
            f"All {many(len(at), 'image')} with opacity laid over each other. The darkest place, on the patient's "
            f"{side}, is in a box on {coverage.max():.0%} of them. {low:.0%} of the boxes have their centre in the "
            "lower half of the picture. As radiographs are hung, the patient's right is on the left."
        ),
        (
            "Opacities lie where lungs are, so a guess at the usual places is not always wrong: a detector is worth "
            "something where it beats that guess, which hilum's tables put beside each."
        ),
    ]
    share = 100 / coverage.shape[0]
    alt = (
        f"Heat map of where boxes lie: darkest, {coverage.max():.0%}, at {(column + 0.5) * share:.0f}% of the width "
        f"and {(row + 0.5) * share:.0f}% of the height. {left:.0%} of the boxes are on the patient's right."
    )
    png = figures.position_map(coverage, float(np.median(sizes_wh[:, 1] / sizes_wh[:, 0])))
    finding = f"{left:.0%} of the boxes are on the patient's right, {1 - left:.0%} on the left."
    return Section("Where the boxes are", finding, text, Picture("box-positions", png, alt))


def millimetres(images: Collection) -> Section:
    """What a box is in millimetres, if the recorded spacing can be that of these pixels at all."""
    title = "Pixel spacing and millimetres"
    known = np.isfinite(images.spacing_mm)
    if not known.any():
        return Section(title, "The size of a pixel is not recorded, so no box can be given in millimetres.")
    spacing, widths_px = images.spacing_mm[known], images.sizes_wh[known, 0]
    fields = widths_px * spacing
    field = float(np.median(fields))
    boxes = [
        (found[:, 2:] - found[:, :2]) * size
        for found, size in zip(images.boxes_xyxy, images.spacing_mm, strict=True)
        if len(found) and np.isfinite(size)
    ]
    mm = np.concatenate([np.zeros((0, 2)), *boxes])
    box = f"{np.median(mm[:, 0]):.0f} x {np.median(mm[:, 1]):.0f} mm" if len(mm) else ""
    low, high = CASSETTE_MM
    believed = 0.7 * low <= field <= 1.2 * high
    if believed:
        finding = f"By their pixel spacing the pictures are {field:.0f} mm wide, as chest radiographs are."
        text = [
            (f"A typical box is {box}. " if box else "")
            + "That is in the plane of the detector: the lung, nearer to the tube, is a little smaller."
        ]
    else:
        finding = f"The recorded spacing cannot be that of these pixels: it makes the pictures {field:.0f} mm wide."
        text = [
            (
                f"An adult's chest is taken on {low:.0f} x {high:.0f} mm. Most likely the pictures were "
                f"{'reduced' if field < low else 'enlarged'} and the tag still tells the spacing they had before."
            ),
            (
                f"Taken at its word, a typical box is {box}; if the pictures are {low:.0f} to {high:.0f} mm wide in "
                f"truth, it is {low / field:.1f} to {high / field:.1f} times that. "
                if box
                else ""
            )
            + "No size in millimetres should be reported from this tag.",
        ]
    common = Counter(zip(np.round(spacing, 3).tolist(), widths_px.tolist(), strict=True)).most_common(5)
    table = Table(
        ("mm a pixel", "images", "width in mm"),
        [(f"{mm:.3f}", f"{count:,} ({percent(count, len(spacing))})", f"{mm * px:.0f}") for (mm, px), count in common],
    )
    alt = (
        f"Histogram of the widths of the pictures by the tag, median {field:.0f} mm, beside the {low:.0f} to "
        f"{high:.0f} mm "
        "of a chest cassette" + (f"; below, box widths and heights in millimetres, median {box}." if box else ".")
    )
    picture = Picture("millimetres", figures.millimetres(fields, mm[:, 0], mm[:, 1], CASSETTE_MM), alt)
    return Section(title, finding, text, picture, table)
