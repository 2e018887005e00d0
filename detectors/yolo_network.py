"""ultralytics' networks as data: an architecture (the model YAML) and plain tensors, never a pickle.

Building from an architecture can do harm as well: ultralytics evaluates its `activation` as Python and takes any name
in its own module for a layer, functions included. `build_network` checks both first, so that a run folder can come
from anybody.
"""

import copy
import re
from pathlib import Path
from typing import Any, Final

import torch
import yaml
from torch import nn

from hilum.detectors.private_ultralytics import Detect, RTDETRDecoder, tasks, ultralytics, v10Detect, xywh2xyxy
from hilum.errors import HilumError

# Those with words for classes (YOLO-World, YOLOE) would need a text model.
_HEADS: Final = (Detect, v10Detect, RTDETRDecoder)
# `TorchVision` downloads weights.
_REFUSED_LAYERS: Final = frozenset({"TorchVision"})
_ACTIVATION: Final = re.compile(r"(torch\.)?nn\.[A-Za-z0-9]+\((inplace=(True|False))?\)")
# What parse_model reads beside the tables of layers.
_KEYS: Final = frozenset(
    {"nc", "scales", "scale", "backbone", "head", "activation", "end2end", "reg_max", "depth_multiple"}
    | {"width_multiple", "channels"}
)


def read_architecture(model: str, replaced: dict[str, Any]) -> dict[str, Any]:
    """Find a model YAML and set it up for one class and one channel.

    Args:
        model: The path of a YAML file, or the name of one inside ultralytics with its scale: `yolo26n.yaml`.
        replaced: Keys of the YAML with other values, such as `scales: {n: [0.33, 0.25, 512]}`.

    Raises:
        HilumError: There is no such file, or it is no architecture of a detector.
    """
    try:
        if "://" in model:
            raise FileNotFoundError(model)  # ultralytics would download it
        architecture = dict(tasks.yaml_model_load(model))
    except (OSError, yaml.YAMLError, AssertionError, TypeError, ValueError) as error:
        version = ultralytics.__version__
        raise HilumError(f"model: '{model}' is neither a YAML file nor a model of ultralytics {version}") from error
    architecture.pop("yaml_file", None)  # a path of this machine
    if not architecture.get("scale"):
        architecture.pop("scale", None)
        if architecture.get("scales") or replaced.get("scales"):
            architecture["scale"] = next(iter({**architecture.get("scales", {}), **replaced.get("scales", {})}))
    unknown = sorted(set(replaced) - _KEYS)
    if unknown:
        raise HilumError(f"model_yaml.{unknown[0]}: unknown key; known here: {', '.join(sorted(_KEYS))}")
    architecture |= replaced
    return _for_grey_opacities(architecture)


def build_network(architecture: dict[str, Any]) -> nn.Module:
    """Build a detection network with random weights.

    Raises:
        HilumError: It is not an architecture that ultralytics can build, not a detector, or names what is no layer.
    """
    head = _check_layers(architecture)
    kind = tasks.RTDETRDetectionModel if head is RTDETRDecoder else tasks.DetectionModel
    try:
        network: nn.Module = kind(dict(architecture), ch=1, nc=1, verbose=False)
    except Exception as error:  # ultralytics checks little, so anything may come out of here
        raise HilumError(f"model: ultralytics cannot build this architecture ({_one_line(error)})") from error
    network.names = {0: "opacity"}  # type: ignore[assignment]
    return network


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


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Read the architecture and the weights off an ultralytics checkpoint, which is a pickle that can run code.

    Three-channel weights become one-channel weights, as ultralytics does it: the first layer's filters are summed.

    Raises:
        HilumError: There is no such file, or no detector in it.
    """
    if not path.is_file():
        raise HilumError(f"model: {path}: no such file; weights are not downloaded, fetch them and give their path")
    try:
        source, _ = tasks.load_checkpoint(path)
    except Exception as error:  # unpickling may raise anything
        raise HilumError(f"model: {path}: not a checkpoint of ultralytics ({_one_line(error)})") from error
    architecture = _for_grey_opacities(dict(source.yaml))
    network = build_network(architecture)
    source.names = dict(getattr(source, "names", {}))
    network.load(source, verbose=False)  # type: ignore[operator]
    # Loading may have widened a branch of the head, so the tensors must fit what `architecture` builds.
    fitting = build_network(architecture).state_dict()
    loaded = network.state_dict()
    for name, tensor in source.state_dict().items():  # ultralytics does this for YOLO's first layer, not for RT-DETR's
        if name in fitting and tensor.ndim == 4 and tensor.shape[1] == 3 and fitting[name].shape[1] == 1:
            loaded[name] = tensor.sum(1, keepdim=True)
    tensors = {
        name: tensor.detach().float() if tensor.is_floating_point() else tensor.detach()
        for name, tensor in loaded.items()
        if name in fitting and fitting[name].shape == tensor.shape
    }
    return architecture, tensors


def _for_grey_opacities(architecture: dict[str, Any]) -> dict[str, Any]:
    """What is needed of a model YAML, for one class and one channel."""
    needed = {key: copy.deepcopy(value) for key, value in architecture.items() if key in _KEYS}
    for row in needed.get("backbone") or []:
        if row[2:] and row[2] == "ResNetLayer" and row[3][0] == 3:  # it says its channels itself
            row[3][0] = 1
    return needed | {"nc": 1, "channels": 1}


def _check_layers(architecture: dict[str, Any]) -> type[nn.Module]:
    """Make sure that nothing but layers is built, and a detector of them; return the class of its head."""
    activation = architecture.get("activation")
    if activation is not None and not _ACTIVATION.fullmatch(str(activation)):
        raise HilumError(f"model: activation: expected something like nn.SiLU(), got {activation!r}")
    try:
        names = [row[2] for row in [*architecture["backbone"], *architecture["head"]]]
    except (KeyError, TypeError, IndexError) as error:
        raise HilumError("model: an architecture needs the tables `backbone` and `head`") from error
    for name in names:
        layer = getattr(nn, name[3:], None) if str(name).startswith("nn.") else getattr(tasks, str(name), None)
        if not (isinstance(layer, type) and issubclass(layer, nn.Module)) or name in _REFUSED_LAYERS:
            raise HilumError(f"model: {name!r} is not a layer that may be built")
    if layer not in _HEADS:
        heads = ", ".join(head.__name__ for head in _HEADS)
        raise HilumError(f"model: expected a detection model, which ends in one of {heads}; this ends in {name}")
    head: type[nn.Module] = layer
    return head


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
