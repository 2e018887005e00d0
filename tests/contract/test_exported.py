"""Exported runs under the contract, and beside the runs that they come from."""

from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import pytest
import test_ours

import hilum
from hilum.config import check_config
from hilum.datasets.folder import Dataset
from hilum.export import export
from hilum.run import Format
from hilum.testing import BackendContract, assert_same, picture
from hilum.train_run import train

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
    def source(cls, data, tmp_path_factory) -> Path:
        run = tmp_path_factory.mktemp("source") / "run"
        train(check_config(cls.values, "contract"), Dataset.open(data), run)
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
class InONNXRuntime(ExportedContract):
    kind: ClassVar = "onnx"


@needs_openvino
class InOpenVINO(ExportedContract):
    kind: ClassVar = "openvino"


class TestUNetInONNXRuntime(InONNXRuntime, test_ours.TestUNet):
    pass


@pytest.mark.slow
class TestDFineInONNXRuntime(InONNXRuntime, test_ours.TestDFine):
    pass


@pytest.mark.slow
class TestDFineInOpenVINO(InOpenVINO, test_ours.TestDFine):
    pass


@pytest.mark.slow
class TestYOLOInOpenVINO(InOpenVINO, test_ours.TestYOLO):
    pass


@pytest.mark.slow
class TestUNetInOpenVINO(InOpenVINO, test_ours.TestUNet):
    pass


@pytest.mark.slow
class TestYOLOInONNXRuntime(InONNXRuntime, test_ours.TestYOLO):
    pass


@pytest.mark.slow
class TestResNetInOpenVINO(InOpenVINO, test_ours.TestResNet):
    pass


@pytest.mark.slow
class TestSegmenterWithImageHeadInONNXRuntime(InONNXRuntime, test_ours.TestSegmenterWithImageHead):
    pass
