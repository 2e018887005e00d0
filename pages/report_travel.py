"""The report's sections on data of other sources: does it travel? Every sentence is computed from the figures."""

import math
from collections.abc import Iterator, Sequence

from hilum.comparison.away_tables import TRAVELS
from hilum.comparison.meeting import meeting_lines
from hilum.comparison.results import External, Results
from hilum.eval.strata import Gap
from hilum.eval.travel import CALIBRATION, PICTURE, Moved, Travel
from hilum.pages import report_figures as figures
from hilum.pages import report_tables as tables
from hilum.pages.page import Drawing, Fold, Section, Table
from hilum.pages.series import Series, ranked
from hilum.pages.wording import bounds, decimal, listed, many, percent

_LOWER_IS_BETTER = {"false_positives_per_image", "brier"}
_NONE_IS_WORSE = "No figure is worse beyond chance; that is not to say that none is worse."
_MOST_GAPS = 12  # in sentences; the table has all
_READ = (
    "The operating point and the thresholds are those chosen at home. Home and away are other images, so the intervals "
    "of differences are not paired. The score and the Brier score also depend on how many images show opacity, which "
    "sensitivity, specificity and AUROC do not; and every figure depends on who drew the boxes, and what they called "
    "an opacity."
)


Known = Sequence[tuple[Series, Travel]]


def travels(configs: Sequence[Series], results: Results) -> Iterator[Section]:
    """Of each data set: what differs, what falls, in whom, and what another threshold would mend."""
    for external in results.external:
        first = {entry.name: entry.travel for entry in external.entries}
        known = [(config, its) for config in ranked(configs) if (its := first.get(config.first.name))]
        if known:
            yield _scores(known, external, results)
            yield _falls(known, external.name)
            yield _in_whom(known, external.name)
            yield _threshold(known, external.name)


def _scores(known: Known, external: External, results: Results) -> Section:
    name = external.name
    which = "labelled images" if external.split == "all" else f"images of its {external.split}"
    about = (
        f"{external.images:,} {which}, {external.positive_images:,} with opacity "
        f"({percent(external.positive_images, external.images)}; at home "
        f"{percent(results.positive_images, results.images)}), "
        f"{many(external.patients, 'patient') if external.patients_known else 'patients not known'}."
    )
    first, *others = [_score(config, its.moved("score"), name) for config, its in known]
    alt = f"At home and at {name}, with 95% intervals: " + "; ".join(
        f"{config.name} scores {decimal(moved.home.estimate)} and {decimal(moved.away.estimate)}"
        for config, its in known
        if (moved := its.moved("score"))
    )
    return Section(
        f"From home to {name}",
        first,
        [about, *others, _READ],
        Drawing(figures.travel(known, name), f"{alt}."),
        tables.travel_table(known),
        points=meeting_lines(external.meetings),
        folds=[Fold(f"One config against another at {name}", table)] if (table := _between(external)) else [],
    )


def _falls(known: Known, name: str) -> Section:
    """Which figures get worse, and whether probabilities hold."""
    worse = {
        config.name: [
            f"{told} {decimal(moved.home.estimate)} to {decimal(moved.away.estimate)}"
            for figure, told in TRAVELS.items()
            if figure != CALIBRATION and _is_worse(figure, moved := its.moved(figure))
        ]
        for config, its in known
    }
    points = [f"{config}: {listed(told or ['nothing'])}." for config, told in worse.items()]
    return Section(
        f"What falls at {name}",
        "These figures are worse beyond chance, each by itself." if any(worse.values()) else _NONE_IS_WORSE,
        points=[*points, *(line for config, its in known for line in _calibration(config, its.moved(CALIBRATION)))],
    )


def _in_whom(known: Known, name: str) -> Section:
    told = [
        f"{config.name}, {gap.measure}, {_group(gap)}: {decimal(gap.inside.estimate)} at home, "
        f"{decimal(gap.outside.estimate)} away; home minus away {decimal(gap.gap.estimate, signed=True)} "
        f"{bounds(gap.simultaneous, signed=True)}"
        for config, its in known
        for gap in its.strata.gaps
        if gap.separated
    ]
    more = len(told) - _MOST_GAPS
    return Section(
        f"In whom it differs at {name}",
        f"In {many(len(told), 'group')} beyond chance, all groups of a config at once."
        if told
        else "In no group is home minus away beyond chance, all groups of a config at once.",
        points=told[:_MOST_GAPS] + ([f"{more:,} more in the table below."] if more > 0 else []),
        folds=[Fold(f"Every group, home against {name}", table)] if (table := tables.away_gaps_table(known)) else [],
    )


def _threshold(known: Known, name: str) -> Section:
    return Section(
        f"What a new threshold would mend at {name}",
        "Optimistic: the best threshold is chosen on the very images that it is told of.",
        points=[_mended(config, its) for config, its in known],
    )


def _score(config: Series, moved: Moved, name: str) -> str:
    gap, interval = moved.difference, bounds(moved.difference, signed=True)
    scores = f"{config.name} scores {decimal(moved.home.estimate)} at home and {decimal(moved.away.estimate)} at {name}"
    if not interval:
        return f"{scores}; how sure a difference is cannot be said."
    if gap.low > 0:
        return f"{scores}: it falls by {decimal(gap.estimate)}, 95% interval {interval}."
    if gap.high < 0:
        return f"{scores}: it rises by {decimal(-gap.estimate)}; home minus away {interval}."
    return (
        f"{scores}; whether it falls cannot be told: home minus away {decimal(gap.estimate, signed=True)} {interval}."
    )


def _is_worse(figure: str, moved: Moved) -> bool:
    return moved.difference.high < 0 if figure in _LOWER_IS_BETTER else moved.difference.low > 0


def _calibration(config: Series, off: Moved) -> Iterator[str]:
    """By how much the mean probability is off the share of images that show an opacity."""

    def too(off: float) -> str:
        return f"{decimal(abs(off))} {'above' if off > 0 else 'below'}"

    if math.isfinite(off.home.estimate + off.away.estimate):
        yield (
            f"{config.name}, calibration: probabilities are on average {too(off.away.estimate)} the share of images "
            f"with opacity ({bounds(off.away, signed=True)}); at home {too(off.home.estimate)} it."
        )


def _mended(config: Series, travel: Travel) -> str:
    score = travel.moved("score")
    gained, least = travel.best_score - score.away.estimate, config.first.least_confidence
    if math.isnan(gained):
        return f"{config.name}: what another threshold would mend cannot be told, as no image away shows opacity."
    if not gained > 0:
        return f"{config.name}: no other threshold scores higher, so a new one alone mends nothing."
    lost = f" of the {decimal(score.difference.estimate)} lost" if score.difference.estimate > 0 else ""
    return (
        f"{config.name}: {decimal(travel.best_confidence)} in place of {decimal(least)} would score "
        f"{decimal(travel.best_score)} and mend {decimal(gained)}{lost}; with one that is chosen for each fifth of the "
        f"patients on the others, which is fair, it scores {decimal(travel.cross_fitted_score)}."
    )


def _group(gap: Gap) -> str:
    return f"{gap.factor} {gap.stratum}{' against all of home' if gap.factor == PICTURE else ''}"


def _between(external: External) -> Table | None:
    rows = [
        [f"{each.higher} above {each.lower}", decimal(gap.estimate, 3, signed=True), bounds(gap, 3, signed=True)]
        for each in external.differences
        if math.isfinite((gap := each.interval).estimate)
    ]
    return Table(["paired by image", "difference of the score", "95% interval"], rows) if rows else None
