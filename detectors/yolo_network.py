"""ultralytics' networks as data: an architecture (the model YAML) and plain tensors, never a pickle.

Building from an architecture can do harm as well, so `hilum.detectors.architecture` checks each first: a run folder can
come from anybody.
"""

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hilum.class_names import ONE_CLASS
from hilum.detectors.architecture import KEYS, SIDE, built, check_architecture, first_line
from hilum.detectors.inert_checkpoint import read_inert
from hilum.detectors.private_ultralytics import Detect, RTDETRDecoder, quietly, tasks, ultralytics, xywh2xyxy
from hilum.documents import read_yaml
from hilum.errors import HilumError
from hilum.run import MODEL, run_config
from hilum.training.checkpoint import start_from_run


def read_architecture(model: str, replaced: dict[str, Any], classes: int = 1) -> dict[str, Any]:
    """Find a model YAML and set it up for one channel and so many classes.

    Args:
        model: The path of a YAML file, or the name of one inside ultralytics with its scale: `yolo26n.yaml`.
        replaced: Keys of the YAML with other values, such as `scales: {n: [0.33, 0.25, 512]}`.
        classes: How many there are.

    Raises:
        HilumError: There is no such file, or it is no architecture of a detector.
    """
    architecture = read_yaml(_model_yaml(model)) | {"scale": tasks.guess_model_scale(model)}
    if not architecture.get("scale"):
        architecture.pop("scale", None)
        scales = [table for table in (architecture.get("scales"), replaced.get("scales")) if isinstance(table, dict)]
        if sizes := [size for table in scales for size in table]:
            architecture["scale"] = sizes[0]
    unknown = sorted(set(replaced) - KEYS)
    if unknown:
        raise HilumError(f"model_yaml.{unknown[0]}: unknown key; known here: {', '.join(sorted(KEYS))}")
    architecture |= replaced
    return _for_grey_pictures(architecture, classes)


def build_network(
    architecture: dict[str, Any], where: str = "model", size: int = SIDE, class_names: Sequence[str] = ONE_CLASS
) -> nn.Module:
    """Build a detection network with random weights.

    Args:
        architecture: What a model YAML says.
        where: It comes from, for errors.
        size: Side in pixels of the squares that it is to see.
        class_names: Of what it is to find.

    Raises:
        HilumError: It is not an architecture that ultralytics can build, not a detector, or names what is no layer; or
            it is of another number of classes.
    """
    head, classes = check_architecture(architecture, where, size), len(class_names)
    if architecture["nc"] != classes:
        raise HilumError(
            f"{where}: nc: expected {classes}, as there are classes, got {architecture['nc']}; train again"
        )
    kind = tasks.RTDETRDetectionModel if head is RTDETRDecoder else tasks.DetectionModel
    try:
        with quietly():
            network: nn.Module = built(lambda: kind(copy.deepcopy(architecture), ch=1, nc=classes, verbose=False))
    except Exception as error:  # ultralytics checks little, so anything may come out of here
        raise HilumError(f"{where}: ultralytics cannot build this architecture: {first_line(error)}") from error
    network.names = dict(enumerate(class_names))  # type: ignore[assignment]
    return network


def read_network(run: Path, size: int = SIDE, class_names: Sequence[str] = ONE_CLASS) -> nn.Module:
    """Build the network of a run of these classes, with random weights, for squares of so many pixels a side.

    Raises:
        HilumError: Its `model.yaml` cannot be read, or see `build_network`.
    """
    return build_network(read_yaml(run / MODEL), str(run / MODEL), size, class_names)


def is_rtdetr(network: nn.Module) -> bool:
    """Whether it is an RT-DETR, which finds boxes with a transformer's queries instead of a grid."""
    return isinstance(network, tasks.RTDETRDetectionModel)


def check_end_to_end(network: nn.Module, end_to_end: bool) -> None:
    """Make sure that boxes can be had in the way that the config says.

    Raises:
        HilumError: The network has no head without NMS, or none with it.
    """
    if is_rtdetr(network) and not end_to_end:
        raise HilumError("boxes.end_to_end: an RT-DETR needs no NMS; start from the config rtdetr, or say true")
    head = network.get_submodule("model")[-1]  # type: ignore[index]
    if isinstance(head, Detect) and end_to_end and not hasattr(head, "one2one_cv2"):
        raise HilumError(
            "boxes.end_to_end: this model has no head without NMS (YOLO26, YOLOv10 and RT-DETR do); say false"
        )


def queries_to_boxes(output: Any, size: int) -> torch.Tensor:
    """What an RT-DETR finds, in the form in which the other networks' heads without NMS give it.

    Args:
        output: (N, queries, 6), alone or first of a tuple: centre, width and height as shares of the square,
            confidence, class; by falling confidence.
        size: Side of the square in pixels.

    Returns:
        (N, queries, 6): xyxy in pixels of the square, confidence, class.
    """
    rows: torch.Tensor = output[0] if isinstance(output, tuple | list) else output
    return torch.cat([xywh2xyxy(rows[..., :4]) * size, rows[..., 4:]], dim=-1)


class QueriesToBoxes(nn.Module):
    """An RT-DETR that gives what `queries_to_boxes` makes of its output, for squares of one size."""

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        self.network, self.size = network, size

    def forward(self, squares: torch.Tensor) -> torch.Tensor:
        """(N, 1, size, size) in 0..1 to (N, queries, 6)."""
        return queries_to_boxes(self.network(squares), self.size)


def read_checkpoint(
    path: Path, *, trust: bool, class_names: Sequence[str] = ONE_CLASS
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Read the architecture and the weights off an ultralytics checkpoint, a pickle, which can run code.

    Of three-channel filters the sum is taken, as ultralytics does it for YOLO's first layer; here for RT-DETR's too.

    Args:
        path: Of the file.
        trust: Whether it is unpickled; else it is read as data.
        class_names: Of what the network is to find.

    Raises:
        HilumError: There is no such file, or no detector in it, or it cannot be read as data and is not trusted.
    """
    if not path.is_file():
        raise HilumError(f"model: {path}: no such file; weights are not downloaded, fetch them and give their path")
    try:
        read, stored = _unpickled(path) if trust else read_inert(path)
    except Exception as error:  # unpickling may raise anything
        if trust:
            raise HilumError(f"model: {path}: not a checkpoint of ultralytics: {first_line(error)}") from error
        raise HilumError(
            f"model: {path} cannot be read as data ({first_line(error)}), and is a pickle, which can run code when it "
            "is unpickled; say --trust if you trust where it comes from"
        ) from error
    architecture = _for_grey_pictures(read, len(class_names))
    tensors = {}
    for name, own in build_network(architecture, class_names=class_names).state_dict().items():
        if (tensor := stored.get(name)) is None:
            continue
        if tensor.ndim == 4 and own.shape[1] == 1 and tensor.shape == (own.shape[0], 3, *own.shape[2:]):
            tensor = tensor.float().sum(1, keepdim=True)
        if tensor.shape == own.shape:  # but the head's last layers, whose width depends on the number of classes
            tensors[name] = tensor.to(own.dtype)
    return architecture, tensors


def _unpickled(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    with quietly():
        source, _ = tasks.load_checkpoint(path)
    return dict(source.yaml), source.state_dict()


def read_run(run: Path, size: int) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The architecture and the weights of a finished run.

    Raises:
        HilumError: It is not finished, damaged, or not of this backend.
    """
    if not (run / MODEL).is_file():
        raise HilumError(f"model: {run}: holds no {MODEL}; expected a finished run of the backend yolo")
    network = read_network(run, size, run_config(run).class_names)
    start_from_run(network, run)
    return read_yaml(run / MODEL), network.state_dict()


def _for_grey_pictures(architecture: dict[str, Any], classes: int) -> dict[str, Any]:
    """What is needed of a model YAML, for so many classes and one channel."""
    needed = {key: copy.deepcopy(value) for key, value in architecture.items() if key in KEYS}
    rows = needed.get("backbone")
    for row in rows if isinstance(rows, list) else ():
        match row:
            case [_, _, "ResNetLayer", [3, *_] as arguments]:  # it says its channels itself
                arguments[0] = 1
    return needed | {"nc": classes, "channels": 1}


def _model_yaml(model: str) -> Path:
    """The file behind a path, or behind the name of a model with its size: `yolo26n.yaml` is one of `yolo26.yaml`."""
    newer = re.sub(r"\b(yolov[58][nsmlx])6(\.ya?ml)$", r"\1-p6\2", model)
    names = (newer, re.sub(r"(\d+)([nslmx])(.+)?$", r"\1\3", newer))
    for name in names:
        if Path(name).suffix in {".yaml", ".yml"} and Path(name).is_file():
            return Path(name)
    shipped = sorted((Path(ultralytics.__file__).parent / "cfg" / "models").rglob("*.yaml"))
    for name in names:
        if found := next((path for path in shipped if path.as_posix().endswith(f"/{name}")), None):
            return found
    raise HilumError(f"model: '{model}' is neither a YAML file nor a model of ultralytics {ultralytics.__version__}")
