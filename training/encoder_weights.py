"""Pretrained encoders: from the hub or from a local file, matched tensor by tensor."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from hilum.errors import HilumError


def load_encoder(encoder: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Put tensors into an encoder, in place. What else the tensors hold, such as a classifier, is left out.

    timm names a layer `stages.0` in a classifier and `stages_0` in an encoder, and a whole network's file has a prefix;
    neither matters here. Filters for three colours are summed, which is what they compute of a grey picture.

    Args:
        encoder: of one input channel.
        tensors: by name.
        source: of the tensors, for errors.

    Raises:
        HilumError: a tensor of the encoder is missing, or has another shape: nothing is loaded in part.
    """
    own = {name: tensor for name, tensor in encoder.state_dict().items() if not name.endswith("num_batches_tracked")}
    wanted = {name.removeprefix("model.").replace(".", "_"): tensor for name, tensor in own.items()}
    given = {name.replace(".", "_"): tensor for name, tensor in tensors.items()}
    first = next(iter(wanted))
    prefixes = [name.removesuffix(first) for name in given if name.endswith(first)] or [""]
    prefix = max(prefixes, key=lambda prefix: sum(prefix + name in given for name in wanted))
    missing = [name for name in wanted if prefix + name not in given]
    if missing:
        raise HilumError(
            f"model.weights: {source}: not the weights of this encoder: {len(missing)} of {len(wanted)} tensors are "
            f"missing, {missing[0]} first; the file has {next(iter(tensors))} and {len(tensors) - 1} more"
        )
    fitting = {}
    for name, target in wanted.items():
        tensor = given[prefix + name]
        if tensor.ndim == 4 and tensor.shape[1] == 3 and target.shape[1] == 1:
            tensor = tensor.sum(1, keepdim=True)
        if tensor.shape != target.shape:
            raise HilumError(
                f"model.weights: {source}: not the weights of this encoder: {name} has shape {tuple(tensor.shape)}, "
                f"expected {tuple(target.shape)}"
            )
        fitting[name] = tensor
    with torch.no_grad():
        for name, target in wanted.items():
            target.copy_(fitting[name])


def download(repository: str, revision: str | None) -> Path:
    """Fetch the `model.safetensors` of a repository of the Hugging Face hub, or find it in its local cache.

    Raises:
        HilumError: neither there nor here.
    """
    import huggingface_hub

    try:
        with _quiet("huggingface_hub"):  # it warns at each of its retries
            return Path(huggingface_hub.hf_hub_download(repository, "model.safetensors", revision=revision))
    except Exception as error:  # any layer of the network may fail
        raise HilumError(
            f"model.weights: cannot get {repository} from the hub ({type(error).__name__}); without a connection, "
            "fetch its model.safetensors elsewhere and give the path, or set it to none"
        ) from error


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
