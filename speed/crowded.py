"""How long a training step takes alone and beside busy processes, as threads wait in one way or another.

    python speed/crowded.py                               # sample/unet; as torch comes, and as `hilum` sets it
    python speed/crowded.py --spins 0 300 3000 30000      # GOMP_SPINCOUNT: how often a thread looks before it sleeps
    python speed/crowded.py --config sample/lite-unet --busy 4

Each way is a process of its own, which steps when it is told, in turns, while the others sleep. A step is forward,
loss, backward and optimizer on one batch, with a thread a core. Busy processes do nothing, all the time.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from typing import Any

BUSY = "while True: pass"


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="sample/unet")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5, help="of a turn")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--busy", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--spins", type=int, nargs="*", default=[], help="values of GOMP_SPINCOUNT")
    parser.add_argument("--contestant", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        serve(options)
        return
    from hilum.__main__ import WAITING

    ways = {"as torch comes": {}, "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"}, "hilum": WAITING}
    ways |= {f"GOMP_SPINCOUNT={spins}": {"GOMP_SPINCOUNT": str(spins)} for spins in options.spins}
    running = {name: start(way, options) for name, way in ways.items()}
    alone = measure(running, options.rounds)
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(options.busy)]
    try:
        crowded = measure(running, options.rounds)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    for process in running.values():
        process.stdin.close()
        process.wait()
    print(f"{options.config}, batch {options.batch}, {options.threads} threads, {os.cpu_count()} cores; ms a step,")
    print(f"medians of {options.rounds} interleaved turns [least, most]; load {os.getloadavg()[0]:.1f}")
    print(f"{'':26} {'alone':>26} {'beside ' + str(options.busy) + ' busy processes':>32}")
    first = next(iter(running))
    for name in running:
        cells = [
            f"{statistics.median(of[name]):7.1f} [{min(of[name]):.1f}, {max(of[name]):.1f}]"
            f" {statistics.median(of[first]) / statistics.median(of[name]):5.2f} x"
            for of in (alone, crowded)
        ]
        print(f"{name:26} {cells[0]:>26} {cells[1]:>32}")


def measure(running: dict[str, Any], rounds: int) -> dict[str, list[float]]:
    """Milliseconds a step of each, in turns; a first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in running}
    for number in range(rounds + 1):
        for name, process in running.items():
            process.stdin.write("go\n")
            process.stdin.flush()
            took = float(process.stdout.readline())
            time.sleep(0.1)  # threads that still spin would slow the next one
            if number:
                times[name].append(took)
    return times


def start(way: dict[str, str], options: argparse.Namespace) -> Any:
    """A process whose threads wait in that way."""
    kept = {key: value for key, value in os.environ.items() if key not in {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}}
    words = [sys.executable, __file__, "--contestant", "--config", options.config, "--batch", str(options.batch)]
    words += ["--steps", str(options.steps), "--threads", str(options.threads)]
    environment = {**kept, **way, "OMP_NUM_THREADS": str(options.threads)}
    return subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def serve(options: argparse.Namespace) -> None:
    """Step whenever a line comes, and answer with the milliseconds of a step."""
    import torch

    from hilum.config import load_config
    from hilum.segmenters.keras_conventions import KerasAdam
    from hilum.segmenters.losses import with_image_loss
    from hilum.system import keep_freed_memory
    from hilum.training.loop import step

    torch.set_num_threads(options.threads)
    keep_freed_memory()
    config: Any = load_config(options.config)
    network = config.network().train()
    optimizer = KerasAdam(network.parameters(), lr=1e-3)
    loss = with_image_loss(config.train.pixel_loss, config.train.image_loss)
    x = torch.rand(options.batch, 1, config.image_size, config.image_size)
    y = (torch.rand_like(x) > 0.9).float()
    for _ in sys.stdin:
        begin = time.perf_counter()
        for _ in range(options.steps):
            step(network, optimizer, loss, x, y, bfloat16=False)
        print((time.perf_counter() - begin) * 1000 / options.steps, flush=True)


if __name__ == "__main__":
    main()
