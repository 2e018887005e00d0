"""Nothing that a name or a file says is obeyed by a terminal, breaks a line, or is lost to markup."""

import io
import os
import pickle
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from hilum.commands.terminal import complain, say, table
from hilum.errors import HilumError
from hilum.printable import MOST_QUOTED, one_line, printable

NASTY = {
    "escape": "a\x1b[2J\x1b]0;title\x07b",
    "C1": "a\x9b31mb",
    "line break": "a\nhilum: done\rb",
    "other line breaks": "a\x0b\x0c\x1c\x85\u2028\u2029b",
    "direction": "a\u202egpj.exe\u2066b",
    "DEL": "a\x7f\x08b",
    "bytes": os.fsdecode(b"a\xff\x9b31mb"),
    "markup": "x[bold]y[/bold][/]",
    "tag": "x[link=http://a.b]y",
}


def harmless(text: str) -> bool:
    return all(each == "\n" or unicodedata.category(each) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} for each in text)


@pytest.mark.parametrize("name", NASTY.values(), ids=NASTY)
def test_a_name_stays_on_its_line_wherever_it_is_written(name, capsys):
    say(name, f"{name}: 3 boxes")
    table(["", name], [[name, "1"]], title=name)
    complain(name)
    error = HilumError(f"{name}: no such file", name).within(name)
    complain(*error.lines)
    out, err = capsys.readouterr()
    assert harmless(out)
    assert harmless(err)
    assert err.splitlines() == [
        f"hilum: {printable(name)}",
        f"hilum: {printable(name)}: {printable(name)}: no such file",
        f"hilum: {printable(name)}: {printable(name)}",
    ]
    assert out.splitlines()[:2] == [printable(name), f"{printable(name)}: 3 boxes"]
    assert out.count(printable(name)) == 5
    assert pickle.loads(pickle.dumps(error)).args == error.args  # noqa: S301 - as a worker sends it


def test_what_can_be_read_is_left_as_it_is():
    for text in ("a b/ü.png", "肺/写真.dcm", "x[bold]", r"C:\new", "\U0001fac1"):
        assert printable(text) == text
        assert one_line(one_line(text)) == text


def test_an_error_quotes_little_and_keeps_both_ends():
    path = Path("/data") / ("x" * 240) / ("y" * 240) / "last.dcm"
    line = one_line(f"{path}: cannot be read")
    assert max(map(len, line.split())) <= MOST_QUOTED + 1
    assert line.startswith("/data/xxx")
    assert line.endswith("y/last.dcm: cannot be read")
    assert one_line(line) == line
    assert len(one_line("many words " * 1000)) <= 800
    assert str(HilumError("z" * 100_000)).count("z") <= MOST_QUOTED


FOLDER = "\x1b[2J\nhilum: fine\u202e[bold]"


def hilum(*words: object, encoding: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": encoding, "LC_ALL": "C"}
    if not encoding:
        del environment["PYTHONIOENCODING"]
    command = [sys.executable, "-m", "hilum", *map(os.fsencode, map(str, words))]
    return subprocess.run(command, capture_output=True, check=False, cwd=cwd, env=environment)


@pytest.mark.parametrize("encoding", ["", "ascii", "latin-1", "utf-8"])
def test_nothing_raw_leaves_a_command(tmp_path, encoding):
    """Whatever the terminal's encoding: names with control characters, and with bytes that are no text."""
    for name in (FOLDER, os.fsdecode(b"\xff\x9b[31m\xe8\x82\xba")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "images.csv").touch()
        commands = [["sample", folder, "--images", "x" + name], ["config", name]]
        if not encoding:  # it imports torch, and what it says goes the same way
            commands.append(["evaluate", folder, folder])
        for words in commands:
            done = hilum(*words, encoding=encoding, cwd=tmp_path)
            assert done.returncode == 1
            assert done.stderr.startswith(b"hilum: ")
            assert done.stderr.count(b"\n") == 1, done.stderr
            assert b"Traceback" not in done.stderr
            assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", done.stderr)
            assert b"\\x1b[2J" in done.stderr or b"\\udcff" in done.stderr
            shown = done.stderr.decode("latin-1" if encoding in {"ascii", "latin-1"} else "utf-8")
            assert harmless(shown)


def test_a_terminal_of_few_characters_gets_a_table(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", stream)
    table(["", "肺"], [["ü[bold]", "1"]])
    stream.flush()
    shown = stream.buffer.getvalue().decode("ascii")
    assert "\\u80ba" in shown
    assert "\\xfc[bold]" in shown


def test_a_table_that_is_too_wide_keeps_the_bounds_of_its_last_figure_alone(capsys):
    home, moved = "0.612 [0.417, 0.734]", "+0.101 [-0.000, +0.214]"
    header = ["", "home [95%]", "away [95%]", "home minus away [95%]"]
    table(header, [["unet: score", home, home, moved]], figures=True)
    assert capsys.readouterr().out.count("[0.417, 0.734]") == 2
    table(header, [["unet: false positives an image", home, home, moved]], figures=True)
    heading, _, row = capsys.readouterr().out.splitlines()
    assert max(len(heading), len(row)) <= 80
    assert heading.split() == ["home", "away", "home", "minus", "away", "[95%]"]
    assert row.split("  ")[-3:] == ["0.612", "0.612", moved]
