"""Every command with its options, from the command line itself."""

import re
from collections.abc import Callable
from typing import Any

from cyclopts import App

from hilum.cli import app


def commands() -> str:
    """A section a command, in the order of `hilum --help`, and one of the options that all of them take."""
    names = [name for name in app if not name.startswith("-")]
    shared = _documented(app.meta.default_command).partition("**Parameters**:")[2]
    sections = [
        f"## {name}\n\n{_documented(app[name].default_command, name)}\n\n{app[name].help_epilogue or ''}"
        for name in names
    ]
    return "\n\n".join([*sections, f"## Options of all commands\n{shared}"])


def _documented(function: Callable[..., Any] | None, name: str = "") -> str:
    """Usage, what the command does and its options, without those of all."""
    alone = App(name=name, version_flags=[], help_flags=[], default_command=function)
    text = alone.generate_docs(output_format="markdown", heading_level=2)
    return re.sub(r"\A## .*\n+```console\n", "```console\nhilum ", text).strip()
