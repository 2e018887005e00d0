"""The page as people see it: in a real browser, on a desk and on a phone."""

import pytest

from hilum.pages.explore import explore


@pytest.fixture(scope="module")
def address(dataset, tmp_path_factory):
    return explore(dataset, tmp_path_factory.mktemp("page") / "explore").as_uri()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_in_a_browser(browser, address, width):
    view = browser.new_page(viewport={"width": width, "height": 800})
    said, asked = [], []
    view.on("console", lambda message: said.append(message.text))
    view.on("pageerror", lambda error: said.append(str(error)))
    view.on("request", lambda request: asked.append(request.url))
    view.goto(address)
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [address]
    images = view.evaluate("[...document.images].map(i => [i.complete, i.naturalWidth, i.width, i.alt.length])")
    assert len(images) == 13
    assert all(complete and natural > 0 and shown > 0 and alt > 20 for complete, natural, shown, alt in images)
    assert view.evaluate("document.documentElement.scrollWidth") == width
    # Only a contact sheet may be wider than a phone; it scrolls in its own frame.
    outside = "[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
    assert view.evaluate(f"{outside}.every(e => e.matches('.wide img'))")
    headings = view.evaluate("[...document.querySelectorAll('h1, h2')].map(e => e.textContent)")
    assert headings == [
        "What is in these radiographs",
        "The images",
        "The people",
        "The opacities",
        "What can mislead",
        "What is missing",
    ]
    assert view.evaluate("[...document.querySelectorAll('nav a')].every(a => document.querySelector(a.hash))")
    view.close()


def test_figures_stand_beside_the_text_on_a_desk_and_below_it_on_a_phone(browser, address):
    gaps = {}
    for width in (1280, 390):
        view = browser.new_page(viewport={"width": width, "height": 800})
        view.goto(address)
        gaps[width] = view.evaluate(
            "[...document.querySelectorAll('.beside')].map(e => e.querySelector('img').getBoundingClientRect().top"
            " - e.querySelector('.words').getBoundingClientRect().bottom)"
        )
        view.close()
    assert all(gap < 0 for gap in gaps[1280])
    assert all(gap >= 0 for gap in gaps[390])
