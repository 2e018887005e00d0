"""How answers do away from home, as tables: in the terminal, CSV, Markdown."""

import math
from collections.abc import Mapping, Sequence

from hilum.comparison.meeting import meeting_lines
from hilum.comparison.results import Entry, External, Results
from hilum.comparison.tables import Cells, Row, interval_text, markdown_lines, number_text, row_of
from hilum.eval.answer import AT_SENSITIVITY
from hilum.eval.measures import OPERATING_POINT
from hilum.eval.travel import CALIBRATION, Travel

TRAVELS: Mapping[str, str] = {
    "score": "competition score",
    "sensitivity": "box sensitivity",
    "false_positives_per_image": "false positives an image",
    f"sensitivity at {OPERATING_POINT}": "image sensitivity",
    f"specificity at {OPERATING_POINT}": "image specificity",
    f"sensitivity at {AT_SENSITIVITY}": f"image sensitivity at {AT_SENSITIVITY} on val",
    f"specificity at {AT_SENSITIVITY}": f"image specificity at {AT_SENSITIVITY} on val",
    "auroc": "image AUROC",
    "ap_competition": "AP 0.40:0.75",
    "froc mean": "FROC mean",
    "brier": "Brier score",
    CALIBRATION: "probability minus share with opacity",
}
"""What is told of how an answer travels, by the name of the figure."""


def away_rows(results: Results) -> list[Row]:
    """The same rows of data of other sources, with the columns that tell which, and what differs from home."""
    return [
        {"name": entry.name, "data": external.name, **row_of(entry), **_travelled(entry.travel or Travel())}
        for external in results.external
        for entry in external.entries
    ]


def _travelled(travel: Travel) -> Row:
    return {
        **{
            f"{told}, home minus away [95%]": interval_text(travel.moved(name).difference, signed=True)
            for name, told in TRAVELS.items()
        },
        "best confidence away (optimistic)": number_text(travel.best_confidence, 3),
        "score with it (optimistic)": number_text(travel.best_score, 3),
        "score, confidence cross-fitted away": number_text(travel.cross_fitted_score, 3),
    }


def travel_table(entries: Sequence[Entry]) -> Cells:
    """Header and rows of what differs away from home, a figure of a run a row."""
    header = ["", "home [95%]", "away [95%]", "home minus away [95%]"]
    rows = [
        [
            f"{entry.name}: {told}",
            *(interval_text(value) for value in (moved.home, moved.away)),
            interval_text(moved.difference, signed=True),
        ]
        for entry in entries
        if entry.travel
        for name, told in TRAVELS.items()
        if math.isfinite((moved := entry.travel.moved(name)).away.estimate)
    ]
    return header, rows


def travel_notes(entries: Sequence[Entry]) -> list[str]:
    """Lines on whom it falls in, and what another threshold would mend."""
    return [line for entry in entries if entry.travel for line in _notes(entry.name, entry.travel)]


def _notes(name: str, travel: Travel) -> list[str]:
    best, score, fitted = (
        number_text(value, 3) for value in (travel.best_confidence, travel.best_score, travel.cross_fitted_score)
    )
    return [
        *[
            f"- {name}, beyond chance: {gap.measure}, {gap.factor} {gap.stratum}: home {gap.inside.estimate:.3f}, away "
            f"{gap.outside.estimate:.3f}, home minus away {interval_text(gap.simultaneous, signed=True)} (all "
            f"{travel.strata.comparisons} at once)."
            for gap in travel.strata.gaps
            if gap.separated
        ],
        (
            f"- {name}, with the confidence that is best away, {best}: score {score}, which flatters, as it was chosen "
            f"on these images; with one cross-fitted over patients: {fitted or 'not known'}."
            if best
            else f"- {name}: no image away shows opacity, so what another confidence would mend cannot be told."
        ),
    ]


def away_markdown(results: Results) -> list[str]:
    """Lines for `hilum.comparison.tables.table_markdown`."""
    return [line for external in results.external for line in _markdown(external)]


def _markdown(external: External) -> list[str]:
    header, rows = travel_table(external.entries)
    if not rows:  # of the mean of several classes
        return []
    return [
        f"## Does it travel? {external.name}: {external.images:,} images, {external.positive_images:,} with opacity",
        "",
        *markdown_lines(header, rows),
        "",
        *(f"- {line}" for line in meeting_lines(external.meetings)),
        *travel_notes(external.entries),
        "",
    ]
