"""Conversion on a cluster: a scheduler and workers as processes of their own, some of which die on the way."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hilum import __version__
from hilum import cluster as cluster_module
from hilum.cluster import cluster
from hilum.converters.convert import convert
from hilum.converters.journal import JOURNAL
from hilum.errors import HilumError

FILES, DRAWN = 256, 8


def test_without_dask_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(HilumError, match=r"hilum\[dask\]"), cluster("tcp://127.0.0.1:1"):
        pass


@pytest.fixture(scope="module")
def source(make_dicom, make_picture, write_table, tmp_path_factory):
    """256 labelled pictures of 16 bits, every one of which has to be decoded."""
    folder = tmp_path_factory.mktemp("many") / "source"
    (folder / "stage_2_train_images").mkdir(parents=True)
    drawn = [make_dicom(make_picture(number, 320, 256).astype("uint16") * 200) for number in range(DRAWN)]
    rows = [["patientId", "x", "y", "width", "height", "Target"]]
    for number in range(FILES):
        (folder / "stage_2_train_images" / f"img{number:03d}.dcm").write_bytes(drawn[number % DRAWN])
        rows.append([f"img{number:03d}", *((180, 150, 80, 90, 1) if number % 3 == 0 else ("", "", "", "", 0))])
    write_table(folder / "stage_2_train_labels.csv", rows)
    return folder


@pytest.fixture(scope="module")
def undisturbed(source, tree_bytes, tmp_path_factory):
    """What one process makes of the source."""
    out = tmp_path_factory.mktemp("undisturbed") / "data"
    convert(source, out)
    return tree_bytes(out)


def command(*arguments):
    return [sys.executable, "-m", "hilum", "convert", *map(str, arguments)]


def test_a_worker_that_is_killed_on_the_way_changes_no_byte(own, source, undisturbed, tree_bytes, tmp_path):
    first, second = own.worker("--no-nanny"), own.worker("--no-nanny")
    images = tmp_path / "data" / "images"
    relative = os.path.relpath(source, tmp_path)  # the workers run elsewhere
    process = subprocess.Popen(
        command(relative, "data", "--dask", own.address), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while len(list(images.glob("*.png"))) < FILES // 8 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.wait()
    done = len(list(images.glob("*.png")))
    assert process.poll() is None
    assert FILES // 8 <= done < FILES
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, (output, errors)
    assert second.poll() is None
    assert tree_bytes(tmp_path / "data") == undisturbed


@pytest.mark.slow
def test_without_any_worker_it_gives_up_and_the_same_again_goes_on(own, source, undisturbed, tree_bytes, tmp_path):
    worker, out = own.worker("--no-nanny"), tmp_path / "data"

    def kill(done, total):
        if done >= 96:
            worker.kill()

    with (
        pytest.raises(HilumError, match=r"no worker for 1 s; start `dask worker .*same command again goes on$"),
        cluster(own.address, [source, out / JOURNAL], patience_s=1) as executor,
    ):
        convert(source, out, executor=executor, progress=kill)
    journal = (out / JOURNAL).read_text().splitlines()[1:]
    assert 96 <= len(journal) < FILES
    first = sorted((out / "images").glob("*.png"))[:96]
    written = [path.stat().st_mtime_ns for path in first]
    own.worker("--no-nanny")
    done = subprocess.run(command(source, out, "--dask", own.address), check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [path.stat().st_mtime_ns for path in first] == written
    assert tree_bytes(out) == undisturbed


def test_a_cluster_and_one_machine_go_on_with_each_others_work(
    two_workers, source, undisturbed, tree_bytes, monkeypatch, tmp_path
):
    """One machine was given a relative path; the journal knows the pictures all the same."""

    class Stop(Exception):  # noqa: N818
        pass

    def stop(done, total):
        if done >= 96:
            raise Stop

    monkeypatch.chdir(tmp_path)
    with pytest.raises(Stop):
        convert(Path(os.path.relpath(source)), Path("data"), progress=stop)
    first = sorted((tmp_path / "data" / "images").glob("*.png"))
    written = [path.stat().st_mtime_ns for path in first]
    with cluster(two_workers.address) as executor:
        convert(source, tmp_path / "data", executor=executor)
    assert [path.stat().st_mtime_ns for path in first] == written
    assert tree_bytes(tmp_path / "data") == undisturbed


def test_a_scheduler_that_dies_is_told_in_one_line(own, source, tmp_path):
    own.worker("--no-nanny")
    images = tmp_path / "data" / "images"
    process = subprocess.Popen(
        command(source, tmp_path / "data", "--dask", own.address),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while len(list(images.glob("*.png"))) < 40 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    own.scheduler.kill()
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert [line for line in errors.splitlines() if line] == [
        f"hilum: {own.address}: the scheduler is gone; the same command again goes on"
    ]


def test_interrupted_it_stops_at_once_and_says_so(two_workers, source, tmp_path):
    images = tmp_path / "data" / "images"
    process = subprocess.Popen(
        command(source, tmp_path / "data", "--dask", two_workers.address),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(images.glob("*.png")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    workers = two_workers.processes[1:]
    for worker in workers:
        worker.send_signal(signal.SIGSTOP)  # so that there is something left to interrupt
    try:
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=20)[1]
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGCONT)
    assert process.returncode == 130
    assert [line for line in errors.splitlines() if line] == ["hilum: interrupted; the same command again goes on"]


def test_what_is_no_scheduler_is_refused_in_one_line(two_workers, source, tmp_path):
    log = two_workers.log(two_workers.processes[1])
    worker = next(line for line in log.splitlines() if "Start worker at:" in line).split()[-1]
    out = tmp_path / "data"
    for options, said in {
        ("--dask", worker): "no Dask scheduler answers",
        ("--dask", ""): "no Dask scheduler answers",
        ("--dask", two_workers.address, "--workers", 2): "--workers counts processes of this machine",
    }.items():
        done = subprocess.run(command(source, out, *options), check=False, capture_output=True, text=True)
        assert done.returncode == 1
        (line,) = [line for line in done.stderr.splitlines() if line]
        assert said in line
        assert not out.exists()


@pytest.mark.parametrize("behind", ["nothing", "silence", "another protocol"])
def test_an_address_with_no_scheduler_behind_is_given_up_soon(distributed, monkeypatch, behind):
    monkeypatch.setattr(cluster_module, "CONNECT_S", 1)
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if behind == "nothing":
            server.close()
        address = f"http://127.0.0.1:{port}" if behind == "another protocol" else f"tcp://127.0.0.1:{port}"
        with pytest.raises(HilumError, match=f"{address}: no Dask scheduler answers"), cluster(address):
            pass
    assert time.monotonic() - began < 10


def test_map_is_map_and_sends_no_more_than_it_needs(two_workers, monkeypatch):
    monkeypatch.setattr(cluster_module, "_AHEAD", 2)
    taken = []

    def numbers():
        for number in range(40):
            taken.append(number)
            yield number

    with cluster(two_workers.address) as executor:
        results = executor.map(divmod, numbers(), [7] * 40)
        assert next(results) == (0, 0)
        assert len(taken) <= 2 * 2 + 1
        assert list(results) == [divmod(number, 7) for number in range(1, 40)]


def test_a_worker_that_is_not_fit_is_named(two_workers, monkeypatch, tmp_path):
    with cluster(two_workers.address, [tmp_path / "elsewhere"]) as executor:
        with pytest.raises(HilumError, match=r"^tcp://127\.0\.0\.1:\d+: this worker does not see .*elsewhere; share"):
            list(executor.map(abs, [1]))
        (tmp_path / "elsewhere").touch()
        assert list(executor.map(abs, [-1])) == [1]
    monkeypatch.setattr(cluster_module, "versions", lambda: {"hilum": __version__, "numpy": "0.1"})
    with (
        cluster(two_workers.address) as executor,
        pytest.raises(HilumError, match=r"this worker has numpy \S+, expected 0\.1$"),
    ):
        list(executor.map(abs, [1]))


def test_an_error_comes_back_as_it_is_and_no_name_gets_into_a_log(two_workers, planted_name):
    with cluster(two_workers.address) as executor, pytest.raises(FileNotFoundError) as caught:
        list(executor.map(os.listdir, [f"/{planted_name}"]))
    assert caught.value.filename == f"/{planted_name}"
    for process in two_workers.processes:
        assert planted_name not in two_workers.log(process)


@pytest.mark.slow
def test_a_full_disk_on_a_worker_is_told_as_on_one_machine(two_workers, sample_source, tmp_path):
    """Pictures cannot be written where a file stands in for their folder."""
    out = tmp_path / "data"

    def spoil(function, chunks):
        shutil.rmtree(out / "images")
        (out / "images").touch()
        return executor.map(function, chunks)

    with cluster(two_workers.address) as executor:
        spoilt = type("Spoilt", (), {"map": staticmethod(spoil)})()
        with pytest.raises(HilumError, match="Not a directory; the same command again goes on"):
            convert(sample_source, out, executor=spoilt)


@pytest.mark.slow
def test_files_that_kill_every_worker_are_given_up(own):
    own.worker("--nanny")  # starts a new worker for each that dies
    with cluster(own.address) as executor, pytest.raises(HilumError, match="4 workers died one after the other"):
        list(executor.map(os._exit, [1]))
