"""What the pages say can be typed: commands exist with their options, configs are valid, Python runs."""

import ast
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import yaml
from commandline import hilum

from hilum.cli import app
from hilum.config import load_config, shipped_configs
from hilum.errors import HilumError
from hilum.system import STANDARD_INPUT

ROOT = Path(__file__).parents[2]
_HISTORY = ROOT / "CHANGELOG.md"
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *sorted({*ROOT.glob("*.md")} - {_HISTORY})]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

NOT_RUN = {
    "import fiftyone": "not installed",
    "from detectron2": "not installed",
    "import wandb": "would send all of it to its server",
    "from fastapi": "run by test_service.py",
    "# hilum_small.py": "run by tests/eval/test_metrics.py",
    "# hilum_detr.py": "run by tests/test_plugin.py",
    "# conftest.py": "of a package of its own; the contract is run by tests/test_plugin.py",
    "# test_detr.py": "of a package of its own",
    "class TestOfThreeClasses": "goes on the block before it",
    "grounded_reports": "run by tests/converters/test_own_labels.py",
    "hf://OWNER": "run by tests/test_hub.py, against a stand-in of the hub",
    'hilum.convert("KAGGLE"': "run by tests/test_api.py",
    "CompetitionTrainer": "trains; run by tests/detectors/test_competition_trainer.py",
}


class Block(NamedTuple):
    """A block of code of a page."""

    page: Path
    language: str
    text: str

    def __str__(self) -> str:
        said = re.sub(r"\W+", " ", self.text)[:40].strip()
        return f"{self.page.relative_to(ROOT).as_posix()}: {said}"


def blocks(*languages: str) -> list[Block]:
    found = [Block(page, *fence.groups()) for page in PAGES for fence in _FENCE.finditer(page.read_text("utf-8"))]
    return [block for block in found if block.language in languages]


def lines() -> Iterator[tuple[Path, str]]:
    """Of shells: those of bash, and those after a prompt of console."""
    for page, language, text in blocks("bash", "console"):
        for line in text.replace("\\\n", " ").splitlines():
            if language == "bash" or line.startswith("$ "):
                yield page, line.removeprefix("$ ")


def words_of(program: str) -> list[tuple[Path, list[str]]]:
    """What programs of a name are called with, those after a pipe, and those that torchrun starts, too."""
    found = []
    for page, line in lines():
        for part in re.split(r"\s(?:\||&&)\s", line.replace("-m hilum", "| hilum") if "torchrun" in line else line):
            words = shlex.split(part, comments=True)
            if words and words[0] == program:
                ends = [words.index(sign) for sign in (">", "2>") if sign in words]
                found.append((page, words[1 : min(ends, default=None)]))
    return found


def called(words: list[str]) -> tuple[str, dict[str, object]]:
    """The command and its arguments by name; raises what the command line would."""
    words = [str(STANDARD_INPUT) if word == "-" else word for word in words]  # as `hilum.__main__` does
    _, shared, _ = app.meta.parse_args(words, exit_on_error=False, print_error=False)
    function, bound, _ = app.parse_args(shared.args, exit_on_error=False, print_error=False)
    return function.__name__, bound.arguments


def written_on(page: Path) -> dict[str, str]:
    """The configs of a page that begin with their name, or are written by `echo`, by name."""
    text = page.read_text("utf-8")
    with_name = r"^```yaml\n# (?:[^\n]* )?([\w-]+\.yaml)[^\n]*\n(.*?)^```$"
    named = dict(re.findall(with_name, text, re.MULTILINE | re.DOTALL))
    return named | {name: said for said, name in re.findall(r'echo "(.*)" > (\S+\.yaml)', text)}


@contextmanager
def suppress_missing() -> Iterator[None]:
    """An extra may be missing; the backend that a page shows how to write is."""
    try:
        yield
    except HilumError as error:
        if not re.search(r"cannot be used|backend 'detr'", str(error)):
            raise


COMMANDS = words_of("hilum")


def test_there_are_commands_to_look_at():
    assert len(COMMANDS) > 100
    assert {called(words)[0] for _, words in COMMANDS} >= {"sample", "convert", "train", "predict", "pacs", "export"}


@pytest.mark.parametrize(
    ("page", "words"), COMMANDS, ids=lambda each: shlex.join(each) if isinstance(each, list) else ""
)
def test_every_command_is_there_with_its_options_and_its_config(page, words, tmp_path, monkeypatch):
    name, given = called(words)
    if name not in {"train", "config", "benchmark"}:
        return
    monkeypatch.chdir(tmp_path)
    for file, text in written_on(page).items():
        Path(file).write_text(text)
    overrides = given.get("overrides", ())
    for config in map(str, given.get("configs", (given.get("config") or given.get("name"),))):
        if config in shipped_configs() or config.endswith(".yaml"):
            try:
                load_config(config, overrides, builds=False)
            except HilumError as error:
                assert "cannot be used here" in str(error) or "detr" in str(error)  # noqa: PT017 - an extra, or the plug-in
        elif name == "train":
            pytest.fail(f"{config}: neither shipped nor on the page")


def test_a_wrong_option_and_a_wrong_config_would_be_noticed(tmp_path):
    with pytest.raises(Exception, match="--no-such-option"):
        called(["split", "DATA", "NAME", "--no-such-option", "1"])
    with pytest.raises(HilumError, match=r"train\.epochs"):
        load_config("unet", ["train.epoch=1"], builds=False)


def test_inline_commands_have_the_options_that_they_name():
    seen = 0
    for page in PAGES:
        for said in re.findall(r"`hilum (\w+)([^`]*)`", _FENCE.sub("", page.read_text("utf-8"))):
            command, rest = said
            if command == "COMMAND":
                continue
            seen += 1
            options = {name for argument in app[command].assemble_argument_collection() for name in argument.names}
            options |= {"--help", "--verbose", "--quiet", "--log-file", "--device"}
            assert set(re.findall(r"(?<= )--[\w-]+", rest)) <= options, (page.name, said)
    assert seen > 50


def test_every_make_has_its_target_and_every_pip_its_extra():
    makefile = (ROOT / "Makefile").read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    targets = [word for _, words in words_of("make") for word in words if "=" not in word]
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    named = [
        name
        for _, words in words_of("pip")
        for found in re.findall(r"hilum\[(.*?)\]", " ".join(words))
        for name in found.split(",")
    ]
    assert named
    assert set(named) <= set(extras)


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_every_config_is_one(block, tmp_path):
    values = yaml.safe_load(block.text)
    if isinstance(values, dict) and values.keys() & {"base", "backend"}:
        (tmp_path / "page.yaml").write_text(block.text)
        assert load_config(str(tmp_path / "page.yaml"), builds=False).backend


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_toml_can_be_read(block):
    assert tomllib.loads(block.text)


@pytest.fixture(scope="module")
def place(tiny_run: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory, sample_folder: Path) -> Path:
    """A folder with what the pages call RUN, DATA and a.dcm."""
    import cv2

    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(tiny_run, folder / "RUN")
    shutil.copytree(tiny_run, folder / "runs" / "unet")
    shutil.copytree(dataset, folder / "DATA", ignore=shutil.ignore_patterns("cache", "explore"))
    hilum("card", folder / "DATA")
    shutil.copy(next((sample_folder / "stage_2_test_images").glob("*.dcm")), folder / "a.dcm")
    cv2.imwrite(str(folder / "b.jpg"), np.full((64, 64), 99, np.uint8))
    return folder


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of mlcroissant
@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_runs_as_it_stands(block, place, monkeypatch, capsys):
    tree = ast.parse(block.text)
    if any(sign in block.text for sign in NOT_RUN):
        return
    for module in {name.split(".")[0] for node in ast.walk(tree) for name in _imported(node)} - sys.stdlib_module_names:
        pytest.importorskip(module, reason=f"the page needs {module}")
    monkeypatch.chdir(place)
    exec(compile(tree, str(block), "exec"), {"__name__": "page"})  # noqa: S102 - our own docs


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [each.name for each in node.names]
    return [str(node.module)] if isinstance(node, ast.ImportFrom) else []


@pytest.mark.parametrize("sign", NOT_RUN)
def test_what_is_not_run_is_there(sign):
    assert any(sign in block.text for block in blocks("python"))


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    text = _FENCE.sub("", page.read_text("utf-8"))
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_from_outside_lead_to_pages_and_headings():
    """Those in docs/ are looked at by `make docs`."""
    texts = [
        *ROOT.glob("*.md"),
        *ROOT.glob("[a-z]*/*.py"),
        *(ROOT / "src").rglob("*.py"),
        ROOT / "notebooks" / "walkthrough.ipynb",
    ]
    found = {
        link
        for path in texts
        for link in re.findall(r"(?<![\w/])docs/([\w/-]+\.md)(?:#([\w-]+))?", path.read_text("utf-8"))
    }
    assert len(found) > 10
    for name, anchor in found:
        page = ROOT / "docs" / name
        assert page.is_file(), name
        assert not anchor or anchor in headings(page), (name, anchor)


def test_every_page_has_a_place():
    nav = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        assert page.relative_to(ROOT / "docs").as_posix() in nav
