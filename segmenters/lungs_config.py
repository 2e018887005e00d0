"""What a config with `backend: lungs` says."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import Field

from hilum.config import ExperimentConfig
from hilum.errors import HilumError

if TYPE_CHECKING:  # a config is read without torch
    from torch import nn

URL: Final = "https://github.com/mlmed/torchxrayvision/releases/download/v1/pspnet_chestxray_best_model_4.pth"


class LungsConfig(ExperimentConfig):
    """A config with `backend: lungs`.

    Attributes:
        weights: `hub` downloads torchxrayvision's file once; or its path, or that of a run's `weights.safetensors`.
            Tensors are read and nothing is unpickled.
    """

    weights: str = Field(default="hub", min_length=1)

    @property
    def pretraining(self) -> str:
        """The file, and whose images it was trained on."""
        name = URL if self.weights == "hub" else self.weights
        return f"{Path(name).name} (ChestX-Det: images of NIH ChestX-ray14)"

    def starting_network(self) -> "nn.Module":
        """The network with the weights.

        Raises:
            HilumError: they cannot be had, or are not those of this network.
        """
        from hilum.segmenters.lungs_network import build_network
        from hilum.training.pretrained import download_file
        from hilum.training.tensors import read_tensors

        path = download_file(URL, "weights") if self.weights == "hub" else Path(self.weights)
        tensors = read_tensors(path, "weights", "hub")
        network = build_network()
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            raise HilumError(f"weights: {path}: not those of torchxrayvision's PSPNet of chestx_det") from error
        return network
