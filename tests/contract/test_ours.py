"""Our three backends under the contract."""

from typing import ClassVar

from contract import BackendContract

SEGMENTER = {
    "image_size": 64,
    "train": {"epochs": 2, "batch_size": 4, "learning_rate": 0.003},
    # Hardly trained, a map seldom passes 0.5.
    "boxes": {"threshold": 0.2},
}


class TestResNet(BackendContract):
    values: ClassVar = {"backend": "resnet", "model": {"channels": 8, "blocks": 1, "depth": 2}, **SEGMENTER}
    box_px = 0.05


class TestUNet(BackendContract):
    values: ClassVar = {
        "backend": "unet",
        "model": {"start_channels": 4, "depth": 2, "dropout": 0.1, "momentum": 0.1},
        **SEGMENTER,
    }
    box_px = 0.05


class TestYOLO(BackendContract):
    values: ClassVar = {
        "backend": "yolo",
        "image_size": 64,
        "train": {"epochs": 1, "batch_size": 8},
        "ultralytics": {"mosaic": 0.0, "workers": 0, "amp": False},
    }
    box_px = 0.05

    def fill(self, predictor):
        from hilum.detectors.competition_trainer import FILL

        return FILL
