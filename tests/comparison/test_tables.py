"""What stands below the table: kinds of errors, and only those gaps that are beyond chance, each once."""

from hilum.comparison.tables import findings, mask_figures, pointed_out, reported_on, scattered_latency


def gap(factor, stratum, inside, outside, *, separated, measure="sensitivity"):
    between = {"estimate": inside - outside, "low": inside - outside - 0.1, "high": inside - outside + 0.1}
    return {
        "factor": factor,
        "stratum": stratum,
        "measure": measure,
        "inside": {"estimate": inside},
        "outside": {"estimate": outside},
        "simultaneous": between,
        "separated": separated,
    }


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
    baseline = {"name": "nothing predicted", "backend": None, "mistakes": {"boxes": {}, "truth": {"missed": 7}}}
    answer = {
        "name": "a.csv",
        "mistakes": {"boxes": {"found": 1200, "double": 3}, "truth": {"found": 1200, "missed": 2}},
        "strata": {"comparisons": 9, "gaps": [AP, PA, MIDDLE]},
    }
    assert findings({"entries": [baseline, answer]}) == [
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
    assert mask_figures({"log": log}) == {"pixel_accuracy": 0.97, "mean_iou": 0.7}
    assert mask_figures({}) == {"pixel_accuracy": None, "mean_iou": None}


def test_on_how_many_images_the_report_measured_is_told_where_val_has_others():
    entries = [
        {"name": "nothing predicted", "backend": None},
        {"name": "resnet-1", "reported": {"held_out": 2560}},
        {"name": "resnet-3", "reported": {"held_out": 1000}},
        {"name": "unet-1", "reported": {"held_out": 2560}},
        {"name": "yolo26n", "reported": {}},
    ]
    assert reported_on({"val_images": 1000, "entries": entries}) == [
        "Pixel accuracy, as reported, of resnet-1, unet-1: the report held out 2,560 images; this val has 1,000."
    ]
    assert len(reported_on({"val_images": 999, "entries": entries})) == 2
    assert reported_on({"entries": entries}) == []  # of an answer that was evaluated alone, nothing is known of val


def test_times_of_a_machine_that_had_something_else_to_do_are_told():
    def entry(name, p95_ms):
        return {"name": name, "cost": {"latency_alone": {"p50_ms": 10.0, "p95_ms": p95_ms}}}

    entries = [{"name": "nothing predicted"}, entry("steady", 29.0), entry("disturbed", 31.0), entry("unknown", None)]
    (line,) = scattered_latency({"entries": entries})
    assert line.startswith("Latency of disturbed: ")
    assert scattered_latency({"entries": entries[:2]}) == []
