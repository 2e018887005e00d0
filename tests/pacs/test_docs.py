"""What docs/hospital.md and the files beside it say of `hilum pacs` is what there is."""

import configparser
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from hilum.cli import app
from hilum.pacs.spool import Spool

DOCS = Path(__file__).parents[2] / "docs"


def parsed(words):
    """The arguments that a command line gives to `hilum pacs`, by name; it is not run."""
    name, command, *rest = words
    assert (Path(name).name, command) == ("hilum", "pacs")
    function, bound, _ = app.parse_args([command, *rest], exit_on_error=False, print_error=False)
    assert function.__name__ == "pacs"
    return bound.arguments


def test_the_unit_starts_the_command_and_takes_its_end_for_one():
    unit = configparser.ConfigParser(strict=True, interpolation=None, delimiters="=")
    unit.optionxform = str
    unit.read(DOCS / "pacs" / "hilum-pacs.service")
    service = unit["Service"]
    given = parsed(shlex.split(service["ExecStart"]))
    assert given["spool"] == Path("/var/lib") / service["StateDirectory"]
    assert service["SuccessExitStatus"] == "143"
    assert service["Restart"] == "always"
    assert set(unit) == {"DEFAULT", "Unit", "Service", "Install"}


def test_the_compose_file_and_its_archive_agree():
    compose = yaml.safe_load((DOCS / "pacs" / "compose.yaml").read_text())
    hilum, orthanc = compose["services"]["hilum"], compose["services"]["orthanc"]
    archive = json.loads((DOCS / "pacs" / "orthanc.json").read_text())
    given = parsed(shlex.split(hilum["command"]))
    assert given["send"] == f"{archive['DicomAet']}@orthanc:{archive['DicomPort']}"
    assert given["allow"] == (archive["DicomAet"],)
    title, host, port = archive["DicomModalities"]["hilum"]
    assert (title, host) == ("HILUM", "hilum")
    assert given["listen"] == f"0.0.0.0:{port}"  # of a network that leads nowhere
    assert hilum["networks"] == ["dicom"]
    assert compose["networks"]["dicom"] == {"internal": True}
    assert "ports" not in hilum
    assert all(port.startswith("127.0.0.1:") for port in orthanc["ports"])
    mounted = [volume.split(":")[0] for volume in orthanc["volumes"] if volume.startswith("./")]
    assert all((DOCS / "pacs" / name).is_file() for name in mounted)
    extras = re.search(r"/hilum\[(.*?)\]", hilum["build"]["dockerfile_inline"])[1]
    pyproject = (DOCS.parent / "pyproject.toml").read_text()
    assert all(re.search(f"^{extra} = ", pyproject, re.MULTILINE) for extra in extras.split(","))


def test_each_command_of_the_page_is_one():
    page = (DOCS / "hospital.md").read_text()
    commands = [line for line in re.sub(r"\\\n", " ", page).splitlines() if line.startswith("hilum pacs ")]
    assert len(commands) >= 3
    for line in commands:
        parsed(shlex.split(line, comments=True))


def test_the_page_tells_of_each_figure_and_each_event(tmp_path):
    page = (DOCS / "hospital.md").read_text()
    spool = Spool(tmp_path / "spool", b"k" * 32, most_waiting=1, least_free_bytes=0)
    source = (DOCS.parent / "pacs" / "serve.py").read_text()
    events = set(re.findall(r'(?:_count\(|tell\([A-Z]+, )"(\w+)"', source))
    assert len(events) >= 10
    for name in events | set(spool.figures):
        assert f"`{name}`" in page, name


@pytest.mark.parametrize("name", ["forward.lua", "compose.yaml", "hilum-pacs.service", "orthanc.json"])
def test_the_page_leads_to_each_file(name):
    assert f"(pacs/{name})" in (DOCS / "hospital.md").read_text()
