"""What a benchmark says, in sentences: every one is computed from the figures, none claims more than an interval."""

from collections.abc import Sequence

from hilum.eval.answer import AT_SENSITIVITY, YOUDEN
from hilum.eval.benchmark import AVERAGE, Benchmark
from hilum.eval.measures import OPERATING_POINT
from hilum.pages.contenders import Contender, Values, difference, is_above_zero, is_higher, ranked
from hilum.pages.wording import bounds, decimal, few, finite, listed, many

FEW_PATIENTS, FEW_POSITIVES = 100, 50
POINTS = {
    OPERATING_POINT: ("box", "any box at or above this confidence, the operating point, which was chosen on val"),
    AT_SENSITIVITY: ("95% on val", "a probability from here on: the threshold that found 95% of those of val"),
    YOUDEN: ("Youden", "a probability from here on: sensitivity + specificity was highest there on val"),
}
"""The points at which an image is called one with opacity: in short, and by what."""


def headline(configs: Sequence[Contender], results: Values) -> str:
    """Which is better, if that can be told."""
    if not configs:
        return "Nothing but the trivial baselines was measured"
    best, *others = ranked(configs)
    if not others:
        if is_higher(difference(results, best.name, AVERAGE)):
            return f"{best.name} beats the trivial baselines"
        return f"{best.name} is not shown to beat the trivial baselines"
    tied = [other.name for other in others if not is_higher(difference(results, best.name, other.name))]
    beaten = [other.name for other in others if other.name not in tied]
    if not tied:
        return f"{best.name} is better than {_names(beaten, 'all ')}"
    if beaten:
        return f"{best.name} leads, but {_names(tied)} may be as good"
    return f"Whether {_either([best.name, *tied])} is best cannot be told"


def comparisons(configs: Sequence[Contender], results: Values, most: int = 3) -> list[str]:
    """The best against each other, by falling score."""
    if len(configs) < 2:
        return []
    best, *others = ranked(configs)
    images = f"these {results['images']:,} images ({results['positive_images']:,} with opacity)"
    at_once = " (of all pairs at once)" if len(others) > 1 else ""
    sentences = []
    for other in others[:most]:
        gap = difference(results, best.name, other.name)
        size = finite(gap["estimate"])
        digits = 2 if size is None or abs(size) >= 0.01 else 3  # else both scores would read alike
        interval = bounds(gap, digits, signed=True)
        scores = (
            f"{best.name} scores {decimal(best.score['estimate'], digits)}, "
            f"{decimal(size, digits)} higher than {other.name} ({decimal(other.score['estimate'], digits)})"
        )
        if not interval:
            sentences.append(f"{scores}; how sure that is cannot be said.")
        elif is_higher(gap):
            sentences.append(
                f"{scores}; the 95% interval of the difference{at_once}, {interval}, is above zero: it is better."
            )
        elif is_above_zero(gap):
            sentences.append(
                f"{scores}; the 95% interval of the difference{at_once}, {interval}, is above zero, but seeds alone "
                f"may move it by {decimal(gap['over_seeds'], 3)}: it cannot be told which is better."
            )
        else:
            sentences.append(
                f"{scores}, but the 95% interval of the difference{at_once}, {interval}, includes zero: "
                f"on {images} it cannot be told which is better."
            )
    if len(others) > most:
        sentences.append(f"For {many(len(others) - most, 'other')} see the figure.")
    return sentences


def against_average(configs: Sequence[Contender], results: Values) -> str:
    """Which configs beat the same two average boxes on every image, and by how much."""
    gaps = {config.name: difference(results, config.name, AVERAGE) for config in ranked(configs)}
    beat = [name for name, gap in gaps.items() if is_higher(gap)]
    rest = [name for name in gaps if name not in beat]
    text = ""
    if beat:
        sizes = [finite(gaps[name]["estimate"]) or 0.0 for name in beat]
        by = (
            decimal(min(sizes))
            if decimal(min(sizes)) == decimal(max(sizes))
            else f"{min(sizes):.2f} to {max(sizes):.2f}"
        )
        text = (
            f"{few(beat)} {'beats' if len(beat) == 1 else 'beat'} the same two average boxes drawn on every image, "
            f"by {by}; no 95% interval includes zero."
        )
    if rest:
        shown = few(
            [
                f"{name} ({decimal(gaps[name]['estimate'], signed=True)} {bounds(gaps[name], signed=True)}"
                f"{_seeds_may_move(gaps[name])})"
                for name in rest
            ]
        )
        text += f" {shown} {'is' if len(rest) == 1 else 'are'} not shown to beat two average boxes on every image."
    return text.strip()


def cautions(found: Benchmark, configs: Sequence[Contender]) -> list[str]:
    """What makes the figures less sure than they look, or better than they are."""
    results = found.results
    points = []
    if not results.get("patients_known"):
        points.append(
            "Whose the images are is not known. Images of one patient may be in training and here, so every score may "
            "flatter; and the intervals treat images as independent, so they are rather too narrow."
        )
    if results.get("patients_known") and (unknown := results.get("images_without_patient")):
        points.append(
            f"It is not known whose {many(unknown, 'image')} of the data {'is' if unknown == 1 else 'are'}; each "
            "counts as a patient of its own. Images of one patient may be in training and here, so scores may "
            "flatter, and intervals are rather too narrow."
        )
    if both := results.get("patients_on_both_sides"):
        points.append(f"{many(both, 'patient')} in training and here: every score may flatter.")
    points += [
        f"{config.name} starts from the weights {name}. Should these have been trained on NIH ChestX-ray14, of which "
        "the challenge's images are a part, they have seen the images shown here, and its score flatters."
        for config in configs
        if (name := config.first.about.get("pretraining"))
    ]
    points += [
        f"{config.name} draws no box on any image, so its score is 0. If it is a classifier, look at its AUROC and its "
        "worklist: whole images are what it judges."
        for config in configs
        if not any(map(len, config.first.answer.boxes_xywh))
    ]
    if results.get("patients_known") and results["patients"] < FEW_PATIENTS:
        points.append(
            f"Intervals are resampled from {many(results['patients'], 'patient')}. From so few they are rough, and "
            "rather too narrow."
        )
    if results["positive_images"] < FEW_POSITIVES:
        points.append(
            f"Only {many(results['positive_images'], 'image shows', 'images show')} opacity: one more or less found "
            "moves every figure."
        )
    if configs and all(len(config.entries) == 1 for config in configs):
        points.append(
            "Each config was trained once. The intervals say how much the images vary, not how much another seed "
            "would; --seeds 3 tells that."
        )
    if told := spread(configs):
        points.append(
            f"Intervals say how much the images vary, not how much another seed would. {told} A config is said to be "
            "better only if the difference is also larger than seeds alone may make it (Welch's t, 95%)."
        )
    if len(configs) > 2:
        points.append(
            "The intervals of differences between configs hold for all pairs at once; every other holds by itself, and "
            "of many such ones, one in twenty excludes the truth by chance alone."
        )
    return points


def spread(configs: Sequence[Contender]) -> str:
    """How much a config's score varies with its seed; "" where there was one each."""
    known = [
        f"{config.name} {decimal(config.sd, 3)} ({len(config.entries)} runs)"
        for config in ranked(configs)
        if config.sd is not None
    ]
    return f"Standard deviation of the score over the seeds: {few(known)}." if known else ""


def potentials(configs: Sequence[Contender]) -> list[tuple[Contender, float, float, float]]:
    """(config, score, with a perfect classifier, with perfect boxes) of each config's runs on average."""
    rows = []
    for config in ranked(configs):
        score = finite(config.score["estimate"])
        parts = [[finite((run.get("bounds") or {}).get(key)) for run in config.values] for key in _BOUNDS]
        if score is not None and all(value is not None for part in parts for value in part):
            classifier, boxes = (sum(filter(None, part)) / len(part) for part in parts)
            rows.append((config, score, classifier, boxes))
    return rows


_BOUNDS = ("perfect_classifier", "perfect_boxes")


def what_to_work_on(rows: Sequence[tuple[Contender, float, float, float]]) -> str:
    """Whether boxes or images cost each config more."""
    boxes = [config.name for config, score, _, boxes in rows if boxes - score > 1 - boxes]
    images = [config.name for config, *_ in rows if config.name not in boxes]
    parts = []
    if boxes:
        parts.append(f"boxes cost {few(boxes)} more than images do")
    if images:
        parts.append(f"images cost {few(images)} more than boxes do")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def losses(row: tuple[Contender, float, float, float]) -> str:
    """What a config loses, and to what."""
    config, score, classifier, boxes = row
    return (
        f"{config.name} loses {decimal(boxes - score)} to its boxes (where, how large and how many they are) on images "
        f"that it rightly answers, and {decimal(1 - boxes)} to images that it misses or should leave alone. A perfect "
        f"classifier before it would add {decimal(classifier - score)}."
    )


def image_calls(config: Contender, results: Values) -> tuple[str, str] | None:
    """How a config's first run calls images, in short and with its intervals; None where that is not known."""
    positives = int(results["positive_images"])
    negatives = int(results["images"]) - positives
    point = (config.values[0].get("image_points") or {}).get(OPERATING_POINT) or {}
    sensitivity, specificity = (
        finite((point.get(name) or {}).get("estimate")) for name in ("sensitivity", "specificity")
    )
    if sensitivity is None or specificity is None:
        return None
    return (
        (
            f"{config.first.name} boxes {round(sensitivity * positives):,} of {many(positives, 'image')} with opacity, "
            f"and {round((1 - specificity) * negatives):,} of {negatives:,} without."
        ),
        (
            f"That is a sensitivity of {sensitivity:.0%} (95% interval {_percent_bounds(point['sensitivity'])}) and a "
            f"specificity of {specificity:.0%} ({_percent_bounds(point['specificity'])}) if any box calls an image. "
            "Two more thresholds, on the image's probability, were chosen on val."
        ),
    )


def worklist(config: Contender, results: Values) -> tuple[str, str] | None:
    """What ranking by a config's first run does to a worklist, in short and at length; None where it is not known."""
    found = config.values[0].get("triage") or {}
    mean, plain, ideal = (finite(found.get(key)) for key in ("mean_place", "first_come_place", "best_mean_place"))
    if mean is None or plain is None or ideal is None:
        return None
    return (
        f"An image with opacity would be read {abs(plain - mean):.1f} images {'sooner' if mean <= plain else 'later'}.",
        (
            f"Were these {results['images']:,} images read by the probability that {config.first.name} gives, one with "
            f"opacity would come at place {mean:.1f} on average; first come, first served it is place {plain:.1f}, and "
            f"with every opacity first {ideal:.1f}."
        ),
    )


def _seeds_may_move(gap: Values) -> str:
    return f"; seeds alone may move it by {decimal(gap['over_seeds'], 3)}" if finite(gap.get("over_seeds")) else ""


def _percent_bounds(interval: Values) -> str:
    low, high = finite(interval["low"]), finite(interval["high"])
    return "unknown" if low is None or high is None else f"{low:.0%} to {high:.0%}"


def _names(names: Sequence[str], all_of: str = "", most: int = 3) -> str:
    return listed(names) if len(names) <= most else f"{all_of}{len(names)} others"


def _either(names: Sequence[str], most: int = 4) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) <= most else f"any of {len(names)} configs"
