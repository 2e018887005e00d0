"""Processes that share a command's work: they run nothing that lies in the folder that the command is given in."""

import os
from pathlib import Path

import pytest

from hilum.commands.process_pool import process_pool


def test_nothing_runs_that_lies_in_the_folder_it_is_started_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("multiprocessing", "pickle", "struct", "signal", "json"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})")
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    with process_pool(2, None, "json") as pool:
        assert pool is not None
        assert [pool.submit(len, "ab").result() for _ in range(4)] == [2] * 4
    assert not (tmp_path / "ran").exists()
    assert dict(os.environ) == before
