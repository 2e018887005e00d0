"""Sections on images and people: classes, examples of each, view, sex and age."""

import numpy as np
from numpy.typing import NDArray

from hilum.datasets.pictures import read_picture
from hilum.dicom.header import OLDEST_YEARS
from hilum.errors import HilumError
from hilum.pages import explore_figures as figures
from hilum.pages.collection import OTHER_FINDING, Collection, class_order, common_values, shown_classes
from hilum.pages.facts import impossible_ages
from hilum.pages.page import Picture, Section
from hilum.pages.shots import shrunk
from hilum.pages.wording import listed, many, percent

_SEXES = {"F": "women", "M": "men", "O": "other", "": "unrecorded"}


def classes(images: Collection) -> Section:
    """How many images of each class, each image once."""
    kinds, positive = shown_classes(images), images.positive
    names = class_order(kinds)
    counts = [int((kinds == name).sum()) for name in names]
    hits = int(positive.sum())
    text = ["An image counts once here, however many boxes it has. Opacity is the target: at least one box was drawn."]
    if OTHER_FINDING in names:
        text.append(
            f"{many(counts[names.index(OTHER_FINDING)], 'image')} without opacity are not normal either: they show "
            "something else. For a detector these are the hard ones, and where its false alarms are to be looked for."
        )
    png = figures.class_bars(names, counts, [positive[kinds == name].mean() > 0.5 for name in names])
    pairs = listed(f"{name} {count:,}" for name, count in zip(names, counts, strict=True))
    return Section(
        "Classes and target",
        f"{hits:,} of {many(len(images), 'image')} ({percent(hits, len(images))}) show opacity.",
        text,
        Picture("classes", png, f"Bars of the number of images of each class: {pairs}."),
    )


def contact_sheet(images: Collection, name: str, number: int, kind: str, most: int = 8) -> Section:
    """Examples of one class with their boxes, spread evenly over the list of images, not picked by eye."""
    at = np.flatnonzero(shown_classes(images) == kind)
    tiles, boxes, failed = [], 0, 0
    for image in at[np.linspace(0, len(at) - 1, min(most, len(at))).astype(int)].tolist():
        try:
            pixels = shrunk(read_picture(images.paths[image]), figures.TILE_PX)
        except HilumError:
            failed += 1
            continue
        found = images.boxes_xyxy[image] / np.tile(images.sizes_wh[image], 2)
        boxes += len(found)
        tiles.append((pixels, found, f"{_shortened(images.image_ids[image])}\n{images.views[image]}".strip()))
    title = f"Examples: {kind}"
    unread = [f"{many(failed, 'picture')} could not be read."] if failed else []
    if not tiles:
        return Section(title, f"There are {many(len(at), 'image')}; none of those picked could be read.")
    how = "Evenly spaced over the list of images, not picked by eye."
    if boxes:
        how += " The boxes are what the readers drew."
    alt = f"{many(len(tiles), 'radiograph')} of the class {kind}, with {many(boxes, 'box', 'boxes')} drawn on them."
    picture = Picture(f"contact-{number}", figures.contact_sheet(f"{_shortened(name)}: {kind}", tiles), alt)
    return Section(title, f"{len(tiles)} of {many(len(at), 'image')}", [how, *unread], picture, wide=True)


def _shortened(name: str, most: int = 40) -> str:
    """A name that fits above a picture, with its beginning and its end."""
    return name if len(name) <= most else f"{name[: most // 2 - 2]}...{name[1 - most // 2 :]}"


def view_by_sex(images: Collection) -> Section:
    """How women and men were X-rayed."""
    title = "View by sex"
    if not (images.views != "").any():
        return Section(title, "How the pictures were taken is not recorded.")
    views = shown_views(images)
    sexes = np.array([_SEXES.get(sex, "other") for sex in images.sexes.tolist()])
    rows = [name for name in _SEXES.values() if (sexes == name).any()]
    names = view_order(views)
    parts = {view: [int(((views == view) & (sexes == row)).sum()) for row in rows] for view in names}
    shown = "AP" if "AP" in parts else names[0]
    shares = [percent(part, int((sexes == row).sum())) for part, row in zip(parts[shown], rows, strict=True)]
    of = listed(f"{share} of {row}" for share, row in zip(shares, rows, strict=True))
    finding = (
        f"Taken {shown}: {of}." if rows != ["unrecorded"] else f"Taken {shown}: {shares[0]}; the sex is unrecorded."
    )
    text = []
    if "AP" in names and "PA" in names:
        text.append(
            "PA is taken of those who can stand in front of the detector. AP is mostly taken at the bedside, of those "
            "who cannot, and shows the heart larger. So the view says something of how ill a person is."
        )
    alt = "; ".join(
        f"{row}: {', '.join(f'{view} {n[at]:,}' for view, n in parts.items())}" for at, row in enumerate(rows)
    )
    picture = Picture(
        "view-by-sex", figures.stacked_shares(rows, parts), f"Bars of 100% for each sex, cut by view. {alt}."
    )
    return Section(title, finding, text, picture)


def age_by_class(images: Collection) -> Section:
    """Ages in each class; those that nobody has had are shown, and kept out of every median."""
    title, ages = "Age by class", images.ages_years
    wrong = impossible_ages(ages)
    right = np.isfinite(ages) & ~wrong
    if not right.any():
        return Section(title, "No age is recorded." if not wrong.any() else "No age is recorded that can be true.")
    kinds, positive = shown_classes(images), images.positive
    names = [name for name in class_order(kinds) if ((right | wrong) & (kinds == name)).any()]
    possible = {name: ages[right & (kinds == name)] for name in names}
    medians = listed(f"{np.median(values):.0f} in {name}" for name, values in possible.items() if len(values))
    text = [f"The dashed lines are the median ages: {medians}. The bars of each class add up to 100%."]
    count = int(wrong.sum())
    if count:
        text.append(
            f"{many(count, 'recorded age')} cannot be true and {'is' if count == 1 else 'are'} marked by "
            f"crosses: nobody is known to have lived beyond {OLDEST_YEARS} years. Such a picture may be fine, its age "
            "is not to be used."
        )
    if (ages[right] >= 90).any():
        text.append("Ages from 90 on are one bar: so few people are that old that an exact age could point at one.")
    impossible = {name: ages[wrong & (kinds == name)] for name in names}
    png = figures.age_histograms(possible, impossible, [positive[kinds == name].mean() > 0.5 for name in names])
    alt = f"Histogram of age for each class. Medians: {medians}. {many(count, 'impossible age')} marked."
    finding = f"The median age is {np.median(ages[right]):.0f} years" + (
        f"; {many(count, 'age')} cannot be true." if count else "."
    )
    return Section(title, finding, text, Picture("age-by-class", png, alt))


def shown_views(images: Collection) -> NDArray[np.str_]:
    """The view of each image, "unrecorded" where unknown; rare ones as "other"."""
    return common_values(np.where(images.views == "", "unrecorded", images.views), "other", 5)


def view_order(views: NDArray[np.str_]) -> list[str]:
    """Views from the most to the least frequent."""
    names, counts = np.unique(views, return_counts=True)
    return [str(names[at]) for at in np.argsort(-counts, kind="stable")]
