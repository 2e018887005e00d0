"""`hilum explore`: what is in a dataset folder and what can mislead in it, as one page to read before training."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hilum import __version__
from hilum.class_names import class_slug, here_is
from hilum.datasets.folder import SPLITS, Dataset
from hilum.datasets.id_lists import read_named_ids
from hilum.datasets.record import CONVERSION, read_conversion
from hilum.errors import HilumError
from hilum.files import PARTIAL, refuse_links
from hilum.pages import explore_boxes as boxes
from hilum.pages import explore_images as pictures
from hilum.pages import explore_traps as traps
from hilum.pages.collection import Collection, class_order, read_collection, shown_classes
from hilum.pages.page import Page, Part, Section, is_page, write_page
from hilum.pages.wording import percent
from hilum.progress import Progress, no_progress

INDEX, CLASSES = "index.html", "classes"
_ALL = "all classes"
NAMES = {
    "classes",
    "view-by-sex",
    "age-by-class",
    "boxes-per-image",
    "box-sizes",
    "box-positions",
    "millimetres",
    "view-and-opacity",
    "patients",
    "stage-1-test",
    "join",
    *(f"contact-{number}" for number in range(1, 9)),
}
"""Figures that a page may have."""


def explore(
    data: Path, out: Path | None = None, *, stage1: Path | None = None, progress: Progress = no_progress
) -> Path:
    """Describe a dataset folder on one HTML page; its figures lie beside it as PNG files.

    The same folder gives the same bytes. Names of patients, images and files do not appear.

    Args:
        data: dataset folder, or a further split of one.
        out: folder to write, `data/explore` where None: a new or an empty one, or that of an earlier page.
        stage1: the challenge's `stage_1_train_labels.csv`. Where None, a split that `hilum split --stage1` made tells.
        progress: called with the sections done and their total.

    Returns:
        The page.

    Raises:
        HilumError: nothing is labelled, a file is damaged, or `out` holds something else.
    """
    dataset = Dataset.open(data)
    if out is None:
        refuse_links(data, "explore")
        out = data / "explore"
        if not os.access(out if out.is_dir() else data, os.W_OK):
            raise HilumError(f"{out}: cannot be written; give the page another folder: --out FOLDER")
    names = dataset.class_names
    _check_out(out, [class_slug(name) for name in names])
    every = read_collection(dataset)
    test = _stage1_split(dataset, every) if stage1 is None else stage1_test(every, stage1)
    if len(names) == 1:
        page = _describe(dataset, every, test, progress)
        _write(out, replace(page, summary=here_is(names) + page.summary))
        return out / INDEX
    pages = len(names) + 1

    def part(at: int) -> Progress:
        return lambda done, total: progress(at * total + done, pages * total)

    for class_id, name in enumerate(names):
        switch = [(_ALL, f"../../{INDEX}")]
        switch += [(other, "" if other == name else f"../{class_slug(other)}/{INDEX}") for other in names]
        page = _describe(dataset, read_collection(dataset, class_id), test, part(class_id))
        page = replace(page, title=f"{name}: {page.title}", summary=here_is([name]) + page.summary)
        _write(out / CLASSES / class_slug(name), page.with_switch(switch))
    page = _describe(dataset, every, test, part(len(names)))
    page = replace(page, summary=here_is(names, " any of") + page.summary)
    switch = [(_ALL, ""), *((name, f"{CLASSES}/{class_slug(name)}/{INDEX}") for name in names)]
    _write(out, page.with_switch(switch))
    return out / INDEX


def _write(out: Path, page: Page) -> None:
    write_page(out / INDEX, page)
    for stale in NAMES - {picture.name for picture in page.pictures}:
        (out / f"{stale}.png").unlink(missing_ok=True)


def _describe(dataset: Dataset, images: Collection, test: NDArray[np.bool_] | None, progress: Progress) -> Page:
    """The page of what these boxes are."""
    kinds = class_order(shown_classes(images))
    sheet = partial(pictures.contact_sheet, images, dataset.path.name)
    plan = {
        "The images": [
            partial(pictures.classes, images),
            *(partial(sheet, number, kind) for number, kind in enumerate(kinds, 1)),
        ],
        "The people": [partial(pictures.view_by_sex, images), partial(pictures.age_by_class, images)],
        "The opacities": [partial(section, images) for section in _about_boxes(images)],
        "What can mislead": [
            partial(traps.shortcut, images),
            partial(traps.patients, images),
            partial(traps.stage1_test_set, images, test),
            partial(traps.join, images),
        ],
        "What is missing": [partial(traps.gaps, images), partial(traps.left_out, dataset)],
    }
    total, done = sum(map(len, plan.values())), 0
    parts = []
    for title, steps in plan.items():
        sections = []
        for step in steps:
            sections.append(step())
            done += 1
            progress(done, total)
        parts.append(Part(title, sections))
    return _page(dataset, images, parts)


def stage1_test(images: Collection, labels: Path) -> NDArray[np.bool_]:
    """Which images were the test set of the challenge's first stage: those its label table does not name.

    Raises:
        HilumError: `labels` is no such table, or names none of the images.
    """
    known = read_named_ids(labels)
    test = np.array([image_id not in known for image_id in images.image_ids], bool)
    if test.all():
        raise HilumError(f"{labels}: names none of the {len(images):,} images; expected stage_1_train_labels.csv")
    return test


def _stage1_split(dataset: Dataset, images: Collection) -> NDArray[np.bool_] | None:
    """The same from the first split, by name, whose record says that it holds this test set out."""
    records = [dataset.path / CONVERSION, *sorted(dataset.root.glob(f"splits/*/{CONVERSION}"))]
    for record in records:
        try:
            if read_conversion(record.parent).get("kind") == "stage1":
                held_out = set(Dataset.open(record.parent).split("holdout").image_ids)
                return np.array([image_id in held_out for image_id in images.image_ids], bool)
        except HilumError:
            continue  # a split that is damaged or out of date is no reason not to describe the data
    return None


def _about_boxes(images: Collection) -> list[Callable[[Collection], Section]]:
    if images.positive.any():
        return [boxes.boxes_per_image, boxes.box_sizes, boxes.box_positions, boxes.millimetres]
    finding = "No image has an opacity box, so nothing can be said of their number, size and place."
    return [lambda _: Section("Boxes", finding), boxes.millimetres]


def _page(dataset: Dataset, images: Collection, parts: list[Part]) -> Page:
    positive = int(images.positive.sum())
    people = len(set(images.patients.tolist()) - {""})
    views = Counter(view for view in images.views.tolist() if view).most_common(2)
    unlabelled = len(dataset.unlabelled())
    sides = ", ".join(f"{(images.splits == name).sum():,} {name}" for name in SPLITS)
    return Page(
        title="What is in these radiographs",
        summary="What a detector of lung opacity can learn from this data set, and what can mislead it or its readers.",
        figures=[
            (f"{len(images):,}", "labelled images"),
            (f"{positive:,}", f"show opacity, {percent(positive, len(images))}"),
            (f"{images.box_counts.sum():,}", "opacity boxes"),
            (f"{people:,}" if people else "?", "patients" if people else "patients: not known"),
            *((f"{count:,}", f"{view} views") for view, count in views),
        ],
        parts=parts,
        footer=(
            f"Images: {sides}" + (f"; {unlabelled:,} without labels, not described here." if unlabelled else "."),
            f"Every number is computed from data set {dataset.fingerprint} by hilum {__version__}.",
        ),
    )


def _check_out(out: Path, slugs: Sequence[str]) -> None:
    """Refuse a folder that holds anything but an earlier page, its figures, and pages of classes."""
    if out.exists() and not out.is_dir():
        raise HilumError(f"{out}: is a file; give a folder")
    refuse_links(out, *(f"{CLASSES}/{slug}" for slug in slugs))
    ours = {INDEX, CLASSES, *(f"{name}.png" for name in NAMES)}
    entries = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    strange = [name for name in entries if name not in ours and not name.endswith(PARTIAL)]
    index = out / INDEX
    if not strange and index.is_file() and not is_page(index):
        strange = [INDEX]
    if strange:
        raise HilumError(f"{out}: holds {strange[0]}, not of an earlier page; give a new or an empty folder")
