"""`hilum export --int8`: calibrated on train, told on val, whole or not at all, and nothing sent."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_ours
from commandline import hilum as command

if not (find_spec("nncf") and find_spec("onnxscript") and find_spec("openvino")):
    pytest.skip("needs the extra `int8`", allow_module_level=True)

import hilum
from hilum import quantize as quantizing
from hilum.config import check_config
from hilum.datasets.folder import Dataset
from hilum.datasets.pictures import read_picture
from hilum.errors import HilumError
from hilum.export import export
from hilum.network_backend import NetworkBackend
from hilum.quantize import network_input, quantize
from hilum.sessions import import_openvino
from hilum.train_run import train

UNET = {**test_ours.TestUNet.values, "model": {"start_channels": 16, "depth": 2, "dropout": 0.1, "momentum": 0.1}}


@pytest.fixture(scope="module", autouse=True)
def _few_rounds() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantizing, "_ROUNDS", 3)
        patch.setattr(quantizing, "_PAUSE_S", 0.0)
        yield


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("float") / "run"
    train(check_config(UNET, "test"), Dataset.open(dataset), run)
    return run


@pytest.fixture(scope="module")
def exported(run: Path, dataset: Path) -> tuple[Path, Any]:
    out = run.with_name("int8")
    return out, export(run, "openvino", out, int8=Dataset.open(dataset))


def test_it_is_a_run_in_8_bits_and_says_what_it_is_worth(run, exported, dataset):
    out, done = exported
    told = done.quantization
    assert done.difference < 1e-4  # of float32, on the way
    network = (out / "model.xml").read_text()
    assert 'type="FakeQuantize"' in network
    assert 'element_type="i8"' in network
    assert told.int8.network_mb < 0.6 * told.float32.network_mb
    stored = json.loads((run / "operating_point.json").read_text())
    # As in training, but for what rounding makes of a box on the edge of a threshold of the mask.
    assert told.float32.val_score == pytest.approx(stored["val_score"], abs=0.02)
    point = json.loads((out / "operating_point.json").read_text())
    assert point["val_score"] == told.int8.val_score
    assert hilum.load(out).confidence == point["confidence"]
    about = json.loads((out / "environment.json").read_text())["exported"]
    data = Dataset.open(dataset)
    assert about["calibrated_on"] == {"pictures": len(data.split("train")), "data_fingerprint": data.fingerprint}
    assert "nncf" in about["versions"]
    assert (told.figure, told.problems, told.val_images) == ("competition score", [], len(data.split("val")))


def test_its_maps_are_near_those_of_float32(run, exported, dataset):
    paths = Dataset.open(dataset).split("val").paths
    pictures = [read_picture(path) for path in paths]
    maps = [np.array(hilum.load(each).backend.probability_maps(pictures)) for each in (run, exported[0])]
    assert np.abs(maps[0] - maps[1]).mean() < 0.03
    assert np.abs(maps[0] - maps[1]).max() > 0  # else nothing was rounded
    assert np.corrcoef(maps[0].ravel(), maps[1].ravel())[0, 1] > 0.98


def test_cheap_and_last_layers_stay_in_float32(exported):
    network = import_openvino().Core().read_model(exported[0] / "model.xml")
    for node in network.get_ops():
        if node.get_type_name() == "Concat":
            assert {taken.get_source_output().get_node().get_type_name() for taken in node.inputs()} != {"FakeQuantize"}
    layers = [node for node in network.get_ordered_ops() if node.get_type_name() == "Convolution"]
    inputs = [node.input_value(0).get_node().get_type_name() for node in layers]
    assert inputs[0] == "FakeQuantize"
    assert inputs[-1] != "FakeQuantize"


def test_it_is_shown_what_the_network_is_shown_and_the_network_is_not_asked(run, dataset, monkeypatch):
    predictor = hilum.load(run)
    picture = read_picture(Dataset.open(dataset).split("train").paths[0])
    asked = []
    monkeypatch.setattr(predictor.backend._network, "forward", asked.append)
    seen = network_input(predictor.backend, picture)
    assert asked == []
    assert seen.shape == (1, 1, 64, 64)
    assert 0 <= seen.min() < seen.max() <= 1
    assert isinstance(predictor.backend, NetworkBackend)


def test_what_cannot_be_is_one_line_and_leaves_nothing(run, dataset, three_classes, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(HilumError, match=r"^--int8: onnx is written in float32 alone; give --format openvino$"):
        export(run, "onnx", out, int8=Dataset.open(dataset))
    with pytest.raises(HilumError, match=r"^--int8: looks for opacity; the data are of left, right, low;"):
        export(run, "openvino", out, int8=Dataset.open(three_classes))
    assert list(tmp_path.iterdir()) == []


def test_nncf_that_fails_or_is_missing_is_one_line(exported, dataset, monkeypatch):
    """The run is in 8 bits already, but none of them comes so far."""

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such layer\nin detail")

    before = (exported[0] / "model.bin").read_bytes()
    monkeypatch.setattr("nncf.quantize", fail)
    with pytest.raises(HilumError, match=r"^--int8: NNCF cannot quantize this network: no such layer$"):
        quantize(exported[0], Dataset.open(dataset))
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(HilumError, match=r'nncf \(Apache-2\.0\) is missing: pip install "hilum\[int8\]"'):
        quantize(exported[0], Dataset.open(dataset))
    assert (exported[0] / "model.bin").read_bytes() == before


def test_data_of_another_training_is_told(run, dataset, tmp_path):
    other = tmp_path / "other"
    export(run, "openvino", other)
    environment = json.loads((other / "environment.json").read_text())
    (other / "environment.json").write_text(json.dumps({**environment, "data_fingerprint": "another"}))
    assert [line.partition(": ")[2] for line in quantize(other, Dataset.open(dataset)).problems] == [
        "not the data, or not the split, that the run was trained on; its scores flatter"
    ]


def test_nncf_is_imported_without_what_reports():
    """Within pytest it reports nothing anyhow."""
    script = (
        "from hilum.sessions import import_nncf; import_nncf(); import sys; print(sys.modules['openvino_telemetry'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"


@pytest.mark.slow
def test_the_command_prints_a_table(run, dataset, tmp_path):
    done = command("export", run, "--format", "openvino", "--int8", dataset, "--out", tmp_path / "out")
    for word in ("competition score on val", "ms a picture, to its boxes", "ms in the network", "MB", "INT8"):
        assert word in done.stdout
    assert "Statistics collection" not in done.stdout + done.stderr
    assert "calibrated on" in done.stdout + done.stderr
