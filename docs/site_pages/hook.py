"""What MkDocs builds beside the pages as they lie in docs/: what is generated, and the files that pages link to.

A page with `<!-- generated: config_keys -->` gets them in that place; so it is with all of `_WRITTEN`. Links that leave
docs/, which lead to the file where the page is read in the repository, lead to a copy of it on the site.
"""

import os
import posixpath
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from command_pages import commands
from config_keys import config_keys
from mkdocs.structure.files import File, Files, InclusionLevel
from records import record

ROOT = Path(__file__).parents[2]
NOTEBOOK = "notebooks/walkthrough.ipynb"
_LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)")
_MARK = re.compile(r"<!-- generated: (\w+) ?(\S*) -->")
_BESIDE = "repository"  # where copies lie on the site


def on_config(config: Any) -> Any:
    """Say where the site lies."""
    config.site_url = urls().get("Documentation")
    return config


def on_files(files: Files, *, config: Any) -> Files:
    """Add the files outside docs/ that its pages link to, and those that these link to."""
    waiting = [(file.src_uri, Path(str(file.abs_src_path))) for file in files.documentation_pages()]
    while waiting:
        uri, path = waiting.pop()
        for target in _outside(uri, path.read_text(encoding="utf-8")):
            if files.get_file_from_path(f"{_BESIDE}/{target}") is None and (ROOT / target).is_file():
                place = f"{_BESIDE}/{target}"
                hidden = InclusionLevel.NOT_IN_NAV
                files.append(File.generated(config, place, abs_src_path=str(ROOT / target), inclusion=hidden))
                if place.endswith(".md"):
                    waiting.append((place, ROOT / target))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Put in what is generated, and have links lead to where things lie on the site."""
    del config, files
    uri = page.file.src_uri
    markdown = _MARK.sub(lambda mark: _WRITTEN[mark[1]](*filter(None, [mark[2]])), markdown)
    return _LINK.sub(lambda link: _on_site(uri, link[1]), markdown)


def urls() -> dict[str, str]:
    """The project's addresses."""
    found: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    return found


def colab() -> str:
    """A link that opens the notebook in Colab."""
    repository = urls()["Repository"].removeprefix("https://github.com/")
    return f"[Open it in Colab](https://colab.research.google.com/github/{repository}/blob/main/{NOTEBOOK})."


def _outside(uri: str, markdown: str) -> Iterator[str]:
    for link in _LINK.finditer(markdown):
        target = _in_repository(uri, link[1])
        if not target.startswith(("docs/", "../")):
            yield target


def _in_repository(uri: str, target: str) -> str:
    """Where a link of a page leads, from the root of the repository."""
    own = uri.removeprefix(f"{_BESIDE}/") if uri.startswith(f"{_BESIDE}/") else f"docs/{uri}"
    return posixpath.normpath(posixpath.join(posixpath.dirname(own), target))


def _on_site(uri: str, target: str) -> str:
    found = _in_repository(uri, target)
    if not (ROOT / found).exists():  # a page that is generated, or a mistake, which MkDocs tells
        return target
    place = found.removeprefix("docs/") if found.startswith("docs/") else f"{_BESIDE}/{found}"
    return os.path.relpath(place, posixpath.dirname(uri) or ".").replace(os.sep, "/")


_WRITTEN = {"colab": colab, "commands": commands, "config_keys": config_keys, "record": record}
