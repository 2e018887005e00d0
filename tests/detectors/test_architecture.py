"""A model YAML can come from anybody: nothing but layers of a closed list is built, and nothing without bounds."""

import importlib.util
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

# Not `importorskip`, which would import ultralytics before hilum has told it to keep to itself.
if importlib.util.find_spec("ultralytics") is None:
    pytest.skip("the extra `yolo` is not installed", allow_module_level=True)

from hilum.detectors.architecture import HEADS, LAYERS, check_architecture
from hilum.detectors.private_ultralytics import tasks, ultralytics
from hilum.detectors.yolo_network import build_network, read_architecture, read_network
from hilum.errors import HilumError

SHIPPED = {path.name: path for path in (Path(ultralytics.__file__).parent / "cfg" / "models").rglob("*.yaml")}
ROWS = {name: (table := yaml.safe_load(path.read_text()))["backbone"] + table["head"] for name, path in SHIPPED.items()}
DETECTORS = sorted(name for name, rows in ROWS.items() if rows[-1][2] in HEADS)
# Called as `activation`, or wherever else ultralytics might evaluate a text, it makes a file.
CODE = "__import__('pathlib').Path('ran').touch() or nn.ReLU()"
TINY = {"nc": 1, "channels": 1, "backbone": [[-1, 1, "Conv", [8, 3, 2]]], "head": [[[0], 1, "Detect", ["nc"]]]}
INNER = {**TINY, "activation": CODE}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def with_layer(*row: Any) -> dict[str, Any]:
    return {**TINY, "backbone": [*TINY["backbone"], list(row)], "head": [[[0, 1], 1, "Detect", ["nc"]]]}


def test_every_layer_of_ultralytics_detectors_may_be_built() -> None:
    assert len(DETECTORS) > 30
    assert {row[2] for name in DETECTORS for row in ROWS[name]} <= LAYERS | HEADS.keys()


def test_every_layer_that_may_be_built_is_one_of_ultralytics_or_torch() -> None:
    for name in LAYERS:
        layer = getattr(torch.nn, name[3:]) if name.startswith("nn.") else getattr(tasks, name)
        assert issubclass(layer, torch.nn.Module)
        assert not issubclass(layer, tasks.BaseModel)


@pytest.mark.parametrize("name", ["yolo26.yaml", "yolov9t.yaml", "yolov3-tiny.yaml", "yolov6.yaml", "rtdetr-l.yaml"])
def test_ultralytics_own_detectors_pass(name: str) -> None:
    check_architecture(read_architecture(name, {}), "model")


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_all_of_them_pass_in_their_largest_size(name: str) -> None:
    scales = yaml.safe_load(SHIPPED[name].read_text()).get("scales")
    check_architecture(read_architecture(name, {"scale": list(scales)[-1]} if scales else {}), "model")


@pytest.mark.parametrize(
    ("architecture", "complaint"),
    [
        # whole models, which evaluate their own YAML
        (with_layer(-1, 1, "DetectionModel", [INNER]), "not a layer that may be built: 'DetectionModel'"),
        (with_layer(-1, 1, "RTDETRDetectionModel", [INNER]), "not a layer that may be built: 'RTDETRDetectionModel'"),
        (with_layer(-1, 1, "SegmentationModel", ["evil.yaml"]), "not a layer that may be built: 'SegmentationModel'"),
        (with_layer(-1, 1, "Ensemble", []), "not a layer that may be built: 'Ensemble'"),
        ({**TINY, "head": [*TINY["head"][:-1], [[0], 1, "DetectionModel", [INNER]]]}, "this ends in DetectionModel"),
        (with_layer(-1, 1, "Conv", [INNER]), "expected numbers"),
        (with_layer(-1, 1, "Conv", [[[8]]]), "expected numbers"),
        (with_layer(-1, 1, "Conv", [[INNER]]), "expected numbers"),
        # what is no layer, and layers that download, unpickle or take a module
        (with_layer(-1, 1, "torch_safe_load", ["evil.pt"]), "not a layer that may be built"),
        (with_layer(-1, 1, "TorchVision", [64, "resnet18", "DEFAULT"]), "not a layer that may be built"),
        (with_layer(-1, 1, "torchvision.ops.misc.ConvNormActivation", [8, 8]), "not a layer that may be built"),
        (with_layer(-1, 1, "nn.Module.__subclasses__", []), "not a layer that may be built"),
        (with_layer(-1, 1, "nn.modules", []), "not a layer that may be built"),
        (with_layer(-1, 1, ["Conv"], [8]), "not a layer that may be built"),
        (with_layer(-1, 1, None, [8]), "not a layer that may be built"),
        # texts, which ultralytics looks up or parses
        (with_layer(-1, 1, "Conv", [8, 3, 1, "None", 1, 1, CODE]), "expected numbers"),
        (with_layer(-1, 1, "Conv", [8, 3, 1, "None", 1, 1, "nn.ReLU()"]), "expected numbers"),
        (with_layer(-1, 1, "Conv", ["d"]), "expected numbers"),
        (with_layer(-1, 1, "Conv", ["[" * 99_999]), "expected numbers"),
        ({**TINY, "activation": CODE}, "activation"),
        ({**TINY, "activation": "torch.nn.Module()"}, "activation"),
        ({**TINY, "activation": "nn.ReLU()\n"}, "activation"),
        ({**TINY, "activation": ["nn.ReLU()"]}, "activation"),
        # other keys and types
        ({**TINY, "text_model": "mobileclip:blt"}, "text_model"),
        ({**TINY, "yaml_file": "x"}, "yaml_file"),
        ({**TINY, "scales": {"n": [0.5, INNER, 1024]}}, "scales"),
        ({**TINY, "scales": {"n": [0.5, 0.5, 1024]}, "scale": "x"}, "scale: expected one of"),
        ({**TINY, "nc": 80}, "nc"),
        ({**TINY, "head": None}, "head"),
        ({**TINY, "backbone": {"a": 1}}, "backbone"),
        ({**TINY, "backbone": [5]}, "backbone.0"),
        ({**TINY, "head": [[[0], 1, "Detect", [80]]]}, r"expected the arguments \[nc\] of Detect"),
        (with_layer(-1, 1, "Detect", ["nc"]), "only the last layer may be Detect"),
        (with_layer("-1", 1, "Conv", [8]), "expected the number of a layer before it"),
        (with_layer(7, 1, "Conv", [8]), "cannot build this architecture"),
        # sizes
        (with_layer(-1, 1, "C3k2", [0]), "cannot build this architecture: (?!Initializing)"),
        (with_layer(-1, 10**9, "Conv", [8]), "expected 1 to 100 repeats"),
        (with_layer(-1, 1, "AIFI", [16, 4]), "larger, for pictures of (256|2048) px, than any detector"),
        (with_layer(-1, 10**9, "nn.Identity", []), "expected 1 to 100 repeats"),
        (with_layer(-1, 1, "Conv", [10**9]), "expected numbers up to 4096"),
        (with_layer(-1, 1, "SPP", [8, [5] * 99]), "expected numbers"),
        (with_layer(-1, 1, "Conv", [4096, 4096]), "larger, for pictures of (256|2048) px, than any detector"),
        (
            with_layer(-1, 1, "C2f", [4096, True, 4096, 4096.0]),
            "larger, for pictures of (256|2048) px, than any detector",
        ),
        (with_layer(-1, 1, "nn.Upsample", ["None", 4096]), "larger, for pictures of (256|2048) px, than any detector"),
        (with_layer(-1, 1, "nn.ZeroPad2d", [[4096] * 4]), "larger, for pictures of (256|2048) px, than any detector"),
        (with_layer(-1, 1, "Conv", [8, 999, 1]), "larger, for pictures of (256|2048) px, than any detector"),
        (
            with_layer(-1, 1, "RepNCSPELAN4", [64, 32, 16, 4096]),
            "larger, for pictures of (256|2048) px, than any detector",
        ),
        (
            with_layer(-1, 1, "ResNetLayer", [8, 8, 1, False, 4096]),
            "larger, for pictures of (256|2048) px, than any detector",
        ),
        (with_layer(-1, 1, "SPPF", [8, 5, 4096]), "larger, for pictures of (256|2048) px, than any detector"),
        (
            {**TINY, "backbone": [[-1, 100, "Conv", [8]]] * 200},
            "larger, for pictures of (256|2048) px, than any detector",
        ),
        ({**TINY, "backbone": [[-1, 1, "Conv", [8]]] * 999}, "at most 200"),
        ({**TINY, "depth_multiple": 10**6}, "depth_multiple"),
        ({**TINY, "scales": {"n": [1, 1, 10**6]}}, "scales.n"),
        ({**TINY, "reg_max": 10**9}, "reg_max"),
    ],
)
def test_what_a_stranger_may_not_say_is_one_line_and_nothing_runs(
    folder: Path, architecture: dict[str, Any], complaint: str
) -> None:
    (folder / "model.yaml").write_text(yaml.safe_dump(architecture))
    began = time.process_time()
    with pytest.raises(HilumError, match=complaint) as caught:
        read_network(folder, 2048)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{folder / 'model.yaml'}: ")
    assert len(line) < 300
    assert not (folder / "ran").exists()
    assert time.process_time() - began < 15


def test_the_faults_of_the_hunt(shared: Path, folder: Path) -> None:
    for fault in sorted((shared / "faults" / "foreign").glob("yolo-exec-*.yaml")):
        (folder / "model.yaml").write_bytes(fault.read_bytes())
        with pytest.raises(HilumError, match="not a layer that may be built"):
            read_network(folder)
        with pytest.raises(HilumError, match="not a layer that may be built"):
            build_network(read_architecture(str(fault), {}))
        assert not (folder / "PWNED").exists()
    for fault in sorted((shared / "faults" / "foreign" / "run").glob("*model.yaml")):
        (folder / "model.yaml").write_bytes(fault.read_bytes())
        with pytest.raises(HilumError, match=r"model\.yaml: "):
            read_network(folder)


def test_a_model_yaml_of_ones_own_is_held_to_the_same(folder: Path) -> None:
    (folder / "mine.yaml").write_text(yaml.safe_dump(INNER))
    with pytest.raises(HilumError, match="model: activation: expected something like"):
        build_network(read_architecture("mine.yaml", {}))
    (folder / "mine.yaml").write_text("a: &a [1, 2]\nb: &b [*a, *a]\n" + "backbone: " + "[" * 99 + "]" * 99)
    with pytest.raises(HilumError, match=r"mine\.yaml: not valid YAML"):
        read_architecture("mine.yaml", {})
    (folder / "mine.yaml").write_text(yaml.safe_dump({**TINY, "activation": "torch.nn.LeakyReLU(0.1)", "nc": 80}))
    network = build_network(read_architecture("mine.yaml", {}))
    assert any(isinstance(module, torch.nn.LeakyReLU) for module in network.modules())


def test_a_refused_network_leaves_the_activation_of_the_next_as_it_is() -> None:
    before = tasks.Conv.default_act
    build_network({**TINY, "activation": "nn.ReLU()"})
    assert tasks.Conv.default_act is before
    with pytest.raises(HilumError):
        build_network({**with_layer(7, 1, "Conv", [8]), "activation": "nn.ReLU()"})
    assert tasks.Conv.default_act is before


def test_checking_draws_no_random_number() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    check_architecture({**TINY, "reg_max": 7}, "model")
    assert torch.equal(torch.get_rng_state(), before)
