"""What every detector of square pictures is told."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hilum.config import ExperimentConfig, Table
from hilum.datasets.augmentation_config import Augmentation

if TYPE_CHECKING:  # a config is read without torch
    from torch import nn

    from hilum.datasets.folder import Split


class SquareTraining(Table):
    """How a detector is trained, with AdamW."""

    epochs: int = Field(default=50, gt=0)
    batch_size: int = Field(default=8, gt=0)
    learning_rate: float = Field(default=2e-4, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    patience: int = Field(default=0, ge=0, description="stop after so many epochs without a better score; 0: never")
    ema: float = Field(default=0.0, ge=0, lt=1, description="decay of the moving average that is kept; 0: none")
    tensorboard: bool = False


class SquareConfig(ExperimentConfig):
    """A config of a `SquareDetector`; a subclass says which network, and adds keys of its own.

    Attributes:
        image_size: Side in pixels of the square that a picture is shown in.
        train: How it is trained.
        augmentation: How training pictures are varied.
    """

    image_size: int = Field(default=512, ge=64, le=2048, multiple_of=32)
    train: SquareTraining = SquareTraining()
    augmentation: Augmentation = Augmentation()

    def network(self) -> "nn.Module":
        """The network with random weights.

        In training it gives the loss of a `Batch`, a scalar. In evaluation it takes (N, size, size) uint8, and gives N
        dicts: `boxes` (boxes, 4), xyxy in pixels of the square, and `scores` (boxes,), 0..1, in any order.
        """
        raise NotImplementedError

    def first_network(self, train: "Split") -> "nn.Module":
        """The network that training starts with; pretrained or fitted to the train split, where a subclass says so."""
        del train
        return self.network()
