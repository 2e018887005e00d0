"""placeholder while it is written"""
from pathlib import Path
from hilum.eval.benchmark import Benchmark
def write_report(path: Path, found: Benchmark) -> None:
    return None
