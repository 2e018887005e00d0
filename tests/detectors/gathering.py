"""One process of several that validate together; test_gathering.py starts it, with the variables that torchrun sets.

It writes what the validator makes of five images, shared among the processes, to FOLDER/RANK.json.
"""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from hilum.detectors import private_ultralytics
from hilum.detectors.competition_trainer import CompetitionValidator
from hilum.detectors.yolo_network import build_network, read_architecture

RANK, WORLD = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])  # -1 is a process alone
FOLDER = Path(sys.argv[1])
IMAGES, SIZE = 5, 64


def main() -> None:
    if RANK >= 0:
        torch.distributed.init_process_group("gloo", f"file://{FOLDER / 'meet'}", rank=RANK, world_size=WORLD)
    args = private_ultralytics.get_cfg(overrides={"imgsz": SIZE, "plots": False, "save_dir": str(FOLDER)})
    validator = CompetitionValidator(SimpleNamespace(dataset=range(IMAGES)), save_dir=FOLDER, args=args)
    validator.data, validator.device = {"val": ""}, torch.device("cpu")
    validator.init_metrics(build_network(read_architecture("yolo26n.yaml", {"scales": {"n": [0.33, 0.03125, 256]}})))
    for number in range(max(RANK, 0), IMAGES, WORLD):
        validate_image(validator, number)
    validator.gather_stats()
    if RANK <= 0:
        found = {"images": len(validator._truth_xywh), "score": validator.get_stats()["fitness"]}
        (FOLDER / f"{RANK}.json").write_text(json.dumps(found))
    if RANK >= 0:
        torch.distributed.destroy_process_group()


def validate_image(validator: CompetitionValidator, number: int) -> None:
    """An image with one box and with predictions that are further off the higher its number."""
    box = np.array([10.0, 12, 40, 44])
    batch = {
        "img": torch.zeros(1, 1, SIZE, SIZE),
        "batch_idx": torch.zeros(1),
        "cls": torch.zeros(1, 1),
        "bboxes": torch.tensor([[*(box[:2] + box[2:]) / 2, *(box[2:] - box[:2])]], dtype=torch.float32) / SIZE,
        "ori_shape": [(SIZE, SIZE)],
        "ratio_pad": [None],
        "im_file": [f"{number}.jpg"],
    }
    pred = {
        "bboxes": torch.tensor(np.array([box + 2.5 * number])),
        "conf": torch.tensor([0.9 - 0.1 * number]),
        "cls": torch.zeros(1),
    }
    validator.update_metrics([pred], batch)


if __name__ == "__main__":
    main()
    # Gloo's threads may outlive the group; where the interpreter then ends in good order, it aborts about once in a
    # hundred runs ("terminate called without an active exception"). What this process had to say is in its file.
    os._exit(0)
