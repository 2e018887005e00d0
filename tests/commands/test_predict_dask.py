"""Prediction on a cluster: the same files, byte by byte, as from one process, whatever happens to workers."""

import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from dask_cluster import running

from hilum import cluster as cluster_module
from hilum.commands.predict import IN_PART, predict
from hilum.errors import HilumError
from hilum.eval.prediction_journal import JOURNAL

TIME = re.compile(rb'"time": "[0-9T:+-]{25}"')
BAD = "scan-007.dcm"


@pytest.fixture(scope="module")
def archive(sample_folder, tmp_path_factory):
    """41 DICOM files in two folders, of which one is damaged."""
    folder = tmp_path_factory.mktemp("archive") / "archive"
    for side in ("a", "b"):
        (folder / side).mkdir(parents=True)
    files = sorted((sample_folder / "stage_2_train_images").glob("*.dcm"))[:41]
    for number, path in enumerate(files):
        shutil.copy(path, folder / "ab"[number % 2] / f"scan-{number:03d}.dcm")
    (folder / "b" / BAD).write_bytes(b"damaged")
    return folder


@pytest.fixture(scope="module")
def alone(archive, tiny_run, tmp_path_factory):
    """What one process writes."""
    out = tmp_path_factory.mktemp("alone") / "out"
    assert predict(tiny_run, archive, out, confidence=0.0, batch_size=2, pictures=3, dicom="sr") == IN_PART
    return written(out)


def written(out):
    """All files, without the time at which results were written; of DICOM objects, which have UIDs, the names."""
    return {
        path.relative_to(out).as_posix(): b"" if path.suffix == ".dcm" else TIME.sub(b"", path.read_bytes())
        for path in out.rglob("*")
        if path.is_file()
    }


def command(*arguments):
    options = "--confidence", "0", "--batch-size", "2", "--pictures", "3", "--dicom", "sr"
    return [sys.executable, "-m", "hilum", "predict", *map(str, arguments), *options]


def results_in(out):
    """Images in the journal."""
    return len((out / JOURNAL).read_bytes().splitlines()) - 1 if (out / JOURNAL).exists() else 0


def test_workers_write_the_same_bytes_as_one_process(two_workers, archive, alone, tiny_run, monkeypatch, tmp_path):
    """Paths are relative, and the workers run elsewhere."""
    monkeypatch.chdir(tmp_path)
    for name, link in {"run": tiny_run, "archive": archive}.items():
        Path(name).symlink_to(link)
    options = {"confidence": 0.0, "batch_size": 2, "pictures": 3, "dicom": "sr", "dask": two_workers.address}
    assert predict(Path("run"), Path("archive"), Path("out"), **options) == IN_PART
    # The digest of the images' paths is another one, and so the folder of the pictures beside the page.
    assert written(tmp_path / "out").keys() != alone.keys()
    assert predict(tiny_run, archive, tmp_path / "same", **options) == IN_PART
    assert written(tmp_path / "same") == alone
    assert sum(line.startswith(b"scan-") for line in alone["predictions.csv"].splitlines()) > 40
    assert alone["images.csv"].count(b"failed") == 1


def test_pictures_in_a_zip_and_without_a_page(two_workers, archive, tiny_run, tmp_path):
    inner = tmp_path / "inner.zip"
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted((archive / "a").iterdir()):
            packed.write(path, path.name)
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(inner, "inner.zip")
        packed.write(archive / "b" / BAD, BAD)
    options = {"confidence": 0.0, "batch_size": 2, "worklist": False}
    predict(tiny_run, tmp_path / "all.zip", tmp_path / "alone", **options)
    predict(tiny_run, tmp_path / "all.zip", tmp_path / "out", **options, dask=two_workers.address)
    assert written(tmp_path / "out") == written(tmp_path / "alone")
    assert len((tmp_path / "out" / "images.csv").read_text().splitlines()) == 1 + 22


def test_a_killed_worker_and_an_interruption_change_no_byte(own, archive, alone, tiny_run, tmp_path):
    first, second = own.worker("--no-nanny"), own.worker("--no-nanny")
    out = tmp_path / "out"
    words = command(tiny_run, archive, out, "--dask", own.address)
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while results_in(out) < 8 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    second.send_signal(signal.SIGSTOP)  # holds what it was given
    process.send_signal(signal.SIGINT)
    assert "the same command again goes on" in process.communicate(timeout=30)[1]
    done = results_in(out)
    assert 8 <= done < 41
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(0.5)
    second.kill()
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == IN_PART, errors
    assert f"goes on after {done} of 41 images" in errors
    assert first.poll() is None
    assert written(out) == alone


def test_what_one_process_began_workers_end(two_workers, archive, alone, tiny_run, monkeypatch, tmp_path):
    """Shards then begin in the middle of the images."""
    out, options = tmp_path / "out", {"confidence": 0.0, "batch_size": 2, "pictures": 3, "dicom": "sr"}
    from hilum.eval.prediction_journal import PredictionJournal

    add = PredictionJournal.add

    def interrupted(self, result):
        if self.done == 14:
            raise KeyboardInterrupt
        add(self, result)

    with monkeypatch.context() as patch:
        patch.setattr(PredictionJournal, "add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            predict(tiny_run, archive, out, **options)
    assert predict(tiny_run, archive, out, **options, dask=two_workers.address) == IN_PART
    assert written(out) == alone


POISON = """
import os
import hilum.predict

def poisoned(image, bits, read=hilum.predict.read_radiograph):  # Dask may run this file twice
    if str(image).endswith("scan-020.dcm"):
        os._exit(1)
    return read(image, bits)

hilum.predict.read_radiograph = poisoned
"""


@pytest.mark.slow
def test_images_that_kill_worker_after_worker_are_given_up_and_the_others_are_not(
    distributed, archive, alone, tiny_run, monkeypatch, capsys, tmp_path
):
    (tmp_path / "cluster").mkdir()
    (tmp_path / "poison.py").write_text(POISON)
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    with running(tmp_path / "cluster") as own:
        for _ in range(3):
            own.worker("--no-nanny", "--preload", str(tmp_path / "poison.py"))
        options = {"confidence": 0.0, "batch_size": 2, "pictures": 3, "dask": own.address}
        assert predict(tiny_run, archive, tmp_path / "out", **options) == IN_PART
        assert sum(worker.poll() is None for worker in own.processes[1:]) == 1
    table = (tmp_path / "out" / "images.csv").read_text().splitlines()
    given_up = [line for line in table if "given up: workers died" in line]
    assert len(given_up) == 8
    assert any(line.split(",")[1] == "scan-020" for line in given_up)
    told = capsys.readouterr().err
    assert f"{archive / 'a' / 'scan-020.dcm'}: given up: workers died" in told
    kept = [line.encode() for line in table if line not in given_up]
    assert len(kept) == 1 + 41 - 8
    assert set(kept) <= set(alone["images.csv"].splitlines())


def test_a_worker_with_other_weights_or_another_hilum_is_refused(two_workers, archive, tiny_run, monkeypatch, tmp_path):
    options = {"confidence": 0.0, "dask": two_workers.address}
    with monkeypatch.context() as patch:
        patch.setattr("hilum.commands.shards.run_digest", lambda _: "0" * 16)
        with pytest.raises(HilumError, match=r"^tcp://\S+: this worker sees another run in .*, expected 0{16}$"):
            predict(tiny_run, archive, tmp_path / "weights", **options)
    with monkeypatch.context() as patch:
        patch.setattr(cluster_module, "__version__", "0.0.1")
        cluster_module._version.cache_clear()
        with pytest.raises(HilumError, match=r"^tcp://\S+: this worker has hilum \S+, expected 0\.0\.1$"):
            predict(tiny_run, archive, tmp_path / "version", **options)
    cluster_module._version.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(cluster_module, "_version", lambda name: "9" if name == "torch" else real(name))
        with pytest.raises(HilumError, match=r"this worker has torch [0-9.]+, expected 9$"):
            predict(tiny_run, archive, tmp_path / "torch", **options)


real = cluster_module._version


def test_a_worker_without_this_hilum_is_told_in_one_line(own, archive, tiny_run, monkeypatch, tmp_path):
    """One that is older has not even the function that is to be called."""
    (tmp_path / "old" / "hilum").mkdir(parents=True)
    (tmp_path / "old" / "hilum" / "__init__.py").write_text("__version__ = '0.0.1'\n")
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path / "old"))
        own.worker("--no-nanny")
    # Which one depends on how hilum is installed: an editable one lends its modules to the older package.
    told = r"^tcp://\S+: this worker has (another hilum, or none: .*No module named|hilum 0\.0\.1, expected)"
    with pytest.raises(HilumError, match=told):
        predict(tiny_run, archive, tmp_path / "out", dask=own.address)


def test_a_worker_that_does_not_see_a_file_does_not_leave_it_out(two_workers, archive, tiny_run, monkeypatch, tmp_path):
    """A file that is nowhere is an image that cannot be read, as on one machine."""
    import hilum.commands.shards as shards_module

    listed = tmp_path / "list.txt"
    listed.write_text(f"{archive / 'a' / 'scan-000.dcm'}\n{tmp_path / 'gone.dcm'}\n")
    assert predict(tiny_run, listed, tmp_path / "out", dask=two_workers.address) == IN_PART
    monkeypatch.setattr(shards_module, "_can_read", lambda _: True)  # here; the workers look for themselves
    with pytest.raises(HilumError, match=r"^tcp://\S+: this worker cannot read .*gone\.dcm; share it"):
        predict(tiny_run, listed, tmp_path / "other", dask=two_workers.address)


def test_no_scheduler_no_folder(distributed, archive, tiny_run, monkeypatch, tmp_path):
    monkeypatch.setattr(cluster_module, "CONNECT_S", 1)
    with pytest.raises(HilumError, match="no Dask scheduler answers"):
        predict(tiny_run, archive, tmp_path / "out", dask="tcp://127.0.0.1:1")
    assert not (tmp_path / "out").exists()


def test_a_device_that_the_workers_have_not_is_told(two_workers, archive, tiny_run, monkeypatch, tmp_path):
    monkeypatch.setenv("HILUM_DEVICE", "cuda:99")
    with pytest.raises(HilumError, match=r"^tcp://\S+: device: torch \S+ finds no 'cuda:99'"):
        predict(tiny_run, archive, tmp_path / "out", dask=two_workers.address)
