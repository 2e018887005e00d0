"""What a benchmark says, in sentences: every one is computed from the figures, none claims more than an interval."""

import math
from collections.abc import Sequence

from hilum.comparison.measured import AVERAGE
from hilum.comparison.results import Difference, Results
from hilum.eval.answer import AT_SENSITIVITY, YOUDEN
from hilum.eval.bootstrap import Interval
from hilum.eval.measures import OPERATING_POINT
from hilum.pages.series import Series, better_ones, ranked
from hilum.pages.wording import bounds, decimal, few, listed, many

FEW_PATIENTS, FEW_POSITIVES = 100, 50
POINTS = {
    OPERATING_POINT: ("box", "any box at or above this confidence, the operating point, which was chosen on val"),
    AT_SENSITIVITY: ("95% on val", "a probability from here on: the threshold that found 95% of those of val"),
    YOUDEN: ("Youden", "a probability from here on: sensitivity + specificity was highest there on val"),
}
"""The points at which an image is called one with opacity: in short, and by what."""
Potential = tuple[Series, float, float, float]
"""A config's score, that with a perfect classifier, and that with perfect boxes."""


def headline(configs: Sequence[Series], results: Results) -> str:
    """Which is better, if that can be told: the best are those that no other is better than for sure."""
    if not configs:
        return "Nothing but the trivial baselines was measured"
    order = ranked(configs)
    if len(order) == 1:
        return _against_baselines(order[0], results)
    best = [config for config in order if not better_ones(config, order, results)]
    if not best:
        return "No config is the best: each is worse than another"
    first, *rivals = best
    beaten = [config.name for config in order if results.difference(first.name, config.name).is_sure]
    others = [config for config in order if config is not first and config not in rivals and config.name not in beaten]
    if not rivals:
        text = f"{first.name} is better than {_names(beaten, '' if others else 'all ')}"
    elif beaten:
        text = f"{first.name} leads, but {_names([config.name for config in rivals])} may be as good"
    else:
        text = f"Whether {_either([config.name for config in best])} is best cannot be told"
    worse = [f"{config.name} is worse than {better_ones(config, order, results)[0].name}" for config in others]
    if len(worse) > 2:  # too many to name in a headline
        worse = [f"{len(worse)} others are worse than another"]
    return "; ".join([text, *worse, *_below_average(best, results)])


def _against_baselines(config: Series, results: Results) -> str:
    """What can be said of a config that is alone."""
    gap = results.difference(config.name, AVERAGE)
    if gap.is_sure:
        return f"{config.name} beats the trivial baselines"
    if gap.is_below_zero:
        return f"{config.name} is worse than two average boxes on every image"
    return f"{config.name} is not shown to beat the trivial baselines"


def _below_average(configs: Sequence[Series], results: Results) -> list[str]:
    """Being the best is worth little below the baseline."""
    below = [config.name for config in configs if results.difference(config.name, AVERAGE).is_below_zero]
    return [f"{few(below)} {'is' if len(below) == 1 else 'are'} worse than two average boxes"] if below else []


def comparisons(configs: Sequence[Series], results: Results, most: int = 3) -> list[str]:
    """The best against each other, by falling score; then who is worse than another, though not than the best."""
    if len(configs) < 2:
        return []
    best, *others = order = ranked(configs)
    sentences = [_compared(best, other, results) for other in others[:most]]
    if len(others) > most:
        sentences.append(f"For {many(len(others) - most, 'other')} see the figure.")
    pairs = [(better_ones(config, order, results), config) for config in others]
    beside = [_compared(better[0], config, results) for better, config in pairs if better and best not in better]
    return sentences + beside[:most]


def _compared(higher: Series, lower: Series, results: Results) -> str:
    """What the interval of the difference of two configs says."""
    gap = results.difference(higher.name, lower.name)
    size = gap.interval.estimate
    digits = 3 if abs(size) < 0.01 else 2  # else both scores would read alike
    interval = bounds(gap.interval, digits, signed=True)
    scores = (
        f"{higher.name} scores {decimal(higher.score.estimate, digits)}, "
        f"{decimal(size, digits)} higher than {lower.name} ({decimal(lower.score.estimate, digits)})"
    )
    if not interval:
        return f"{scores}; how sure that is cannot be said."
    the_interval = (
        f"the 95% interval of the difference{' (of all pairs at once)' if gap.simultaneous else ''}, {interval},"
    )
    if gap.is_sure:
        return f"{scores}; {the_interval} is above zero: it is better."
    if gap.is_above_zero:
        return (
            f"{scores}; {the_interval} is above zero, but seeds alone may move it by {decimal(gap.over_seeds, 3)}: "
            "it cannot be told which is better."
        )
    if gap.is_below_zero:
        return f"{scores}, but {the_interval} is below zero: it is worse."
    return (
        f"{scores}, but {the_interval} includes zero: on these {results.images:,} images "
        f"({results.positive_images:,} with opacity) it cannot be told which is better."
    )


def against_average(configs: Sequence[Series], results: Results) -> str:
    """Which configs beat the same two average boxes on every image, and by how much; which are worse."""
    gaps = {config.name: results.difference(config.name, AVERAGE) for config in ranked(configs)}
    beat = [name for name, gap in gaps.items() if gap.is_sure]
    worse = [name for name, gap in gaps.items() if gap.is_below_zero]
    unknown = [name for name, gap in gaps.items() if not bounds(gap.interval)]
    rest = [name for name in gaps if name not in {*beat, *worse, *unknown}]

    def shown(names: Sequence[str]) -> str:
        each = [
            f"{name} ({decimal(gaps[name].interval.estimate, signed=True)} {bounds(gaps[name].interval, signed=True)}"
            f"{_seeds_may_move(gaps[name])})"
            for name in names
        ]
        return f"{few(each)} {'is' if len(each) == 1 else 'are'}"

    sentences = []
    if beat:
        sizes = [gaps[name].interval.estimate for name in beat]
        by = (
            decimal(min(sizes))
            if decimal(min(sizes)) == decimal(max(sizes))
            else f"{min(sizes):.2f} to {max(sizes):.2f}"
        )
        sentences.append(
            f"{few(beat)} {'beats' if len(beat) == 1 else 'beat'} the same two average boxes drawn on every image, "
            f"by {by}; no 95% interval includes zero."
        )
    if worse:
        sentences.append(f"{shown(worse)} worse than two average boxes on every image.")
    if rest:
        sentences.append(f"{shown(rest)} not shown to beat two average boxes on every image.")
    if unknown:
        sentences.append(
            f"Whether {few(unknown)} {'beats' if len(unknown) == 1 else 'beat'} two average boxes cannot be said."
        )
    return " ".join(sentences)


def cautions(results: Results, configs: Sequence[Series]) -> list[str]:
    """What makes the figures less sure than they look, or better than they are."""
    return [
        *_about_patients(results),
        *([] if results.val_shows_opacity else [NO_CHOICE]),
        *[
            f"{config.name} starts from the weights {name}. Should these have been trained on NIH ChestX-ray14, of "
            "which the challenge's images are a part, they have seen the images shown here, and its score flatters."
            for config in configs
            if (name := config.first.pretraining)
        ],
        *[
            f"{config.name} draws no box on any image, so its score is 0. If it is a classifier, look at its AUROC and "
            "its worklist: whole images are what it judges."
            for config in configs
            if not any(map(len, config.measured[0].answer.boxes_xywh))
        ],
        *_about_numbers(results, configs),
    ]


NO_CHOICE = "No image of val shows opacity: no epoch and no threshold could be chosen, and every box is kept."


def _about_patients(results: Results) -> list[str]:
    points = []
    unknown, both = results.images_without_patient, results.patients_on_both_sides
    if not results.patients_known:
        points.append(
            "Whose the images are is not known. Images of one patient may be in training and here, so every score may "
            "flatter; and the intervals treat images as independent, so they are rather too narrow."
        )
    elif unknown:
        points.append(
            f"It is not known whose {many(unknown, 'image')} of the data {'is' if unknown == 1 else 'are'}; each "
            "counts as a patient of its own. Images of one patient may be in training and here, so scores may "
            "flatter, and intervals are rather too narrow."
        )
    if both:
        points.append(f"{many(both, 'patient')} in training and here: every score may flatter.")
    return points


def _about_numbers(results: Results, configs: Sequence[Series]) -> list[str]:
    points = []
    if results.patients_known and results.patients < FEW_PATIENTS:
        points.append(
            f"Intervals are resampled from {many(results.patients, 'patient')}. From so few they are rough, and "
            "rather too narrow."
        )
    if results.positive_images < FEW_POSITIVES:
        points.append(
            f"Only {many(results.positive_images, 'image shows', 'images show')} opacity: one more or less found "
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


def spread(configs: Sequence[Series]) -> str:
    """How much a config's score varies with its seed; "" where there was one each."""
    known = [
        f"{config.name} {decimal(config.sd, 3)} ({len(config.entries)} runs)"
        for config in ranked(configs)
        if math.isfinite(config.sd)
    ]
    return f"Standard deviation of the score over the seeds: {few(known)}." if known else ""


def potentials(configs: Sequence[Series]) -> list[Potential]:
    """Each config's runs on average; a config is left out where a figure is not known."""
    rows = []
    for config in ranked(configs):
        bounds_of = [run.bounds for run in config.entries]
        classifier, boxes = (
            sum(part) / len(bounds_of)
            for part in ([of.perfect_classifier for of in bounds_of], [of.perfect_boxes for of in bounds_of])
        )
        if math.isfinite(config.score.estimate + classifier + boxes):
            rows.append((config, config.score.estimate, classifier, boxes))
    return rows


def what_to_work_on(rows: Sequence[Potential]) -> str:
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


def losses(row: Potential) -> str:
    """What a config loses, and to what."""
    config, score, classifier, boxes = row
    return (
        f"{config.name} loses {decimal(boxes - score)} to its boxes (where, how large and how many they are) on images "
        f"that it rightly answers, and {decimal(1 - boxes)} to images that it misses or should leave alone. A perfect "
        f"classifier before it would add {decimal(classifier - score)}."
    )


def image_calls(config: Series, results: Results) -> tuple[str, str] | None:
    """How a config's first run calls images, in short and with its intervals; None where that is not known."""
    positives = results.positive_images
    negatives = results.images - positives
    point = config.first.point(OPERATING_POINT)
    sensitivity, specificity = point.sensitivity.estimate, point.specificity.estimate
    if not math.isfinite(sensitivity + specificity):
        return None
    return (
        (
            f"{config.first.name} boxes {round(sensitivity * positives):,} of {many(positives, 'image')} with opacity, "
            f"and {round((1 - specificity) * negatives):,} of {negatives:,} without."
        ),
        (
            f"That is a sensitivity of {sensitivity:.0%} (95% interval {_percent_bounds(point.sensitivity)}) and a "
            f"specificity of {specificity:.0%} ({_percent_bounds(point.specificity)}) if any box calls an image. "
            "Two more thresholds, on the image's probability, were chosen on val."
        ),
    )


def worklist(config: Series, results: Results) -> tuple[str, str] | None:
    """What ranking by a config's first run does to a worklist, in short and at length; None where it is not known."""
    found = config.first.triage
    if found is None or math.isnan(found.mean_place):
        return None
    mean, plain, ideal = found.mean_place, found.first_come_place, found.best_mean_place
    return (
        f"An image with opacity would be read {abs(plain - mean):.1f} images {'sooner' if mean <= plain else 'later'}.",
        (
            f"Were these {results.images:,} images read by the probability that {config.first.name} gives, one with "
            f"opacity would come at place {mean:.1f} on average; first come, first served it is place {plain:.1f}, and "
            f"with every opacity first {ideal:.1f}."
        ),
    )


def _seeds_may_move(gap: Difference) -> str:
    return f"; seeds alone may move it by {decimal(gap.over_seeds, 3)}" if gap.over_seeds > 0 else ""


def _percent_bounds(interval: Interval) -> str:
    known = math.isfinite(interval.low) and math.isfinite(interval.high)
    return f"{interval.low:.0%} to {interval.high:.0%}" if known else "unknown"


def _names(names: Sequence[str], all_of: str = "", most: int = 3) -> str:
    return listed(names) if len(names) <= most else f"{all_of}{len(names)} others"


def _either(names: Sequence[str], most: int = 4) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) <= most else f"any of {len(names)} configs"
