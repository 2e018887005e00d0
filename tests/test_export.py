"""`hilum export`: what it writes, what it refuses, and what an exported file must not hold."""

import importlib
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from commandline import hilum as command

if not (find_spec("onnxruntime") and find_spec("onnxscript") and find_spec("openvino")):
    pytest.skip("needs the extras `onnx` and `openvino`", allow_module_level=True)

import onnx
from onnx import TensorProto, helper, numpy_helper

import hilum
from hilum import export as exporting
from hilum import trial
from hilum.config import check_config, dump_config
from hilum.errors import HilumError
from hilum.export import export
from hilum.run import parameter_count, weights_files, write_json
from hilum.runtimes import digest, load_exported
from hilum.sessions import first_line, import_openvino
from hilum.training.checkpoint import save_weights

TRAINING = {"epochs": 1, "batch_size": 2}
SEGMENTER = {"image_size": 64, "train": TRAINING, "boxes": {"threshold": 0.3}}
YOLO = {"backend": "yolo", "image_size": 64, "train": TRAINING}
VALUES: dict[str, dict[str, Any]] = {
    "unet": {"backend": "unet", "model": {"start_channels": 4, "depth": 2}, **SEGMENTER},
    "resnet": {"backend": "resnet", "model": {"channels": 8, "blocks": 1, "depth": 2}, **SEGMENTER},
    "gate": {"backend": "gate", "image_size": 64, "model": {"name": "test_resnet"}, "train": TRAINING},
    "yolo": {**YOLO, "model_yaml": {"scales": {"n": [0.33, 0.0625, 256]}}},
    "end to end": {**YOLO, "boxes": {"end_to_end": True}},
    "rtdetr": {**YOLO, "model": "rtdetr-resnet50.yaml", "boxes": {"end_to_end": True}},
}


def untrained(values: dict[str, Any], run: Path) -> Path:
    """A whole run folder with random weights, without any training."""
    config = check_config(values, "test")
    run.mkdir(parents=True)
    torch.manual_seed(0)
    if config.backend == "yolo":
        import yaml

        from hilum.detectors.yolo_network import build_network, read_architecture
        from hilum.run import MODEL

        architecture = read_architecture(config.model, config.model_yaml)
        (run / MODEL).write_text(yaml.safe_dump(architecture))
        network = build_network(architecture)
    else:
        network = config.network()
    with torch.no_grad():  # untrained, all places look alike, and which of equals is kept would be left to rounding
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(1.5)
    (run / "config.yaml").write_text(dump_config(config))
    save_weights(network, run)
    write_json(run / "environment.json", {"hilum": hilum.__version__, "data_fingerprint": "none"})
    write_json(run / "operating_point.json", {"confidence": 0.01, "val_score": 0.0})
    return run


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained(VALUES["unet"], tmp_path_factory.mktemp("runs") / "unet")


@pytest.fixture(scope="module")
def exported(unet: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same run in both formats; writing them needs no network."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        pytest.fail(f"something tried to reach the network: {args}")

    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        for kind in ("onnx", "openvino"):
            assert export(unet, kind, folder / kind).difference < 1e-5
    return {kind: folder / kind for kind in ("onnx", "openvino")}


def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    sizes = [(200, 200), (64, 64), (300, 180), (150, 260), (512, 512)]
    return [cv2.resize(rng.integers(0, 256, (12, 12), np.uint8), size, interpolation=cv2.INTER_CUBIC) for size in sizes]


def assert_finds_the_same(one: Path, other: Path, *, boxes: bool = True) -> None:
    """Boxes to 0.5 px, confidences and probabilities to 0.001; equally confident boxes may change places."""
    found = 0
    for batch_size in (1, 2, 16):
        answers = [hilum.load(run).predict(pictures(), confidence=0.0, batch_size=batch_size) for run in (one, other)]
        for ours, theirs in zip(*answers, strict=True):
            assert ours.image_probability == pytest.approx(theirs.image_probability, abs=1e-3)
            a, b = ours.detections, theirs.detections
            assert len(a) == len(b)
            found += len(a)
            np.testing.assert_allclose(a.confidence, b.confidence, atol=1e-3)
            far = np.abs(a.xyxy[:, None] - b.xyxy[None]).max(axis=2)
            unlike = np.abs(a.confidence[:, None] - b.confidence[None])
            near = (far <= 0.5) & (unlike <= 1e-3)
            assert near.any(axis=0).all()
            assert near.any(axis=1).all()
    assert found > 0 or not boxes


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_it_finds_the_same(unet, exported, kind):
    assert_finds_the_same(unet, exported[kind])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "openvino"])
@pytest.mark.parametrize("name", ["resnet", "gate", "yolo", "end to end", "rtdetr"])
def test_others_find_the_same(name, kind, tmp_path):
    if not find_spec("timm" if name == "gate" else "ultralytics"):
        pytest.skip("needs an extra")
    run = untrained(VALUES[name], tmp_path / "run")
    export(run, kind, tmp_path / "exported")
    assert_finds_the_same(run, tmp_path / "exported", boxes=name != "gate")


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_it_is_a_run_without_the_weights_and_without_paths_of_this_machine(unet, exported, kind):
    names = {path.name for path in exported[kind].iterdir()}
    model = {"onnx": {"model.onnx"}, "openvino": {"model.xml", "model.bin"}}[kind]
    assert names == {"config.yaml", "environment.json", "operating_point.json"} | model
    for name in ("config.yaml", "operating_point.json"):
        assert (exported[kind] / name).read_bytes() == (unet / name).read_bytes()
    for path in exported[kind].iterdir():
        for folder in (unet.parent, Path(hilum.__file__).parent, Path(torch.__file__).parent, Path.home()):
            assert str(folder).encode() not in path.read_bytes(), path
    assert parameter_count(exported[kind]) == parameter_count(unet) > 0
    assert {path.name for path in weights_files(exported[kind])} == model


def test_loading_leaves_alone_what_reports_to_the_makers(exported):
    code = (
        "import sys, hilum; [hilum.load(run) for run in sys.argv[1:]];"
        "print([name for name in sys.modules if 'telemetry' in name or name.startswith('openvino.tools.ovc.')])"
    )
    done = subprocess.run([sys.executable, "-c", code, *exported.values()], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_there_is_not_overwritten_unasked(unet, exported, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(exported["onnx"], out)
    (out / "mark").touch()
    with pytest.raises(HilumError, match="is there already"):
        export(unet, "openvino", out)
    assert (out / "mark").exists()
    export(unet, "openvino", out, overwrite=True)
    assert not (out / "mark").exists()
    assert (out / "model.xml").is_file()
    assert not (out / "model.onnx").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_only_an_exported_run_is_overwritten_when_asked(unet, tmp_path):
    copy, other = tmp_path / "copy", tmp_path / "other"
    shutil.copytree(unet, copy)
    other.mkdir()
    (other / "precious").touch()
    (other / "model.onnx").touch()  # somebody's own
    for out in (copy, other):
        before = sorted(path.name for path in out.iterdir())
        with pytest.raises(HilumError, match="not an exported run"):
            export(copy, "onnx", out, overwrite=True)
        assert sorted(path.name for path in out.iterdir()) == before


def test_an_exported_run_is_not_exported_again(exported, tmp_path):
    with pytest.raises(HilumError, match="exported already"):
        export(exported["onnx"], "openvino", tmp_path / "out")


@pytest.mark.parametrize(
    ("break_it", "complaint"),
    [
        (lambda run: (run / "weights.safetensors").unlink(), r"weights\.safetensors missing"),
        (lambda run: (run / "weights.safetensors").write_bytes(b"no weights"), "not a safetensors file"),
        (lambda run: (run / "operating_point.json").unlink(), r"operating_point\.json missing"),
        (lambda run: (run / "config.yaml").write_text("backend: [\n"), "not valid YAML"),
    ],
)
def test_a_damaged_run_is_one_line_and_nothing_is_written(unet, tmp_path, break_it, complaint):
    shutil.copytree(unet, tmp_path / "run")
    break_it(tmp_path / "run")
    with pytest.raises(HilumError, match=complaint) as caught:
        export(tmp_path / "run", "onnx", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("change", [0.01, pytest.param(float("nan"), marks=pytest.mark.slow)])
def test_a_network_that_gives_something_else_is_refused(unet, tmp_path, monkeypatch, change):
    honest = exporting._to_onnx

    def another(network, example, run):
        with torch.no_grad():
            next(network.parameters()).add_(change)
        return honest(network, example, run)

    monkeypatch.setattr(exporting, "_to_onnx", another)
    with pytest.raises(HilumError, match="gives other outputs"):
        export(unet, "onnx", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_interrupted_it_leaves_nothing(unet, exported, tmp_path, monkeypatch):
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    shutil.copytree(exported["onnx"], tmp_path / "out")
    before = (tmp_path / "out" / "model.onnx").read_bytes()
    monkeypatch.setattr(exporting, "load_exported", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export(unet, "onnx", tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "model.onnx").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("kind", "name"), [("onnx", "model.onnx"), ("openvino", "model.xml"), ("openvino", "model.bin")]
)
def test_a_damaged_file_is_named(exported, kind, name, tmp_path):
    for cut in (0, 100, -1):
        run = tmp_path / f"run{cut}"
        shutil.copytree(exported[kind], run)
        (run / name).write_bytes((run / name).read_bytes()[:cut])
        with pytest.raises(HilumError, match=rf"{name}: damaged") as caught:
            hilum.load(run)
        assert "\n" not in str(caught.value)


def forged(source: Path, run: Path, **contents: bytes) -> Path:
    """An exported run with other files, whose digests fit: whoever made it meant it."""
    shutil.copytree(source, run)
    about = json.loads((run / "environment.json").read_text())
    for name, content in contents.items():
        (run / f"model.{name}").write_bytes(content)
        about["exported"]["sha256"][f"model.{name}"] = digest(content)
    write_json(run / "environment.json", about)
    return run


def onnx_model(node: onnx.NodeProto, *initializers: TensorProto) -> onnx.ModelProto:
    shape = ["images", 1, 64, 64]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
    graph = helper.make_graph([node], "forged", value[:1], value[1:], list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def range_up_to_the_brightest() -> onnx.ModelProto:
    model = onnx_model(helper.make_node("ReduceMax", ["x"], ["brightest"], keepdims=0))
    numbers = {"none": np.array(0, np.int64), "one": np.array(1, np.int64)}
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in numbers.items())
    cast = helper.make_node("Cast", ["brightest"], ["count"], to=TensorProto.INT64)
    numbered = helper.make_node("Range", ["none", "count", "one"], ["all"])
    total = helper.make_node("ReduceSum", ["all"], ["total"], keepdims=0)
    as_float = helper.make_node("Cast", ["total"], ["whole"], to=TensorProto.FLOAT)
    model.graph.node.extend([cast, numbered, total, as_float, helper.make_node("Add", ["x", "whole"], ["y"])])
    return model


def as_many_as_images() -> onnx.ModelProto:
    """Exporters number the images of a batch so; how many there are is no matter of what they show."""
    numbers = {"none": np.array(0), "one": np.array(1), "first": np.array([0])}
    nodes = [
        helper.make_node("Shape", ["x"], ["images"], start=0, end=1),
        helper.make_node("Squeeze", ["images", "first"], ["count"]),
        helper.make_node("Range", ["none", "count", "one"], ["all"]),
        helper.make_node("Gather", ["x", "all"], ["same"]),
        helper.make_node("Shape", ["same"], ["again"]),
        helper.make_node("Gather", ["again", "none"], ["count again"]),
        helper.make_node("Range", ["none", "count again", "one"], ["all again"]),
        helper.make_node("Gather", ["same", "all again"], ["y"]),
    ]
    model = onnx_model(nodes[0], *(numpy_helper.from_array(array, name) for name, array in numbers.items()))
    model.graph.node.extend(nodes[1:])
    return model


def test_a_network_that_numbers_its_images_is_run(exported, tmp_path):
    model = as_many_as_images()
    network = load_exported(forged(exported["onnx"], tmp_path / "run", onnx=model.SerializeToString()))
    batch = torch.rand(3, 1, 64, 64)
    torch.testing.assert_close(network(batch), batch)


def test_an_onnx_file_of_standard_operations_is_run(exported, tmp_path):
    """The law that the refusals below do not hold for everything."""
    model = onnx_model(helper.make_node("Neg", ["x"], ["y"]))
    network = load_exported(forged(exported["onnx"], tmp_path / "run", onnx=model.SerializeToString()))
    batch = torch.rand(3, 1, 64, 64)
    torch.testing.assert_close(network(batch), -batch)


def external_data() -> onnx.ModelProto:
    tensor = numpy_helper.from_array(np.zeros(1, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../../etc/passwd"
    return onnx_model(helper.make_node("Add", ["x", "w"], ["y"]), tensor)


def external_constant() -> onnx.ModelProto:
    inside = external_data().graph.initializer[0]
    model = onnx_model(helper.make_node("Add", ["x", "w"], ["y"]))
    model.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=inside))
    return model


def with_a_branch() -> onnx.ModelProto:
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    inner = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "inner", [], [value])
    condition = numpy_helper.from_array(np.array(True), "c")
    return onnx_model(helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner), condition)


def with_a_function() -> onnx.ModelProto:
    model = onnx_model(helper.make_node("Neg", ["x"], ["y"]))
    imports = [helper.make_opsetid("", 20)]
    model.functions.append(
        helper.make_function("own", "Own", ["a"], ["b"], [helper.make_node("Neg", ["a"], ["b"])], imports)
    )
    return model


def bright_pictures_take_much() -> onnx.ModelProto:
    """Of a black picture it makes no zeros, and of any other as many as it likes."""
    model = onnx_model(helper.make_node("ReduceMax", ["x"], ["brightest"], keepdims=0))
    many = numpy_helper.from_array(np.array([1e9], np.float32), "many")
    one = numpy_helper.from_array(np.array([1]), "one")
    model.graph.initializer.extend([many, one])
    for operation, given, made in [
        ("Mul", ["brightest", "many"], "product"),
        ("Cast", ["product"], "whole"),
        ("Reshape", ["whole", "one"], "shape"),
        ("ConstantOfShape", ["shape"], "zeros"),
        ("ReduceSum", ["zeros"], "total"),
        ("Add", ["x", "total"], "y"),
    ]:
        options = {"to": TensorProto.INT64} if operation == "Cast" else {}
        model.graph.node.append(helper.make_node(operation, given, [made], **options))
    return model


def as_many_as_are_bright() -> onnx.ModelProto:
    model = onnx_model(helper.make_node("NonZero", ["x"], ["places"]))
    model.graph.node.append(helper.make_node("Add", ["x", "x"], ["y"]))
    return model


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        (bright_pictures_take_much(), "how much 'ConstantOfShape' gives depends on what a picture shows"),
        (range_up_to_the_brightest(), "how much 'Range' gives depends on what a picture shows"),
        (as_many_as_are_bright(), "how much 'NonZero' gives depends on what a picture shows"),
        (external_data(), "keeps tensors in another file"),
        (external_constant(), "keeps tensors in another file"),
        (
            onnx_model(helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft")),
            "only operations of the ONNX",
        ),
        (with_a_branch(), "a loop or a branch"),
        (with_a_function(), "functions of its own"),
        (onnx_model(helper.make_node("NoSuchThing", ["x"], ["y"])), "only operations of the ONNX standard are run"),
    ],
)
def test_what_an_onnx_file_must_not_hold(exported, tmp_path, model, complaint):
    run = forged(exported["onnx"], tmp_path / "run", onnx=model.SerializeToString())
    with pytest.raises(HilumError, match=complaint) as caught:
        hilum.load(run)
    assert "\n" not in str(caught.value)


def onnx_bomb(elements: int) -> onnx.ModelProto:
    """A few bytes that ask for so many numbers."""
    zeros = helper.make_node("ConstantOfShape", ["shape"], ["zeros"])
    total = helper.make_node("ReduceSum", ["zeros"], ["total"], keepdims=0)
    shape = numpy_helper.from_array(np.array([elements]), "shape")
    model = onnx_model(zeros, shape)
    model.graph.node.extend([total, helper.make_node("Add", ["x", "total"], ["y"])])
    return model


def openvino_bomb(folder: Path, elements: int, *, in_a_shape: bool) -> dict[str, bytes]:
    """The same; in the shape of something else, OpenVINO computes it as it reads the file."""
    openvino = import_openvino()
    ops = importlib.import_module("openvino.opset13")
    modest, half = 12_346, 6_173  # numbers that are nothing else in the files
    taken = ops.parameter([-1, 1, 64, 64], np.float32, name="x")
    first = ops.constant(np.array([0]))
    ones = ops.broadcast(ops.constant(np.int64(1)), ops.constant(np.array([modest])))
    total = ops.reduce_sum(ones, first, in_a_shape)
    if in_a_shape:
        two = ops.divide(total, ops.constant(np.array([half])))
        total = ops.reduce_sum(ops.broadcast(ops.constant(np.int64(1)), two), first, False)
    model = openvino.Model([ops.add(taken, ops.convert(total, "f32"))], [taken], "bomb")
    openvino.save_model(model, folder / "bomb.xml", compress_to_fp16=False)
    xml, weights = (folder / "bomb.xml").read_bytes(), (folder / "bomb.bin").read_bytes()
    for number, larger in ((modest, elements), (half, elements // 2)):
        xml = xml.replace(str(number).encode(), str(larger).encode())
        weights = weights.replace(number.to_bytes(8, "little"), larger.to_bytes(8, "little"))
    return {"xml": xml, "bin": weights}


GREEDY = r"model\.(onnx|xml): cannot be run with 4\d\d MiB and 20 s, which is what a network for pictures of 64 px is"


def load_greedy(run: Path) -> None:
    """It is refused in a line, and soon, and takes nothing of this process."""
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(HilumError, match=GREEDY) as caught:
        hilum.load(run)
    assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
    assert time.monotonic() - began < 60


def test_a_small_onnx_file_that_asks_for_much_is_refused(exported, tmp_path):
    load_greedy(forged(exported["onnx"], tmp_path / "run", onnx=onnx_bomb(3 * 10**9).SerializeToString()))
    hilum.load(forged(exported["onnx"], tmp_path / "modest", onnx=onnx_bomb(3000).SerializeToString()))


@pytest.mark.parametrize("in_a_shape", [False, True])
def test_a_small_openvino_file_that_asks_for_much_is_refused(exported, tmp_path, in_a_shape):
    greedy = openvino_bomb(tmp_path, 10**9, in_a_shape=in_a_shape)
    load_greedy(forged(exported["openvino"], tmp_path / "run", **greedy))
    hilum.load(
        forged(exported["openvino"], tmp_path / "modest", **openvino_bomb(tmp_path, 1000, in_a_shape=in_a_shape))
    )


@pytest.mark.parametrize("model", [bright_pictures_take_much()])
def test_an_openvino_file_may_not_take_more_for_one_picture_than_for_another(exported, tmp_path, model):
    openvino = import_openvino()
    network = openvino.Core().read_model(model.SerializeToString(), b"")
    openvino.save_model(network, tmp_path / "m.xml", compress_to_fp16=False)
    files = {ending: (tmp_path / f"m.{ending}").read_bytes() for ending in ("xml", "bin")}
    with pytest.raises(HilumError, match=r"model\.xml: how much '\w+' gives depends on what a picture shows"):
        hilum.load(forged(exported["openvino"], tmp_path / "run", **files))


def test_the_bomb_of_the_hunt_is_refused(shared, exported, tmp_path):
    bomb = (shared / "faults" / "foreign" / "onnx-constantofshape-bomb.onnx").read_bytes()
    run = forged(exported["onnx"], tmp_path / "run", onnx=bomb)
    with pytest.raises(HilumError, match=r"model\.onnx: ") as caught:
        hilum.load(run)
    assert "\n" not in str(caught.value)


def test_a_network_for_other_pictures_is_refused(exported, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(exported["onnx"], run)
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("image_size: 64", "image_size: 16"))
    with pytest.raises(HilumError, match=r"takes arrays of shape \[None, 1, 64, 64\], not pictures of 16 px"):
        hilum.load(run)


def test_a_file_is_tried_out_once_in_a_process(exported, monkeypatch):
    hilum.load(exported["onnx"])
    monkeypatch.setattr(trial, "_elsewhere", lambda *_: pytest.fail("tried out again"))
    hilum.load(exported["onnx"])


def test_what_lies_beside_is_not_taken_for_a_module(exported, tmp_path, monkeypatch):
    """A stranger's folder may hold a numpy.py."""
    (tmp_path / "numpy.py").write_text("import pathlib; pathlib.Path('ran').touch()")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trial, "_passed", set())
    hilum.load(exported["onnx"])
    assert not (tmp_path / "ran").exists()


def test_a_pipe_in_the_place_of_a_file_is_refused(exported, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(exported["onnx"], run)
    (run / "model.onnx").unlink()
    os.mkfifo(run / "model.onnx")
    with pytest.raises(HilumError, match=r"weights\.safetensors missing|a pipe or a device"):
        hilum.load(run)


def test_an_openvino_file_that_reaches_beyond_its_weights_is_refused(exported, tmp_path):
    weights = (exported["openvino"] / "model.bin").read_bytes()
    run = forged(exported["openvino"], tmp_path / "run", bin=weights[: len(weights) // 2])
    with pytest.raises(HilumError, match="not a network that can be run") as caught:
        hilum.load(run)
    assert "\n" not in str(caught.value)


def test_an_openvino_file_with_unknown_operations_is_refused(exported, tmp_path):
    xml = (exported["openvino"] / "model.xml").read_bytes()
    assert b'type="Convolution"' in xml
    foreign = xml.replace(b'type="Convolution"', b'type="Mine"').replace(b'version="opset1"', b'version="extension"')
    run = forged(exported["openvino"], tmp_path / "run", xml=foreign)
    with pytest.raises(HilumError, match="not a network that can be run") as caught:
        hilum.load(run)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("[ONNXRuntimeError] : 1 : FAIL : Load model failed", "Load model failed"),
        (
            "Node (a) Op (b) [ShapeInferenceError] invalid channel count\nat c.cc:7",
            "Node (a) Op (b) invalid channel count",
        ),
        ("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : [TypeInferenceError] no type", "no type"),
        ("Exception from src/core.cpp:98:\nCheck failed", "Check failed"),
        ("", "it gives no reason"),
    ],
)
def test_what_a_runtime_says_is_told_without_its_tags(said, told):
    assert first_line(RuntimeError(said)) == told


def test_a_batch_that_it_does_not_take_is_one_line(exported):
    for run in exported.values():
        with pytest.raises(HilumError, match="cannot be run") as caught:
            load_exported(run)(torch.zeros(1, 1, 32, 64))
        assert "\n" not in str(caught.value)


def test_the_command_line_says_what_is_wrong(unet, tmp_path):
    assert "no such run folder" in command("export", tmp_path / "none", "--format", "onnx", code=1).stderr
    assert "is there already" in command("export", unet, "--format", "onnx", "--out", tmp_path, code=1).stderr


@pytest.mark.slow
def test_from_the_command_line_it_is_used_like_any_run(dataset, tmp_path):
    def told(*words, code=0):
        done = command(*words, code=code)
        return done.stdout + done.stderr

    run = tmp_path / "run"
    tiny = ("image_size=64", "model.start_channels=4", "model.depth=2", "train.epochs=1", "boxes.threshold=0.2")
    command("train", "sample/unet", dataset, run, *tiny)
    assert "run-openvino: its network gives" in told("export", run, "--format", "openvino")
    exported = tmp_path / "run-openvino"
    scores = []
    for which in (run, exported):
        command("evaluate", which, dataset, "--json", tmp_path / f"{which.name}.json")
        scores.append(json.loads((tmp_path / f"{which.name}.json").read_text())["entries"][-1]["score"])
    assert scores[0] == pytest.approx(scores[1], abs=1e-6, nan_ok=True)
    command("predict", exported, dataset, tmp_path / "found", "--pictures", 1)
    assert (tmp_path / "found" / "predictions.json").is_file()
    command("submit", exported, dataset, tmp_path / "submission.csv")
    benchmark = told("benchmark", dataset, run, exported, "--out", tmp_path / "benchmark")
    assert "run-openvino" in benchmark
    entries = json.loads((tmp_path / "benchmark" / "results.json").read_text())["entries"]
    costs = [entry["cost"] for entry in entries if entry["backend"]]
    assert costs[0]["parameters"] == costs[1]["parameters"]
    command("tune", exported, dataset)
    composed = tmp_path / "composed"
    (tmp_path / "composed.yaml").write_text(f"backend: compose\nmembers: {{unet: {{run: {exported}}}}}\n")
    command("train", tmp_path / "composed.yaml", dataset, composed)
    command("evaluate", composed, dataset)
    assert "is composed; export the runs below" in told("export", composed, "--format", "onnx", code=1)
    assert "exported already" in told("export", exported, "--format", "onnx", code=1)
