"""Our backends under the contract with three classes: where an opacity lies."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_ours
from test_exported import InONNXRuntime, InOpenVINO

from hilum.datasets.folder import Dataset
from hilum.testing import BackendContract

NAMES = ("left", "right", "low")


class ThreeClasses(BackendContract):
    """What a run of several classes has beside what every run has."""

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls, three_classes: Path) -> Path:
        return three_classes

    def test_it_looks_for_the_classes_of_its_data(self, predictor: Any, data: Path) -> None:
        assert predictor.class_names == Dataset.open(data).class_names == NAMES
        assert len(predictor.confidence) == len(NAMES)

    def test_each_class_has_boxes_and_a_probability(self, predictor: Any, data: Path) -> None:
        paths = Dataset.open(data).split("train").paths
        results = list(predictor.predict(paths, confidence=0.0))
        assert len(set(np.concatenate([result.detections.class_id for result in results]))) > 1
        for result in results:
            assert result.image_probability == max(result.class_probabilities)
            assert len(result.class_probabilities) == len(NAMES)


class TestResNet(ThreeClasses, test_ours.TestResNet):
    pass


class TestUNet(ThreeClasses, test_ours.TestUNet):
    pass


class TestFCOS(ThreeClasses, test_ours.TestFCOS):
    pass


class TestDFine(ThreeClasses, test_ours.TestDFine):
    pass


class TestYOLO(ThreeClasses, test_ours.TestYOLO):
    pass


class TestComposed(ThreeClasses, test_ours.TestComposed):
    pass


@pytest.mark.slow
class TestSegmenter(ThreeClasses, test_ours.TestSegmenter):
    pass


@pytest.mark.slow
class TestSegmenterWithImageHead(ThreeClasses, test_ours.TestSegmenterWithImageHead):
    pass


@pytest.mark.slow
class TestFasterRCNN(ThreeClasses, test_ours.TestFasterRCNN):
    pass


@pytest.mark.slow
class TestRetinaNet(ThreeClasses, test_ours.TestRetinaNet):
    pass


@pytest.mark.slow
class TestSSDlite(ThreeClasses, test_ours.TestSSDlite):
    pass


@pytest.mark.slow
class TestRTDETR(ThreeClasses, test_ours.TestRTDETR):
    pass


@pytest.mark.slow
class TestGated(ThreeClasses, test_ours.TestGated):
    pass


@pytest.mark.slow
class TestSegmenterInONNXRuntime(InONNXRuntime, TestSegmenterWithImageHead):
    pass


@pytest.mark.slow
class TestYOLOInOpenVINO(InOpenVINO, TestYOLO):
    pass
