"""Conversion that was killed, and goes on."""

import fcntl
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

from hilum.converters import convert as convert_module
from hilum.converters import picture as picture_module
from hilum.converters import target as target_module
from hilum.converters.convert import MARKER, convert
from hilum.converters.journal import JOURNAL
from hilum.converters.rendering import Rendering
from hilum.datasets.folder import Dataset
from hilum.errors import HilumError
from hilum.files import write_atomically


class Stop(Exception):  # noqa: N818
    """Ends a conversion where a test wants it to end."""


@pytest.fixture(scope="module")
def mixed_source(make_small_source, make_dicom, make_picture, tmp_path_factory):
    """150 labelled pictures: two thirds plain, one third such as have to be decoded."""
    folder = make_small_source(tmp_path_factory.mktemp("mixed") / "source", 150)
    for number in range(1, 150, 3):
        pixels = make_picture(number, 400, 300).astype("uint16") * 200
        (folder / "stage_2_train_images" / f"img{number:02d}.dcm").write_bytes(make_dicom(pixels))
    return folder


@pytest.fixture(scope="module")
def undisturbed(mixed_source, tree_bytes, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "data"
    convert(mixed_source, out)
    return tree_bytes(out)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))])
def test_killed_at_random_moments_it_ends_with_the_same_bytes(mixed_source, undisturbed, tree_bytes, tmp_path, seed):
    rng = random.Random(seed)
    out = tmp_path / "data"
    command = [sys.executable, "-m", "hilum", "convert", str(mixed_source), str(out), "--workers", str(1 + seed % 2)]
    interrupted = 0
    for latest in (0.05, 0.2, 0.5, 0.8):  # seconds after it has begun
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + 60
        while not (out / MARKER).exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(rng.random() * latest)
        if rng.random() < 0.5:  # the parent alone: its workers go on with what they have
            process.kill()
        else:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        try:
            Dataset.open(out)
            break  # it had finished before it was killed
        except HilumError as error:
            interrupted += "was interrupted" in str(error)
    else:
        assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    assert interrupted > 0
    assert tree_bytes(out) == undisturbed


def stop_after(files):
    def progress(done, total):
        if done >= files:
            raise Stop

    return progress


@pytest.fixture
def decoded(monkeypatch):
    """Counts the pictures that are decoded."""
    seen = []
    rendered = picture_module.rendered

    def count(*args):
        seen.append(1)
        return rendered(*args)

    monkeypatch.setattr(picture_module, "rendered", count)
    return seen


def test_what_was_decoded_is_not_decoded_again(mixed_source, undisturbed, tree_bytes, tmp_path, decoded):
    out = tmp_path / "data"
    with pytest.raises(Stop):
        convert(mixed_source, out, progress=stop_after(100))
    first = len(decoded)
    assert first > 20
    (out / JOURNAL).write_bytes((out / JOURNAL).read_bytes()[:-10])  # killed while it wrote the last line
    convert(mixed_source, out)
    assert len(decoded) == 52 + 1  # 50 labelled, 2 unlabelled, and the one whose line was cut
    assert tree_bytes(out) == undisturbed


def test_a_file_that_changed_meanwhile_is_noticed(mixed_source, make_dicom, make_picture, tree_bytes, tmp_path):
    source, out = tmp_path / "source", tmp_path / "data"
    shutil.copytree(mixed_source, source)
    with pytest.raises(Stop):
        convert(source, out, progress=stop_after(100))
    pixels = make_picture(777, 400, 300).astype("uint16") * 200
    (source / "stage_2_train_images" / "img01.dcm").write_bytes(make_dicom(pixels))  # was decoded
    shutil.copy(
        source / "stage_2_train_images" / "img02.dcm", source / "stage_2_train_images" / "img03.dcm"
    )  # was kept as it is
    convert(source, out)
    convert(source, tmp_path / "fresh")
    assert tree_bytes(out) == tree_bytes(tmp_path / "fresh")


@pytest.mark.parametrize("damage", ["pictures", "journal", "settings"])
def test_what_the_journal_says_is_checked(mixed_source, undisturbed, tree_bytes, tmp_path, decoded, damage):
    out = tmp_path / "data"
    with pytest.raises(Stop):
        convert(mixed_source, out, progress=stop_after(100))
    if damage == "pictures":
        for path in (out / "images").glob("*.png"):
            path.write_bytes(path.read_bytes()[:-1])
    elif damage == "journal":
        (out / JOURNAL).write_bytes((out / JOURNAL).read_bytes().replace(b'"sha256"', b'"sha257"'))
    else:
        shutil.rmtree(out)
        with pytest.raises(Stop):
            convert(mixed_source, out, rendering=Rendering(window=2), progress=stop_after(100))
    before = len(decoded)
    convert(mixed_source, out)
    assert len(decoded) - before == 52
    assert tree_bytes(out) == undisturbed


@pytest.mark.parametrize(
    "change", [(b'"F"', b'"M"'), (b'"untouched": false', b'"untouched": true'), (b": [", b": [1, ")]
)
def test_a_changed_line_of_the_journal_is_not_believed(
    mixed_source, undisturbed, tree_bytes, tmp_path, decoded, change
):
    out = tmp_path / "data"
    with pytest.raises(Stop):
        convert(mixed_source, out, progress=stop_after(100))
    first = len(decoded)
    lines = (out / JOURNAL).read_bytes().splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if number > 4 and change[0] in line)
    lines[at] = lines[at].replace(*change, 1)
    (out / JOURNAL).write_bytes(b"".join(lines))
    convert(mixed_source, out)
    assert len(decoded) == first + 52 - (at - 1)  # what stands before the line is not decoded again
    assert tree_bytes(out) == undisturbed


def test_a_full_disk_leaves_no_half_file_and_says_so(sample_source, tree_bytes, tmp_path):
    """A limit on the size of files stands in for the disk: the write stops half way in the same manner."""
    out = tmp_path / "data"
    convert(sample_source, tmp_path / "whole")
    whole = tree_bytes(tmp_path / "whole")
    limit = sorted(len(content) for name, content in whole.items() if name.startswith("images/"))[8]

    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    command = [sys.executable, "-m", "hilum", "convert", str(sample_source), str(out), "--workers", "1"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, preexec_fn=little_room)
    assert done.returncode == 1
    assert "File too large; the same command again goes on" in done.stderr
    assert "Traceback" not in done.stderr
    for name, content in tree_bytes(out).items():
        if name.startswith(("images/", "labels/")):
            assert content == whole[name]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    assert tree_bytes(out) == whole


def test_workers_end_with_their_parent(mixed_source, tmp_path):
    command = [sys.executable, "-m", "hilum", "convert", str(mixed_source), str(tmp_path / "data"), "--workers", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "data").glob("images/*.jpg")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 5
    while (alive := in_session(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive == []


def in_session(session):
    """Processes of a session that live."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, of = stat.read_text().rpartition(")")[2].split()[:4]
            if int(of) == session and state != "Z":
                found.append(stat.parent.name)
    return found


@pytest.mark.parametrize("left", [(), (".conversion.json.0123abcd.part",), (".unpacked/",)])
def test_a_run_that_was_killed_before_its_first_file_is_gone_on_with(sample_source, tmp_path, left):
    out = tmp_path / "data"
    out.mkdir()
    for name in left:
        (out / name).mkdir() if name.endswith("/") else (out / name).write_bytes(b"{")
    convert(sample_source, out)
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]


def test_a_journal_that_is_no_text_is_begun_anew(mixed_source, undisturbed, tree_bytes, tmp_path):
    out = tmp_path / "data"
    with pytest.raises(Stop):
        convert(mixed_source, out, progress=stop_after(100))
    (out / JOURNAL).write_bytes((out / JOURNAL).read_bytes() + b"\xff\xfe\n")
    convert(mixed_source, out)
    assert tree_bytes(out) == undisturbed


def test_two_conversions_do_not_write_to_one_folder(sample_source, tmp_path):
    def meanwhile(done, total):
        with pytest.raises(HilumError, match="another command is writing there"):
            convert(sample_source, tmp_path / "data")
        raise Stop

    with pytest.raises(Stop):
        convert(sample_source, tmp_path / "data", progress=meanwhile)
    convert(sample_source, tmp_path / "data")


@pytest.fixture
def nested(make_dicom, make_picture, tmp_path):
    """A zip with a packed zip of five files in it: it has to be unpacked to be read."""
    inner = tmp_path / "inner.zip"
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(5):
            archive.writestr(f"{number}.dcm", make_dicom(make_picture(number)))
    with zipfile.ZipFile(tmp_path / "nested.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(inner, "inner.zip")
    return tmp_path / "nested.zip"


def test_a_second_command_costs_a_running_conversion_nothing(nested, tmp_path):
    out = tmp_path / "data"

    def meanwhile(done, total):
        if done == 1:
            for source in (nested, tmp_path / "mistyped"):
                with pytest.raises(HilumError, match="another command is writing there"):
                    convert(source, out)

    record = convert(nested, out, progress=meanwhile)
    assert (record["complete"], record["unlabelled_images"], record["left_out"]) == (True, 5, {})


def test_a_mistyped_source_costs_an_interrupted_conversion_nothing(nested, tree_bytes, tmp_path):
    out = tmp_path / "data"
    with pytest.raises(Stop):
        convert(nested, out, progress=stop_after(2))
    before = tree_bytes(out)
    assert any(name.startswith(".unpacked/") for name in before)
    with pytest.raises(HilumError, match="no such folder or zip"):
        convert(tmp_path / "mistyped", out)
    assert tree_bytes(out) == before
    convert(nested, out)
    assert not (out / ".unpacked").exists()


def test_what_is_refused_leaves_nothing_of_a_new_folder(nested, tmp_path):
    (tmp_path / "map.csv").write_text("patientId,patient\nx,y\n")
    with pytest.raises(HilumError, match="a patient map is for images that have labels"):
        convert(nested, tmp_path / "new" / "data", patients=tmp_path / "map.csv")
    assert not (tmp_path / "new").exists()


def test_the_folder_is_locked_until_it_is_a_dataset(sample_source, tmp_path, monkeypatch):
    out, locked = tmp_path / "data", []

    def look(path, content, **options):
        if Path(path).name == MARKER:
            here = os.open(out, os.O_RDONLY)
            try:
                fcntl.flock(here, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                locked.append('"complete": true' in content)
            finally:
                os.close(here)
        write_atomically(path, content, **options)

    for module in (target_module, convert_module):  # it is marked as unfinished by one, as finished by the other
        monkeypatch.setattr(module, "write_atomically", look)
    convert(sample_source, out)
    assert locked == [False, True]


def test_a_source_that_goes_away_ends_it_and_costs_no_earlier_picture(sample_source, tree_bytes, tmp_path):
    source, out = tmp_path / "source", tmp_path / "data"
    shutil.copytree(sample_source, source)
    convert(source, out)
    before = tree_bytes(out)

    def unmount(done, total):
        if done == 3:
            source.rename(tmp_path / "away")

    with pytest.raises(HilumError, match=r"\.dcm: No such file or directory; the same command again goes on") as error:
        convert(source, out, overwrite=True, progress=unmount)
    assert "\n" not in str(error.value)
    with pytest.raises(HilumError, match="was interrupted"):
        Dataset.open(out)
    assert {name for name in before if name.startswith("images/")} <= tree_bytes(out).keys()
    (tmp_path / "away").rename(source)
    convert(source, out)
    assert tree_bytes(out) == before


def test_too_little_memory_ends_it_in_one_line(sample_source, tmp_path, monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(picture_module, "_from_dicom", fail)
    with pytest.raises(HilumError, match="data: out of memory; try --workers 1, and the same command again goes on"):
        convert(sample_source, tmp_path / "data")
