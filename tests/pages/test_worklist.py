"""The worklist as a reader uses it: in a real browser, with hundreds of pictures, and with ten thousand."""

import csv
import functools
import os
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from hilum.datasets.pictures import read_radiograph
from hilum.detections import Detections
from hilum.pages.worklist import Made, Pictures, write_worklist
from hilum.result import Result

DIGEST = "0123456789abcdef"
LEAST = 0.5


def results(count: int) -> Iterator[tuple[int, Result]]:
    """As likely as a draw says, with one or two boxes from 0.5 on; the third could not be read, the fourth is odd."""
    draw = np.random.default_rng(0)
    for number in range(1, count + 1):
        value = float(draw.random())
        boxes = [[100.0, 300, 400, 700], [600.0, 300, 900, 800]][: (value >= LEAST) + (value >= 0.75)]
        found = Detections(
            xyxy=np.array(boxes).reshape(-1, 4),
            confidence=np.array([value, 0.5][: len(boxes)]),
            class_id=np.zeros(len(boxes), int),
        )
        if number == 3:
            yield number, Result(f"name {number}", Detections.empty(), float("nan"), "no picture")
        else:
            warning = "its tags say that it is no frontal chest radiograph: view LATERAL" if number == 4 else None
            yield number, Result(f"name {number}", found, value, None, warning, size_wh=(1024, 1024))


@pytest.fixture(scope="module")
def worklist(tmp_path_factory, radiographs):
    """A function: a worklist of so many pictures."""

    def make(count: int) -> Path:
        out = tmp_path_factory.mktemp("worklist")
        pictures = Pictures(out, DIGEST)
        for number, pixels in enumerate(radiographs, start=1):
            pictures.write(number, pixels)
        for number in range(len(radiographs) + 1, count + 1):  # the same ones, as they take room elsewhere
            os.link(out / pictures.link((number - 1) % len(radiographs) + 1), out / pictures.link(number))
        write_worklist(pictures, results(count), Made(count, "a run", "0", LEAST))
        return out / "worklist.html"

    return make


@pytest.fixture(scope="module")
def radiographs(sample_source):
    files = sorted(sample_source.rglob("*.dcm"))[:40]
    return [read_radiograph(file).pixels for file in files]


@pytest.fixture(scope="module")
def page(worklist):
    return worklist(300)


@pytest.fixture
def view(browser):
    view = browser.new_page(viewport={"width": 1280, "height": 900})
    view.said, view.asked = [], []
    view.on("console", lambda message: view.said.append(message.text))
    view.on("pageerror", lambda error: view.said.append(str(error)))
    view.on("request", lambda request: view.asked.append(request.url))
    yield view
    assert view.said == []
    view.close()


def probabilities(view) -> list[float]:
    shown = view.locator(".shot:not([hidden])")
    return shown.evaluate_all("shots => shots.map(s => s.dataset.p ? Number(s.dataset.p) : -1)")


def loaded(view) -> None:
    view.wait_for_selector("#stage img[src^='worklist/']")


def test_it_is_sorted_filtered_and_walked_through(page, view):
    view.goto(page.as_uri())
    assert [url for url in view.asked if not url.startswith("data:")] == [page.as_uri()]
    likely = probabilities(view)
    assert likely == sorted(likely, reverse=True)
    assert len(likely) == 300
    assert view.evaluate("document.documentElement.scrollWidth") == 1280
    view.select_option("#kind", "boxes")
    assert probabilities(view) == [value for value in likely if value >= LEAST]
    view.select_option("#kind", "none")
    assert probabilities(view) == [value for value in likely if 0 <= value < LEAST]
    view.select_option("#kind", "warned")
    assert "LATERAL" in view.locator(".shot:visible").text_content()
    view.select_option("#kind", "unread")
    assert view.locator(".shot:visible .id").all_text_contents() == ["No. 3"]
    view.select_option("#kind", "all")
    view.fill("#find", "no. 29")
    assert view.locator(".shot:not([hidden])").count() == 11
    assert view.locator("#count").text_content() == "11 of 300 images"
    view.fill("#find", "")
    view.select_option("#order", "unlikely")
    assert probabilities(view) == [*reversed(likely[:-1]), -1]
    view.select_option("#order", "likely")

    view.locator(".open").first.click()
    ids = view.locator(".shot .id").all_text_contents()
    for key, place in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", -1), ("Home", 0)):
        view.keyboard.press(key)
        assert view.locator("#about .id").text_content() == ids[place]
    loaded(view)
    assert view.evaluate("document.querySelector('#stage img').naturalWidth") == 1024
    view.keyboard.press("b")
    assert not view.locator("#stage .overlay .b0").is_visible()
    view.keyboard.press("1")
    assert view.locator("#stage .overlay .b0").is_visible()


def test_brightness_and_contrast_follow_the_mouse(page, view):
    view.goto(page.as_uri())
    view.locator(".open").first.click()
    look = "getComputedStyle(document.querySelector('#stage img')).filter"
    assert view.evaluate(look) == "brightness(1) contrast(1)"
    box = view.locator("#stage").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    view.mouse.move(x, y)
    view.mouse.down()
    view.mouse.move(x + 100, y - 50)
    view.mouse.up()
    assert view.locator("#large").is_visible()
    assert view.locator("#shades").text_content() == "Brightness 122%, contrast 149%"
    view.mouse.move(x, y)  # no button is pressed
    changed = view.evaluate(look)
    assert changed.startswith("brightness(1.22")
    view.keyboard.press("ArrowRight")
    loaded(view)
    assert view.evaluate(look) == changed
    view.keyboard.press("r")
    assert view.evaluate(look) == "brightness(1) contrast(1)"


def test_marks_are_kept_filtered_and_saved(page, view, tmp_path):
    view.goto(page.as_uri())
    view.evaluate("localStorage.clear()")
    view.reload()
    assert view.locator("#save").is_disabled()
    with_box, without = "#marks button >> nth=0", "No: opacity missed"
    view.locator(".open").first.click()
    assert view.locator(with_box).text_content() == "Agree: opacitya"
    view.keyboard.press("a")
    view.get_by_label("on to the next after a mark").check()
    view.keyboard.press("ArrowRight")
    for key in "una":
        view.keyboard.press(key)
    assert view.locator("#place").text_content() == "5 of 300"
    view.keyboard.press("ArrowLeft")
    view.keyboard.press("a")  # again: no mark
    view.keyboard.press("End")  # could not be read
    assert view.locator(with_box).is_disabled()
    view.keyboard.press("n")
    view.keyboard.press("ArrowLeft")
    view.get_by_role("button", name=without).click()
    view.keyboard.press("Escape")
    view.reload()
    assert view.locator("#tally").text_content() == "4 marked"
    view.select_option("#marked", "done")
    told = view.locator(".shot:visible .mark").all_text_contents()
    assert told == ["Agree: opacity", "Unsure", "No: no opacity", without]
    view.select_option("#marked", "open")
    assert view.locator(".shot:not([hidden])").count() == 296
    with view.expect_download() as download:
        view.click("#save")
    download.value.save_as(tmp_path / "marks.csv")
    with (tmp_path / "marks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["mark"], row["opacity"]) for row in rows] == [
        ("agree", "1"),
        ("unsure", ""),
        ("no", "0"),
        ("no", "1"),
    ]
    assert {row["images"] for row in rows} == {DIGEST}
    said = {str(number): result for number, result in results(300)}
    assert all(int(row["boxes"]) == len(said[row["number"]].detections) for row in rows)
    assert "image_id" not in rows[0]


def test_marks_of_two_tabs_are_all_kept(page, browser):
    context = browser.new_context()
    hears, deaf = context.new_page(), context.new_page()
    deaf.add_init_script("addEventListener('storage', event => event.stopImmediatePropagation())")
    said = []
    for tab in (hears, deaf):
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.goto(page.as_uri())
    hears.bring_to_front()
    hears.locator(".open").first.click()  # stays large while the other tab marks it
    for tab, place, key in ((deaf, 1, "a"), (deaf, 0, "n"), (hears, 0, "u"), (deaf, 2, "a")):
        tab.bring_to_front()
        if tab is deaf:
            tab.locator(".open").nth(place).click()
        tab.keyboard.press(key)
        if tab is deaf:
            tab.keyboard.press("Escape")
        if key == "n":
            hears.wait_for_function("document.querySelector('#tally').textContent === '2 marked'")
            assert hears.locator("#marks button[aria-pressed=true]").get_attribute("value") == "no"
    assert deaf.locator("#tally").text_content() == "3 marked"
    assert deaf.locator(".shot .mark").first.text_content() == "Unsure"
    for tab in (hears, deaf):
        tab.reload()
        assert tab.locator("#tally").text_content() == "3 marked"
    assert said == []
    context.close()


def test_no_saved_name_is_a_formula(tmp_path, browser):
    names = ["=1+1", "+1", "-1", "@x", "\tx", "plain=1", '=a,"b"']
    pictures = Pictures(tmp_path, DIGEST)
    for number in range(1, len(names) + 1):
        pictures.write(number, np.zeros((32, 24), np.uint8))
    found = [(at, Result(name, Detections.empty(), 0.1, size_wh=(24, 32))) for at, name in enumerate(names, start=1)]
    write_worklist(pictures, found, Made(len(names), "a run", "0", LEAST, named=True))
    view = browser.new_page()
    view.goto((tmp_path / "worklist.html").as_uri())
    view.locator(".open").first.click()
    view.get_by_label("on to the next after a mark").check()
    for _ in names:
        view.keyboard.press("a")
    view.keyboard.press("Escape")
    with view.expect_download() as download:
        view.click("#save")
    download.value.save_as(tmp_path / "marks.csv")
    with (tmp_path / "marks.csv").open(newline="") as file:
        saved = [row["image_id"] for row in csv.DictReader(file)]
    assert saved == [name if name.startswith("plain") else f"'{name}" for name in names]
    view.close()


def test_without_the_folder_it_says_so(worklist, view):
    page = worklist(5)
    for path in page.parent.rglob("*.jpg"):
        path.unlink()
    view.goto(page.as_uri())
    view.locator(".open").first.click()
    view.wait_for_selector("#about .warning")
    assert "keep the folder worklist beside this page" in view.locator("#about .warning").text_content()
    assert view.locator("#stage img").is_visible()
    assert all("ERR_FILE_NOT_FOUND" in line for line in view.said)
    view.said.clear()


def test_a_web_server_can_show_it(page, view):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=page.parent))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        view.goto(f"http://127.0.0.1:{server.server_port}/worklist.html")
        view.locator(".open").first.click()
        loaded(view)
    finally:
        server.shutdown()
        server.server_close()


def test_on_a_phone_and_without_script(page, browser, view):
    view.set_viewport_size({"width": 390, "height": 800})
    view.goto(page.as_uri())
    assert view.evaluate("document.documentElement.scrollWidth") == 390
    view.locator(".open").first.click()
    assert view.evaluate("document.querySelector('#large').scrollWidth") <= 390
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.goto(page.as_uri())
    assert plain.locator(".shot").count() == 300
    assert not plain.locator("#kind").is_visible()
    context.close()


def test_memory_does_not_grow_with_the_number_of_pictures(worklist, tmp_path):
    page = worklist(300)
    pictures = Pictures(page.parent, DIGEST)
    peaks = []
    for count in (50, 300):
        tracemalloc.start()
        write_worklist(pictures, results(count), Made(10_000, "a run", "0", LEAST))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 500_000


@pytest.mark.slow
def test_ten_thousand_pictures_are_no_burden(worklist, view, capsys):
    begun = time.perf_counter()
    page = worklist(10_000)
    written = time.perf_counter() - begun
    size = page.stat().st_size / 1e6
    begun = time.perf_counter()
    view.goto(page.as_uri())
    opened = time.perf_counter() - begun
    took = {}
    for what, do in {
        "filter": lambda: view.select_option("#kind", "boxes"),
        "all": lambda: view.select_option("#kind", "all"),
        "turn round": lambda: view.select_option("#order", "unlikely"),
        "find": lambda: view.fill("#find", "no. 777"),
        "enlarge": view.locator(".shot:not([hidden]) .open").first.click,
        "step": lambda: (view.keyboard.press("ArrowRight"), loaded(view)),
        "mark": lambda: view.keyboard.press("a"),
        "close": lambda: view.keyboard.press("Escape"),
    }.items():
        begun = time.perf_counter()
        do()
        view.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        took[what] = round(time.perf_counter() - begun, 2)
    with capsys.disabled():
        sys.stdout.write(
            f"\n10,000 pictures: {size:.0f} MB, written in {written:.1f} s, open after {opened:.1f} s; then {took}\n"
        )
    assert size < 50
    assert written < 240
    assert opened < 30
    assert max(took.values()) < 5
