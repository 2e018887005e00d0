"""What the report says of data of other sources: sentences follow from the figures, whatever these are."""

import pytest

from hilum.comparison.meeting import Meeting
from hilum.comparison.results import Difference, Entry, External, Results
from hilum.eval.bootstrap import UNKNOWN, Interval
from hilum.eval.strata import Gap, Strata
from hilum.eval.travel import CALIBRATION, PICTURE, Moved, Travel
from hilum.pages import page
from hilum.pages.report_travel import travels
from hilum.pages.series import Series


def moved(home, away, low, high):
    return Moved(
        home=Interval(home, home, home), away=Interval(away, away, away), difference=Interval(home - away, low, high)
    )


def gap(factor, stratum, *, separated):
    inside, outside, both = Interval(0.8, 0.7, 0.9), Interval(0.3, 0.2, 0.4), Interval(0.5, 0.3, 0.7)
    return Gap(factor, stratum, "sensitivity", 40, 20, inside, outside, both, Interval(0.5, 0.2, 0.8), separated)


FALLS = Travel(
    figures={
        "score": moved(0.5, 0.2, 0.1, 0.5),
        "sensitivity": moved(0.9, 0.4, 0.3, 0.7),
        "false_positives_per_image": moved(0.1, 0.6, -0.8, -0.2),
        "auroc": moved(0.9, 0.88, -0.05, 0.09),
        "brier": moved(0.1, 0.05, 0.01, 0.09),
        CALIBRATION: Moved(
            home=Interval(-0.02, -0.1, 0.1), away=Interval(0.2, 0.1, 0.3), difference=Interval(-0.22, -0.4, -0.1)
        ),
    },
    strata=Strata(2, 0.95, (gap("view", "AP", separated=True), gap(PICTURE, "over 2048 px", separated=False))),
    best_confidence=0.31,
    best_score=0.26,
    cross_fitted_score=0.24,
)


def report(travel, **more):
    entry = Entry(name="net", group="net", backend="unet", least_confidence=0.5)
    config = Series("net", 0, [], [entry], Interval(0.5, 0.4, 0.6), float("nan"))
    away = {"images": 100, "positive_images": 20, "patients": 60, "patients_known": True, **more}
    external = External(name="siim", data_fingerprint="1", entries=(Entry(**entry.given(), travel=travel),), **away)
    results = Results(data_fingerprint="0", images=50, positive_images=25, entries=(entry,), external=(external,))
    return list(travels([config], results))


def said(section):
    return " ".join([section.finding, *section.text, *section.points])


def test_what_falls_in_whom_and_what_a_threshold_mends():
    scores, falls, whom, threshold = report(FALLS)
    assert scores.finding == "net scores 0.50 at home and 0.20 at siim: it falls by 0.30, 95% interval [+0.10, +0.50]."
    assert "100 labelled images, 20 with opacity (20%; at home 50%), 60 patients." in scores.text
    (worse, calibration) = falls.points
    assert worse == (
        "net: competition score 0.50 to 0.20, box sensitivity 0.90 to 0.40 and false positives an image 0.10 to 0.60."
    )  # neither the AUROC, whose interval holds 0, nor the Brier score, which is better
    assert calibration.startswith("net, calibration: probabilities are on average 0.20 above the share of images")
    assert calibration.endswith("at home 0.02 below it.")
    assert whom.finding.startswith("In 1 group beyond chance")
    assert whom.points == ["net, sensitivity, view AP: 0.80 at home, 0.30 away; home minus away +0.50 [+0.20, +0.80]"]
    assert threshold.finding.startswith("Optimistic: ")
    (mended,) = threshold.points
    assert mended.startswith("net: 0.31 in place of 0.50 would score 0.26 and mend 0.06 of the 0.30 lost; ")
    assert mended.endswith("which is fair, it scores 0.24.")


@pytest.mark.parametrize(
    ("score", "told"),
    [
        (moved(0.2, 0.5, -0.5, -0.1), "it rises by 0.30; home minus away [-0.50, -0.10]."),
        (moved(0.5, 0.4, -0.1, 0.3), "whether it falls cannot be told: home minus away +0.10 [-0.10, +0.30]."),
        (Moved(home=Interval(0.5, 0.4, 0.6)), "how sure a difference is cannot be said."),
    ],
)
def test_no_more_is_claimed_than_the_interval_says(score, told):
    known = {} if score.away == UNKNOWN else {"best_confidence": 0.4, "best_score": score.away.estimate}
    scores, falls, whom, threshold = report(Travel(figures={"score": score}, **known))
    assert scores.finding.replace("\N{MINUS SIGN}", "-").endswith(told)
    assert falls.finding.startswith("No figure is worse beyond chance")
    assert whom.finding.startswith("In no group")
    nothing = "no other threshold scores higher, so a new one alone mends nothing."
    untold = "what another threshold would mend cannot be told, as no image away shows opacity."
    assert threshold.points == [f"net: {nothing if known else untold}"]
    assert "nan" not in " ".join(map(said, (scores, falls, whom, threshold)))


def test_pictures_of_one_size_are_compared_with_all_of_home():
    strata = Strata(1, 0.95, (gap(PICTURE, "over 2048 px", separated=True),))
    whom = report(FALLS.model_copy(update={"strata": strata}))[2]
    assert "picture over 2048 px against all of home" in whom.points[0]


def test_many_groups_are_in_the_table():
    many = Strata(20, 0.95, tuple(gap("age group", f"{n}", separated=True) for n in range(20)))
    whom = report(FALLS.model_copy(update={"strata": many}))[2]
    assert len(whom.points) == 13
    assert whom.points[-1] == "8 more in the table below."
    assert len(whom.folds[0].content.rows) == 20


def test_leaks_stand_first_and_names_are_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    meeting = Meeting(
        between=("train", "siim"), look_alike=1, alike_example=(evil, "b"), patients=2, their_images=(2, 3)
    )
    again = {"differences": (Difference(higher=evil, lower="net", score=Interval(0.1, 0.0, 0.2)),)}
    sections = report(FALLS, meetings=(meeting,), **again)
    assert [line[:4] for line in sections[0].points] == ["LEAK", "pati"]
    path = tmp_path / "page.html"
    page.write_page(path, page.Page("a", "b", (), [page.Part("Does it travel?", sections)], ()))
    assert evil not in path.read_text()
    assert "&lt;script&gt;" in path.read_text()


def test_without_data_of_other_sources_or_without_runs_nothing_is_said():
    entry = Entry(name="net", group="net", backend="unet")
    assert list(travels([], Results(data_fingerprint="0", entries=(entry,)))) == []
    assert report(None) == []


def test_figures_are_drawn_whatever_is_unknown():
    nothing = Travel(figures={"score": Moved(home=UNKNOWN, away=UNKNOWN, difference=UNKNOWN)})
    for travel in (FALLS, nothing):
        drawing = report(travel)[0].picture
        assert drawing.svg.startswith(b"<?xml")
        assert len(drawing.alt) > 20
    assert "scores 0.50 and 0.20" in report(FALLS)[0].picture.alt
