"""`report.html` of a benchmark: the answer first, then how it comes about, then the pictures, then where it is from."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from hilum.comparison.benchmark import AVERAGE, SCORE, Benchmark
from hilum.comparison.tables import pointed_out, reported_on, scattered_latency
from hilum.documents import MAX_RECORD_BYTES
from hilum.errors import HilumError
from hilum.eval.mistakes import Kind
from hilum.files import read_regular
from hilum.pages import report_answer as answer
from hilum.pages import report_figures as figures
from hilum.pages import report_tables as tables
from hilum.pages.contenders import Contender, Values, baselines, contenders, difference, ranked
from hilum.pages.gallery import choose_images, gallery_html, gallery_style
from hilum.pages.page import Drawing, Fold, Page, Part, Section, Table, asset, write_page
from hilum.pages.wording import MISSING, bounds, decimal, few, finite, listed, many
from hilum.run import CONFIG, ENVIRONMENT

_MOST_GAPS = 12  # in sentences; the table has all


def write_report(path: Path, found: Benchmark, *, gallery: int = 300) -> None:
    """Write one HTML file that needs nothing but itself.

    Args:
        path: of the file.
        found: what is told.
        gallery: how many images are shown at most.

    Raises:
        HilumError: the file cannot be written.
    """
    write_page(path, report_page(found, gallery))


def report_page(found: Benchmark, gallery: int) -> Page:
    """The report as a page."""
    configs, results = contenders(found), found.results
    parts = [
        Part("The answer", list(_answer(found, configs))),
        *([Part("At every threshold", list(_curves(configs)))] if configs else []),
        *([Part("For the reader of images", list(_images(configs, results)))] if configs else []),
        *([Part("Where it fails", list(_failures(configs)))] if configs else []),
        *([Part("What it costs", list(_costs(configs, results)))] if configs else []),
        Part("The images", [_gallery(found, configs, gallery)]),
        Part("How this page was made", list(_origin(found, configs))),
    ]
    return Page(
        title=answer.headline(configs, results),
        summary=_summary(configs, results),
        figures=_first_figures(configs, results),
        parts=[part for part in parts if part.sections],
        footer=(f"Made by hilum {results['hilum']} from data set {results['data_fingerprint']}.",),
        style=gallery_style(configs),
        script=asset("report.js"),
    )


def _summary(configs: Sequence[Contender], results: Values) -> str:
    trained = {1: "One detector", 2: "Two detectors", 3: "Three detectors"}.get(
        len(configs), f"{len(configs)} detectors"
    )
    date = f" Figures of {results['date']}." if results.get("date") else ""
    return (
        f"{trained if configs else 'Trivial baselines'} of lung opacity on the same {results['images']:,} chest "
        f"radiographs, {results['positive_images']:,} with opacity, which none was trained or tuned on.{date}"
    )


def _first_figures(configs: Sequence[Contender], results: Values) -> list[tuple[str, str]]:
    shown = []
    if configs:
        best = ranked(configs)[0]
        gap = difference(results, best.name, AVERAGE)
        shown = [
            (decimal(best.score["estimate"]), f"score of {best.name}, 95% {bounds(best.score) or 'unknown'}"),
            (
                decimal(gap["estimate"], signed=True),
                f"above two average boxes, {bounds(gap, signed=True) or 'unknown'}",
            ),
        ]
        auroc = best.values[0].get("auroc") or {}
        shown.append(
            (decimal(finite(auroc.get("estimate"))), f"AUROC of {best.first.name}, {bounds(auroc) or 'unknown'}")
        )
    people = f"{results['patients']:,}" if results.get("patients_known") else "?"
    return [
        *shown,
        (f"{results['images']:,}", f"images, {results['positive_images']:,} with opacity"),
        (people, "patients" if results.get("patients_known") else "patients: not known"),
    ]


def _answer(found: Benchmark, configs: Sequence[Contender]) -> Iterator[Section]:
    results, trivial = found.results, baselines(found)
    if configs:
        best = ranked(configs)[0]
        told = [*answer.comparisons(configs, results), answer.against_average(configs, results)]
        explained = (
            "The score is 1 if every opacity is boxed and nothing else is, and 0 if no box is right; a box on a "
            "healthy image costs as much as an opacity missed. Lines are 95% intervals over patients."
        )
        alt = "Scores with 95% intervals: " + listed(
            f"{config.name} {decimal(config.score['estimate'], 3)} {bounds(config.score, 3)}"
            for config in ranked(configs)
        )
        yield Section(
            "Which is better, and how sure that is",
            f"{best.name} scores {decimal(best.score['estimate'])}; 95% interval {bounds(best.score) or 'unknown'}.",
            [*told, explained],
            Drawing(figures.scores(configs, trivial, results), f"{alt}; below, paired differences from the best."),
        )
    if points := answer.cautions(found, configs):
        yield Section(
            "Before you trust it", "What makes these figures less sure, or kinder, than they look.", points=points
        )
    yield Section(
        "The table",
        "Point at a heading for what it means; press it to sort.",
        [*reported_on(results), *scattered_latency(results)],
        table=tables.main_table(configs, trivial, results.get("empty_mask_on_val") or {}),
        folds=[Fold("All figures, as in table.csv", tables.all_figures(results))],
    )
    if any(len(config.values) > 1 for config in configs):
        yield Section("Over the seeds", answer.spread(configs), table=tables.group_table(configs))
    if rows := answer.potentials(configs):
        alt = "Bars: " + "; ".join(
            f"{config.name} scores {score:.2f}, loses {boxes - score:.2f} to boxes and {1 - boxes:.2f} to images"
            for config, score, _, boxes in rows
        )
        told = [answer.losses(row) for row in rows[:3]]
        yield Section(
            "What to work on", answer.what_to_work_on(rows), told, Drawing(figures.potential(rows), f"{alt}.")
        )


def _curves(configs: Sequence[Contender]) -> Iterator[Section]:
    names = listed(config.name for config in configs)
    lost = [(config, gap) for config in ranked(configs) if (gap := _lost_to_threshold(config.values[0])) is not None]
    yield Section(
        "Score against threshold",
        "The operating point was chosen on val; the peak here is not the result."
        if not lost
        else "Choosing the threshold on other images cost "
        + few([f"{config.name} {decimal(gap)}" for config, gap in lost])
        + " against the peak.",
        [
            (
                "Fewer boxes to the right, more to the left. The marker is the operating point, chosen on val; a peak "
                "elsewhere was not to be known beforehand. A wide hill forgives a threshold that is a little off."
            )
        ],
        Drawing(figures.thresholds(configs), f"Competition score against confidence threshold of {names}."),
    )
    aps = [
        (config, finite((config.values[0].get("ap_competition") or {}).get("estimate"))) for config in ranked(configs)
    ]
    yield Section(
        "Precision and recall",
        "Average precision over the competition's overlaps: "
        + few([f"{config.name} {decimal(ap)}" for config, ap in aps])
        + ".",
        [
            (
                "Each curve goes from the surest box, on the left, to all of them. A detector can rank boxes well and "
                "still score low where its threshold is off, and the other way round."
            )
        ],
        Drawing(figures.precision_recall(configs), f"Precision-recall curves of {names} at two overlaps."),
    )
    at_one = [(config, _froc_at(config.values[0], 1.0)) for config in ranked(configs)]
    yield Section(
        "FROC",
        "At one false box an image, true boxes found: "
        + few([f"{config.name} {MISSING if share is None else f'{share:.0%}'}" for config, share in at_one])
        + ".",
        ["How many opacities are found when so many false boxes are put up with. Thin lines are 95% intervals."],
        Drawing(figures.froc(configs), f"Share of true boxes found against false positives an image, of {names}."),
    )
    logged = [config for config in configs if any(run.get("log") for run in config.values)]
    if logged:
        others = [config for config in logged if config.values[0].get("val_figure", SCORE) != SCORE]
        told = [f"The epoch of {config.name} was chosen by {config.values[0]['val_figure']}." for config in others]
        if whole := [config.name for config in configs if config not in logged]:
            told.append(
                f"{listed(whole)} {'has no epochs of its' if len(whole) == 1 else 'have no epochs of their'} own."
            )
        yield Section(
            "Learning curves",
            "The epoch that was kept is the best on val: " + few([_kept_epoch(config) for config in logged]) + ".",
            [
                (
                    "Each epoch's score is at the best threshold for val, so it is higher than a result. Losses are of "
                    "different kinds: compare their shapes, not their heights."
                ),
                *told,
            ],
            Drawing(figures.learning(logged), f"Score on val and training loss by epoch, of {names}."),
        )


def _images(configs: Sequence[Contender], results: Values) -> Iterator[Section]:
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
    drawing = figures.worklist(configs, int(results["positive_images"]), int(results["images"]))
    yield Section(
        "Which image to read first", short, [long, about], Drawing(drawing, alt), tables.worklist_table(configs)
    )
    briers = [(config, finite((config.values[0].get("brier") or {}).get("estimate"))) for config in ranked(configs)]
    yield Section(
        "Can its probability be believed?",
        "Brier score, 0 is perfect: " + few([f"{config.name} {decimal(brier, 3)}" for config, brier in briers]) + ".",
        [
            (
                "Of the images that are given 70%, 70% should show opacity: dots on the dashed line. Below it the "
                "detector is too sure, above it not sure enough. Large dots are many images; small ones mostly chance."
            )
        ],
        Drawing(figures.reliability(configs), "Share of images that show opacity against the probability given."),
    )


def _failures(configs: Sequence[Contender]) -> Iterator[Section]:
    if all(config.values[0].get("mistakes") for config in configs):
        finding, commonest = _wrong_boxes(configs)
        yield Section(
            "Kinds of errors",
            finding,
            [f"{commonest}Every box has one kind. The gallery below shows the images of each."],
            table=tables.mistakes_table(configs, "boxes"),
        )
        yield Section("What became of the true boxes", _missed(configs), table=tables.mistakes_table(configs, "truth"))
    table, drawing = tables.gaps_table(configs), figures.strata(configs)
    if table is None:
        return
    gaps = [(config, gap) for config in configs for gap in (config.values[0].get("strata") or {}).get("gaps") or []]
    separated = [
        (config, gap)
        for config in configs
        for gap in pointed_out((config.values[0].get("strata") or {}).get("gaps") or [])
    ]
    judged = sum(finite(gap["gap"]["estimate"]) is not None for _, gap in gaps)
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
    yield Section(
        "For whom does it work less well?",
        finding,
        text,
        Drawing(drawing, "Sensitivity and false alarms by group, with 95% intervals.") if drawing else None,
        points=[
            f"{config.name}, {gap['measure']}, {gap['factor']} {gap['stratum']}: {decimal(gap['inside']['estimate'])}, "
            f"elsewhere {decimal(gap['outside']['estimate'])}; gap {decimal(gap['gap']['estimate'], signed=True)} "
            f"{bounds(gap['simultaneous'], signed=True)}"
            for config, gap in separated[:_MOST_GAPS]
        ]
        + ([f"{len(separated) - _MOST_GAPS:,} more are in the table below."] if len(separated) > _MOST_GAPS else []),
    )
    yield Section(
        "All groups",
        f"{len(gaps):,} comparisons, for whoever wants to look closer.",
        folds=[Fold("Show the table", table)],
    )


def _costs(configs: Sequence[Contender], results: Values) -> Iterator[Section]:
    table = tables.cost_table(configs)
    times = [(config, time) for config in configs if (time := figures.milliseconds(config.values[0])) is not None]
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
            [f"Measured on {_machine(results)}; other machines change the times and may change their order."],
            Drawing(figures.latency(configs), "Competition score against milliseconds an image."),
        )
    if table:
        yield Section("Time, memory and size", "What each takes to train, to keep and to run.", table=table)


def _gallery(found: Benchmark, configs: Sequence[Contender], most: int) -> Section:
    split = found.holdout
    chosen = choose_images(split, configs, most)
    if len(chosen) == len(split):
        how = f"All {many(len(split), 'image')}."
    else:
        how = (
            f"{len(chosen):,} of {len(split):,} images. Errors were picked first, of every kind and config, the worst "
            "first; the rest are spread over the others. How frequent an error is, the tables above tell, not this."
        )
    text = [
        (
            "The filled yellow boxes are the truth. Press an image to enlarge it; the arrow keys step through, the "
            "keys 1, 2, 3 ... switch a config's boxes and t the truth. Worst first sorts by what is lost of the score, "
            "on average over the configs switched on."
        )
    ]
    if any(len(config.entries) > 1 for config in configs):
        text.append("Of each config the first run is shown: " + listed(config.first.name for config in configs) + ".")
    return Section("Truth and boxes", how, text, widget=gallery_html(split, configs, chosen))


def _origin(found: Benchmark, configs: Sequence[Contender]) -> Iterator[Section]:
    results = found.results
    known = results.get("patients_known")
    rows = [
        ("Data", f"fingerprint {results['data_fingerprint']}, source {results.get('source') or 'unknown'}"),
        ("Split", f"{_split_made(results)}; trained on {many(results.get('train_images', 0), 'image')}"),
        (
            "Reported on",
            f"{results['split']}: {many(results['images'], 'image')}, {results['positive_images']:,} with opacity, "
            + (f"{results['patients']:,} patients" if known else "patients not known"),
        ),
        ("Chosen on", f"val, {many(results.get('val_images', 0), 'image')}: {results.get('chosen') or MISSING}"),
        (
            "Seeds",
            ", ".join(f"{entry.name}: {entry.about.get('seed', MISSING)}" for each in configs for entry in each.entries)
            or MISSING,
        ),
        ("Intervals", f"bootstrap over {'patients' if known else 'images'}, 2,000 resamples (500 for AP), 95%"),
        ("Date", f"{results['date']}, UTC" if results.get("date") else MISSING),
        ("hilum", f"{results['hilum']}, code {results.get('code') or 'unknown'}{_other_code(configs, results)}"),
        ("Machine", _machine(results)),
    ]
    folds = [
        Fold(f"{entry.name}: {name}", text)
        for config in configs
        for entry in config.entries
        for name in (CONFIG, ENVIRONMENT)
        if entry.run is not None and (text := _read(entry.run / name))
    ]
    yield Section(
        "Data, split, seeds, machine",
        "Everything that the figures depend on.",
        table=Table(("", ""), rows),
        folds=folds,
    )
    yield Section(
        "The same page again",
        "This command makes it; what is trained and predicted already is reused.",
        widget=f"<pre>{escape(str(results.get('command') or MISSING))}</pre>",
    )


def _other_code(configs: Sequence[Contender], results: Values) -> str:
    told = [
        f"{entry.name} trained by other code, {code}"
        for config in configs
        for entry in config.entries
        if (code := entry.about.get("trained_by")) and code != results.get("code")
    ]
    return "".join(f"; {each}" for each in told)


def _split_made(results: Values) -> str:
    made = results.get("split_made") or {}
    if not made.get("name"):
        return f"that of the conversion, seed {made.get('seed', MISSING)}"
    options = "".join(
        f", {key} {' '.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in (made.get("options") or {}).items()
    )
    return f"{made['name']}: {made.get('kind', MISSING)}{options}, seed {made.get('seed', MISSING)}"


def _read(path: Path) -> str:
    try:
        return read_regular(path, MAX_RECORD_BYTES).decode(errors="replace").strip()
    except (OSError, HilumError):
        return ""


def _machine(results: Values) -> str:
    machine = results.get("machine") or {}
    gpus = ", ".join(map(str, machine.get("gpus") or [])) or "no GPU"
    parts = [
        machine.get("cpu"),
        many(machine["cpu_cores"], "core") if machine.get("cpu_cores") else None,
        f"{machine['memory_gib']:g} GiB" if finite(machine.get("memory_gib")) else None,
        gpus,
        machine.get("system"),
        f"torch {machine['torch']}" if machine.get("torch") else None,
        many(machine["torch_threads"], "thread") if machine.get("torch_threads") else None,
    ]
    return ", ".join(str(part) for part in parts if part) if machine else "an unknown machine"


def _time(milliseconds: float) -> str:
    return f"{milliseconds:.1f} ms" if milliseconds < 100 else f"{milliseconds / 1000:.2f} s"


def _lost_to_threshold(run: Values) -> float | None:
    curve = (run.get("curves") or {}).get("threshold") or []
    peak = max((score for _, y in curve if (score := finite(y)) is not None), default=None)
    score = finite(run["score"]["estimate"])
    return None if peak is None or score is None else max(0.0, peak - score)


def _froc_at(run: Values, rate: float) -> float | None:
    froc: Any = run.get("froc") or {}
    for each, sensitivity in zip(
        froc.get("false_positives_per_image") or [], froc.get("sensitivity") or [], strict=False
    ):
        if finite(each) == rate:
            return finite(sensitivity["estimate"])
    return None


def _kept_epoch(config: Contender) -> str:
    log = [line for line in config.values[0].get("log") or [] if finite(line.get("val_score")) is not None]
    if not log:
        return f"{config.first.name} unknown"
    kept = max(log, key=lambda line: line["val_score"])
    return f"{config.first.name} epoch {kept['epoch']} of {len(config.values[0]['log'])}"


def _wrong_boxes(configs: Sequence[Contender]) -> tuple[str, str]:
    """How many boxes are wrong, and which kind of error each config makes most."""
    wrong_of_all, commonest = [], []
    for config in configs:
        counts = {str(kind): n for kind, n in ((config.values[0].get("mistakes") or {}).get("boxes") or {}).items()}
        wrong = {kind: n for kind, n in counts.items() if kind != Kind.FOUND and n}
        wrong_of_all.append(f"{config.name} {sum(wrong.values()):,} of {sum(counts.values()):,}")
        if wrong:
            kind = max(wrong, key=lambda name: wrong[name])
            commonest.append(f"{config.name} {kind} ({wrong[kind]:,})")
    return f"Wrong boxes: {few(wrong_of_all)}.", f"Most often: {few(commonest)}. " if commonest else ""


def _missed(configs: Sequence[Contender]) -> str:
    told = []
    for config in configs:
        counts = (config.values[0].get("mistakes") or {}).get("truth") or {}
        told.append(f"{config.name} {counts.get('missed', 0):,} of {sum(counts.values()):,}")
    return f"Missed altogether: {few(told)}."
