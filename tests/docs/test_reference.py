"""The reference says what the code says: every key with its reason, every command, every file's keys."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hilum.cli import app
from hilum.config import RUN_CONFIG, load_config, shipped_configs
from hilum.plugins import config_class

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "site_pages"))  # as MkDocs does for the hook

from command_pages import commands  # noqa: E402 - found through the path above
from config_keys import Key, backends, config_keys, keys_of  # noqa: E402
from records import record  # noqa: E402

RECORDS = re.findall(r"<!-- generated: record (\S+) -->", (ROOT / "docs" / "reference" / "files.md").read_text())


@pytest.mark.parametrize("backend", backends())
def test_every_key_says_what_it_is_for(backend):
    for key in keys_of(config_class(backend)):
        assert len(key.reason) > 8, key
        assert key.expected, key


def test_a_key_is_told_with_type_range_default_and_reason():
    keys = {key.name: key for backend in ("yolo", "compose") for key in keys_of(config_class(backend))}
    assert keys["image_size"] == Key(
        "image_size",
        "whole number, >= 32, <= 4096, multiple of 32",
        "must be given",
        "Side in pixels of the square that a picture is shown in.",
    )
    assert (keys["boxes.nms_iou"].expected, keys["boxes.nms_iou"].default) == ("number, >= 0, <= 1", "`0.3`")
    assert (keys["interpolation"].expected, keys["interpolation"].default) == ("`area`, `bilinear`", "`area`")
    assert keys["members.NAME.folds"].expected == "whole number, >= 1, <= 20"
    assert keys["shrink"].expected == "number or `val`, >= 0.5, <= 1.5"
    assert keys["class_names"].default == "`[opacity]`"
    assert keys["views"].expected == "table"
    assert (keys["lungs"].default, keys["views"].default) == ("none", "")


def flat(values, within=""):
    for name, value in values.items():
        yield f"{within}{name}"
        if isinstance(value, dict):
            yield from flat(value, f"{within}{name}.")


@pytest.mark.parametrize("name", [name for name in shipped_configs() if name != "lungs"])
def test_every_key_of_a_shipped_config_is_in_the_reference(name):
    config = load_config(name, builds=False)
    known = {key.name for key in keys_of(type(config))}
    free = {"model_yaml.", "ultralytics.", "model.options.", "train.loss_options."}
    for written in flat(config.model_dump()):
        key = re.sub(r"\.config\..*", ".config", re.sub(r"^members\.[\w-]+", "members.NAME", written))
        assert key in known | {"members"} or any(key.startswith(table) for table in free), key


def test_the_page_of_keys_is_markdown_with_a_section_a_backend():
    page = config_keys()
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == backends()
    for line in page.splitlines():
        assert not line.startswith("|") or len(re.findall(r"(?<!\\)\|", line)) == 5, line


def test_every_command_is_told_with_its_options():
    page = commands()
    sections = dict(re.findall(r"^## (.*?)$\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    names = [name for name in app if not name.startswith("-")]
    assert list(sections) == [*names, "Options of all commands"]
    for name in names:
        assert f"\nhilum {name} " in sections[name] or f"\nhilum {name}\n" in sections[name]
        for argument in app[name].assemble_argument_collection():
            assert not argument.show or any(said in sections[name] for said in argument.names or (argument.name,))
        assert "--log-file" not in sections[name]
        assert "\nNext: " in sections[name]
    assert "--log-file" in sections["Options of all commands"]


@pytest.mark.parametrize("place", RECORDS)
def test_every_key_of_a_file_says_what_it_is(place):
    rows = record(place).splitlines()[2:]
    assert len(rows) >= 4
    assert all(len(row.split(" | ")[-1].strip(" |")) > 5 for row in rows), rows


def test_files_have_the_keys_of_the_reference(tiny_run, dataset):
    def told(place):
        return set(re.findall(r"^\| `(\w+)`", record(place), re.MULTILINE))

    assert json.loads((tiny_run / "environment.json").read_text()).keys() <= told("hilum.run:Environment")
    assert json.loads((tiny_run / "operating_point.json").read_text()).keys() <= told("hilum.run:OperatingPointRecord")
    conversion = json.loads((dataset / "conversion.json").read_text())
    assert conversion.keys() <= told("hilum.datasets.record:Conversion")
    line = json.loads((tiny_run / "log.jsonl").read_text().splitlines()[0])
    assert told("hilum.training.log:Epoch") <= line.keys()
    coco = json.loads((dataset / "annotations" / "train.json").read_text())
    assert told("hilum.datasets.annotations:CocoImage") <= coco["images"][0].keys()
    assert told("hilum.datasets.annotations:CocoBox") <= coco["annotations"][0].keys()
    config = yaml.safe_load((tiny_run / RUN_CONFIG).read_text())
    assert set(flat(config)) <= {key.name for key in keys_of(config_class("unet"))}
    files = (ROOT / "docs" / "reference" / "files.md").read_text()
    for name in ("metadata.csv", "left_out.csv"):
        header = (dataset / name).read_text().splitlines()[0].split(",")
        section = files.partition(f"### {name}\n")[2].partition("###")[0]
        assert all(f"`{column}`" in section for column in header), (name, header)


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("mkdocstrings", reason='mkdocstrings is missing: pip install "hilum[docs]"')
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "reference" / "config.html").read_text()
    assert "members.NAME.folds" in page
    assert "<!-- generated" not in page
    start = (tmp_path / "site" / "index.html").read_text()
    assert "https://colab.research.google.com/github/hilum-project/hilum/blob/main/notebooks/walkthrough.ipynb" in start
    assert (tmp_path / "site" / "repository" / "notebooks" / "walkthrough.ipynb").is_file()
    for built in (tmp_path / "site").rglob("*.html"):
        text = built.read_text()
        found = re.findall(r'<(?:script|img|iframe)[^>]*\bsrc="(https?:[^"]*)"', text)
        found += re.findall(r'<link[^>]*rel="(?:stylesheet|preconnect|icon)"[^>]*href="(https?:[^"]*)"', text)
        assert not found, f"{built.name} fetches {found}"
