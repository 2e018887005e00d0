"""A trained network, whatever runs it."""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from hilum.errors import HilumError
from hilum.run import WEIGHTS, exported_format
from hilum.training.checkpoint import load_weights
from hilum.training.device import pick_device


def load_network(build: Callable[[], nn.Module], run: Path) -> nn.Module:
    """The network of a run, on the device where it shall run: built and filled with its weights, or as exported.

    Raises:
        HilumError: the files are missing, damaged, not finite, or of another network.
    """
    if exported_format(run):
        from hilum.runtimes import load_exported

        return load_exported(run)
    network = build()
    load_weights(network, run)
    if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
        raise HilumError(f"{run / WEIGHTS}: holds values that are not finite; train again")
    return network.to(pick_device())
