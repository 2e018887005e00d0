"""Our backends under the contract."""

from importlib.util import find_spec
from typing import ClassVar

import numpy as np
import pytest

from hilum.datasets.pictures import read_picture
from hilum.testing import BackendContract

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


SMP = {
    "backend": "segmenter",
    "model": {
        "encoder": "tu-mobilenetv3_small_050",
        "options": {"encoder_depth": 4, "decoder_channels": [32, 24, 16, 16]},
    },
    **SEGMENTER,
}


@pytest.mark.skipif(not find_spec("segmentation_models_pytorch"), reason="needs the extra `smp`")
class TestSegmenter(BackendContract):
    values: ClassVar = SMP


@pytest.mark.skipif(not find_spec("segmentation_models_pytorch"), reason="needs the extra `smp`")
@pytest.mark.slow
class TestSegmenterWithImageHead(BackendContract):
    values: ClassVar = {
        **SMP,
        "train": {**SEGMENTER["train"], "loss": "dice_bce", "image_loss": 0.5},
        "augmentation": {"rotate_degrees": 10, "gamma": 0.2, "noise": 0.02, "cutout": 0.2},
    }

    def test_image_probability_ignores_the_operating_point(self, predictor, paths):
        """It is the head's, whatever the boxes."""
        found = predictor.backend.predict_batch([read_picture(path) for path in paths])
        said = [np.max(detections.metadata["image_probability"]) for detections in found]  # of several classes
        for confidence in (0.0, 1.1):
            results = predictor.predict(paths, confidence=confidence)
            assert [result.image_probability for result in results] == pytest.approx(said, abs=1e-6)
        assert len(set(said)) == len(paths)


TORCHVISION = {
    "backend": "torchvision",
    "image_size": 64,
    "train": {"epochs": 1, "batch_size": 8, "learning_rate": 0.001},
}
SMALL = {"backbone": "mobilenet_v3_small", "channels": 64}


@pytest.mark.slow
class TestFasterRCNN(BackendContract):
    values: ClassVar = {**TORCHVISION, "model": {"architecture": "fasterrcnn_resnet50_fpn_v2", **SMALL}}


@pytest.mark.slow
class TestRetinaNet(BackendContract):
    values: ClassVar = {**TORCHVISION, "model": {"architecture": "retinanet_resnet50_fpn_v2", **SMALL}}


class TestFCOS(BackendContract):
    values: ClassVar = {**TORCHVISION, "model": {"architecture": "fcos_resnet50_fpn", **SMALL}}


@pytest.mark.slow
class TestSSDlite(BackendContract):
    values: ClassVar = {**TORCHVISION, "model": {"architecture": "ssdlite320_mobilenet_v3_large"}}


@pytest.mark.skipif(not find_spec("transformers"), reason="needs the extra `transformers`")
class TestDFine(BackendContract):
    values: ClassVar = {
        "backend": "dfine",
        "image_size": 64,
        "model": {"size": "nano", "queries": 20},
        "train": {"epochs": 1, "batch_size": 8, "learning_rate": 0.001},
    }


class TestYOLO(BackendContract):
    values: ClassVar = {
        "backend": "yolo",
        "image_size": 64,
        "train": {"epochs": 1, "batch_size": 8},
        "ultralytics": {"mosaic": 0.0, "workers": 0, "amp": False},
    }
    box_px = 0.05

    def fill(self):
        from hilum.detectors.competition_trainer import FILL

        return FILL


@pytest.mark.slow
class TestRTDETR(TestYOLO):
    values: ClassVar = {
        **TestYOLO.values,
        "model": "yolov8-rtdetr.yaml",
        "model_yaml": {"scales": {"n": [0.33, 0.125, 256]}},
        "boxes": {"end_to_end": True},
    }


FEW_BOXES = {**SEGMENTER, "boxes": {**SEGMENTER["boxes"], "min_area_px": 200}}  # specks are many, and slow to fuse
MEMBERS = {
    "resnet": {
        "config": {"backend": "resnet", "model": {"channels": 8, "blocks": 1, "depth": 2, "head": "plain"}, **FEW_BOXES}
    },
    "unet": {
        "config": {"backend": "unet", "model": {"start_channels": 4, "depth": 2, "momentum": 0.1}, **FEW_BOXES},
        "weight": 0.5,
    },
}


class TestComposed(BackendContract):
    values: ClassVar = {
        "backend": "compose",
        "members": MEMBERS,
        "views": {"flip": True},
        "relative": "val",
        "shrink": "val",
    }

    def image_size(self):
        return 64


@pytest.mark.skipif(not find_spec("timm"), reason="needs the extra `smp`")
class TestGated(BackendContract):
    values: ClassVar = {
        "backend": "compose",
        "members": {"resnet": {**MEMBERS["resnet"], "folds": 2}},
        "gate": {
            "config": {
                "backend": "gate",
                "image_size": 64,
                "model": {"name": "test_resnet"},
                "train": {"epochs": 1, "batch_size": 8},
            },
            "mode": "multiply",
            "threshold": 0.0,
        },
        "fusion": {"method": "votes"},
    }

    def image_size(self):
        return 64

    def test_image_probability_ignores_the_operating_point(self, predictor, paths):
        """It is the gate's, whatever the boxes."""
        said = [
            [result.image_probability for result in predictor.predict(paths, confidence=confidence)]
            for confidence in (0.0, 1.1)
        ]
        assert said[0] == said[1]
        assert len(set(said[0])) == len(paths)
        assert all(0 < probability < 1 for probability in said[0])
