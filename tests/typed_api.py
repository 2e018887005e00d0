"""What mypy sees of the public names: `tests/test_api.py` has it check this file, which is never run."""

from collections.abc import Iterator
from pathlib import Path
from typing import assert_type

import numpy as np
import pydicom

import hilum
from hilum.commands.benchmark import Benchmarked
from hilum.commands.split import CheckedSplit
from hilum.commands.train import TrainedRun
from hilum.comparison.marked import MarkedEvaluation
from hilum.comparison.results import Evaluation
from hilum.datasets.folder import Dataset
from hilum.eval.bootstrap import Interval
from hilum.tune_run import Tuning

assert_type(hilum.convert("KAGGLE", Path("DATA"), bits=16, patients="patients.csv"), Dataset)
assert_type(hilum.split("DATA", "five", folds=5), list[CheckedSplit])
assert_type(hilum.train("unet", "DATA", "RUN", "train.epochs=1"), TrainedRun)
assert_type(hilum.tune("RUN", "DATA", at="sensitivity=0.9"), Tuning)
assert_type(hilum.evaluate("RUN", "DATA"), Evaluation | MarkedEvaluation)
assert_type(hilum.evaluate("RUN", "DATA").entries[-1].score, Interval)
assert_type(hilum.benchmark("DATA", "unet", Path("RUN"), out="BENCHMARK"), Benchmarked)
predictor = hilum.load("RUN")
assert_type(predictor, hilum.Predictor)
assert_type(predictor.predict([b"", Path("a"), "a", np.zeros((8, 8)), pydicom.Dataset()]), Iterator[hilum.Result])
with open("a.dcm", "rb") as file:  # noqa: PTH123 - the file that Python itself opens
    assert_type(next(predictor.predict(file)).detections, hilum.Detections)
hilum.convert("KAGGLE", "DATA", bits=12)  # type: ignore[arg-type]
hilum.nothing()  # type: ignore[attr-defined]
