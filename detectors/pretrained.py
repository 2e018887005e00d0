"""Weights to start a detector of torchvision with: from its hub or from a local file."""

import sys
from contextlib import redirect_stdout
from typing import Final

from torch import Tensor, nn
from torchvision.models import get_model_weights

from hilum.errors import HilumError

_HUB: Final = "IMAGENET1K_V1"  # torchvision's detectors were trained from these, V2 included


def hub_name(backbone: str) -> str:
    """What a backbone's weights are called in torchvision, such as ResNet50_Weights.IMAGENET1K_V1."""
    return str(get_model_weights(backbone)[_HUB])


def download(backbone: str) -> dict[str, Tensor]:
    """The classifier of a backbone as trained on ImageNet; from the local cache where it has been fetched before.

    Raises:
        HilumError: neither there nor here.
    """
    weights = get_model_weights(backbone)[_HUB]
    try:
        with redirect_stdout(sys.stderr):  # it tells that it downloads
            tensors: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # any layer of the network may fail
        raise HilumError(
            f"model.weights: cannot get {weights} from the hub ({type(error).__name__}); without a connection, fetch "
            f"{weights.url} elsewhere and give its path, or set it to none"
        ) from error
    return tensors


def is_detector(tensors: dict[str, Tensor]) -> bool:
    """Whether tensors are of a whole detector, of torchvision or of a run, and not of a classifier."""
    return any(name.removeprefix("detector.").startswith("backbone.") for name in tensors)


def load_classifier(classifier: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Put tensors into a classifier's layers, in place; its last ones, which tell ImageNet's classes, are left alone.

    Raises:
        HilumError: a tensor is missing or has another shape: nothing is loaded in part.
    """
    wanted = {
        name: tensor
        for name, tensor in classifier.state_dict().items()
        if not name.startswith(("fc.", "classifier.")) and not name.endswith("num_batches_tracked")
    }
    _check(wanted, tensors, source)
    classifier.load_state_dict({name: tensors[name] for name in wanted}, strict=False)


def load_detector(detector: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Put a detector's tensors into one of the same architecture, in place.

    Its backbone must be whole; of the rest what fits is taken: the layers for COCO's 90 classes do not, and anchors are
    those fitted to the data.

    Raises:
        HilumError: a tensor of the backbone is missing or has another shape: nothing is loaded in part.
    """
    given = {name.removeprefix("detector."): tensor for name, tensor in tensors.items()}
    own = {name: tensor for name, tensor in detector.state_dict().items() if not name.endswith("num_batches_tracked")}
    _check({name: tensor for name, tensor in own.items() if name.startswith("backbone.")}, given, source)
    fitting = {
        name: given[name]
        for name, tensor in own.items()
        if name in given and given[name].shape == tensor.shape and not name.endswith("sizes_wh")
    }
    detector.load_state_dict(fitting, strict=False)


def _check(wanted: dict[str, Tensor], given: dict[str, Tensor], source: str) -> None:
    missing = [name for name in wanted if name not in given]
    if missing:
        raise HilumError(
            f"model.weights: {source}: not the weights of this backbone: of its {len(wanted)} tensors {len(missing)} "
            f"are missing, {missing[0]} first; the file has {next(iter(given))} and {len(given) - 1} more"
        )
    for name, tensor in wanted.items():
        if given[name].shape != tensor.shape:
            raise HilumError(
                f"model.weights: {source}: not the weights of this backbone: {name} has shape "
                f"{tuple(given[name].shape)}, expected {tuple(tensor.shape)}"
            )
