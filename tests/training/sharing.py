"""Trains tiny networks in several processes; started by test_distributed.py as `sharing.py OUT LOSS-PROCESSES...`.

It forks the processes, so that the heavy imports happen once. Each run folder below OUT is named as the argument.
"""

import os
import socket
import sys
import traceback
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hilum.segmenters.losses import LOSSES
from hilum.training.distributed import broadcast, is_rank_zero, processes, rank, world_size
from hilum.training.loop import fit, shuffled_batches
from hilum.training.settings import TrainSettings

IMAGES, BATCH = 11, 5  # batches of 5, 5 and 1: uneven shares, and a batch that is too small to share


def load(epoch: int, numbers: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    pictures = [torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(number)) for number in numbers.tolist()]
    x = torch.stack(pictures)
    return x, (x > 0.6 + 0.1 * epoch).float()


def train(loss: str, run: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))
    judged = []

    def validate(judge: nn.Module) -> dict[str, float]:
        judged.append(rank())
        return {"val_score": float(judge(torch.ones(1, 1, 8, 8)).mean())}

    fit(
        network,
        torch.optim.SGD(network.parameters(), lr=0.5),
        TrainSettings(epochs=3, batch_size=BATCH, learning_rate=0.5, schedule="constant"),
        run,
        seed=0,
        loss=LOSSES[loss],
        batches=lambda epoch: shuffled_batches(IMAGES, BATCH, 0, epoch),
        load=load,
        validate=validate,
        frozen=[network[1]],
    )
    if judged != [0, 0, 0] * is_rank_zero():
        raise SystemExit(f"process {rank()} validated {judged}")
    if broadcast(rank()) != 0:
        raise SystemExit("the first process did not tell")


def main() -> None:
    torch.set_num_threads(1)
    for name in sys.argv[2:]:
        loss, count = name.split("-")
        run = Path(sys.argv[1]) / name
        run.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": count}
        children = []
        for number in range(int(count)):
            if child := os.fork():
                children.append(child)
                continue
            os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number)}
            status = 1
            try:
                with processes():
                    if world_size() != int(count):
                        raise SystemExit(f"{world_size()} processes, not {count}")
                    train(loss, run)
                status = 0
            finally:
                if status:
                    traceback.print_exc()
                os._exit(status)
        statuses = [os.waitpid(child, 0)[1] for child in children]
        if any(statuses):
            raise SystemExit(f"{name} failed")


if __name__ == "__main__":
    main()
