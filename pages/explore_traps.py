"""Sections on what can mislead a detector or its readers, and on what is missing."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from hilum.datasets.folder import Dataset
from hilum.datasets.left_out import read_left_out
from hilum.pages import explore_figures as figures
from hilum.pages.collection import Collection, class_order, shown_classes
from hilum.pages.explore_images import shown_views, view_order
from hilum.pages.facts import auc_of_groups, leaked_share, rows_of_join, wilson_interval
from hilum.pages.page import Picture, Section, Table
from hilum.pages.wording import listed, many, percent

_BINS = ((1, 1), (2, 2), (3, 4), (5, 9), (10, 19), (20, None))


def shortcut(images: Collection) -> Section:
    """How much of the answer is in the view."""
    title, positive = "View against opacity: the shortcut", images.positive
    if not (images.views != "").any():
        return Section(title, "How the pictures were taken is not recorded, so this shortcut cannot be measured.")
    if not positive.any():
        return Section(title, "No image shows opacity, in whatever view.")
    views = shown_views(images)
    names = view_order(views)
    totals = [int((views == name).sum()) for name in names]
    hits = [int((positive & (views == name)).sum()) for name in names]
    shares = listed(f"{percent(hit, all_)} of {name}" for hit, all_, name in zip(hits, totals, names, strict=True))
    auc = auc_of_groups(views, positive)
    text = []
    if np.isfinite(auc) and len(names) > 1:
        text = [
            (
                "The view alone, without a look at the lungs, ranks an image with opacity above one without in "
                f"{auc:.0%} of pairs (AUC; 50% is chance). A network can learn how a picture was taken, from its "
                "markers, tubes and cut-off edges, and seem to know the disease."
            ),
            "So look at the figures of each view by itself, and be wary where a hospital mixes its views otherwise.",
        ]
    intervals = [wilson_interval(hit, total) for hit, total in zip(hits, totals, strict=True)]
    png = figures.shares_with_intervals(names, hits, totals, intervals)
    picture = Picture("view-and-opacity", png, f"Bars of the share of images that show opacity: {shares}.")
    return Section(title, f"Opacity is on {shares} images.", text, picture)


def patients(images: Collection) -> Section:
    """Who has many images, and what a split by image would leak."""
    title = "Patients with many images"
    known = images.patients != ""
    if not known.any():
        why = (
            "Where images of one person are in training and outside, a detector can know the person and seem better "
            "than it is. hilum convert --patients FILE takes a table of images and patients and keeps each on one "
            "side."
        )
        return Section(title, "Whose the images are is not known, so leaks between splits cannot be ruled out.", [why])
    held = np.array(sorted(Counter(images.patients[known].tolist()).values()), np.int64)
    groups = [held[(held >= low) & (held <= (high or held))] for low, high in _BINS if low <= held.max()]
    names = [f"{a}+" if b is None else str(a) if a == b else f"{a} to {b}" for a, b in _BINS[: len(groups)]]
    people, pictures = [len(group) for group in groups], [int(group.sum()) for group in groups]
    training = images.splits == "train"
    everybody = np.r_[held, np.ones(int((~known).sum()), np.int64)]  # an image of nobody known counts as a person
    leaked = leaked_share(everybody, int(training.sum()))
    shared = int((known & ~training & np.isin(images.patients, np.unique(images.patients[training]))).sum())
    text = [
        (
            f"Had the images been dealt one by one into parts of the present sizes, {leaked:.0%} of the "
            f"{(~training).sum():,} outside training would be of somebody who is in training too. A detector can then "
            "know the person, and every figure flatters it."
        ),
        f"In the split of this folder {shared or 'none'} of them {'is' if shared == 1 else 'are'}.",
    ]
    if not known.all():
        text.append(f"{many(int((~known).sum()), 'image')} of unknown patients count as a person each.")
    pairs = zip(names, people, pictures, strict=True)
    alt = listed(f"{name}: {many(who, 'patient')} with {many(what, 'image')}" for name, who, what in pairs)
    picture = Picture(
        "patients", figures.patient_bars(names, people, pictures), f"Bars by images of one patient. {alt}."
    )
    finding = f"{many(int(known.sum()), 'image')} are of {many(len(held), 'patient')}, up to {held.max()} of the same."
    return Section(title, finding, text, picture)


def stage1_test_set(images: Collection, test: NDArray[np.bool_] | None) -> Section:
    """How the first stage's test set differs from the rest; `test` says which images were in it, if that is known."""
    title = "The first stage's test set"
    if test is None:
        why = (
            "In the RSNA challenge these are the best stand-in for its hidden test set, and unlike the rest. --stage1 "
            "stage_1_train_labels.csv shows how."
        )
        return Section(title, "Which images were the test set of the challenge's first stage is not known here.", [why])
    if not test.any():
        return Section(title, "None of these images was in it: the first stage's label table names all of them.")
    rows: list[tuple[str, float, float]] = []

    def compare(name: str, values: NDArray[np.float64], of: NDArray[np.bool_]) -> None:
        if of.any() and not of.all():
            rows.append((name, float(np.median(values[~of])), float(np.median(values[of]))))

    positive = images.positive
    rows.append(("images with opacity", float(positive[~test].mean()), float(positive[test].mean())))
    seen, ap = images.views != "", images.views == "AP"
    if ap.any() and (seen & test).any() and (seen & ~test).any():
        rows.append(("AP views", float(ap[seen & ~test].mean()), float(ap[seen & test].mean())))
    boxes, of_test = images.box_fractions, np.repeat(test, images.box_counts)
    compare("median box width, of the picture's", boxes[:, 2] - boxes[:, 0], of_test)
    compare("median box height, of the picture's", boxes[:, 3] - boxes[:, 1], of_test)
    text = []
    if rows[-1][0].startswith("median"):
        wide, high = (test_ / rest for _, rest, test_ in rows[-2:])
        text.append(f"By the median its boxes are {wide:.2f} times as wide and {high:.2f} times as high as the others.")
    text.append("Images picked at random are unlike such a test set, and a score on them says less about it.")
    both = np.intersect1d(images.patients[test], images.patients[~test])
    both = both[both != ""]
    if len(both):
        here, there = (int(np.isin(images.patients[group], both).sum()) for group in (test, ~test))
        text.append(
            f"{many(here, 'image')} of it and {there:,} of the rest are of the same people: who measures on the one "
            "leaves the other out of training."
        )
    pairs = listed(f"{name} {rest:.0%} against {test_:.0%}" for name, rest, test_ in rows)
    png = figures.paired_dots(rows, ("the rest", "first stage's test set"))
    picture = Picture("stage-1-test", png, f"Dots for the rest against the first stage's test set: {pairs}.")
    finding = (
        f"Of its {many(int(test.sum()), 'image')} {percent(positive[test].sum(), test.sum())} show opacity, "
        f"against {percent(positive[~test].sum(), (~test).sum())} of the rest."
    )
    return Section(title, finding, text, picture)


def join(images: Collection) -> Section:
    """What the many-to-many join of the challenge's two tables would have said."""
    title, counts, positive = "The join that says otherwise", images.box_counts, images.positive
    rows = rows_of_join(counts)
    if not (images.classes != "").any():
        return Section(title, "There is no class table here that could be joined wrongly with the label table.")
    if rows.sum() == len(images):
        return Section(title, "No image has more than one box, so joining labels and classes multiplies nothing.")
    kinds = shown_classes(images)
    names = class_order(kinds)
    once, joined = ([int(values[kinds == name].sum()) for name in names] for values in (np.ones_like(rows), rows))
    hits, wrong = int(positive.sum()), int(rows[positive].sum())
    text = [
        (
            "The challenge's label table has a row for each box, and its class table repeats an image as often. "
            f"Joining them on the image turns n boxes into n x n rows: {rows.sum():,} rows from "
            f"{many(len(images), 'image')}, {wrong:,} of them with opacity, where {many(hits, 'image')} show it."
        ),
        (
            "Who counts these rows misstates how common opacity is, and who trains on them sees the worst images most "
            "often. One row an image and one row a box are the two right tables."
        ),
    ]
    pairs = listed(f"{name} {a:,} against {b:,}" for name, a, b in zip(names, once, joined, strict=True))
    png = figures.grouped_bars(names, {"images, each once": once, "rows of the many-to-many join": joined})
    finding = (
        f"Joined on the image, the two tables seem to say that {percent(wrong, rows.sum())} show opacity; "
        f"{percent(hits, len(images))} do."
    )
    return Section(title, finding, text, Picture("join", png, f"Bars of images against rows of the join: {pairs}."))


def gaps(images: Collection) -> Section:
    """Which tags are missing, and how often."""
    columns = {
        "class": images.classes == "",
        "patient": images.patients == "",
        "sex": images.sexes == "",
        "age": np.isnan(images.ages_years),
        "view": images.views == "",
        "pixel spacing": np.isnan(images.spacing_mm),
    }
    missing = {name: int(unknown.sum()) for name, unknown in columns.items() if unknown.any()}
    if not missing:
        return Section("Gaps", "Class, patient, sex, age, view and pixel spacing are known of every image.")
    rows = [(name, f"{count:,}", percent(count, len(images))) for name, count in missing.items()]
    finding = f"Not known of every image: {listed(missing)}."
    return Section("Gaps", finding, table=Table(("not known", "images", "share"), rows))


def left_out(dataset: Dataset, most: int = 12) -> Section:
    """What did not come along into the dataset folder, and why."""
    title, found = "Left out", Counter(read_left_out(dataset.path))
    if not found:
        return Section(title, "Nothing: every image, row and box of the source came along.")
    rows = [(what, reason, f"{count:,}") for (what, reason), count in found.most_common(most)]
    if more := found.total() - sum(count for _, count in found.most_common(most)):
        rows.append(("others", "see left_out.csv", f"{more:,}"))
    notes = sum(count for (what, _), count in found.items() if what == "note")
    lost = found.total() - notes
    finding = f"{many(lost, 'image, row or box', 'images, rows or boxes')} did not come along, or not whole."
    text = ["left_out.csv in the dataset folder names each of them."]
    if notes:
        text.append(f"A note tells how something unusual was read; it did come along ({notes:,}).")
    return Section(title, finding, text, table=Table(("what", "why", "how many"), rows))
