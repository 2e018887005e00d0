"""The report's sections on thresholds, images, errors and costs: the configs and the results in, sections out."""

import math
from collections.abc import Callable, Iterator, Sequence

from hilum.comparison.results import SCORE, Entry, Results
from hilum.comparison.tables import pointed_out
from hilum.eval.bootstrap import UNKNOWN
from hilum.eval.mistakes import Kind
from hilum.pages import report_answer as answer
from hilum.pages import report_figures as figures
from hilum.pages import report_tables as tables
from hilum.pages.page import Drawing, Fold, Section
from hilum.pages.report_origin import machine_of
from hilum.pages.series import Series, ranked
from hilum.pages.wording import MISSING, bounds, decimal, few, listed, many

_MOST_GAPS = 12  # in sentences; the table has all


def curves(configs: Sequence[Series], _: Results) -> Iterator[Section]:
    """How the score and its parts move with the threshold, and in training."""
    names = listed(config.name for config in configs)
    lost = [f"{config.name} {decimal(gap)}" for config in ranked(configs) if math.isfinite(gap := _lost(config.first))]
    yield Section(
        "Score against threshold",
        f"Choosing the threshold on other images cost {few(lost)} against the peak."
        if lost
        else "The operating point was chosen on val; the peak here is not the result.",
        [
            (
                "Fewer boxes to the right, more to the left. The marker is the operating point, chosen on val; a peak "
                "elsewhere was not to be known beforehand. A wide hill forgives a threshold that is a little off."
            )
        ],
        Drawing(figures.thresholds(configs), f"Competition score against confidence threshold of {names}."),
    )
    aps = _of_each(configs, lambda run: decimal(run.ap_competition.estimate))
    yield Section(
        "Precision and recall",
        f"Average precision over the competition's overlaps: {aps}.",
        [
            (
                "Each curve goes from the surest box, on the left, to all of them. A detector can rank boxes well and "
                "still score low where its threshold is off, and the other way round."
            )
        ],
        Drawing(figures.precision_recall(configs), f"Precision-recall curves of {names} at two overlaps."),
    )
    yield Section(
        "FROC",
        f"At one false box an image, true boxes found: {_of_each(configs, _found_at_one)}.",
        ["How many opacities are found when so many false boxes are put up with. Thin lines are 95% intervals."],
        Drawing(figures.froc(configs), f"Share of true boxes found against false positives an image, of {names}."),
    )
    if any(run.log for config in configs for run in config.entries):
        yield _learning(configs, names)


def _learning(configs: Sequence[Series], names: str) -> Section:
    logged = [config for config in configs if any(run.log for run in config.entries)]
    told = [
        f"The epoch of {config.name} was chosen by {config.first.val_figure}."
        for config in logged
        if config.first.val_figure != SCORE
    ]
    if whole := [config.name for config in configs if config not in logged]:
        told.append(f"{listed(whole)} {'has no epochs of its' if len(whole) == 1 else 'have no epochs of their'} own.")
    return Section(
        "Learning curves",
        f"The epoch that was kept is the best on val: {few([_kept_epoch(config.first) for config in logged])}.",
        [
            (
                "Each epoch's score is at the best threshold for val, so it is higher than a result. Losses are of "
                "different kinds: compare their shapes, not their heights."
            ),
            *told,
        ],
        Drawing(figures.learning(logged), f"Score on val and training loss by epoch, of {names}."),
    )


def images(configs: Sequence[Series], results: Results) -> Iterator[Section]:
    """What is said of whole images."""
    best = ranked(configs)[0]
    unknown = ("That is not known.", "")
    short, long = answer.image_calls(best, results) or unknown
    yield Section("Does this image show opacity?", short, [long], table=tables.points_table(configs))
    short, long = answer.worklist(best, results) or unknown
    about = (
        "An image's probability is what the backend gives; where it gives none, the confidence of its surest box. The "
        "thin grey line is the best that any order can do."
    )
    alt = "Share of the images with opacity that have been read, against the share of the worklist read."
    drawing = figures.worklist(configs, results.positive_images, results.images)
    yield Section(
        "Which image to read first", short, [long, about], Drawing(drawing, alt), tables.worklist_table(configs)
    )
    briers = _of_each(configs, lambda run: decimal(run.brier.estimate, 3))
    yield Section(
        "Can its probability be believed?",
        f"Brier score, 0 is perfect: {briers}.",
        [
            (
                "Of the images that are given 70%, 70% should show opacity: dots on the dashed line. Below it the "
                "detector is too sure, above it not sure enough. Large dots are many images; small ones mostly chance. "
                "On the right the same of boxes, which hit an opacity at IoU above 0.40 or do not. Thin dotted lines: "
                "what was said before it was calibrated on val."
            )
        ],
        Drawing(
            figures.reliability(configs),
            "Share of images that show opacity, and of boxes that hit one, against the probability given.",
        ),
    )


def failures(configs: Sequence[Series], _: Results) -> Iterator[Section]:
    """Kinds of errors, and the groups that are served less well."""
    finding, commonest = _wrong_boxes(configs)
    yield Section(
        "Kinds of errors",
        finding,
        [f"{commonest}Every box has one kind. The gallery below shows the images of each."],
        table=tables.mistakes_table(configs, "boxes"),
    )
    yield Section("What became of the true boxes", _missed(configs), table=tables.mistakes_table(configs, "truth"))
    if table := tables.gaps_table(configs):
        yield _gaps(configs)
        yield Section(
            "All groups",
            f"{len(table.rows):,} comparisons, for whoever wants to look closer.",
            folds=[Fold("Show the table", table)],
        )


def _gaps(configs: Sequence[Series]) -> Section:
    gaps = [gap for config in configs for gap in config.first.strata.gaps]
    judged = sum(math.isfinite(gap.gap.estimate) for gap in gaps)
    separated = [
        f"{config.name}, {gap.measure}, {gap.factor} {gap.stratum}: {decimal(gap.inside.estimate)}, "
        f"elsewhere {decimal(gap.outside.estimate)}; gap {decimal(gap.gap.estimate, signed=True)} "
        f"{bounds(gap.simultaneous, signed=True)}"
        for config in configs
        for gap in pointed_out(config.first.strata.gaps)
    ]
    finding = (
        f"{many(len(separated), 'gap')} beyond chance, at 95% for each config."
        if separated
        else f"None of the {judged:,} gaps that can be judged is beyond chance, at 95% for each config."
        if judged
        else "No group has enough patients for its gap to be judged."
    )
    text = [
        (
            "Figures within groups of images or boxes. A gap is pointed out only if an interval that holds for all of "
            "a config's gaps at once leaves out zero. That none is pointed out does not show that there is none: look "
            "at how long the lines are. A group's competition score depends on how many of its images show opacity; "
            "its sensitivity and its AUROC do not."
        )
    ]
    if judged < len(gaps):
        text.append(f"{len(gaps) - judged:,} of {len(gaps):,} are not judged: fewer than 10 patients on a side.")
    drawing, more = figures.strata(configs), len(separated) - _MOST_GAPS
    return Section(
        "For whom does it work less well?",
        finding,
        text,
        Drawing(drawing, "Sensitivity and false alarms by group, with 95% intervals.") if drawing else None,
        points=separated[:_MOST_GAPS] + ([f"{more:,} more are in the table below."] if more > 0 else []),
    )


def costs(configs: Sequence[Series], results: Results) -> Iterator[Section]:
    """Time, memory and size."""
    table = tables.cost_table(configs)
    times = [(config, time) for config in configs if (time := figures.milliseconds(config.first)) is not None]
    if times:
        fastest, slowest = (choose(times, key=lambda pair: pair[1]) for choose in (min, max))
        finding = f"{fastest[0].name} takes {_time(fastest[1])} an image."
        if len(times) > 1:
            finding = (
                f"{fastest[0].name} is the fastest with {_time(fastest[1])} an image, {slowest[0].name} the slowest "
                f"with {_time(slowest[1])}."
            )
        yield Section(
            "Time against score",
            finding,
            [f"Measured on {machine_of(results)}; other machines change the times and may change their order."],
            Drawing(figures.latency(configs), "Competition score against milliseconds an image."),
        )
    if table:
        yield Section("Time, memory and size", "What each takes to train, to keep and to run.", table=table)


def _time(milliseconds: float) -> str:
    return f"{milliseconds:.1f} ms" if milliseconds < 100 else f"{milliseconds / 1000:.2f} s"


def _of_each(configs: Sequence[Series], figure: Callable[[Entry], str]) -> str:
    return few([f"{config.name} {figure(config.first)}" for config in ranked(configs)])


def _lost(run: Entry) -> float:
    """By how much the peak of the threshold curve is above the score; NaN where one of them is not known."""
    scores = [score for _, score in run.curves.threshold if math.isfinite(score)]
    known = scores and math.isfinite(run.score.estimate)
    return max(0.0, max(scores) - run.score.estimate) if known else math.nan


def _found_at_one(run: Entry) -> str:
    of_rate = dict(zip(run.froc.false_positives_per_image, run.froc.sensitivity, strict=True))
    share = of_rate.get(1.0, UNKNOWN).estimate
    return f"{share:.0%}" if math.isfinite(share) else MISSING


def _kept_epoch(run: Entry) -> str:
    kept = run.kept_epoch
    return f"{run.name} epoch {kept['epoch']} of {len(run.log)}" if kept else f"{run.name} unknown"


def _wrong_boxes(configs: Sequence[Series]) -> tuple[str, str]:
    """How many boxes are wrong, and which kind of error each config makes most."""
    wrong_of_all, commonest = [], []
    for config in configs:
        counts = config.first.mistakes.boxes
        wrong = {kind: n for kind, n in counts.items() if kind != Kind.FOUND and n}
        wrong_of_all.append(f"{config.name} {sum(wrong.values()):,} of {sum(counts.values()):,}")
        if wrong:
            kind = max(wrong, key=wrong.__getitem__)
            commonest.append(f"{config.name} {kind} ({wrong[kind]:,})")
    return f"Wrong boxes: {few(wrong_of_all)}.", f"Most often: {few(commonest)}. " if commonest else ""


def _missed(configs: Sequence[Series]) -> str:
    truths = [(config.name, config.first.mistakes.truth) for config in configs]
    told = [f"{name} {counts.get('missed', 0):,} of {sum(counts.values()):,}" for name, counts in truths]
    return f"Missed altogether: {few(told)}."
