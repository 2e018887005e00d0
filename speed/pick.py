"""Measure what picking is worth: a run learns from few labels, picks more, and learns again; beside picking at random.

    python speed/pick.py KAGGLE                      # a download of the challenge, or a part of it
    python speed/pick.py KAGGLE --by random mixed --config sample/lite-gate --metrics auroc --set image_size=96

Half of the images (by patient) are the pool, whose labels are shown only when they are picked; val chooses epochs and
operating points, and the figures are of holdout, a third of the images. All strategies of a seed start from the same
run on the same images.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Parse the arguments, learn and pick, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="Kaggle's layout")
    parser.add_argument("--patients", type=Path, help="a patient map")
    parser.add_argument("--config", default="sample/lite-unet")
    parser.add_argument("--metrics", nargs="+", default=["auroc", "ap", "competition"])
    parser.add_argument("--by", nargs="+", default=["random", "uncertainty", "diversity", "mixed"])
    parser.add_argument("--start", type=int, default=50)
    parser.add_argument("--step", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--set", nargs="+", default=[], help="further keys of the config: a.b=value")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as work:
        measured = measure(Path(work), options)
    for metric in options.metrics:
        print_table(metric, measured, options)
    print(f"{os.cpu_count()} cores; {time.perf_counter() - began:.0f} s")


def measure(work: Path, options: argparse.Namespace) -> dict[tuple[str, int, int], dict[str, float]]:
    """By strategy, seed and number of labels: the figures of holdout."""
    from hilum.comparison.picking import look_at, looks_of, pick
    from hilum.converters.convert import convert
    from hilum.datasets.folder import Dataset
    from hilum.datasets.resplit import Shares, resplit

    convert(options.source, work / "data", patients=options.patients)
    measured: dict[tuple[str, int, int], dict[str, float]] = {}
    for seed in range(options.seeds):
        (folder,) = resplit(work / "data", f"seed{seed}", Shares((0.52, 0.15, 0.33)), seed=seed)
        data = Dataset.open(folder)
        train = data.split("train")
        start = np.random.default_rng(seed).permutation(len(train))[: options.start].tolist()
        first = None
        for by in options.by:
            labelled = list(start)
            for number in range(options.rounds):
                if number or first is None:
                    predictor, figures = learn(work, data, labelled, options, seed)
                    first = first or (predictor, figures)
                else:
                    predictor, figures = first
                measured[by, seed, len(labelled)] = figures
                print(by, seed, len(labelled), json.dumps(figures), flush=True)
                rest = [n for n in range(len(train)) if n not in set(labelled)]
                candidates = look_at(predictor, [train.paths[n] for n in rest])
                known = looks_of([train.paths[n] for n in labelled])
                chosen = pick(candidates, options.step, by, known=known, seed=100 * seed + number)
                labelled += [rest[n] for n in chosen]
    return measured


def learn(work: Path, data: Any, labelled: list[int], options: argparse.Namespace, seed: int) -> tuple[Any, Any]:
    """A run on some images of train, and its figures on holdout."""
    from hilum.config import load_config
    from hilum.datasets.folder import Dataset
    from hilum.eval.metrics import metric_value
    from hilum.predict import read_batches
    from hilum.train_run import train

    folder = Path(tempfile.mkdtemp(dir=work))
    some = part_of(data, labelled, folder / "data")
    config = load_config(options.config, [f"train.epochs={options.epochs}", f"seed={seed}", *options.set])
    predictor = train(config, Dataset.open(some), folder / "run")
    holdout = data.split("holdout")
    found = [each for images in read_batches(holdout.paths) for each in predictor.backend.predict_batch(images)]
    return predictor, {metric: metric_value(metric, holdout, found) for metric in options.metrics}


def part_of(data: Any, labelled: list[int], out: Path) -> Path:
    """A dataset folder whose train split is a part of another one's."""
    from hilum.datasets.folder import SPLITS
    from hilum.datasets.splits import LEAVES
    from hilum.datasets.writing import write_splits

    names = {data.split("train").image_ids[n] for n in labelled}
    parts = {name: data.coco(name) for name in SPLITS}
    ids = [image_id for _, its in parts.values() for image_id in its]
    keys = ("images", "annotations")
    coco: Any = {key: [each for part, _ in parts.values() for each in part[key]] for key in keys} | {"categories": []}
    table = data.metadata.loc[ids].copy()
    table["split"] = [
        name if name != "train" or image_id in names else LEAVES for name, (_, its) in parts.items() for image_id in its
    ]
    (out / "annotations").mkdir(parents=True)
    write_splits(out, table, coco)
    (out / "images").symlink_to(data.root / "images")
    record = {key: value for key, value in data.conversion.items() if not key.startswith("parent")}
    (out / "conversion.json").write_text(json.dumps(record))
    return out


def print_table(
    metric: str, measured: dict[tuple[str, int, int], dict[str, float]], options: argparse.Namespace
) -> None:
    """Means over seeds [least, most] by number of labels."""
    counts = sorted({count for _, _, count in measured})
    print(f"\n{metric} on holdout, mean of {options.seeds} seeds [least, most]\n")
    print(f"| labels | {' | '.join(options.by)} |\n| ---: |{' ---: |' * len(options.by)}")
    for count in counts:
        cells = []
        for by in options.by:
            values = [measured[by, seed, count][metric] for seed in range(options.seeds)]
            cells.append(f"{statistics.mean(values):.3f} [{min(values):.3f}, {max(values):.3f}]")
        print(f"| {count} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
