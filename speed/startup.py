"""How long commands take from start to end, as multiples of `python -c "import torch"`.

    python speed/startup.py [RUN PICTURE]

Whole processes, in turn, five of each; the median of their times and of the ratios. With a run and a picture it also
predicts that.
"""

import subprocess
import sys
import tempfile
import time
from statistics import median

ROUNDS = 5


def seconds(command: list[str]) -> float:
    """What a process takes."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Time and print them."""
    python, hilum = [sys.executable], [sys.executable, "-m", "hilum"]
    commands = {
        "import torch": [*python, "-c", "import torch"],
        "hilum --help": [*hilum, "--help"],
        **{f"hilum config {name}": [*hilum, "config", name] for name in ("unet", "yolo26n", "winners")},
    }
    with tempfile.TemporaryDirectory() as folder:
        if sys.argv[1:]:
            commands["hilum predict RUN PICTURE"] = [*hilum, "predict", *sys.argv[1:3], folder, "--overwrite"]
        for command in commands.values():  # files come from the disk's cache
            seconds(command)
        rounds = [{name: seconds(command) for name, command in commands.items()} for _ in range(ROUNDS)]
    for name in commands:
        ratio = median(each[name] / each["import torch"] for each in rounds)
        print(f"{name:28} {median(each[name] for each in rounds):6.2f} s  {ratio:5.2f}")


if __name__ == "__main__":
    main()
