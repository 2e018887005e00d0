"""The backend `gate`: a classifier of timm's, which decides whether an image gets boxes at all."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

import hilum.classifiers.gate_network  # noqa: F401 - without its library there is no such backend
from hilum.classifiers.classes import class_loss, opacity_probability, possible_classes
from hilum.classifiers.gate_config import GateConfig
from hilum.datasets.augmentation import augment
from hilum.datasets.cache import Squares
from hilum.datasets.folder import Dataset, Split
from hilum.datasets.letterbox import Letterbox
from hilum.detections import Detections
from hilum.errors import HilumError
from hilum.eval.image_level import auroc, youden_threshold
from hilum.network_backend import NetworkBackend
from hilum.predict import Predictor, predict_all
from hilum.result import IMAGE_PROBABILITY, no_detections
from hilum.training.loop import Numbers


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
        classes = [split.kinds[number] for number in numbers]
        opacity = split.positive[numbers]
        return torch.from_numpy(possible_classes(self._config.target, classes, opacity))
