"""Time `hilum convert` against copying the files and against the usual script, and measure its memory.

    python speed/convert.py                      # 10,000 generated files, medians of five interleaved rounds
    python speed/convert.py --source KAGGLE      # replicates files of your own download instead
    python speed/convert.py --memory 30000       # peak memory of a conversion of so many files

Everything counts: reading, hashes, pictures, labels, metadata, splits, COCO files; for two workers their start too.
The usual script is timed on a tenth of the files, 500 at most, for it is slow; all times are an image. The files are in
the page cache; what a run wrote is flushed to the disk and deleted before the next one, outside the clock. CPU time, of
the workers too, stands beside: on a machine that does other things meanwhile it is the steadier of the two.
"""

import csv
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

DRAWN = 250  # files that are really drawn; the rest are copies of theirs under other ids


def main() -> None:
    """Parse the arguments, prepare the files, measure, print."""
    import argparse  # here, as some below: workers load this file too, and the command's own has no such load
    import subprocess
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--source", type=Path, help="Kaggle's layout; generated where not given")
    parser.add_argument("--work", type=Path, help="a folder on the disk to measure; a temporary one where not given")
    parser.add_argument("--memory", type=int, metavar="FILES", help="measure peak memory instead of time")
    parser.add_argument("--peak", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        _print_peak(*options.peak)
        return
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        folder = Path(work)
        source = replicated(options.source, folder, options.memory or options.files, link=bool(options.memory))
        if options.memory:
            command = [sys.executable, __file__, "--peak", str(source), str(folder / "data")]
            subprocess.run(command, check=True)
        else:
            measure(source, folder, options.rounds)


def replicated(source: Path | None, folder: Path, files: int, *, link: bool) -> Path:
    """A source in Kaggle's layout with so many labelled files, copied (or linked) from a smaller one."""
    import uuid

    from hilum.sample.challenge import write_sample

    if source is None:
        source = folder / "drawn"
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as executor:
            write_sample(source, DRAWN, 0, executor=executor)
    labels: dict[str, list[list[str]]] = {}
    with next(source.glob("*_train_labels.csv")).open(newline="") as file:
        header, *rows = csv.reader(file)
    for row in rows:
        labels.setdefault(row[0], []).append(row[1:])
    out = folder / "source"
    (out / "stage_2_train_images").mkdir(parents=True)
    originals = sorted(next(source.glob("*_train_images")).glob("*.dcm"))
    table = [header]
    for number in range(files):
        original = originals[number % len(originals)]
        image_id = str(uuid.UUID(int=number))
        target = out / "stage_2_train_images" / f"{image_id}.dcm"
        if link:
            target.hardlink_to(original)
        else:
            shutil.copyfile(original, target)
        table += [[image_id, *row] for row in labels[original.stem]]
    with (out / "stage_2_train_labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(table)
    return out


def copy(paths: list[Path], out: Path) -> None:
    """The floor: the files as they are."""
    out.mkdir()
    for path in paths:
        shutil.copyfile(path, out / path.name)


def usual_script(paths: list[Path], out: Path) -> None:
    """What most notebooks on the challenge do; no labels, no metadata."""
    import cv2
    import pydicom

    out.mkdir()
    for path in paths:
        cv2.imwrite(str(out / f"{path.stem}.png"), pydicom.dcmread(path).pixel_array)


def hilum(source: Path, out: Path, workers: int) -> None:
    """The whole conversion."""
    from hilum.converters.convert import convert

    if workers == 1:
        convert(source, out)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as executor:
        for _ in range(workers):
            executor.submit(import_module, "hilum.converters.picture")
        convert(source, out, executor=executor)


def measure(source: Path, folder: Path, rounds: int) -> None:
    """Run everything in turn, several times, and print milliseconds an image and ratios."""
    import platform
    import statistics

    paths = sorted((source / "stage_2_train_images").iterdir())
    few = paths[: min(500, max(1, len(paths) // 10))]
    candidates: dict[str, tuple[int, Callable[[Path], None]]] = {
        "copy": (len(paths), lambda out: copy(paths, out)),
        "usual script": (len(few), lambda out: usual_script(few, out)),
        "hilum, 1 worker": (len(paths), lambda out: hilum(source, out, 1)),
        "hilum, 2 workers": (len(paths), lambda out: hilum(source, out, 2)),
    }
    times: dict[str, list[float]] = {name: [] for name in candidates}
    cpu: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds + 1):  # the first warms imports and the page cache up
        for name, (count, run) in candidates.items():
            out = folder / name
            os.sync()
            start, busy = time.perf_counter(), sum(os.times()[:4])  # of this process and of those that it has ended
            run(out)
            seconds, busy = time.perf_counter() - start, sum(os.times()[:4]) - busy
            os.sync()
            shutil.rmtree(out)
            if number:
                times[name].append(seconds / count * 1000)
                cpu[name].append(busy / count * 1000)
    median = {name: statistics.median(values) for name, values in times.items()}
    size = sum(path.stat().st_size for path in paths) / len(paths) / 1000
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine}")
    print(f"{len(paths):,} files of {size:.0f} kB, medians of {rounds} interleaved rounds, ms an image [least, most]")
    for name, values in times.items():
        spread = f"[{min(values):.3f}, {max(values):.3f}]"
        print(f"  {name:18} {median[name]:7.3f} {spread:18} of CPU {statistics.median(cpu[name]):7.3f}")
    one, two = median["hilum, 1 worker"], median["hilum, 2 workers"]
    print(f"one worker takes {one / median['copy']:.1f} times the copy")
    print(f"one worker is {median['usual script'] / one:.1f} times as fast as the usual script")
    print(f"two workers are {one / two:.2f} times as fast as one")


def _print_peak(source: Path, out: Path) -> None:
    hilum(source, out, 2)
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    own, workers = (resource.getrusage(whose).ru_maxrss / 1024 for whose in who)
    count = len(list((out / "images").iterdir()))
    print(f"{count:,} files: peak memory {own:.0f} MB, of each of two workers at most {workers:.0f} MB")
    print(f"all three together at most {own + 2 * workers:.0f} MB")


if __name__ == "__main__":
    main()
