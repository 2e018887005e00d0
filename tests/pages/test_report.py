"""The report of benchmarks that were never run: answers made from the truth, measured as real ones are."""

import base64
import hashlib
import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from hilum.comparison import benchmark as made
from hilum.comparison.benchmark import Benchmark
from hilum.comparison.cost import Cost, Latency, Throughput
from hilum.comparison.measured import AVERAGE, NOTHING, Measured
from hilum.comparison.peak_memory import PeakMemory
from hilum.comparison.pictures import NOT_A_DEVICE
from hilum.comparison.results import About, Difference, Entry, Machine, Results
from hilum.comparison.tables import notes
from hilum.datasets.folder import Dataset
from hilum.errors import HilumError
from hilum.eval.answer import Answer, everywhere, image_thresholds, nothing
from hilum.eval.baselines import average_boxes
from hilum.eval.bootstrap import UNKNOWN, Interval
from hilum.eval.measures import measure
from hilum.eval.mistakes import Kind
from hilum.pages import gallery
from hilum.pages.report import write_report
from hilum.pages.report_answer import against_average, cautions, comparisons, headline, what_to_work_on
from hilum.pages.series import Series, series_of
from hilum.pages.wording import MISSING, bounds, decimal, few

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&$\\frac{"
NAN = float("nan")
COST = Cost(
    latency_alone=Latency(12.5, 20.0, 9, NAN),
    latency_batched=Latency(8.0, 9.0, 9, 0.25),
    from_arrays=Throughput(100.0, 80, "arrays"),
    from_files=Throughput(90.0, 80, "pictures"),
    parameters=1234567,
    flops=NAN,
    weights_bytes=5_000_000,
    peak_memory=PeakMemory(800_000_000, NAN),
    training_seconds=75.0,
)
LOG = [{"epoch": n, "train_loss": 1 / n, "val_score": None if n == 1 else 0.1 * n, "seconds": 1.0} for n in (1, 2, 3)]


def shifted(split, *, share, seed):
    """An answer that finds a share of the true boxes, roughly, and raises a false alarm on every fourth image."""
    rng = np.random.default_rng(seed)
    boxes, confidence = [], []
    for number, (truth, (width, height)) in enumerate(zip(split.boxes_xywh, split.sizes_wh, strict=True)):
        kept = truth[rng.random(len(truth)) < share]
        found = [kept + rng.normal(0, 0.06, kept.shape) * np.tile(kept[:, 2:], 2)]
        if (number + seed) % 4 == 0:
            found.append(np.array([[0.1 * width, 0.05 * height, 0.2 * width, 0.1 * height]]))
        boxes.append(np.concatenate(found).clip(1))
        confidence.append(rng.uniform(0.2, 0.95, len(boxes[-1])))
    return Answer(boxes, confidence, 0.3)


def make_benchmark(data, split, groups, *, run=None, **about):
    """A benchmark on a split, as if it were the data's holdout; `groups` names the answers of each config's seeds."""
    trivial = {NOTHING: nothing(split), AVERAGE: everywhere(average_boxes(split, split))}
    entries = [
        Measured(name, name, answer, measure(split, answer, {}), None, About(backend=None))
        for name, answer in trivial.items()
    ]
    for group, answers in groups.items():
        for seed, answer in enumerate(answers):
            name = group if len(answers) == 1 else f"{group}-seed{seed}"
            known = {"backend": "resnet", "seed": seed, "cost": COST, "log": LOG, "pretraining": None, "reported": {}}
            measures = measure(split, answer, image_thresholds(split, answer))
            entries.append(Measured(name, group, answer, measures, run, About(**known | about)))
    seeds = max(map(len, groups.values()), default=1)
    results = made.results_of(data, split, data.split("val"), entries, seeds, "hilum benchmark DATA good poor")
    return Benchmark(split, entries, results)


def words(path):
    """What is to be read on the page, without markup, style, script and pictures."""
    text = re.sub(r"<(style|script)>.*?</\1>|<[^>]*>", " ", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(text))


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def data(dataset):
    return Dataset.open(dataset)


@pytest.fixture(scope="module")
def split(data):
    """The training images, the most there are, as holdout."""
    return replace(data.split("train"), name="holdout")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.yaml").write_text(f"backend: resnet # {EVIL}\n")
    (folder / "environment.json").write_text('{"versions": {"torch": "9.8.7"}}')
    return folder


@pytest.fixture(scope="module")
def found(data, split, run):
    groups = {"good": [shifted(split, share=0.9, seed=1)], "poor": [shifted(split, share=0.3, seed=2)]}
    return make_benchmark(data, split, groups, run=run)


@pytest.fixture(scope="module")
def page(found, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, found)
    return path


@pytest.fixture
def undrawn(monkeypatch):
    """Nothing in the place of each figure, for tests of what is said."""
    monkeypatch.setattr("hilum.pages.report_figures.to_svg", lambda figure: b'<svg viewBox="0 0 1 1"/>')


def test_the_page_tells_the_figures(page, found):
    text = words(page)
    for entry in found.results.entries:
        assert decimal(entry.score.estimate, 3) in text
    results = found.results
    assert f"holdout: {results.images} images, {results.positive_images} with opacity" in text
    for line in (
        f"fingerprint {results.data_fingerprint}",
        "hilum benchmark DATA good poor",
        "9.8.7",
        "1,234,567",
        "12.5 ms",
        "epoch 3 of 3",
    ):
        assert line in text
    assert text.count(NOT_A_DEVICE) == 1
    assert not re.search(r"\b(nan|None)\b", text)


def test_the_table_holds_baselines_bounds_and_what_accuracy_is_worth(page, found):
    (first, *_) = re.findall(r"<table class=\"sortable\">.*?</table>", page.read_text(), re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(?:<svg.*?</svg>)?([^<]*)", row) for row in first.split("<tr>")[2:]]
    rows = {row[0]: row[1:] for row in cells}
    assert list(rows) == ["good", "poor", NOTHING, "all-background mask", AVERAGE]
    mask = found.results.mask
    assert rows["all-background mask"][12:14] == [decimal(mask.pixel_accuracy, 4), decimal(mask.mean_iou, 4)]
    assert rows[NOTHING][:12] == rows["all-background mask"][:12]
    for entry in found.results.entries:
        wanted = [decimal(half, 3) for half in (entry.bounds.perfect_classifier, entry.bounds.perfect_boxes)]
        assert rows[entry.name][2:4] == wanted


def test_it_is_written_alike_each_time_and_alone(page, found, tmp_path):
    write_report(tmp_path / "new" / "report.html", found)
    assert (tmp_path / "new" / "report.html").read_bytes() == page.read_bytes()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(HilumError, match="cannot be written"):
        write_report(tmp_path / "file" / "report.html", found)


def test_it_asks_for_nothing_and_runs_no_script_but_its_own(page):
    text = page.read_text()
    tags = Tags(text).tags
    for tag, attributes in tags:
        for name in attributes.keys() & {"src", "href", "srcset", "action", "data", "poster", "style"}:
            assert attributes[name].startswith(("data:", "#")), (tag, name)
        assert not [name for name in attributes if name.startswith("on")], tag
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(a["content"] for _, a in tags if a.get("http-equiv") == "Content-Security-Policy")
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {attributes["href"][1:] for tag, attributes in tags if tag == "a"} <= set(ids)
    assert all(len(attributes["alt"]) > 20 for tag, attributes in tags if tag == "img")


def test_hostile_names_are_text(data, split, found, tmp_path):
    evil = replace(split, kinds=(EVIL,) * len(split), image_ids=tuple(f"{EVIL}{n}" for n in range(len(split))))
    plain = replace(split, kinds=("harmless",) * len(split))
    tags = []
    for name, shown in ((EVIL, evil), ("harmless", plain)):
        answers = {name: [shifted(shown, share=0.9, seed=1)]}
        benchmark = make_benchmark(data, shown, answers, pretraining=name)
        machine = Machine(cpu=name, gpus=(name,))
        results = benchmark.results.model_copy(update={"command": name, "source": name, "machine": machine})
        write_report(tmp_path / "report.html", replace(benchmark, results=results))
        tags.append(Tags((tmp_path / "report.html").read_text()))
    assert [tag for tag, _ in tags[0].tags] == [tag for tag, _ in tags[1].tags]
    assert [attributes.keys() for _, attributes in tags[0].tags] == [
        attributes.keys() for _, attributes in tags[1].tags
    ]
    assert EVIL in tags[0].text


def test_figures_that_are_not_there_are_dashes(found, tmp_path):
    always = {"log", "level", "froc"}

    def emptied(value, by):
        if isinstance(value, dict):
            return {key: inner if key in always else emptied(inner, by) for key, inner in value.items()}
        if isinstance(value, list):
            return [emptied(inner, by) for inner in value]
        return by if isinstance(value, float) else value

    for by in (None, NAN):
        values = emptied(json.loads(json.dumps(found.results.model_copy(update={"entries": ()}).dump())), by)
        entries = [emptied(json.loads(json.dumps(of.dump())), by) | {"cost": None} for of in found.results.entries]
        results = Results.model_validate(values | {"entries": entries})
        write_report(tmp_path / "report.html", replace(found, results=results))
        text = words(tmp_path / "report.html")
        assert MISSING in text
        assert not re.search(r"\b(nan|None)\b", text)
    entries = [Entry(name=of.name, group=of.group, backend=of.backend, score=of.score) for of in found.results.entries]
    write_report(tmp_path / "report.html", changed(found, entries=entries))
    assert "What it costs" not in words(tmp_path / "report.html")


@pytest.mark.usefixtures("undrawn")
def test_the_page_bears_the_date_of_its_results(page, found, tmp_path):
    date = found.results.date
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", date)
    assert f"which none was trained or tuned on. Figures of {date}." in words(page)
    assert f"Date {date}, UTC" in words(page)
    write_report(tmp_path / "report.html", changed(found, date=""))
    assert "Figures of" not in words(tmp_path / "report.html")
    assert f"Date {MISSING}" in words(tmp_path / "report.html")


def test_that_nothing_could_be_chosen_on_val_is_told(found):
    told = " ".join(cautions(changed(found, val_shows_opacity=False).results, []))
    assert "No image of val shows opacity" in told
    assert "No image of val shows opacity" not in " ".join(cautions(found.results, []))


@pytest.mark.usefixtures("undrawn")
def test_without_any_config(data, split, tmp_path):
    write_report(tmp_path / "report.html", make_benchmark(data, split, {}))
    text = words(tmp_path / "report.html")
    assert "Nothing but the trivial baselines was measured" in text
    assert AVERAGE in text


@pytest.mark.usefixtures("undrawn")
def test_several_seeds_and_what_flatters(data, split, tmp_path):
    groups = {"many": [shifted(split, share=0.7, seed=seed) for seed in range(3)]}
    benchmark = make_benchmark(data, split, groups, pretraining="checkpoint.pt")
    write_report(tmp_path / "report.html", changed(benchmark, patients_known=False, patients_on_both_sides=7))
    text = words(tmp_path / "report.html")
    scores = [entry.score.estimate for entry in benchmark.results.entries[2:]]
    assert decimal(np.mean(scores), 2) in text
    assert f"score over the seeds: many {np.std(scores, ddof=1):.3f} (3 runs)" in text
    assert "7 patients in training and here" in text
    assert "many starts from the weights checkpoint.pt" in text
    assert "Whose the images are is not known" in text
    assert "many-seed2" in text
    assert "Each config was trained once" not in text
    assert "not how much another seed would" in text


def test_no_two_of_thirty_configs_look_alike():
    looks = [config(f"{number}", number, 0.5) for number in range(30)]
    assert (
        len({(each.colour, each.dashes) for each in looks}) == len({(each.colour, each.marker) for each in looks}) == 30
    )
    assert len({each.colour for each in looks[:7]}) == 7


@pytest.mark.usefixtures("undrawn")
def test_a_config_without_a_box_is_said_to_be_no_detector(data, split, tmp_path):
    classifier = replace(nothing(split), probability=np.linspace(0, 1, len(split)))
    groups = {"gate": [classifier], "good": [shifted(split, share=0.9, seed=1)]}
    benchmark = make_benchmark(data, split, groups, val_figure="image AUROC")
    write_report(tmp_path / "report.html", benchmark)
    text = words(tmp_path / "report.html")
    assert "gate draws no box on any image" in text
    assert "good draws no box" not in text
    assert "The epoch of gate was chosen by image AUROC" in text


def config(name, number, score):
    return Series(name, number, [], [Entry(name=name)], Interval(score, 0, 1), NAN)


def gap(higher, lower, low, high, estimate=0.1, **more):
    return Difference(higher=higher, lower=lower, score=Interval(estimate, low, high), **more)


def compared(*gaps):
    return Results(data_fingerprint="", entries=(), differences=gaps, images=60, positive_images=22)


def changed(found, **values):
    """A benchmark with other values in its results."""
    return replace(found, results=found.results.model_copy(update=values))


@pytest.mark.parametrize(
    ("of_b", "of_c", "said"),
    [
        ((0.01, 0.2), (0.01, 0.2), "a is better than b and c"),
        ((-0.01, 0.2), (0.01, 0.2), "a leads, but b may be as good"),
        ((-0.01, 0.2), (0.0, 0.2), "Whether a, b or c is best cannot be told"),
        ((NAN, NAN), (NAN, NAN), "Whether a, b or c is best cannot be told"),
    ],
)
def test_better_is_said_only_where_the_interval_is_above_zero(of_b, of_c, said):
    configs = [config("c", 0, 0.1), config("a", 1, 0.3), config("b", 2, 0.2)]
    results = compared(gap("a", "b", *of_b), gap("a", "c", *of_c))
    assert headline(configs, results) == said
    for sentence, (low, _) in zip(comparisons(configs, results), (of_b, of_c), strict=True):
        assert ("it is better" in sentence) == (low > 0)
    turned = results.difference("b", "a").interval
    np.testing.assert_equal((turned.low, turned.high), (-of_b[1], -of_b[0]))


def test_better_is_said_only_beyond_what_seeds_do_and_of_all_pairs_at_once():
    configs = [config("a", 1, 0.3), config("b", 2, 0.2)]
    for over_seeds, said in ((0.09, "a is better than b"), (0.11, "Whether a or b is best cannot be told")):
        results = compared(gap("a", "b", 0.01, 0.2, over_seeds=over_seeds))
        assert headline(configs, results) == said
        (sentence,) = comparisons(configs, results)
        assert ("seeds alone may move it by 0.110" in sentence) == ("cannot be told" in sentence) == (over_seeds > 0.1)
    wide = gap("a", "b", 0.01, 0.2, simultaneous=Interval(0.1, -0.01, 0.21))
    results = compared(wide, gap("a", "c", 0.01, 0.2))
    assert headline([*configs, config("c", 0, 0.1)], results) == "a leads, but b may be as good"
    assert results.difference("b", "a").interval.high == 0.01
    beside = compared(gap("a", AVERAGE, 0.1, 0.3, 0.2, over_seeds=0.25))
    assert "seeds alone may move it by 0.250) is not shown" in against_average([config("a", 0, 0.3)], beside)


def test_a_config_alone_and_against_two_average_boxes():
    results = compared(gap("a", AVERAGE, 0.1, 0.3, 0.2), gap("b", AVERAGE, -0.1, 0.3, 0.05))
    assert headline([config("a", 0, 0.3)], results) == "a beats the trivial baselines"
    assert headline([config("b", 0, 0.3)], results) == "b is not shown to beat the trivial baselines"
    text = against_average([config("a", 0, 0.3), config("b", 1, 0.2)], results)
    assert text.startswith("a beats")
    assert "b (+0.05 [\N{MINUS SIGN}0.10, +0.30]) is not shown" in text


@pytest.mark.usefixtures("undrawn")
def test_training_time_is_rounded_before_it_is_split_and_sorted_by_its_seconds(data, split, tmp_path):
    groups = {"long": [shifted(split, share=0.7, seed=1)]}
    benchmark = make_benchmark(data, split, groups, cost=replace(COST, training_seconds=119.6))
    write_report(tmp_path / "report.html", benchmark)
    assert '<td class=number data-value="120">2:00</td>' in (tmp_path / "report.html").read_text()


@pytest.mark.usefixtures("undrawn")
def test_on_how_many_images_the_report_measured_is_told(data, split, tmp_path):
    groups = {"unet": [shifted(split, share=0.7, seed=1)]}
    images = len(data.split("val"))
    for held_out, told in ((images, False), (images + 1, True)):
        found = make_benchmark(data, split, groups, reported={"held_out": held_out, "pixel_accuracy": 0.97})
        write_report(tmp_path / "report.html", found)
        text = f"unet: the report held out {held_out} images; this val has {images}."
        assert (text in words(tmp_path / "report.html")) == any(text in line for line in notes(found.results)) == told


@pytest.mark.usefixtures("undrawn")
def test_images_of_no_patient_and_other_code_are_told(found, tmp_path):
    without = changed(found, images_without_patient=2)
    told = cautions(without.results, series_of(found))
    assert "It is not known whose 2 images of the data are; each counts" in " ".join(told)
    assert any("2 images of the data" in line for line in notes(without.results))
    assert not any("It is not known whose" in line for line in cautions(found.results, series_of(found)))
    entries = [e if e.is_baseline else e.model_copy(update={"trained_by": "0ld"}) for e in found.results.entries]
    write_report(tmp_path / "report.html", changed(without, entries=entries, code="n3w"))
    assert "code n3w; good trained by other code, 0ld; poor trained" in words(tmp_path / "report.html")


def test_what_to_work_on():
    a, b = config("a", 0, 0.3), config("b", 1, 0.4)
    assert what_to_work_on([(a, 0.3, 0.35, 0.9), (b, 0.4, 0.5, 0.6)]) == (
        "Boxes cost a more than images do; images cost b more than boxes do."
    )


def test_few_patients_are_told(found):
    told = " ".join(cautions(found.results, series_of(found)))
    assert "From so few they are rough" in told
    assert "Each config was trained once" in told
    many = changed(found, patients=5000, positive_images=3000).results
    assert "From so few" not in " ".join(cautions(many, []))


def test_a_bound_that_is_not_zero_never_reads_so():
    assert bounds(Interval(NAN, -0.0012, 0.19), signed=True) == "[\N{MINUS SIGN}0.001, +0.190]"
    assert bounds(Interval(NAN, 0.0, 0.19)) == "[0.00, 0.19]"
    assert [few(list("abcdef")), few(list("abcd")), few(["a"])] == ["a, b, c and 3 others", "a, b, c and d", "a"]
    assert bounds(Interval(NAN, NAN, 0.19)) == bounds(UNKNOWN) == ""
    assert [decimal(value) for value in (-0.001, NAN)] == ["0.00", MISSING]


def test_a_part_of_the_images_shows_every_kind_of_error(found, split):
    configs = series_of(found)
    kinds = [kinds for each in configs for kinds in vars(each.measured[0].measures.mistakes).values()]
    errors = [{kind for image in each for kind in image} - {Kind.FOUND} for each in kinds]
    for most in range(sum(map(len, errors)), len(split) + 2):
        chosen = gallery.choose_images(split, configs, most)
        assert chosen == sorted(set(chosen))
        assert len(chosen) == min(most, len(split))
        for each, wanted in zip(kinds, errors, strict=True):
            assert wanted <= {kind for image in chosen for kind in each[image]}
    assert len(gallery.choose_images(split, configs, 3)) == 3


def test_pictures_fit_whatever_they_show(found, split, tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (700, 900), np.uint8)
    assert len(gallery._jpeg(noise, 20_000)) <= 20_000
    assert len(gallery._jpeg(np.zeros((20, 3000), np.uint8), 20_000)) <= 20_000
    monkeypatch.setattr(gallery, "read_picture", lambda _: noise)
    monkeypatch.setattr(gallery, "PICTURE_BYTES", 300_000)
    assert sum(map(len, gallery._pictures(split, range(len(split))))) < 310_000


@pytest.mark.usefixtures("undrawn")
def test_a_picture_that_cannot_be_read(found, split, tmp_path):
    gone = replace(split, paths=(tmp_path / "gone.png", *split.paths[1:]))
    write_report(tmp_path / "report.html", replace(found, holdout=gone))
    assert words(tmp_path / "report.html").count("picture could not be read") == 1


def test_300_images_are_under_15_megabytes(data, split, tmp_path):
    at = np.arange(400) % len(split)
    many = replace(
        split,
        sizes_wh=split.sizes_wh[at],
        image_ids=tuple(f"image-{n}" for n in range(len(at))),
        **{
            name: tuple(getattr(split, name)[n] for n in at)
            for name in (
                "coco_ids",
                "paths",
                "boxes_xyxy",
                "class_ids",
                "kinds",
                "patients",
                "views",
                "sexes",
                "ages_years",
            )
        },
    )
    groups = {f"config {n}": [shifted(many, share=0.2 * n, seed=n)] for n in range(1, 4)}
    write_report(tmp_path / "report.html", make_benchmark(data, many, groups))
    assert (tmp_path / "report.html").stat().st_size < 15_000_000
    assert (tmp_path / "report.html").read_text().count('<figure class="shot"') == 300
    assert "300 of 400 images." in words(tmp_path / "report.html")


def watched(browser, **options):
    view = browser.new_page(**options)
    said, asked = [], []
    view.on("console", lambda message: said.append(message.text))
    view.on("pageerror", lambda error: said.append(str(error)))
    view.on("request", lambda request: asked.append(request.url))
    return view, said, asked


@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser(browser, page, found, width):
    view, said, asked = watched(browser, viewport={"width": width, "height": 800})
    view.goto(page.as_uri())
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
    assert view.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0 && i.width > 0)")
    assert view.evaluate("document.documentElement.scrollWidth") == width
    outside = (
        "[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, pre, dialog'))"
        ".filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
    )
    assert view.evaluate(outside) == []

    table = view.locator("table.sortable").first
    heading = table.get_by_role("button", name="AUROC")
    assert "0.5 is chance" in heading.get_attribute("title")
    column = (
        "t => { const at = [...t.tHead.rows[0].cells].findIndex(c => c.textContent === 'AUROC');"
        "return [...t.tBodies[0].rows].map(r => parseFloat(r.cells[at].firstChild.textContent)); }"
    )
    # The all-background mask is nothing predicted, seen as a mask.
    shown = [*found.results.entries, found.results.entries[0]]
    expected = sorted(round(entry.auroc.estimate, 2) for entry in shown)
    heading.click()
    assert table.evaluate(column) == pytest.approx(expected[::-1], abs=0.006)
    heading.click()
    assert table.evaluate(column) == pytest.approx(expected, abs=0.006)
    assert table.locator("th[aria-sort=ascending]").count() == 1

    costs = view.locator("table.sortable", has_text="ms in batch")
    costs.locator("td[data-value]").evaluate_all("cells => cells.map((c, n) => c.dataset.value = [110, 65][n])")
    costs.get_by_role("button", name="training").click()
    seconds = "cells => cells.map(c => Number(c.dataset.value))"
    costs.get_by_role("button", name="training").click()
    assert costs.locator("td[data-value]").evaluate_all(seconds) == [65, 110]

    shown = "#shots .overlay .b1 path"
    assert view.locator(shown).first.is_visible()
    view.get_by_label("poor", exact=True).uncheck()
    assert not view.locator(shown).first.is_visible()
    assert view.locator("#shots .overlay .b0 path").first.is_visible()

    good = found.measured[2].measures.mistakes
    false = [number for number, kinds in enumerate(good.boxes) if any(kind.startswith("false") for kind in kinds)]
    missed = [number for number, kinds in enumerate(good.truth) if Kind.MISSED in kinds]
    view.select_option("#kind", label="missed")
    assert view.locator(".shot:visible").count() == len(missed)
    view.select_option("#kind", "error")
    names = {found.holdout.image_ids[number] for number in {*false, *missed}}
    assert names <= set(view.locator(".shot:visible .id").all_text_contents())

    view.select_option("#kind", "all")
    bad = view.locator(".shot:visible").evaluate_all("shots => shots.map(s => parseFloat(s.dataset.bad))")
    assert bad == sorted(bad, reverse=True)
    assert len(bad) == len(found.holdout)
    ids = view.locator(".shot:visible .id").all_text_contents()
    view.locator(".open").first.click()
    for step, (key, place) in enumerate([("", 0), ("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", -1)]):
        if step:
            view.keyboard.press(key)
        assert view.locator("#about .id").text_content() == ids[place]
    view.keyboard.press("Home")
    assert view.locator("#back").is_disabled()
    view.locator("#on").click()
    assert view.locator("#place").text_content() == f"2 of {len(ids)}"
    assert not view.locator("#stage .overlay .t path").count() or view.locator("#stage .t path").first.is_visible()
    view.keyboard.press("t")
    assert not view.get_by_label("truth", exact=True).is_checked()
    view.keyboard.press("Escape")
    assert not view.locator("#large").is_visible()
    assert view.evaluate("document.activeElement.closest('.shot').querySelector('.id').textContent") == ids[1]
    view.keyboard.press("ArrowLeft")
    assert view.evaluate("document.activeElement.closest('.shot').querySelector('.id').textContent") == ids[0]
    assert said == []
    view.close()


def test_without_script_all_is_there(browser, page, found):
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 800})
    view = context.new_page()
    view.goto(page.as_uri())
    assert view.locator(".shot:visible").count() == len(found.holdout)
    assert view.locator("#shots .overlay .b1 path").first.is_visible()
    assert not view.locator("#kind").is_visible()
    assert view.locator("table:visible").count() >= 5
    context.close()


def test_in_print_tables_are_whole_and_pictures_few(browser, page):
    view, said, _ = watched(browser, viewport={"width": 680, "height": 1000})  # an A4 page between its margins
    view.goto(page.as_uri())
    view.emulate_media(media="print")
    assert view.locator(".shot:visible").count() == 12
    assert view.evaluate("document.documentElement.scrollWidth") == 680  # else all of it would be printed smaller
    assert not view.locator(".controls").is_visible()
    assert view.evaluate(
        "[...document.querySelectorAll('table')].every(t => t.getBoundingClientRect().right <= innerWidth)"
    )
    assert said == []
    view.close()
