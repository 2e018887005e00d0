import base64
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from hilum.errors import HilumError
from hilum.pages.page import Page, Part, Picture, Section, Table, asset, page_html, write_page
from hilum.pages.wording import listed, many, percent

EVIL = "<script src=http://evil.example/x.js></script>\"'&"


def png(width=7, height=5):
    return cv2.imencode(".png", np.zeros((height, width), np.uint8))[1].tobytes()


def a_page(text):
    picture = Picture("figure", png(), text)
    table = Table((text, "images"), [(text, "1,000"), (text, "5 (10%)")])
    return Page(text, text, [(text, text)], [Part(text, [Section(text, text, [text], picture, table)])], (text,))


class Tags(HTMLParser):
    """All start tags, all text, and whether tags are closed in order."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.open = [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_whatever_is_given_is_text_and_never_markup():
    evil, plain = Tags(page_html(a_page(EVIL))), Tags(page_html(a_page("harmless")))
    assert [tag for tag, _ in evil.tags] == [tag for tag, _ in plain.tags]
    assert EVIL in evil.text
    assert not evil.open
    assert "script" not in dict(evil.tags)
    assert next(attributes for tag, attributes in evil.tags if tag == "img")["alt"] == EVIL


def test_a_page_asks_for_nothing_but_itself():
    page = Tags(page_html(a_page("text")))
    for tag, attributes in page.tags:
        for name in attributes.keys() & {"src", "href", "srcset", "action", "data", "poster"}:
            assert attributes[name].startswith(("data:", "#")), (tag, name)
    assert "url(" not in page_html(a_page("text"))
    assert "@import" not in page_html(a_page("text"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    targets = [attributes["href"][1:] for tag, attributes in page.tags if tag == "a"]
    assert targets == ids


def test_the_picture_is_inside_beside_and_of_its_size(tmp_path):
    write_page(tmp_path / "new" / "index.html", a_page("text"))
    image = next(
        attributes for tag, attributes in Tags((tmp_path / "new" / "index.html").read_text()).tags if tag == "img"
    )
    assert base64.b64decode(image["src"].removeprefix("data:image/png;base64,")) == png()
    assert (tmp_path / "new" / "figure.png").read_bytes() == png()
    assert (image["width"], image["height"]) == ("7", "5")


def test_columns_of_numbers_are_known():
    table = Tags(page_html(a_page("text"))).tags
    assert [attributes.get("class") for tag, attributes in table if tag == "td"] == ["number"] * 2
    assert [attributes.get("class") for tag, attributes in table if tag == "th"] == [None, "number", None, None]


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HilumError, match="cannot be written"):
        write_page(tmp_path / "file" / "index.html", a_page("text"))


def test_shares_are_never_rounded_to_none_or_all():
    shares = [percent(part, 1000) for part in (0, 1, 15, 500, 999, 1000)]
    assert shares == ["0%", "under 1%", "2%", "50%", "over 99%", "100%"]
    assert percent(0, 0) == "0%"


def test_wording():
    assert [many(count, "box", "boxes") for count in (0, 1, 2000)] == ["0 boxes", "1 box", "2,000 boxes"]
    assert [listed("a"), listed("ab"), listed("abc")] == ["a", "a and b", "a, b and c"]


@pytest.mark.parametrize("name", ["page.css", "gallery.css", "worklist.css", "viewer.js", "report.js", "worklist.js"])
def test_assets_hold_no_control_character(name):
    assert all(character.isprintable() or character == "\n" for character in asset(name))
