"""Time `hilum pacs` against the bare backend: what receiving, keeping, writing as DICOM and sending back add.

    python speed/pacs.py                                 # yolo26n with random weights, 64 generated studies
    python speed/pacs.py unet --studies 128 --results sr

A study is one generated radiograph of 1024 x 1024. The bare backend is `hilum.load(run).predict` over the same files,
in a process of its own. The service receives them from DCMTK's storescu, waits for no further picture (`--quiet 0`),
and sends its results to an Orthanc; sender, service and archive share this machine's cores. They take turns; the
medians count, the first round warms up. Throughput is over all studies, sent at once: from the first that is
acknowledged to the last whose results the archive has acknowledged. Latency is of one study alone, between the same
moments; the bare backend's is that of one picture. The service should take at most 1.15 times as long, and 50 ms more.
Then the processor's time is printed: that of each process while all studies are sent at once, and that of writing the
results of one picture, by its number of boxes.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import pydicom
from export import untrained
from pydicom.uid import generate_uid

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "contract"))
from orthanc import CANNOT, Orthanc, free_port

DX = "1.2.840.10008.5.1.4.1.1.1.1"
ALONE = 10  # studies whose latency is measured in a round


def main() -> None:
    """Prepare files, run, archive and service; measure; print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", nargs="?", default="yolo26n")
    parser.add_argument("--studies", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", default="sr,pr")
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        serve_bare(options.bare)
        return
    if CANNOT or not shutil.which("storescu"):
        raise SystemExit(CANNOT or "no storescu here; on Debian: apt-get install dcmtk")
    with tempfile.TemporaryDirectory() as work:
        measure(Path(work), options.config, options.studies, options.rounds, options.results)


def measure(work: Path, config: str, count: int, rounds: int, results: str) -> None:
    """Interleave the two, print medians and ratios."""
    untrained(config, work / "run")
    files = generated(work, count)
    find_little(work / "run", files)
    archive, service, bare = Orthanc(work / "orthanc"), Service(work, results), Bare(work / "run")
    service.start(f"{archive.title}@127.0.0.1:{archive.port}")
    spent: list[list[float]] = []
    try:
        seconds: dict[str, list[float]] = {name: [] for name in ("bare", "pacs", "bare alone", "pacs alone")}
        for number in range(rounds + 1):
            renewed(files)
            found = {"bare": [bare.seconds(files) / count]}
            before = [processor_ms(each) for each in (service.pid, archive.pid)]
            found["pacs"] = [service.seconds(files) / count]
            used = zip((service.pid, archive.pid), before, strict=True)
            spent.append([(processor_ms(pid) - earlier) / count for pid, earlier in used])
            renewed(files)
            found["bare alone"] = [bare.seconds([file]) for file in files[:ALONE]]
            found["pacs alone"] = [service.seconds([file]) for file in files[:ALONE]]
            for name, values in found.items() if number else ():
                seconds[name] += values
    finally:
        service.stop()
        bare.stop()
        archive.kill()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine}; {config}, {count} studies, {rounds} rounds, results {results}")
    for name, values in seconds.items():
        ms = sorted(1000 * value for value in values)
        print(f"  {name:12} {median(ms):8.1f} ms a study [{ms[0]:.1f}, {ms[-1]:.1f}]")
    ratio = median(seconds["pacs"]) / median(seconds["bare"])
    more = 1000 * (median(seconds["pacs alone"]) - median(seconds["bare alone"]))
    print(f"  {ratio:.2f} times as long as the bare backend, and {more:.0f} ms more for one study alone")
    of_service, of_archive = (median(each) for each in zip(*spent[1:], strict=True))
    print(f"  processor, ms a study: {of_service:.0f} hilum pacs, {of_archive:.0f} the archive")
    by_boxes = ", ".join(f"{ms:.0f} with {boxes} boxes" for boxes, ms in written(work, files[0], results))
    print(f"  of them for writing the results of a picture: {by_boxes}")


def find_little(run: Path, files: list[Path]) -> None:
    """Choose an operating point from which on random weights find at most a box in every other picture."""
    import hilum
    from hilum.run import write_json

    found = hilum.load(run).predict(files, confidence=0.0)
    confidences = sorted((float(each) for result in found for each in result.detections.confidence), reverse=True)
    most = len(files) // 2
    few = [each for each in confidences[:most] if each > confidences[min(most, len(confidences) - 1)]]
    write_json(run / "operating_point.json", {"confidence": few[-1] if few else 1.0})


def processor_ms(pid: int) -> float:
    """Of the processor's time, what a process has had so far: fields 14 and 15 of proc(5), stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def written(work: Path, file: Path, results: str) -> Iterator[tuple[int, float]]:
    """Milliseconds of the processor that writing the results of a picture takes, by its number of boxes."""
    from dataclasses import replace

    import numpy as np

    import hilum
    from hilum.detections import Detections
    from hilum.pacs.answers import writer
    from hilum.predict import algorithm_of

    (found,) = hilum.load(work / "run").predict(file)
    write = writer(algorithm_of(work / "run"), results.split(","))
    for count in range(4):
        xyxy = np.array([[100.0 + 50 * each, 100, 300, 300] for each in range(count)]).reshape(-1, 4)
        boxes = Detections(xyxy=xyxy, confidence=np.full(count, 0.5), class_id=np.zeros(count, int))
        times = []
        for _ in range(20):
            start = time.process_time()
            write([file], [replace(found, detections=boxes)])
            times.append(1000 * (time.process_time() - start))
        yield count, median(times)


def generated(work: Path, count: int) -> list[Path]:
    """So many radiographs, each a study."""
    from hilum.sample.challenge import write_sample

    write_sample(work / "sample", count, 0)
    files = sorted((work / "sample" / "stage_2_train_images").iterdir())
    for file in files:
        dataset = pydicom.dcmread(file)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = DX
        dataset.Modality = "DX"
        dataset.save_as(file)
    return files


def renewed(files: list[Path]) -> None:
    """The same pictures as other studies, for no study is answered twice."""
    for file in files:
        dataset = pydicom.dcmread(file)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, uid = (generate_uid() for _ in range(3))
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
        dataset.save_as(file)


class Service:
    """`hilum pacs`, and what its log says of its time."""

    def __init__(self, work: Path, results: str) -> None:
        self._work, self._results, self._port = work, results, free_port()
        self._log = work / "log"

    def start(self, send: str) -> None:
        """Start, and wait until it listens."""
        command = [sys.executable, "-m", "hilum", "pacs", self._work / "run", "--listen", self._port, "--send", send]
        command += ["--spool", self._work / "spool", "--quiet", 0, "--results", self._results]
        with self._log.open("w") as log:
            self._process = subprocess.Popen([*map(str, command)], stderr=log)
        while "listening" not in self._log.read_text():
            time.sleep(0.1)
            if self._process.poll() is not None:
                raise SystemExit(self._log.read_text())

    def seconds(self, files: list[Path]) -> float:
        """From the first study that is acknowledged to the last whose results are."""
        begun = len(self._log.read_text())
        command = ["storescu", "-xy", "-aec", "HILUM", "127.0.0.1", self._port, *files]
        subprocess.run([*map(str, command)], check=True)
        while (said := self._log.read_text()[begun:]).count(" sent ") < len(files):
            time.sleep(0.01)
        times = [
            datetime.fromisoformat(line.split()[0])
            for line in said.splitlines()
            if re.search(" (received|sent) ", line)
        ]
        return (max(times) - min(times)).total_seconds()

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()


class Bare:
    """The backend alone, in a process."""

    def __init__(self, run: Path) -> None:
        command = [sys.executable, __file__, "--bare", str(run)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def seconds(self, files: list[Path]) -> float:
        """It takes for these files."""
        assert self._process.stdin  # noqa: S101 - for mypy
        assert self._process.stdout  # noqa: S101
        self._process.stdin.write(json.dumps([*map(str, files)]) + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def stop(self) -> None:
        """End it."""
        self._process.communicate()


def serve_bare(run: Path) -> None:
    """Predict the files that a line names, and say how long it took, for every line that comes in."""
    import hilum

    predictor = hilum.load(run)
    for line in sys.stdin:
        paths = json.loads(line)
        start = time.perf_counter()
        list(predictor.predict(paths if len(paths) > 1 else paths[0]))
        sys.stdout.write(f"{time.perf_counter() - start}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
