"""The backend `gate`: a classifier of timm's, which decides whether an image gets boxes at all."""

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import hilum.classifiers.gate_network  # noqa: F401 - without its library there is no such backend
from hilum.classifiers.classes import class_loss, opacity_probability, possible_classes
from hilum.classifiers.gate_config import GateConfig
from hilum.config import ExperimentConfig, read_config
from hilum.datasets.augmentation import augment
from hilum.datasets.cache import Squares, square_pictures
from hilum.datasets.folder import Dataset, Split
from hilum.datasets.letterbox import Letterbox
from hilum.detections import Detections
from hilum.errors import HilumError
from hilum.eval.image_level import auroc, youden_threshold
from hilum.predict import Predictor, predict_all
from hilum.result import IMAGE_PROBABILITY, no_detections
from hilum.training.checkpoint import CHECKPOINT
from hilum.training.distributed import first_goes_first, wait
from hilum.training.loop import fit, in_company, pick_device, shuffled_batches
from hilum.training.network import load_network
from hilum.training.schedule import SCHEDULES

_BATCH = 16  # images that are judged at once


class GateClassifier:
    """Says how likely an image shows an opacity, and finds no box. The epoch with the highest AUROC on val is kept.

    It is a backend, so that it is trained, evaluated and compared like any other.
    """

    Config: ClassVar[type[ExperimentConfig]] = GateConfig
    distributed: ClassVar = True
    val_score: ClassVar = "image AUROC"
    """What epochs are chosen by."""

    def __init__(self, network: nn.Module, config: GateConfig) -> None:
        """Take a network with its weights, on the device where it shall run."""
        self._network = network.eval()
        self._config = config

    @classmethod
    def check_start(cls, config: GateConfig, data: Dataset) -> None:
        """See `hilum.backend.Backend.train`.

        Raises:
            HilumError: train or val has only images with opacity, or none; or the network cannot be built or loaded.
        """
        for split in (data.split("train"), data.split("val")):
            if len(set(_has_opacity(split))) < 2:
                raise HilumError(f"{data.path}: the {split.name} split needs images with opacity, and without")
        config.starting_network()

    @classmethod
    def train(cls, config: GateConfig, data: Dataset, run: Path) -> Self:
        """See `hilum.backend.Backend.train`.

        Raises:
            HilumError: the network cannot be built or loaded.
        """
        torch.manual_seed(config.seed)
        train, val = data.split("train"), data.split("val")
        # What a checkpoint holds need not be downloaded again.
        network = config.network() if (run / CHECKPOINT).is_file() else config.starting_network()
        network.to(pick_device())
        settings = config.train
        possible = torch.from_numpy(possible_classes(config.target, train.classes, _has_opacity(train)))
        with first_goes_first():
            squares = {name: square_pictures(data, name, config.image_size) for name in ("train", "val")}
        fit(
            network,
            torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay),
            loss=class_loss,
            batches=lambda epoch: in_company(shuffled_batches(len(train), settings.batch_size, config.seed, epoch)),
            load=lambda epoch, numbers: (_pictures(squares["train"], config, epoch, numbers), possible[numbers]),
            learning_rate=lambda epoch: SCHEDULES[settings.schedule](epoch, settings.epochs, settings.learning_rate),
            validate=lambda network: cls(network, config).measure(squares["val"], val),
            epochs=settings.epochs,
            seed=config.seed,
            run=run,
            patience=settings.patience,
            ema=settings.ema,
            tensorboard=settings.tensorboard,
        )
        wait()  # for the weights, which the first process stores
        return cls.load(run)

    @classmethod
    def load(cls, run: Path) -> Self:
        """See `hilum.backend.Backend.load`."""
        config = read_config(run, GateConfig)
        return cls(load_network(config.network, run), config)

    def network_to_export(self) -> nn.Module:
        """See `hilum.export.Exportable`."""
        return self._network

    def predict_probability(self, images: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
        """The probability, 0..1, that each image shows an opacity.

        Args:
            images: H x W each, any sizes, white bones.

        Returns:
            (images,).
        """
        size = self._config.image_size
        squares = [Letterbox.fit((image.shape[1], image.shape[0]), size).apply(image) for image in images]
        return self._judge(np.stack(squares))[0] if squares else np.zeros(0)

    def predict_batch(self, images: list[NDArray[np.uint8]]) -> list[Detections]:
        """See `hilum.backend.Backend.predict_batch`: no boxes, and each image's probability."""
        answers = [no_detections() for _ in images]
        for detections, probability in zip(answers, self.predict_probability(images).tolist(), strict=True):
            detections.metadata[IMAGE_PROBABILITY] = probability
        return answers

    def choose(self, val: Split) -> dict[str, Any]:
        """Choose on val from which probability on an image is called one with opacity: Youden's point.

        Where it gates boxes, the composition chooses anew, by the score of what is gated.
        """
        results = predict_all(Predictor(self, 0.0), val.paths)
        probability = np.array([result.image_probability for result in results])
        positive = _has_opacity(val)
        return {
            "confidence": float(np.clip(youden_threshold(positive, probability), 0, 1)),
            "val_score": auroc(positive, probability),
            "figure": self.val_score,
        }

    @torch.inference_mode()
    def _judge(self, squares: NDArray[np.uint8]) -> tuple[NDArray[np.float64], Tensor]:
        """Probabilities, (N,), and logits, (N, classes), of pictures (N, size, size)."""
        device = next(self._network.parameters()).device
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = self._network(_to_input(squares).to(device)).float().cpu()
        probability: NDArray[np.float64] = opacity_probability(logits).numpy()
        if not np.isfinite(probability).all():
            raise HilumError("the network's output is not finite: its weights are damaged; train again")
        return probability, logits

    def measure(self, squares: Squares, split: Split) -> dict[str, float]:
        """Figures of an epoch: AUROC as `val_score`, and the loss.

        Args:
            squares: the split's pictures.
            split: the truth.
        """
        parts = [self._judge(squares[start : start + _BATCH]) for start in range(0, len(split), _BATCH)]
        positive = _has_opacity(split)
        possible = torch.from_numpy(possible_classes(self._config.target, split.classes, positive))
        return {
            "val_score": auroc(positive, np.concatenate([probability for probability, _ in parts])),
            "val_loss": float(class_loss(torch.cat([logits for _, logits in parts]), possible)),
        }


def _has_opacity(split: Split) -> list[bool]:
    return [len(boxes) > 0 for boxes in split.boxes_xyxy]


def _to_input(squares: NDArray[np.uint8]) -> Tensor:
    """(N, size, size) to (N, 1, size, size) of brightness 0..1."""
    return torch.from_numpy(squares)[:, None].float() / 255


def _pictures(squares: Squares, config: GateConfig, epoch: int, numbers: NDArray[np.int64]) -> Tensor:
    """Pictures of some images, each varied by random numbers of its own."""
    nothing = np.zeros((0, 4))
    varied = []
    for number in numbers.tolist():
        rng = np.random.default_rng([config.seed, epoch, number])
        varied.append(augment(squares[number], nothing, config.augmentation, rng)[0])
    return _to_input(np.stack(varied))
