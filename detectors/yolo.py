"""The backend `yolo`: ultralytics' detectors, YOLO26 by default."""

from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch
import torchvision  # noqa: F401 - where it is imported, and only there, ultralytics' NMS is not a loop in Python
import yaml
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from hilum.backend import Backend
from hilum.config import read_config
from hilum.datasets.folder import Dataset
from hilum.datasets.letterbox import letterbox_batch
from hilum.detections import Detections
from hilum.detectors.architecture import first_line
from hilum.detectors.competition_trainer import FILL
from hilum.detectors.private_ultralytics import non_max_suppression, quietly
from hilum.detectors.run_trainer import RunTrainer
from hilum.detectors.yolo_config import YOLOConfig
from hilum.detectors.yolo_network import (
    QueriesToBoxes,
    build_network,
    check_end_to_end,
    is_rtdetr,
    queries_to_boxes,
    read_architecture,
    read_checkpoint,
    read_network,
    read_run,
)
from hilum.errors import HilumError
from hilum.eval.metrics import metric_named
from hilum.files import write_atomically
from hilum.result import detections_in_picture
from hilum.run import MODEL, OUTPUTS, START
from hilum.runtimes import ExportedNetwork, few_threads
from hilum.training.checkpoint import load_checkpoint
from hilum.training.device import deterministic, pick_device, wanted_device
from hilum.training.network import load_network

CONFIDENCE_FLOOR: Final = 0.001
MAX_BOXES: Final = 100
# A CPU takes a batch in parts of two images of 640 px: what the network makes of more does not stay in its caches.
CPU_PIXELS: Final = 2 * 640 * 640


class YOLODetector(Backend):
    """Detects with an ultralytics model. It keeps nothing between calls."""

    Config = YOLOConfig
    _network: nn.Module

    def __init__(self, network: nn.Module, config: YOLOConfig) -> None:
        """Take a network that `build_network` built, with its weights, on the device where it shall run.

        Or one that was exported, after all that is done here.
        """
        self._config = config
        if isinstance(network, ExportedNetwork):
            self._network, self._queries = network, False
            return
        network.end2end = config.boxes.end_to_end  # type: ignore[assignment]
        # BatchNorm goes into the convolutions, and the head that is not used away: the same boxes, sooner.
        self._queries = is_rtdetr(network)
        with quietly():
            self._network = network.eval().fuse(verbose=False)  # type: ignore[operator]
            self._network.set_head_attr(max_det=_most_boxes(config))  # type: ignore[operator]
        if next(network.parameters()).device.type == "cpu":
            self._network.to(memory_format=torch.channels_last)  # in which oneDNN computes

    @classmethod
    def check_start(cls, config: YOLOConfig, data: Dataset) -> None:
        del data
        metric_named(config.train.select)
        _read_start(config)

    @classmethod
    def train(cls, config: YOLOConfig, data: Dataset, run: Path) -> Self:
        """See `hilum.backend.Backend.train`.

        Raises:
            HilumError: There is no such model, or it cannot be trained.
        """
        if not (run / MODEL).is_file():
            architecture, tensors = _read_start(config)
            if tensors is not None:
                save_file(tensors, run / START)
            write_atomically(run / MODEL, yaml.safe_dump(architecture, sort_keys=False))
        state = load_checkpoint(run)
        if state is None or state.get("finished") is not True:
            del state
            _train(config, data, run)
        if not (run / "weights.safetensors").is_file():
            raise HilumError(f"{run}: training ended without an epoch that was validated")
        (run / START).unlink(missing_ok=True)
        return cls.load(run)

    @classmethod
    def load(cls, run: Path) -> Self:
        config = read_config(run, YOLOConfig)
        return cls(load_network(lambda: read_network(run, config.image_size, config.class_names), run), config)

    def network_to_export(self) -> nn.Module:
        # One tensor, and a grid that is made for every batch: the one that is kept is of the batch's own shape. That of
        # RT-DETR is not, and there `dynamic` would leave open how many boxes there are.
        with quietly():
            self._network.set_head_attr(export=True, dynamic=not self._queries)  # type: ignore[operator]
        return QueriesToBoxes(self._network, self._config.image_size) if self._queries else self._network

    def predict_batch(self, images: list[NDArray[np.uint8]]) -> list[Detections]:
        if not images:
            return []
        places, squares = letterbox_batch(images, self._config.image_size, FILL, self._config.interpolation)
        found = zip(self._detect(squares), places, strict=True)
        return [detections_in_picture(rows[:, :4], rows[:, 4], place, rows[:, 5]) for rows, place in found]

    def _detect(self, squares: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
        """(N, size, size) to N times (boxes, 6): xyxy in pixels of the square, confidence, class."""
        device = next(self._network.parameters()).device
        at_once = max(1, CPU_PIXELS // squares[0].size) if device.type == "cpu" else len(squares)
        found: list[NDArray[np.float64]] = []
        with torch.inference_mode(), few_threads(self._network):
            for images in torch.split(torch.from_numpy(squares)[:, None], at_once):
                output = self._network(images.to(device).float() / 255)
                first = output[0] if isinstance(output, tuple | list) else output
                if not bool(torch.isfinite(first).all()):  # no comparison holds for NaN: no box, and no word
                    raise HilumError("the network's output is not finite: its weights are damaged; train again")
                if self._queries:
                    output = queries_to_boxes(output, self._config.image_size)
                rows = non_max_suppression(
                    output,
                    CONFIDENCE_FLOOR,
                    self._config.boxes.nms_iou,
                    multi_label=True,  # of several classes, as validation has it
                    max_det=_most_boxes(self._config),
                    max_time_img=float("inf"),  # else a slow machine silently leaves out the last images of a batch
                    end2end=self._config.boxes.end_to_end,
                )
                found += [image.double().cpu().numpy() for image in rows]
        return found


def _most_boxes(config: YOLOConfig) -> int:
    """So many an image: of several classes more, so that a frequent one leaves room for the others."""
    return MAX_BOXES * len(config.class_names)


def _read_start(config: YOLOConfig) -> tuple[dict[str, Any], dict[str, torch.Tensor] | None]:
    """The architecture, and the weights to start from where the config names some.

    Raises:
        HilumError: There is no such model, or it does not go with the rest of the config.
    """
    tensors = None
    if config.starts_from is not None:
        theirs, tensors = read_run(config.starts_from, config.image_size)
        architecture = {**theirs, "nc": len(config.class_names)}
    elif config.from_checkpoint:
        architecture, tensors = read_checkpoint(Path(config.model), trust=config.trust, class_names=config.class_names)
    else:
        architecture = read_architecture(config.model, config.model_yaml, len(config.class_names))
    # An error shall come before training.
    network = build_network(architecture, size=config.image_size, class_names=config.class_names)
    check_end_to_end(network, config.boxes.end_to_end)
    stride = int(network.stride.max())  # type: ignore[operator]
    if config.image_size % stride:
        raise HilumError(f"image_size: expected a multiple of this model's stride {stride}, got {config.image_size}")
    if tensors is not None:  # those of the head depend on the number of classes
        own = network.state_dict()
        tensors = {name: tensor for name, tensor in tensors.items() if tensor.shape == own[name].shape}
    return architecture, tensors


def _train(config: YOLOConfig, data: Dataset, run: Path) -> None:
    try:
        with deterministic(wanted=False):  # ultralytics leaves on what it turns on
            RunTrainer(overrides=_overrides(config, data, run)).train()
    except HilumError:
        raise
    except Exception as error:  # ultralytics checks most of its settings where it uses them, with any exception
        if isinstance(error, OSError) and error.errno is not None:  # a full disk, say, and no setting
            raise HilumError(f"{error.filename or run}: {error.strerror}") from error
        raise HilumError(f"{run}: ultralytics cannot train it: {first_line(error)}") from error


def _overrides(config: YOLOConfig, data: Dataset, run: Path) -> dict[str, Any]:
    """The run as ultralytics' settings."""
    return {
        "plots": False,
        **({} if wanted_device() == "auto" else {"device": str(pick_device())}),
        **config.ultralytics,
        "model": str(run / MODEL),
        "data": str(data.yaml_path),
        "save_dir": str(run / OUTPUTS),
        "exist_ok": True,
        "imgsz": config.image_size,
        "epochs": config.train.epochs,
        "batch": config.train.batch_size,
        "seed": config.seed,
        "iou": config.boxes.nms_iou,
        "nms": False if config.boxes.end_to_end else None,
        "conf": CONFIDENCE_FLOOR,
        "max_det": _most_boxes(config),
        "verbose": False,
    }
