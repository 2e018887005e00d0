"""ultralytics' networks as data: an architecture (the model YAML) and plain tensors, never a pickle.

Building from an architecture can do harm as well: ultralytics evaluates its `activation` as Python and takes any name
in its own module for a layer, functions included. `build_network` checks both first, so that a run folder can come
from anybody.
"""

import re
from pathlib import Path
from typing import Any, Final

import torch
import yaml
from torch import nn

from hilum.detectors.private_ultralytics import Detect, tasks, ultralytics, v10Detect
from hilum.errors import HilumError

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
    return {key: value for key, value in architecture.items() if key in _KEYS} | {"nc": 1, "channels": 1}


def build_network(architecture: dict[str, Any]) -> nn.Module:
    """Build a detection network with random weights.

    Raises:
        HilumError: It is not an architecture that ultralytics can build, not a detector, or names what is no layer.
    """
    _check_layers(architecture)
    try:
        network: nn.Module = tasks.DetectionModel(dict(architecture), ch=1, nc=1, verbose=False)
    except Exception as error:  # ultralytics checks little, so anything may come out of here
        raise HilumError(f"model: ultralytics cannot build this architecture ({_one_line(error)})") from error
    head = network.get_submodule("model")[-1]  # type: ignore[index]
    if type(head) not in (Detect, v10Detect):
        raise HilumError(f"model: expected a detection model, which ends in Detect; this ends in {type(head).__name__}")
    network.names = {0: "opacity"}  # type: ignore[assignment]
    return network


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
    architecture = {key: value for key, value in dict(source.yaml).items() if key in _KEYS} | {"nc": 1, "channels": 1}
    network = build_network(architecture)
    source.names = dict(getattr(source, "names", {}))
    network.load(source, verbose=False)  # type: ignore[operator]
    # Loading may have widened a branch of the head, so the tensors must fit what `architecture` builds.
    fitting = build_network(architecture).state_dict()
    tensors = {
        name: tensor.detach().float() if tensor.is_floating_point() else tensor.detach()
        for name, tensor in network.state_dict().items()
        if name in fitting and fitting[name].shape == tensor.shape
    }
    return architecture, tensors


def _check_layers(architecture: dict[str, Any]) -> None:
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


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
