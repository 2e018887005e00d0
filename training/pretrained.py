"""Weights that training starts with: of a hub, a package or a local file, matched tensor by tensor.

A config's `weights` says `none` (random ones), `hub` (downloaded once, when training begins), `package` (out of an
installed package, see `packaged_weights`), or the path of a file.
"""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from hilum.errors import HilumError
from hilum.training.packaged_weights import package_of, packaged_tensors
from hilum.training.tensors import read_tensors

CHOICES: Final = "none, hub, package"
"""What `model.weights` takes beside a path."""

# ImageNet's mean and standard deviation, averaged over the colours: what pretrained filters are used to.
GREY_MEAN: Final = 0.449
GREY_STD: Final = 0.226
_TORCHVISIONS: Final = "IMAGENET1K_V1"  # torchvision's detectors were trained from these, V2 included


def weights_source(weights: str, name: str, hub_name: Callable[[], str]) -> str | None:
    """What a run of timm's network `name` says that it started with: the hub's name, the package's, or the file's.

    None for random weights.
    """
    if weights == "none":
        return None
    if weights == "package":
        return package_of(name)
    return hub_name() if weights == "hub" else Path(weights).name


def nearest(name: str, names: list[str]) -> str | None:
    """A hint at the name that was meant."""
    near = get_close_matches(name, names, 1)
    return f"did you mean '{near[0]}'?" if near else None


def check_in_timm(name: str, key: str, prefix: str = "") -> None:
    """Make sure that timm has a network of the name, which has `prefix` before it, and perhaps weights after a dot.

    Raises:
        ValueError: it has none, with the nearest name.
    """
    import timm

    plain = name.partition(".")[0]
    models = [f"{prefix}{each}" for each in timm.list_models()]
    if plain not in models:
        hint = nearest(plain, models) or "`timm.list_models()` lists them"
        raise ValueError(f"{key}: no '{name}' in timm {timm.__version__}; {hint}")


def timm_repository(name: str) -> str:
    """The repository of the hub that holds the weights of a network of timm.

    Raises:
        ValueError: there is none that can be read.
    """
    import timm

    settings: Any = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if settings is None or not settings.hf_hub_id or settings.hf_hub_filename:
        raise ValueError(f"weights: the hub has none of '{name}' that can be read; give a file, or none")
    return str(settings.hf_hub_id)


def start_encoder(
    encoder: nn.Module, weights: str, name: str, hub_address: Callable[[], tuple[str, str | None]]
) -> None:
    """Put the weights that a config names into an encoder of one input channel, timm's `name`, in place.

    On the Hugging Face hub they have a repository, and a revision where one is fixed.

    Raises:
        HilumError: they cannot be had, or are not this encoder's: nothing is loaded in part.
    """
    if weights == "none":
        return
    if weights == "package":
        tensors = packaged_tensors(name)
    else:
        path = download(*hub_address()) if weights == "hub" else Path(weights)
        tensors = read_tensors(path, "model.weights", CHOICES)
    load_encoder(encoder, tensors, str(weights_source(weights, name, lambda: hub_address()[0])))


def load_encoder(encoder: nn.Module, tensors: Mapping[str, Tensor], source: str, part: str = "encoder") -> None:
    """Put tensors into an encoder of one input channel, in place; others, such as those of a classifier, are left out.

    timm names a layer `stages.0` in a classifier and `stages_0` in an encoder, and a whole network's file has a prefix;
    neither matters here. Filters for three colours are summed, which is what they compute of a grey picture.

    Raises:
        HilumError: a tensor of the encoder is missing, or has another shape: nothing is loaded in part.
    """
    wanted = {name.removeprefix("model.").replace(".", "_"): tensor for name, tensor in _of_weights(encoder).items()}
    given = {name.replace(".", "_"): tensor for name, tensor in tensors.items()}
    first = next(iter(wanted))
    prefixes = [name.removesuffix(first) for name in given if name.endswith(first)] or [""]
    prefix = max(prefixes, key=lambda prefix: sum(prefix + name in given for name in wanted))
    found = {name: given[prefix + name] for name in wanted if prefix + name in given}
    for name, tensor in found.items():
        if tensor.ndim == 4 and tensor.shape[1] == 3 and wanted[name].shape[1] == 1:
            found[name] = tensor.sum(1, keepdim=True)
    _check(wanted, found, part, source, tensors)
    with torch.no_grad():
        for name, target in wanted.items():
            target.copy_(found[name])


def is_detector(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors are of a whole detector, of torchvision or of a run, and not of a classifier."""
    return any(name.removeprefix("detector.").startswith("backbone.") for name in tensors)


def load_classifier(classifier: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Put tensors into a classifier's layers, in place; its last ones, which tell ImageNet's classes, are left alone.

    Raises:
        HilumError: a tensor is missing or has another shape: nothing is loaded in part.
    """
    own = _of_weights(classifier).items()
    wanted = {name: tensor for name, tensor in own if not name.startswith(("fc.", "classifier."))}
    _check(wanted, tensors, "backbone", source, tensors)
    classifier.load_state_dict({name: tensors[name] for name in wanted}, strict=False)


def load_detector(detector: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Put a detector's tensors into one of the same architecture, in place.

    Its backbone must be whole; of the rest what fits is taken: the layers for COCO's 90 classes do not, and anchors are
    those fitted to the data.

    Raises:
        HilumError: a tensor of the backbone is missing or has another shape: nothing is loaded in part.
    """
    given = {name.removeprefix("detector."): tensor for name, tensor in tensors.items()}
    own = _of_weights(detector)
    backbone = {name: tensor for name, tensor in own.items() if name.startswith("backbone.")}
    _check(backbone, given, "backbone", source, given)
    fitting = {
        name: given[name]
        for name, tensor in own.items()
        if name in given and given[name].shape == tensor.shape and not name.endswith("sizes_wh")
    }
    detector.load_state_dict(fitting, strict=False)


def download(repository: str, revision: str | None) -> Path:
    """Fetch the `model.safetensors` of a repository of the Hugging Face hub, or find it in its local cache.

    Raises:
        HilumError: neither there nor here.
    """
    import huggingface_hub

    with _fetching("model.weights", f"{repository} from the hub", "its model.safetensors", ", or set it to none"):
        return Path(huggingface_hub.hf_hub_download(repository, "model.safetensors", revision=revision))


def torchvision_name(backbone: str) -> str:
    """What a backbone's weights are called in torchvision, such as ResNet50_Weights.IMAGENET1K_V1."""
    from torchvision.models import get_model_weights

    return str(get_model_weights(backbone)[_TORCHVISIONS])


def download_classifier(backbone: str) -> dict[str, Tensor]:
    """The classifier of torchvision's backbone as trained on ImageNet; from the local cache if it was fetched before.

    Raises:
        HilumError: neither there nor here.
    """
    from torchvision.models import get_model_weights

    weights = get_model_weights(backbone)[_TORCHVISIONS]
    with _fetching("model.weights", f"{weights} from the hub", weights.url, ", or set it to none"):
        tensors: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    return tensors


def download_file(url: str, key: str) -> Path:
    """Fetch a file, for which a key of a config asks, into torch's cache, or find it there.

    Raises:
        HilumError: neither there nor here.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    if not path.is_file():
        with _fetching(key, url, "it", ""):
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), progress=False)
    return path


@contextmanager
def _fetching(key: str, what: str, file: str, otherwise: str) -> Iterator[None]:
    """Around a download: nothing on standard output, no warning at each retry, and one line where it fails."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with redirect_stdout(sys.stderr):
            yield
    except Exception as error:  # any layer of the network may fail
        raise HilumError(
            f"{key}: cannot get {what} ({type(error).__name__}); without a connection, fetch {file} elsewhere and give "
            f"its path{otherwise}"
        ) from error
    finally:
        logger.setLevel(level)


def _of_weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in network.state_dict().items() if not name.endswith("num_batches_tracked")}


def _check(
    wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], part: str, source: str, file: Mapping[str, Tensor]
) -> None:
    """Make sure that all wanted tensors were found in a file, in their shapes."""
    where = f"model.weights: {source}: not the weights of this {part}"
    if missing := [name for name in wanted if name not in found]:
        raise HilumError(
            f"{where}: of its {len(wanted)} tensors {len(missing)} are missing, {missing[0]} first; the file has "
            f"{next(iter(file))} and {len(file) - 1} more"
        )
    for name, tensor in wanted.items():
        if found[name].shape != tensor.shape:
            shape, expected = tuple(found[name].shape), tuple(tensor.shape)
            raise HilumError(f"{where}: {name} has shape {shape}, expected {expected}")
