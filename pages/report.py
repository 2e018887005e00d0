"""`report.html` of a benchmark: the answer first, then how it comes about, then the pictures, then where it is from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hilum.class_names import class_slug, here_is
from hilum.comparison.benchmark import Benchmark, class_folder
from hilum.comparison.measured import AVERAGE
from hilum.comparison.results import Results
from hilum.comparison.tables import reported_on, scattered_latency
from hilum.pages import report_answer as answer
from hilum.pages import report_figures as figures
from hilum.pages import report_sections as sections
from hilum.pages import report_tables as tables
from hilum.pages.gallery import choose_images, gallery_html, gallery_style
from hilum.pages.page import Cell, Drawing, Fold, Page, Part, Section, Table, asset, write_page
from hilum.pages.report_origin import origin
from hilum.pages.report_travel import travels
from hilum.pages.series import Series, baselines, ranked, series_of
from hilum.pages.wording import bounds, decimal, listed, many

_MEAN = "mean of all classes"


def write_report(path: Path, found: Benchmark, *, gallery: int = 300) -> None:
    """Write one HTML file that needs nothing but itself.

    Args:
        path: of the file.
        found: what is told.
        gallery: how many images are shown at most.

    Raises:
        HilumError: the file cannot be written.
    """
    for name, each in found.classes.items():
        page, folder = report_page(each, gallery), class_folder(path.parent, name)
        title, summary = f"{name}: {page.title}", here_is([name]) + page.summary
        switch = [(_MEAN, f"../../{path.name}")]
        switch += [(n, "" if n == name else f"../{class_slug(n)}/{path.name}") for n in found.classes]
        write_page(folder / path.name, replace(page, title=title, summary=summary).with_switch(switch))
    page = report_page(found, gallery)
    names = found.holdout.class_names
    page = replace(page, summary=here_is(names, " any of" * (len(names) > 1)) + page.summary)
    switch = [(_MEAN, "")] if found.classes else []
    switch += [(n, f"{class_folder(Path(), n).as_posix()}/{path.name}") for n in found.classes]
    write_page(path, page.with_switch(switch))


def report_page(found: Benchmark, gallery: int) -> Page:
    """The report as a page; of several classes, what their mean says, and no mistakes of boxes."""
    configs, results = series_of(found), found.results
    of_configs = {
        "Does it travel?": travels,
        "At every threshold": sections.curves,
        "For the reader of images": sections.images,
        "Where it fails": sections.failures,
        "What it costs": sections.costs,
    }
    if found.classes:
        of_configs = {"What it costs": sections.costs}
    parts = [
        Part("The answer", [*_each_class(found.classes), *_answer(results, configs)]),
        *[Part(title, list(make(configs, results))) for title, make in of_configs.items() if configs],
        *([] if found.classes else [Part("The images", [_gallery(found, configs, gallery)])]),
        Part("How this page was made", list(origin(results, configs))),
    ]
    return Page(
        title=answer.headline(configs, results),
        summary=_summary(configs, results),
        figures=_first_figures(configs, results),
        parts=[part for part in parts if part.sections],
        footer=(f"Made by hilum {results.hilum} from data set {results.data_fingerprint}.",),
        style=gallery_style(configs),
        script=asset("viewer.js") + asset("report.js"),
    )


def _each_class(classes: Mapping[str, Benchmark]) -> Iterator[Section]:
    """How each config does on each of several classes; the mean of all is told by the rest of the page."""
    if not classes:
        return
    of_classes = {name: series_of(each) for name, each in classes.items()}
    first = next(iter(of_classes.values()))
    names = [config.name for config in first]
    rows: list[list[str | Cell]] = []
    for name, configs in of_classes.items():
        results = classes[name].results
        by_name = {config.name: config for config in configs}
        scores = [by_name[each].score for each in names]
        cells = [Cell(decimal(score.estimate, 3), note=bounds(score, 3)) for score in scores]
        rows.append([Cell(name), f"{results.positive_images:,}", *cells])
    shown = sum(each.results.positive_images > 0 for each in classes.values())
    told = (
        f"All else on this page is the mean over the classes that the images show, {shown} of {len(classes)}. A class "
        "weighs as much as another, however few images show it. Each has an operating point of its own, chosen on val."
    )
    yield Section(
        "Each class",
        "Scores by class; the pages of the classes tell the rest.",
        [told],
        table=Table(["class", "images with it", *names], rows),
    )


def _summary(configs: Sequence[Series], results: Results) -> str:
    trained = {1: "One detector", 2: "Two detectors", 3: "Three detectors"}.get(
        len(configs), f"{len(configs)} detectors"
    )
    date = f" Figures of {results.date}." if results.date else ""
    return (
        f"{trained if configs else 'Trivial baselines'} of lung opacity on the same {results.images:,} chest "
        f"radiographs, {results.positive_images:,} with opacity, which none was trained or tuned on.{date}"
    )


def _first_figures(configs: Sequence[Series], results: Results) -> list[tuple[str, str]]:
    shown = []
    if configs:
        best = ranked(configs)[0]
        gap, auroc = results.difference(best.name, AVERAGE).interval, best.first.auroc
        shown = [
            (decimal(best.score.estimate), f"score of {best.name}, 95% {bounds(best.score) or 'unknown'}"),
            (
                decimal(gap.estimate, signed=True),
                f"above two average boxes, {bounds(gap, signed=True) or 'unknown'}",
            ),
            (decimal(auroc.estimate), f"AUROC of {best.first.name}, {bounds(auroc) or 'unknown'}"),
        ]
    known = results.patients_known
    return [
        *shown,
        (f"{results.images:,}", f"images, {results.positive_images:,} with opacity"),
        (f"{results.patients:,}" if known else "?", "patients" if known else "patients: not known"),
    ]


def _answer(results: Results, configs: Sequence[Series]) -> Iterator[Section]:
    trivial = baselines(results)
    if configs:
        best = ranked(configs)[0]
        told = [*answer.comparisons(configs, results), answer.against_average(configs, results)]
        explained = (
            "The score is 1 if every opacity is boxed and nothing else is, and 0 if no box is right; a box on a "
            "healthy image costs as much as an opacity missed. Lines are 95% intervals over patients."
        )
        alt = "Scores with 95% intervals: " + listed(
            f"{config.name} {decimal(config.score.estimate, 3)} {bounds(config.score, 3)}" for config in ranked(configs)
        )
        yield Section(
            "Which is better, and how sure that is",
            f"{best.name} scores {decimal(best.score.estimate)}; 95% interval {bounds(best.score) or 'unknown'}.",
            [*told, explained],
            Drawing(figures.scores(configs, trivial, results), f"{alt}; below, paired differences from the best."),
        )
    if points := answer.cautions(results, configs):
        yield Section(
            "Before you trust it", "What makes these figures less sure, or kinder, than they look.", points=points
        )
    yield Section(
        "The table",
        "Point at a heading for what it means; press it to sort.",
        [*reported_on(results), *scattered_latency(results)],
        table=tables.main_table(configs, trivial, results.mask),
        folds=[Fold("All figures, as in table.csv", tables.all_figures(results))],
    )
    if any(len(config.entries) > 1 for config in configs):
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


def _gallery(found: Benchmark, configs: Sequence[Series], most: int) -> Section:
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
