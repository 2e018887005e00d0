"""What stands below the table: kinds of errors, and only those gaps that are beyond chance, each once."""

from dataclasses import replace

import numpy as np

from hilum.comparison.cost import Cost, Latency, Throughput
from hilum.comparison.peak_memory import PeakMemory
from hilum.comparison.results import Entry, MaskFigures, Reported, Results
from hilum.comparison.tables import findings, pointed_out, reported_on, scattered_latency, short_table, table_rows
from hilum.eval.bootstrap import UNKNOWN, Interval
from hilum.eval.figures import KindCounts
from hilum.eval.strata import Gap, Strata


def gap(factor, stratum, inside, outside, *, separated, measure="sensitivity"):
    between = Interval(inside - outside, inside - outside - 0.1, inside - outside + 0.1)
    sides = (replace(UNKNOWN, estimate=inside), replace(UNKNOWN, estimate=outside))
    return Gap(factor, stratum, measure, 20, 10, *sides, between, between, separated)


def results(*entries, val_images=0):
    return Results(data_fingerprint="", val_images=val_images, entries=entries)


AP, PA = gap("view", "AP", 0.9, 0.6, separated=True), gap("view", "PA", 0.6, 0.9, separated=True)
YOUNG, OLD = gap("age group", "<20", 0.5, 0.8, separated=True), gap("age group", "60-79", 0.9, 0.6, separated=True)
MIDDLE = gap("age group", "20-39", 0.8, 0.79, separated=False)


def test_of_two_strata_that_mirror_each_other_one_is_pointed_out():
    assert pointed_out([AP, PA]) == [AP]
    assert pointed_out([YOUNG, MIDDLE, OLD]) == [YOUNG, OLD]
    other = gap("view", "PA", 0.2, 0.6, separated=True, measure="competition score")
    assert pointed_out([AP, PA, other]) == [AP, other]
    assert pointed_out([MIDDLE]) == pointed_out([]) == []


def test_findings_tell_errors_and_gaps_of_answers_and_nothing_of_baselines():
    baseline = Entry(name="nothing predicted", backend=None, mistakes=KindCounts(truth={"missed": 7}))
    answer = Entry(
        name="a.csv",
        mistakes=KindCounts(boxes={"found": 1200, "double": 3}, truth={"found": 1200, "missed": 2}),
        strata=Strata(comparisons=9, gaps=(AP, PA, MIDDLE)),
    )
    assert findings(results(baseline, answer)) == [
        "- a.csv, boxes: 1,200 found, 3 double; of the true boxes 1,200 found, 2 missed.",
        (
            "- a.csv, beyond chance: sensitivity, view AP: 0.900, elsewhere 0.600, gap +0.300 [+0.200, +0.400] "
            "(all 9 gaps at once)."
        ),
    ]


def test_the_mask_is_that_of_the_epoch_that_was_kept():
    log = [
        {"epoch": 1, "val_score": 0.2, "val_pixel_accuracy": 0.97, "val_mean_iou": 0.7},
        {"epoch": 2, "val_score": 0.1, "val_pixel_accuracy": 0.98, "val_mean_iou": 0.8},
        {"epoch": 3, "val_score": None},
    ]
    run = Entry(name="unet", log=[{"train_loss": 0.1, "seconds": 1.0, **line} for line in log])
    assert run.kept_epoch["epoch"] == 1
    assert run.masks == MaskFigures(pixel_accuracy=0.97, mean_iou=0.7)
    assert np.isnan(Entry(name="yolo").masks.mean_iou)


def test_on_how_many_images_the_report_measured_is_told_where_val_has_others():
    reported = {"resnet-1": 2560, "resnet-3": 1000, "unet-1": 2560}
    entries = [Entry(name=name, reported=Reported(held_out=images)) for name, images in reported.items()]
    entries += [Entry(name="nothing predicted", backend=None), Entry(name="yolo26n")]
    assert reported_on(results(*entries, val_images=1000)) == [
        "Pixel accuracy, as reported, of resnet-1, unet-1: the report held out 2,560 images; this val has 1,000."
    ]
    assert len(reported_on(results(*entries, val_images=999))) == 2


def test_times_of_a_machine_that_had_something_else_to_do_are_told():
    def entry(name, p95_ms):
        latency, throughput = Latency(10.0, p95_ms, 9, 0.5), Throughput(9.0, 80, "arrays")
        cost = Cost(latency, latency, throughput, throughput, 1, 1.0, 1, PeakMemory(1, 1.0), 1.0)
        return Entry(name=name, cost=cost)

    entries = [Entry(name="nothing predicted"), entry("steady", 29.0), entry("disturbed", 31.0)]
    (line,) = scattered_latency(results(*entries))
    assert line.startswith("Latency of disturbed: ")
    assert scattered_latency(results(*entries[:2])) == []


def test_the_short_table_fits_a_terminal_with_the_first_figures_bounds_alone():
    entry = Entry(name="sample-resnet", score=Interval(0.5, 0.25, 0.75), auroc=Interval(0.9, 0.8, 1.0))
    header, rows = short_table(table_rows(results(Entry(name="nothing predicted", backend=None), entry)))
    assert header == ["", "score [95%]", "AUROC"]
    assert rows == [["nothing predicted", "", ""], ["sample-resnet", "0.500 [0.250, 0.750]", "0.900"]]
