"""Speed of the evaluation: the whole threshold curve beside COCOeval, faster-coco-eval and the usual loop in Python.

    python speed/evaluate.py

The truth is drawn with the shape of the RSNA challenge's: 26,684 images, 9,555 boxes on 6,012 of them (1, 2, 3 and 4
boxes on 2,614, 3,266, 119 and 13), with places and sizes as in its table. 100,000 predicted boxes lie near the truth or
where opacities tend to be, and nearly every one has a confidence of its own.

All run in turn, five times; the medians count. The two COCOeval get objects that are built and indexed already, so that
reading is not counted; ours and the loop get one array an image. Before that, the curve is compared with the loop
at 100 random thresholds, and the AP of the two COCOeval with each other; a difference ends the program with an error.
"""

import argparse
import contextlib
import io
import platform
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from hilum.eval.coco import coco_evaluation
from hilum.eval.competition import IOU_THRESHOLDS, threshold_curve

IMAGES = 26_684
IMAGES_WITH_BOXES = {1: 2614, 2: 3266, 3: 119, 4: 13}

Boxes = list[NDArray[np.float64]]


def opacities(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Boxes (n, 4) of whole pixels inside 1024 x 1024, placed and sized as the challenge's are in the mean."""
    # Means, spreads and correlation of the logarithms of width and height; centres by lung.
    covariance = [[0.29**2, 0.61 * 0.29 * 0.51], [0.61 * 0.29 * 0.51, 0.51**2]]
    size = np.exp(rng.multivariate_normal([5.35, 5.67], covariance, n)).clip(40, [528, 942]).round()
    centre = np.column_stack([rng.choice([321, 713], n, p=[0.535, 0.465]), np.full(n, 531)])
    centre = centre + rng.normal(0, [60, 115], (n, 2))
    return np.column_stack([(centre - size / 2).round().clip(0, 1024 - size), size])


def data_set(rng: np.random.Generator, n_images: int, n_boxes: int) -> tuple[Boxes, Boxes, Boxes]:
    """Truth, predicted boxes and their confidence, one array an image."""
    counts = np.repeat([0, *IMAGES_WITH_BOXES], [IMAGES - sum(IMAGES_WITH_BOXES.values()), *IMAGES_WITH_BOXES.values()])
    n_truth = rng.permutation(counts)[:n_images]
    flat_truth = opacities(rng, n_truth.sum())
    # Two in five predictions are near a true box; the others are anywhere, on any image.
    near = rng.integers(0, len(flat_truth), n_boxes * 2 // 5)
    jitter = rng.normal(0, 0.12, (len(near), 4)) * flat_truth[near][:, [2, 3, 2, 3]]
    near_boxes = flat_truth[near] + jitter
    near_boxes[:, 2:] = near_boxes[:, 2:].clip(20)
    n_far = n_boxes - len(near)
    image = np.concatenate([np.repeat(np.arange(n_images), n_truth)[near], rng.integers(0, n_images, n_far)])
    boxes = np.concatenate([near_boxes, opacities(rng, n_far)]).round()  # whole pixels: IoUs hit thresholds exactly
    confidence = np.concatenate([rng.beta(3, 3, len(near)), rng.beta(1, 4, n_far)]).astype(np.float32)
    order = np.argsort(image, kind="stable")
    stops = np.cumsum(np.bincount(image, minlength=n_images))[:-1]
    return (
        np.split(flat_truth, np.cumsum(n_truth)[:-1]),
        np.split(boxes[order], stops),
        np.split(confidence[order].astype(np.float64), stops),
    )


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Of two boxes, x, y, width, height."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    overlap = width * height
    return overlap / (a[2] * a[3] + b[2] * b[3] - overlap)


def loop_score(truth: Boxes, boxes: Boxes, confidence: Boxes, at_least: float) -> float:
    """The usual loop over images, IoU thresholds, boxes and truth, at one confidence threshold."""
    scores = []
    for truth_array, box_array, confidence_array in zip(truth, boxes, confidence, strict=True):
        true = truth_array.tolist()
        predicted = [
            (value, box)
            for value, box in zip(confidence_array.tolist(), box_array.tolist(), strict=True)
            if value >= at_least
        ]
        if not true and not predicted:
            continue
        predicted.sort(key=lambda pair: -pair[0])
        values = []
        for threshold in IOU_THRESHOLDS:
            free = list(range(len(true)))
            for _, box in predicted:
                best, best_iou = -1, threshold
                for index in free:
                    if (value := iou(box, true[index])) > best_iou:
                        best, best_iou = index, value
                if best >= 0:
                    free.remove(best)
            hits = len(true) - len(free)
            values.append(hits / (len(true) + len(predicted) - hits))
        scores.append(sum(values) / len(values))
    return sum(scores) / len(scores)


def coco_run(data: tuple[Boxes, Boxes, Boxes], *, use_faster: bool, stock: bool) -> Callable[[], tuple[float, float]]:
    """Builds and indexes the two sides; returns what runs COCOeval on them: (AP over all areas, seconds).

    Args:
        data: Truth, predicted boxes, confidence.
        use_faster: faster-coco-eval in place of pycocotools.
        stock: With COCO's own four ranges of area and three numbers of boxes, as COCOeval comes; False: all areas and
            100 boxes, which is all that AP needs.
    """

    def run() -> tuple[float, float]:
        evaluation = coco_evaluation(*data, IOU_THRESHOLDS, use_faster=use_faster)
        if stock:
            side = 1e5
            evaluation.params.areaRng = [[0, side**2], [0, 32**2], [32**2, 96**2], [96**2, side**2]]
            evaluation.params.areaRngLbl = ["all", "small", "medium", "large"]
            evaluation.params.maxDets = [1, 10, 100]
        with contextlib.redirect_stdout(io.StringIO()):
            start = time.perf_counter()
            evaluation.evaluate()
            evaluation.accumulate()
            seconds = time.perf_counter() - start
        return float(evaluation.eval["precision"][:, :, 0, 0, -1].mean()), seconds

    return run


def timed(function: Callable[[], object]) -> float:
    """Seconds."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def processor() -> str:
    """The processor's name, where the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main() -> None:
    """Compares, times, prints."""
    parser = argparse.ArgumentParser(description="Speed of the evaluation beside COCOeval and the usual loop.")
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--boxes", type=int, default=100_000, help="predicted ones")
    parser.add_argument("--thresholds", type=int, default=100, help="where the curve is compared with the loop")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    rng = np.random.default_rng(options.seed)
    data = data_set(rng, options.images, options.boxes)
    curve = threshold_curve(*data)
    print(f"{len(data[0]):,} images, {sum(map(len, data[0])):,} true boxes, {sum(map(len, data[1])):,} predicted ones")
    has_faster = find_spec("faster_coco_eval") is not None
    packages = ["numpy", "pycocotools", *(["faster-coco-eval"] if has_faster else []), "hilum"]
    print(f"{processor()}; Python {platform.python_version()}; {', '.join(f'{p} {version(p)}' for p in packages)}\n")

    chosen = rng.choice(len(curve.confidence), min(options.thresholds, len(curve.confidence)), replace=False)
    difference = max(abs(curve.score[i] - loop_score(*data, curve.confidence[i])) for i in chosen)
    print(f"curve against the loop at {len(chosen)} of {len(curve.confidence):,} thresholds: {difference:.1e} at most")
    if not difference <= 1e-12:
        sys.exit("the curve is not the loop's")

    loop_at = float(curve.confidence[np.argmax(curve.score)])
    cocos = {
        "pycocotools COCOeval, as it comes": coco_run(data, use_faster=False, stock=True),
        "pycocotools COCOeval, all areas only": coco_run(data, use_faster=False, stock=False),
    }
    if not has_faster:
        print("faster-coco-eval is not installed: pip install 'hilum[faster]'")
    else:
        cocos["faster-coco-eval, as it comes"] = coco_run(data, use_faster=True, stock=True)
        cocos["faster-coco-eval, all areas only"] = coco_run(data, use_faster=True, stock=False)
    ours = f"threshold_curve, {len(curve.confidence):,} thresholds"
    seconds: dict[str, list[float]] = {name: [] for name in [ours, *cocos, "loop, best threshold", "loop, all boxes"]}
    ap: list[float] = []
    for _ in range(options.rounds):
        seconds[ours].append(timed(lambda: threshold_curve(*data)))
        for name, run in cocos.items():
            value, taken = run()
            ap.append(value)
            seconds[name].append(taken)
        seconds["loop, best threshold"].append(timed(lambda: loop_score(*data, loop_at)))
        seconds["loop, all boxes"].append(timed(lambda: loop_score(*data, 0.0)))
    print(f"AP at 0.40:0.05:0.75 {ap[0]:.6f}; the COCOeval differ by {max(ap) - min(ap):.1e} at most")
    if not max(ap) - min(ap) <= 1e-9:
        sys.exit("the COCOeval do not give the same AP")

    base = median(seconds[ours])
    print(f"\n{'median of ' + str(options.rounds):42} {'seconds':>8} {'x ours':>8}")
    for name, runs in seconds.items():
        print(f"{name:42} {median(runs):8.3f} {median(runs) / base:8.1f}")
    share = base / median(seconds["pycocotools COCOeval, as it comes"])
    print(
        f"\nthe curve takes 1/{1 / share:.0f} of COCOeval's time (at most 1/20: {'yes' if share <= 1 / 20 else 'NO'})"
    )


if __name__ == "__main__":
    main()
