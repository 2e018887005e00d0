"""The parsers of what may come from anybody: what they give back, and that each of their limits holds."""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hilum import documents
from hilum.documents import (
    check,
    csv_lines,
    parse_json,
    parse_yaml,
    read_csv,
    read_json,
    read_json_lines,
    read_text,
    read_yaml,
    shown,
)
from hilum.errors import HilumError
from hilum.files import csv_text

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.integers(-(1 << 63), (1 << 64) - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@pytest.fixture
def put(tmp_path: Path) -> Any:
    def put(content: bytes | str, name: str = "a.json") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return put


def refusal(read: Any, *args: Any, **options: Any) -> str:
    """The one line with which something is refused."""
    with pytest.raises(HilumError) as caught:
        read(*args, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


# JSON


@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_any_json_comes_back_as_it_was_written(values: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(values, ensure_ascii=ascii_only, indent=indent)
    found = parse_json(text, "a.json")
    assert found == values
    assert json.dumps(found) == json.dumps(values)  # 1 and 1.0 and True are equal, and yet others
    assert parse_json(b"\xef\xbb\xbf" + text.encode(), "a.json") == values


@given(st.binary(max_size=60))
def test_any_bytes_are_read_as_json_or_refused_in_one_line(content: bytes) -> None:
    try:
        expected = json.loads(content.decode("utf-8-sig"))
        json.dumps(expected, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        assert refusal(parse_json, content, "a.json").startswith("a.json: ")
    else:
        assert parse_json(content, "a.json") == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": {"b": [0, 1e400]}}', "a.b.1: larger than a number can be"),
        ('{"a": -1e400}', "a: larger than a number can be"),
        ('{"a": [18446744073709551616]}', "a.0: larger than a whole number of 64 bits"),
        ('{"a": -9223372036854775809}', "a: larger than a whole number of 64 bits"),
        ("1" * 100_000, "number out of range"),
        ("NaN", "expected"),
        ("[Infinity]", "expected"),
        ('"\\ud800"', "unexpected end of hex escape"),
        ("[" * 65 + "]" * 65, "nested more than 64 deep"),
        ('{"a":' * 100_000, "nested more than 64 deep"),
        ("", "EOF"),
        ('{"a": 1} 2', "trailing characters"),
    ],
)
def test_what_json_may_not_hold(text: str, reason: str) -> None:
    assert reason in refusal(parse_json, text, "a.json")


def test_what_is_at_a_limit_is_still_read() -> None:
    for values in ([2**64 - 1, -(2**63), 1.7976931348623157e308, 5e-324], []):
        assert parse_json(json.dumps(values), "a.json") == values
    deep: Any = 1
    for _ in range(63):
        deep = [deep]
    assert parse_json(json.dumps(deep), "a.json") == deep


def test_more_values_than_fit_into_memory_are_refused_before_they_are_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_MOST_VALUES", 6)
    assert parse_json(b"[[],[],[]]", "a.json") == [[], [], []]
    monkeypatch.setattr(documents, "from_json", None)
    with pytest.raises(HilumError, match="more than 6 values"):
        parse_json(b"[[],[],[],[]]", "a.json")


def test_numbers_that_the_reader_judges_itself_come_as_they_are() -> None:
    values = parse_json("[NaN, 1e400, 1" + "0" * 30 + "]", "a.json", finite=False)
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, 10**30]
    assert "nested" in refusal(parse_json, "[" * 65 + "]" * 65, "a.json", finite=False)


# Files


def read_anything(path: Path, at_most: int) -> Any:
    return read_json(path, list[int], at_most=at_most)


def read_table(path: Path, at_most: int) -> Any:
    return read_csv(path, at_most=at_most)


@pytest.mark.parametrize("read", [read_text, read_anything, read_table])
def test_only_regular_files_of_a_sensible_size_are_read(read: Any, put: Any, tmp_path: Path) -> None:
    fine = put("[1]")
    read(fine, at_most=3)
    assert "3 bytes; at most 2 bytes are read" in refusal(read, fine, at_most=2)
    os.mkfifo(tmp_path / "pipe")
    assert "pipe: a pipe or a device" in refusal(read, tmp_path / "pipe", at_most=9)  # and is not waited on
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(5 << 30)
    assert "5,120 MiB; at most 1 MiB are read" in refusal(read, tmp_path / "sparse", at_most=1 << 20)
    assert "none: cannot be read: No such file" in refusal(read, tmp_path / "none", at_most=9)
    assert "cannot be read: Is a directory" in refusal(read, tmp_path, at_most=9)
    assert "not text in UTF-8, in line 2" in refusal(read, put(b"a\n\xff\xfe"), at_most=9)


# Shapes


@dataclass(frozen=True)
class Box:
    image_id: int
    bbox: list[float]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([{"image_id": 1}], "0.bbox: this key is missing"),
        ([{"image_id": "one", "bbox": []}], "0.image_id: input should be a valid integer, unable to parse"),
        ([{"image_id": 1, "bbox": [0, {}]}], "0.bbox.1: input should be a valid number"),
        ({}, "input should be a valid list"),
    ],
)
def test_what_is_of_another_shape_is_named_with_its_file_key_and_remedy(values: Any, problem: str, put: Any) -> None:
    path = put(json.dumps(values))
    message = refusal(read_json, path, list[Box], remedy="convert again")
    assert message.startswith(f"{path}: {problem}")
    assert message.endswith("; convert again")


def test_many_problems_are_some_lines_and_how_many_more() -> None:
    with pytest.raises(HilumError) as caught:
        check([{}] * 100, list[Box], "a.json")
    lines = str(caught.value).splitlines()
    assert len(lines) == 11
    assert lines[-1] == "a.json: and 190 more like these"


@given(st.text(max_size=300))
def test_a_value_in_a_message_is_short_and_moves_no_terminal(text: str) -> None:
    for quote in (True, False):
        found = shown(text, quote=quote)
        assert len(found) <= 83
        assert found.isprintable()
        found.encode()


# JSON lines


def test_half_a_last_line_is_left_out_and_no_other(put: Any) -> None:
    lines = [json.dumps({"image_id": n, "bbox": [n]}) for n in range(3)]
    whole = "\n".join(lines) + "\n"
    assert [box.image_id for box in read_json_lines(put(whole), Box)] == [0, 1, 2]
    for cut in range(1, len(lines[2]) + 1):
        assert [box.image_id for box in read_json_lines(put(whole[:-cut]), Box)] == [0, 1]
    wrong = put(f'{lines[0]}\n{{"bbox": []}}\n')
    assert "line 2: image_id: this key is missing" in refusal(read_json_lines, wrong, Box)
    assert "line 1: not read as JSON" in refusal(read_json_lines, put("{\n{}\n"), Box)
    assert "line 1: not text in UTF-8" in refusal(read_json_lines, put(whole.encode("utf-16")), Box)
    assert read_json_lines(put(""), Box) == []


# YAML

GROWING = "a0: &a0 [1, 2]\n" + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(8))


@given(VALUES)
def test_any_yaml_comes_back_as_it_was_written(values: Any) -> None:
    text = yaml.safe_dump(values)
    assert parse_yaml(text, "a.yaml") == yaml.safe_load(text) == values


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &a {b: *a}", "more than 20,000 values"),
        (GROWING, "more than 20,000 values"),
        ("a: " + "[" * 70 + "]" * 70, "nested more than 64 deep"),
        ("[" * 5000, "nested more than 64 deep"),
        ("a: 1\na: 2", "key 'a' is given twice"),
        ("a: .inf", "no finite number"),
        ("a: 0x" + "f" * 70, "more than 64 bits"),
        ("a: !!python/object/apply:os.system [true]", "the tag 'tag:yaml.org,2002:python/object/apply:os.system'"),
        ("a: !!bool maybe", "the tag 'tag:yaml.org,2002:bool'"),
        ("a: !!int ''", "plain values are expected"),
        ("!x a: 1", "the tag '!x'"),
        ("a: !!set {b}", "the tag"),
        ("[" + "a," * 400_000 + "]", "more than 20,000 values"),
        ("a: [1", "in line 1"),
        ("- 1", "expected a YAML mapping"),
        ('a: "\\ud800"', "half a character"),
        ('"\\udcff": 1', "half a character"),
        ("x: " + "y" * (1 << 20), "at most 1 MiB are read"),
    ],
)
def test_what_yaml_may_not_hold(text: str, reason: str, put: Any) -> None:
    assert reason in refusal(read_yaml, put(text, "a.yaml"))


# CSV


CELLS = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9), min_size=3, max_size=3
)


@given(st.lists(CELLS, min_size=1, max_size=6))
def test_any_table_comes_back_as_it_was_written(rows: list[list[str]]) -> None:
    assert [cells for _, cells in csv_lines(csv_text(rows[0], rows[1:]), "a.csv", strict=True)] == rows


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a,b\n1,2,3\n", "line 2: expected 2 cells as in the header, found 3"),
        ("a,b\n1\n", "line 2: expected 2 cells as in the header, found 1"),
        ("a,c\n1,2\n", "column b is missing; found 'a, c'"),
        ("", "column a, b is missing"),
        ("a,b\n1,\0\n", "it holds zero bytes"),
        ("a,b\n1," + "x" * 131_073 + "\n", "line 2: not a table: field larger than field limit"),
        ('a,b\n1,"x"y\n', "line 2: not a table: "),
        ('a,b\n1,"x', "not a table: unexpected end of data"),
    ],
)
def test_what_a_table_may_not_hold(text: str, reason: str, put: Any) -> None:
    assert reason in refusal(read_csv, put(text, "a.csv"), ("a", "b"))


def test_empty_lines_of_a_table_are_passed_over(put: Any) -> None:
    assert read_csv(put("\ufeffa,b\r\n\r\n1,2\r\n\r\n", "a.csv"), ("a",)) == [{"a": "1", "b": "2"}]


def test_the_limits_hold_for_what_hilum_itself_may_write() -> None:
    """100,000 images with 100 boxes each: the size of what is parsed is bounded far above a data set of today."""
    assert documents.MAX_JSON_BYTES > 100_000 * 100 * 40
