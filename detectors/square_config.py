"""What every detector of square pictures is told."""

from typing import Self

from pydantic import Field, model_validator

from hilum.training.settings import NetworkConfig, TrainSettings


class SquareTraining(TrainSettings):
    """How a detector is trained, with AdamW."""

    epochs: int = Field(default=50, gt=0)
    batch_size: int = Field(default=8, gt=0)
    learning_rate: float = Field(default=2e-4, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)


class SquareConfig(NetworkConfig):
    """A config of a `SquareDetector`; a subclass says which network, and adds keys of its own.

    In training the network gives the loss of a `Batch`, a scalar. In evaluation it takes (N, size, size) uint8, and
    gives N dicts: `boxes` (boxes, 4), xyxy in pixels of the square, and `scores` (boxes,), 0..1, in any order; where
    `class_names` has several, also `class_ids` (boxes,), from 0 on.
    """

    image_size: int = Field(default=512, ge=64, le=2048, multiple_of=32)
    train: SquareTraining = SquareTraining()

    @model_validator(mode="after")
    def _has_statistics_to_freeze(self) -> Self:
        if self.train.freeze_batchnorm and self.start_key is not None and self.start == "none":
            raise ValueError(
                "train.freeze_batchnorm: random weights come with no statistics to keep; set it to false, or give "
                f"{self.start_key}"
            )
        return self
