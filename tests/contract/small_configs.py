"""Configs that several folders of tests train with."""

from typing import Any, Final

RESNET: Final[dict[str, Any]] = {
    "backend": "resnet",
    "model": {"channels": 8, "blocks": 1, "depth": 3, "head": "plain"},
    "image_size": 64,
    "train": {"epochs": 8, "batch_size": 4, "learning_rate": 0.005},
    "boxes": {"threshold": 0.3},
}
"""Finds some of the generated opacities after a few seconds of training on a CPU."""
