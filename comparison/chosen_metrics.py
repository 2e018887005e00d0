"""Figures that `hilum evaluate --metric` adds: those of other challenges with the AP of each class, and plug-ins'."""

from collections.abc import Collection, Sequence
from pathlib import Path

from hilum.datasets.folder import Dataset, Split
from hilum.detections import Detections
from hilum.eval.challenges import class_aps, found_rows, truth_rows
from hilum.eval.layouts import LAYOUTS, SIIM, Layout
from hilum.eval.metrics import metric_named, metric_title, metric_value
from hilum.eval.submission import read_rows
from hilum.eval.submission_row import Row
from hilum.eval.voc import mean_ap


def _studies(data: Dataset, split: Split) -> tuple[str, ...]:
    """The study of each image, where the data tell it; none elsewhere.

    SIIM's tables know studies and no patients, so what `hilum convert` reads of them has the study in the patient's
    place, which keeps its images together.
    """
    known: dict[str, object] = {**data.conversion}
    column = "patient" if known.get("read_as") == SIIM.name else "study"
    return tuple(data.metadata.loc[list(split.image_ids)][column]) if column in data.metadata else ()


def checked_metrics(names: Sequence[str], class_names: Collection[str]) -> tuple[str, ...]:
    """The metrics to tell, each once: those that are asked for, or, of several classes, the two challenges'.

    Raises:
        HilumError: there is no such metric.
    """
    for name in names:
        metric_named(name)
    return tuple(dict.fromkeys(names)) or (("siim", "vinbigdata") if len(class_names) > 1 else ())


def metrics_of(
    names: Sequence[str], split: Split, found: Sequence[Detections], data: Dataset, source: Path | None = None
) -> dict[str, float]:
    """What each metric says of an answer, by its title; of a challenge also the AP of each class.

    Args:
        names: of the metrics.
        split: the truth.
        found: the answer, every box of each image.
        data: that the split is of.
        source: what the answer was read from. Where it is a submission to a challenge, its rows are scored as they are,
            with those of images without a box and of studies; else they follow from the images' probabilities.
    """
    values: dict[str, float] = {}
    for name in names:
        title, layout = metric_title(name), LAYOUTS.get(name)
        if layout is None:
            values[title] = metric_value(name, split, found)
            continue
        studies = _studies(data, split)
        rows = _submitted(source, layout, split)
        if rows is None:
            rows = found_rows(split.image_ids, found, split.class_names, layout, studies)
        aps = class_aps(truth_rows(split, layout, studies), rows, iou=layout.iou)
        values[title] = mean_ap(aps.values())
        values |= {f"{title}: {of_class}": ap for of_class, ap in aps.items()}
    return values


def _submitted(source: Path | None, layout: Layout, split: Split) -> dict[str, Row] | None:
    """The rows of a submission to the challenge; None where the source is something else."""
    if source is None or not source.is_file() or source.suffix.lower() != ".csv":
        return None
    sizes = {
        name: (int(width), int(height))
        for name, (width, height) in zip(split.image_ids, split.sizes_wh.tolist(), strict=True)
    }
    submission = read_rows(source, sizes)  # its problems were told when the answer was read
    return submission.rows if submission.layout is layout else None


def said_of(names: Sequence[str]) -> list[str]:
    """Lines that belong under a table with such figures."""
    told = ", ".join(metric_title(name) for name in names if name in LAYOUTS)
    line = (
        f"- {told}: PASCAL VOC 2010, the mean AP over the classes that the truth has, over all boxes. Images without a "
        "box are a class, whose confidence is 1 - the image's probability, unless a submission says it."
    )
    return [line] if told else []
