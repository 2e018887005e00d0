"""The backend `lungs`: where the lungs are, as torchxrayvision's anatomy model sees it. It finds no opacity.

Its weights were trained on ChestX-Det, whose images are from NIH ChestX-ray14, as the challenge's are: they may have
seen pictures of the holdout, though with lungs drawn in and no opacities. Every run says so.
"""

import warnings
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hilum.backend import Backend
from hilum.config import read_config
from hilum.datasets.bits import as_bits
from hilum.datasets.folder import Dataset, Split
from hilum.datasets.letterbox import Letterbox
from hilum.datasets.masks import share_inside
from hilum.datasets.pictures import read_picture
from hilum.detections import Detections
from hilum.errors import HilumError
from hilum.result import no_detections
from hilum.segmenters.lungs_config import LungsConfig
from hilum.segmenters.lungs_network import build_network
from hilum.training.checkpoint import load_weights, save_weights
from hilum.training.device import pick_device
from hilum.training.distributed import is_rank_zero, rank_zero_first

SIDE: Final = 512
"""Of the square that it was trained on."""
_LUNGS = (4, 5)
# ImageNet's, as it was trained with.
_MEAN, _STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


class AnatomyLungs(Backend):
    """Says where the lungs are. Nothing is trained: `train` makes a run of the weights."""

    Config = LungsConfig
    distributed = True
    learns = False
    tunable = False
    draws_maps = True

    def __init__(self, network: nn.Module) -> None:
        """Take the network with its weights, on the device where it shall run."""
        self._network = network.eval()

    @classmethod
    def check_start(cls, config: LungsConfig, data: Dataset) -> None:
        del data
        with rank_zero_first():
            config.starting_network()

    @classmethod
    def train(cls, config: LungsConfig, data: Dataset, run: Path) -> Self:
        """Store the weights as a run; the data are not looked at.

        Raises:
            HilumError: the weights cannot be had, or are not those of this network.
        """
        del data
        with rank_zero_first():
            network = config.starting_network()
            if is_rank_zero():
                save_weights(network, run)
        return cls.load(run)

    @classmethod
    def load(cls, run: Path) -> Self:
        read_config(run, LungsConfig)
        network = build_network()
        load_weights(network, run)
        return cls(network.to(pick_device()))

    def predict_batch(self, images: list[NDArray[np.uint8]]) -> list[Detections]:
        return [no_detections() for _ in images]

    @torch.inference_mode()
    def probability_maps(self, images: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        maps = []
        device = next(self._network.parameters()).device
        for image in images:  # one at a time: in a batch its pyramid pooling would gain little, and take much memory
            place = Letterbox.fit((image.shape[1], image.shape[0]), SIDE)
            grey = torch.from_numpy(place.apply(as_bits(image, 8))).float() / 255
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*upsample.* is deprecated")  # torchxrayvision's affair
                logits = self._network(((grey - _MEAN) / _STD)[None].to(device))[0, list(_LUNGS)]
            probability: NDArray[np.float32] = logits.float().sigmoid().amax(dim=0).cpu().numpy()
            if not np.isfinite(probability).all():
                raise HilumError("the network's output is not finite: its weights are damaged; train again")
            maps.append(place.crop(probability))
        return maps

    def choose(self, val: Split) -> dict[str, Any]:
        """Nothing is chosen; the figure, how much of val's true boxes lies in the lungs, shows that the model fits."""
        shares = [
            share_inside(boxes, (int(width), int(height)), self.probability_maps([read_picture(path)])[0])
            for path, boxes, (width, height) in zip(val.paths, val.boxes_xyxy, val.sizes_wh, strict=True)
            if len(boxes)
        ]
        inside = float(np.concatenate(shares).mean()) if shares else 0.0
        return {"confidence": 0.5, "val_score": inside, "figure": "share of opacities inside the lungs"}
