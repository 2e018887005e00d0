"""Score predictions against what a reader marked on their worklist: whether an image shows an opacity."""

from pathlib import Path

import numpy as np

from hilum import __version__
from hilum.comparison.results import Entry
from hilum.documents import Count
from hilum.eval.bootstrap import bootstrap, bootstrap_ratios
from hilum.eval.figures import NAN, ImagePoint, Record
from hilum.eval.image_level import image_ratios, ranking_statistic, reliability_curve
from hilum.eval.marks import read_marked
from hilum.eval.measures import OPERATING_POINT
from hilum.source_digest import source_digest


class MarkedEvaluation(Record):
    """What `hilum evaluate` found of predictions on the images that a reader marked.

    Attributes:
        of_run: digest of the run that predicted.
        images: that the reader was sure of.
        unsure, unread: images more, that the reader was unsure of, or that have a mark and no prediction.
    """

    hilum: str
    code: str
    of_run: str | None
    images: Count
    positive_images: Count
    unsure: Count
    unread: Count
    entries: tuple[Entry, ...]


def evaluate_marks(predictions: Path, marks: Path) -> MarkedEvaluation:
    """Measure a predictions folder on the images that a reader was sure of; each counts as a patient of its own.

    Raises:
        HilumError: as `read_marked`.
    """
    found = read_marked(predictions, marks)
    positive, probability = np.array(found.opacity), np.array(found.probability)
    images = list(range(len(positive)))
    ratios = image_ratios(positive, np.array(found.with_box, np.float64), 0.5)
    ratios["brier"] = image_ratios(positive, probability, 0.5)["brier"]
    drawn = bootstrap_ratios(ratios, images) | bootstrap(ranking_statistic(positive, probability), images)
    interval = {name: figure.interval() for name, figure in drawn.items()}
    point = ImagePoint(
        threshold=NAN if isinstance(least := found.about.get("confidence"), list) else least,
        sensitivity=interval["sensitivity"],
        specificity=interval["specificity"],
    )
    entry = Entry(
        name=predictions.name,
        images=len(positive),
        brier=interval["brier"],
        auroc=interval["auroc"],
        average_precision=interval["average_precision"],
        image_points={OPERATING_POINT: point},
        reliability=reliability_curve(positive, probability),
    )
    return MarkedEvaluation(
        hilum=__version__,
        code=source_digest(),
        of_run=found.about.get("of_run"),
        images=len(positive),
        positive_images=int(positive.sum()),
        unsure=found.unsure,
        unread=found.unread,
        entries=(entry,),
    )
