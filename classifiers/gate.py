"""The backend `gate`: a classifier of timm's, which decides whether an image gets boxes at all."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

import hilum.classifiers.gate_network  # noqa: F401 - without its library there is no such backend
from hilum.classifiers.classes import class_loss, opacity_probability, possible_classes, shown_classes
from hilum.classifiers.gate_config import AUROC, GateConfig
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

    Of several classes it gives the probability of each, and the AUROC is the mean. It is a backend, so that it is
    trained, evaluated and compared like any other.
    """

    Config = GateConfig
    tunable = False
    reads_16_bits = True
    val_score = "image AUROC"

    @classmethod
    def check_start(cls, config: GateConfig, data: Dataset) -> None:
        """See `NetworkBackend.check_start`.

        Raises:
            HilumError: also where train or val has only images with opacity, or none, of each class; or the target is
                the challenge's, and the data has classes of its own.
        """
        if len(data.class_names) > 1 and config.target == "three_classes":
            raise HilumError(
                f"target: three_classes are those of the challenge, and {data.path} has {len(data.class_names)} of its "
                "own; say opacity, which gives the probability of each"
            )
        for split in (data.split("train"), data.split("val")):
            if all(len(set(each.positive)) < 2 for each in split.by_class().values()):
                what = "opacity" if len(data.class_names) == 1 else "one of the classes"
                raise HilumError(f"{data.path}: the {split.name} split needs images with {what}, and without")
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
        (truth,) = target
        if self._several:
            return F.binary_cross_entropy_with_logits(output.float(), truth.float())
        return class_loss(output, truth)

    def detections(self, output: Tensor, places: Sequence[Letterbox]) -> list[Detections]:
        """No boxes, and each image's probability."""
        answers = [no_detections() for _ in places]
        for detections, probability in zip(answers, self._probability(output).tolist(), strict=True):
            detections.metadata[IMAGE_PROBABILITY] = probability
        return answers

    def validate(self, squares: Squares, split: Split) -> dict[str, float]:
        """AUROC as `val_score`, or what else the config chooses by, and the loss."""
        parts = [(output, some) for _, output, some in self.predictions(squares, split)]
        logits = torch.cat([output for output, _ in parts])
        by_auroc = self._config.train.select == AUROC
        return {
            "val_score": _mean_auroc(split, self._probability(logits).numpy())
            if by_auroc
            else self.epoch_score(split, [each for _, some in parts for each in some]),
            "val_loss": float(self.loss(logits, self._possible(split, np.arange(len(split))))),
        }

    def choose(self, val: Split) -> dict[str, Any]:
        """Choose on val from which probability on an image is called one with opacity: Youden's point.

        Of several classes each has its own; one that all images of val show, or none, has 0.5. Where it gates boxes,
        the composition chooses anew, by the score of what is gated.
        """
        results = predict_all(Predictor(self, 0.0, val.class_names), val.paths)
        probability = np.array([result.class_probabilities or (result.image_probability,) for result in results])
        points = [
            float(np.nan_to_num(np.clip(youden_threshold(each.positive, its), 0, 1), nan=0.5))
            for each, its in zip(val.by_class().values(), probability.T, strict=True)
        ]
        return {
            "confidence": points if self._several else points[0],
            "val_score": _mean_auroc(val, probability),
            "figure": self.val_score,
        }

    @property
    def _several(self) -> bool:
        return len(self._config.class_names) > 1

    def _probability(self, logits: Tensor) -> Tensor:
        return logits.double().sigmoid() if self._several else opacity_probability(logits)

    def _possible(self, split: Split, numbers: Numbers) -> Tensor:
        if self._several:
            of_images = [split.class_ids[number] for number in numbers]
            return torch.from_numpy(shown_classes(of_images, len(self._config.class_names)))
        classes = [split.kinds[number] for number in numbers]
        opacity = split.positive[numbers]
        return torch.from_numpy(possible_classes(self._config.target, classes, opacity))


def _mean_auroc(split: Split, probability: NDArray[np.float64]) -> float:
    """Of (images,) or (images, classes): the mean over the classes that some images show and others do not."""
    of_classes = zip(split.by_class().values(), probability.reshape(len(split), -1).T, strict=True)
    known = [value for value in (auroc(each.positive, its) for each, its in of_classes) if not np.isnan(value)]
    return sum(known) / len(known) if known else float("nan")
