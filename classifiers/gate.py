"""The backend `gate`: a classifier of timm's, which decides whether an image gets boxes at all."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from pydantic import Field, field_validator, model_validator
from supervision import Detections
from torch import Tensor

from hilum.classifiers.classes import CLASSES, Target, class_loss, opacity_probability, possible_classes
from hilum.classifiers.gate_network import GateNetwork
from hilum.config import Table
from hilum.datasets.augmentation import augment
from hilum.datasets.cache import Squares
from hilum.datasets.folder import Dataset, Split
from hilum.datasets.letterbox import Letterbox
from hilum.errors import HilumError
from hilum.eval.image_level import auroc, youden_threshold
from hilum.network_backend import NetworkBackend
from hilum.predict import Predictor, predict_all
from hilum.result import IMAGE_PROBABILITY, no_detections
from hilum.training.loop import Numbers
from hilum.training.pretrained import check_in_timm, start_encoder, timm_repository, weights_source
from hilum.training.settings import NetworkConfig, TrainSettings


class GateModel(Table):
    """The network.

    Attributes:
        name: Of timm, `resnet18` or with the weights to take, `resnet18.a1_in1k`.
        weights: Where it starts: `none` (random), `hub` (downloaded once, when training begins), or the path of a file
            of tensors. A run folder is whole without it.
        dropout: Of the pooled features.
    """

    name: str = "resnet18"
    weights: str = "none"
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        check_in_timm(name, "name")
        return name

    @model_validator(mode="after")
    def _on_the_hub(self) -> Self:
        if self.weights == "hub":
            timm_repository(self.name)
        return self


class GateTraining(TrainSettings):
    """How it is trained, with AdamW; epochs are chosen by the AUROC."""

    batch_size: int = Field(gt=1)
    weight_decay: float = Field(default=0.01, ge=0)


class GateConfig(NetworkConfig):
    """A config with `backend: gate`.

    Attributes:
        target: `opacity` or not; or `three_classes`, which also tells normal images from those with other findings,
            of which most false alarms are.
        model: The network.
    """

    target: Target = "opacity"
    model: GateModel = GateModel()
    train: GateTraining

    @property
    def pretraining(self) -> str | None:
        """The hub's repository, or the file's name, of the weights that it starts with."""
        return weights_source(self.model.weights, lambda: timm_repository(self.model.name))

    def network(self) -> GateNetwork:
        """The network with random weights.

        Raises:
            HilumError: it cannot be built for pictures of this size.
        """
        outputs = 2 if self.target == "opacity" else len(CLASSES)
        try:
            return GateNetwork(self.model.name, outputs, self.model.dropout, self.image_size)
        except Exception as error:  # timm's networks check sizes with any exception
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise HilumError(
                f"model.name: {self.model.name} cannot be built for image_size {self.image_size} ({reason})"
            ) from error

    def starting_network(self) -> GateNetwork:
        """The network that training starts with, which may be pretrained.

        Raises:
            HilumError: it cannot be built, or its weights cannot be had, or are not of this network.
        """
        network = self.network()
        start_encoder(network.encoder, self.model.weights, lambda: (timm_repository(self.model.name), None))
        return network


class GateClassifier(NetworkBackend):
    """Says how likely an image shows an opacity, and finds no box. The epoch with the highest AUROC on val is kept.

    It is a backend, so that it is trained, evaluated and compared like any other.
    """

    Config = GateConfig
    tunable = False
    val_score = "image AUROC"

    @classmethod
    def check_start(cls, config: GateConfig, data: Dataset) -> None:
        """See `NetworkBackend.check_start`.

        Raises:
            HilumError: also where train or val has only images with opacity, or none.
        """
        for split in (data.split("train"), data.split("val")):
            if len(set(split.positive)) < 2:
                raise HilumError(f"{data.path}: the {split.name} split needs images with opacity, and without")
        super().check_start(config, data)

    def load_batch(self, squares: Squares, split: Split, epoch: int, numbers: Numbers) -> tuple[Tensor, Tensor]:
        """Pictures (N, size, size), varied, and the classes that they may have."""
        varied = []
        for number in numbers.tolist():
            rng = np.random.default_rng([self._config.seed, epoch, number])
            varied.append(augment(squares[number], np.zeros((0, 4)), self._config.augmentation, rng)[0])
        return torch.from_numpy(np.stack(varied)), self._possible(split, numbers)

    def prepare(self, *loaded: Any) -> tuple[Any, ...]:
        """The pictures as the network takes them."""
        pictures, possible = loaded
        return self.to_input(pictures), possible

    def loss(self, output: Any, *target: Any) -> Tensor:
        return class_loss(output, *target)

    def detections(self, output: Tensor, places: Sequence[Letterbox]) -> list[Detections]:
        """No boxes, and each image's probability."""
        answers = [no_detections() for _ in places]
        for detections, probability in zip(answers, opacity_probability(output).tolist(), strict=True):
            detections.metadata[IMAGE_PROBABILITY] = probability
        return answers

    def validate(self, squares: Squares, split: Split) -> dict[str, float]:
        """AUROC as `val_score`, and the loss."""
        logits = torch.cat([output for _, output, _ in self.predictions(squares, split)])
        return {
            "val_score": auroc(split.positive, opacity_probability(logits).numpy()),
            "val_loss": float(class_loss(logits, self._possible(split, np.arange(len(split))))),
        }

    def choose(self, val: Split) -> dict[str, Any]:
        """Choose on val from which probability on an image is called one with opacity: Youden's point.

        Where it gates boxes, the composition chooses anew, by the score of what is gated.
        """
        results = predict_all(Predictor(self, 0.0), val.paths)
        probability = np.array([result.image_probability for result in results])
        positive = val.positive
        return {
            "confidence": float(np.clip(youden_threshold(positive, probability), 0, 1)),
            "val_score": auroc(positive, probability),
            "figure": self.val_score,
        }

    def _possible(self, split: Split, numbers: Numbers) -> Tensor:
        classes = [split.classes[number] for number in numbers]
        opacity = split.positive[numbers]
        return torch.from_numpy(possible_classes(self._config.target, classes, opacity))
