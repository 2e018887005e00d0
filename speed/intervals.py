"""Speed of the bootstrap: weights on sorted images beside writing each resample out and evaluating it anew.

    python speed/intervals.py

The data are those of `speed/evaluate.py`; patients are drawn with the sizes of the challenge's, 2.3 images each in
the mean. Ours draws 2,000 resamples. The baselines evaluate a few of the same resamples, images written out as often as
their patient was drawn, with scikit-learn (AUROC), with FROC from the start, and with pycocotools (AP); their time is
scaled to 2,000. Each baseline's figures must agree with ours, or the program ends with an error.
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable

import numpy as np
from evaluate import data_set, processor
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from hilum.eval.bootstrap import Statistic, bootstrap, bootstrap_ratios
from hilum.eval.competition import IOU_THRESHOLDS, image_scores
from hilum.eval.froc import froc_statistic, rank_boxes
from hilum.eval.image_level import image_ratios, ranking_statistic
from hilum.eval.weighted_ap import coco_ap_statistic

Rows = NDArray[np.int64]


def main() -> None:
    """Compares, times, prints."""
    parser = argparse.ArgumentParser(description="Speed of the bootstrap beside evaluating each resample anew.")
    parser.add_argument("--images", type=int, default=26_684)
    parser.add_argument("--boxes", type=int, default=100_000, help="predicted ones")
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--written-out", type=int, default=3, help="resamples that the baselines evaluate")
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    truth, boxes, confidence = data_set(rng, options.images, options.boxes)
    groups = rng.integers(0, max(1, round(options.images / 2.33)), options.images)
    positive = np.array([len(image) > 0 for image in truth])
    probability = np.array([values.max(initial=0.0) for values in confidence])
    scores = image_scores(truth, boxes, confidence)
    print(
        f"{options.images:,} images, {sum(map(len, boxes)):,} boxes, {options.resamples:,} resamples; {processor()}\n"
    )

    def cut(rows: Rows) -> list[list[NDArray[np.float64]]]:
        return [[array[row] for row in rows] for array in (truth, boxes, confidence)]

    def coco(rows: Rows) -> float:
        return coco_ap_statistic(*cut(rows), iou_thresholds=IOU_THRESHOLDS)(np.ones(len(rows)))["ap"]

    baselines: dict[str, tuple[str, Callable[[], Statistic], Callable[[Rows], float]]] = {
        "scikit-learn, AUROC": (
            "auroc",
            lambda: ranking_statistic(positive, probability),
            lambda rows: float(roc_auc_score(positive[rows], probability[rows])),
        ),
        "FROC anew": (
            "froc mean",
            lambda: froc_statistic(rank_boxes(truth, boxes, confidence)),
            lambda rows: froc_statistic(rank_boxes(*cut(rows)))(np.ones(len(rows)))["froc mean"],
        ),
        "pycocotools, AP": (
            "ap",
            lambda: coco_ap_statistic(truth, boxes, confidence, iou_thresholds=IOU_THRESHOLDS),
            coco,
        ),
    }
    numbers = np.unique(groups, return_inverse=True)[1]
    print(f"{'':24}{'ours, s':>10}{'anew, s':>12}{'ratio':>8}")
    for name, (figure, make, anew) in baselines.items():
        start = time.perf_counter()
        values = bootstrap(make(), groups, resamples=options.resamples)[figure].values
        ours = time.perf_counter() - start
        draws, n_groups = np.random.default_rng(0), int(numbers.max()) + 1
        taken = 0.0
        for value in values[: options.written_out]:
            times = np.bincount(draws.integers(n_groups, size=n_groups), minlength=n_groups)[numbers]
            start = time.perf_counter()
            expected = anew(np.repeat(np.arange(options.images), times))
            taken += time.perf_counter() - start
            if not abs(value - expected) <= 1e-3:  # boxes of equal confidence on one image: see `weighted_ap`
                sys.exit(f"{name}: {expected}, ours {value}")
        taken *= options.resamples / options.written_out
        print(f"{name:24}{ours:10.2f}{taken:12.0f}{taken / ours:8.0f}")

    start = time.perf_counter()
    counts = ~np.isnan(scores)
    ratios = {"score": (np.nan_to_num(scores), counts), **image_ratios(positive, probability, 0.5)}
    bootstrap_ratios(ratios, groups, resamples=options.resamples)
    print(f"{f'{len(ratios)} ratios at once':24}{time.perf_counter() - start:10.2f}")
    print(f"\nhighest memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")


if __name__ == "__main__":
    main()
