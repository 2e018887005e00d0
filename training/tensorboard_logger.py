"""The logger `tensorboard`: event files in `RUN/tensorboard`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.training.loggers import TENSORBOARD

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError as error:
    raise ImportError('TensorBoard (Apache-2.0) is missing: pip install "hilum[tensorboard]"') from error


class TensorBoard:
    """A `hilum.training.loggers.Logger`."""

    def __init__(self, run: Path, config: Mapping[str, Any], done: int) -> None:
        # TensorBoard leaves out what an interrupted run wrote after its checkpoint.
        self._writer: Any = SummaryWriter(str(run / TENSORBOARD), purge_step=done + 1)
        if not done and config:
            self._writer.add_text("config", "\n".join(f"    {key}: {value}" for key, value in config.items()))

    def figures(self, epoch: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def picture(self, name: str, pixels: NDArray[np.uint8]) -> None:
        self._writer.add_image(name, pixels, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()
