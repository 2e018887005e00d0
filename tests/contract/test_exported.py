"""Exported runs under the contract, and beside the runs that they come from."""

from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import pytest
import test_ours
from contract import BackendContract, assert_same, picture

import hilum
from hilum.config import check_config
from hilum.datasets.folder import Dataset
from hilum.export import export
from hilum.run import Format
from hilum.train import train

needs_onnx = pytest.mark.skipif(
    not (find_spec("onnxruntime") and find_spec("onnxscript")), reason="needs the extra `onnx`"
)
needs_openvino = pytest.mark.skipif(
    not (find_spec("openvino") and find_spec("onnxscript")), reason="needs the extra `openvino`"
)


class ExportedContract(BackendContract):
    """The run under test is the exported one."""

    kind: ClassVar[Format]
    suffixes: ClassVar = {".yaml", ".json", ".onnx", ".xml", ".bin"}

    @pytest.fixture(scope="class")
    @classmethod
    def source(cls, dataset, tmp_path_factory) -> Path:
        run = tmp_path_factory.mktemp("source") / "run"
        train(check_config(cls.values, "contract"), Dataset.open(dataset), run)
        return run

    @pytest.fixture(scope="class")
    @classmethod
    def run(cls, source, tmp_path_factory) -> Path:
        exported = tmp_path_factory.mktemp("exported") / "run"
        export(source, cls.kind, exported)
        return exported

    def test_the_same_boxes_as_the_run_that_it_comes_from(self, source, predictor, paths):
        images = [*paths, picture(500, 1024), picture(300, 200, 1), picture(64, 64, 2)]
        original = hilum.load(source)
        assert original.confidence == predictor.confidence
        for one, other in zip(self.found(original, *images), self.found(predictor, *images), strict=True):
            assert_same(one, other, box_px=0.5, confidence=1e-3)


@needs_onnx
class TestUNetInONNXRuntime(ExportedContract):
    kind: ClassVar = "onnx"
    values: ClassVar = test_ours.TestUNet.values


@needs_openvino
class TestYOLOInOpenVINO(ExportedContract):
    kind: ClassVar = "openvino"
    values: ClassVar = test_ours.TestYOLO.values
    fill = test_ours.TestYOLO.fill


@pytest.mark.slow
@needs_openvino
class TestUNetInOpenVINO(ExportedContract):
    kind: ClassVar = "openvino"
    values: ClassVar = test_ours.TestUNet.values


@pytest.mark.slow
@needs_onnx
class TestYOLOInONNXRuntime(ExportedContract):
    kind: ClassVar = "onnx"
    values: ClassVar = test_ours.TestYOLO.values
    fill = test_ours.TestYOLO.fill


@pytest.mark.slow
@needs_openvino
class TestResNetInOpenVINO(ExportedContract):
    kind: ClassVar = "openvino"
    values: ClassVar = test_ours.TestResNet.values


@pytest.mark.slow
@needs_onnx
@pytest.mark.skipif(not find_spec("segmentation_models_pytorch"), reason="needs the extra `smp`")
class TestSegmenterWithImageHeadInONNXRuntime(ExportedContract):
    kind: ClassVar = "onnx"
    values: ClassVar = {
        **test_ours.SMP,
        "train": {**test_ours.SEGMENTER["train"], "loss": "dice_bce", "image_loss": 0.5},
    }

    def test_image_probability_ignores_the_operating_point(self, predictor, paths):
        """It is the head's, whatever the boxes."""
        said = [
            [result.image_probability for result in predictor.predict(paths, confidence=confidence)]
            for confidence in (0.0, 1.1)
        ]
        assert said[0] == said[1]
        assert len(set(said[0])) == len(paths)
