"""What of a source's value goes on: nothing that DICOM does not allow, and no identifier but the one that is there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.config import RAISE
from pydicom.valuerep import validate_value

from hilum.findings import mending

RULES = {
    mending.short(16): "SH",
    mending.short(64): "LO",
    mending.person_name: "PN",
    mending.sex: "CS",
    mending.age: "AS",
    mending.day: "DA",
    mending.moment: "TM",
    mending.decimal: "DS",
}
ODD = st.text(alphabet="0123456789.:-^=\\ FMOLRAPdwmyYeE+\x00\x1b\n\ufffd\u00e9\u5c71\U0001f600", max_size=80)


@given(
    st.one_of(ODD, st.text(max_size=90), st.from_regex(r"\d{4}[.-]?\d\d[.-]?\d\d"), st.from_regex(r"\d{1,3}[DWMY]?"))
)
def test_whatever_goes_on_is_valid_and_goes_on_again_as_it_is(text: str) -> None:
    for rule, vr in RULES.items():
        kept = rule(text)
        validate_value(vr, kept, RAISE)
        assert rule(kept) == kept
        assert not {"\n", "\x1b", "\0"} & set(kept)


@given(ODD)
def test_an_identifier_is_as_it_was_or_none(text: str) -> None:
    assert mending.short(64)(text) in {text, ""}
    assert mending.uid(text) in {text, ""}
    assert len(mending.uid(text)) <= 64
    assert set(mending.uid(text)) <= set("0123456789.")


@pytest.mark.parametrize(
    ("rule", "said", "kept"),
    [
        (mending.age, "50", "050Y"),  # as the challenge writes it
        (mending.age, "7M", "007M"),
        (mending.age, "050y", "050Y"),
        (mending.age, "old", ""),
        (mending.day, "1901.02.03", "19010203"),
        (mending.day, "1901-02-03", "19010203"),
        (mending.day, "19010230", ""),
        (mending.moment, "08:15:30", "081530"),
        (mending.moment, "0815", "0815"),
        (mending.moment, "2500", ""),
        (mending.sex, "f", "F"),
        (mending.sex, "female", ""),
        (mending.person_name, "Q^Z^^^^^^", "Q^Z^^^"),
        (mending.person_name, "Q^Z\\R^Y", "Q^Z"),
        (mending.person_name, "Q\x1b^Z", "Q ^Z"),
        (mending.person_name, f"{'Q' * 70}=\u5c71", f"{'Q' * 64}=\u5c71"),
        (mending.short(16), "1" * 17, ""),
        (mending.short(64), "A\\B", ""),
        (mending.uid, "1.02.3", "1.02.3"),  # as devices write it, and archives keep it
        (mending.uid, "1..3", ""),
        (mending.uid, "1.2.x", ""),
        (mending.uid, f"1.{'2' * 63}", ""),
        (mending.orientation, "L\\F", "L\\F"),
        (mending.orientation, "l\\ fp", "L\\FP"),
        (mending.orientation, "L\\R\\F", ""),
        (mending.orientation, "LR\\F", ""),
        (mending.decimal, "1.75", "1.75"),
        (mending.decimal, "1,75", ""),
    ],
)
def test_what_is_beyond_doubt_is_mended(rule: mending.Rule, said: str, kept: str) -> None:
    assert rule(said) == kept


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("value", "sets", "text"),
    [
        (b"M\xfcller^Eva", ["ISO_IR 100"], "M\u00fcller^Eva"),
        ("M\u00fcller^Eva".encode(), ["ISO_IR 192"], "M\u00fcller^Eva"),
        (
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B",
            ["", "ISO 2022 IR 87"],
            "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce",
        ),
        (b"M\xfcller", [], "M\u00fcller"),  # what is written without a word is mostly Latin-1
        (b"M\xfcller", ["of nobody"], "M\u00fcller"),
        (b"\xff\xfe", ["ISO_IR 192"], "\ufffd\ufffd"),
    ],
)
def test_text_is_read_in_the_character_sets_of_its_file(value: bytes, sets: list[str], text: str) -> None:
    assert mending.decoded(value, sets, name=True) == text
