"""What is imported: a config is read without torch, and one picture predicted without what only training needs."""

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest

import hilum
from hilum.config import shipped_configs
from hilum.plugins import CONFIGS, GROUP, backend_class, config_class

# The largest of what hilum and its backends stand on.
HEAVY = ("torch", "torchvision", "ultralytics", "supervision", "matplotlib", "scipy", "pandas", "timm", "pydicom")
REPORT = """
import json, sys
sys.argv = ["hilum", *sys.argv[1:]]
try:
    from hilum.__main__ import main
    main()
except SystemExit as error:
    assert not error.code, error
finally:
    print(json.dumps([name for name in sys.modules if "." not in name or name.startswith("torch._dynamo")]))
"""


def imported_by(*words: object, code: str = REPORT) -> set[str]:
    """The packages that a command has imported when it ends."""
    environment = {**os.environ, "PYTHONPATH": str(Path(hilum.__file__).parents[1])}
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_a_shipped_config_of_any_backend_is_printed_without_torch():
    code = f"""
import json, sys
from hilum.commands.config import config
for name in {shipped_configs()}:
    config(name)
print(json.dumps(list(sys.modules)))
"""
    assert not set(HEAVY) & imported_by(code=code)


def test_a_config_of_plain_keys_is_changed_and_checked_without_torch():
    assert not set(HEAVY) & imported_by("config", "unet", "train.epochs=3", "model.depth=3")


def test_help_imports_none_of_it():
    assert not {*HEAVY, "numpy", "yaml"} & imported_by("--help")


@pytest.mark.parametrize(
    ("given", "spins"), [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)]
)
def test_threads_are_told_how_to_wait_before_torch_is_imported_unless_the_user_did(given, spins):
    """OpenMP reads it when torch is imported; it hands it on to processes that the command starts."""
    code = """
import builtins, os, sys
real = builtins.__import__
def watched(name, *args, **kwargs):
    if name == "torch" and name not in sys.modules:
        print("SPINS", os.environ.get("GOMP_SPINCOUNT"))
    return real(name, *args, **kwargs)
builtins.__import__ = watched
sys.argv = ["hilum", "config", "gate", "image_size=64"]
from hilum.__main__ import main
main()
"""
    kept = {key: value for key, value in os.environ.items() if key not in {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}}
    environment = {**kept, **given, "PYTHONPATH": str(Path(hilum.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert f"SPINS {spins}" in done.stdout, done.stderr


def test_one_picture_is_predicted_without_what_training_and_drawing_need(tiny_run, tmp_path):
    import cv2

    picture = tmp_path / "picture.png"
    cv2.imwrite(str(picture), np.random.default_rng(0).integers(0, 255, (96, 80), np.uint8))
    imported = imported_by("predict", tiny_run, picture, tmp_path / "found")
    assert "torch" in imported
    # The package `supervision` is known, but what its own start brings is not there.
    assert not {"torchvision", "torch._dynamo", "matplotlib", "scipy", "pandas", "ultralytics", "timm"} & imported


def test_all_backends_of_ours_declare_the_config_that_they_have():
    ours = {point.name for point in entry_points(group=GROUP) if point.value.startswith("hilum.")}
    assert {point.name for point in entry_points(group=CONFIGS) if point.value.startswith("hilum.")} == ours
    for name in ours:
        assert config_class(name) is backend_class(name).Config


def test_a_plugin_of_the_same_name_brings_its_own_config(tmp_path, monkeypatch):
    (tmp_path / "their_plugin.py").write_text("class Detector:\n    class Config:\n        pass\n")
    record = tmp_path / "their_plugin-1.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: their-plugin\nVersion: 1\n")
    (record / "entry_points.txt").write_text("[hilum.backends]\ntheirs = their_plugin:Detector\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert config_class("theirs") is backend_class("theirs").Config
    sys.modules.pop("their_plugin")


def test_supervision_is_whole_for_whoever_asks_it_for_more():
    code = """
import json, sys
from hilum.detections import Detections
drawing = "supervision.annotators.core"
before = drawing in sys.modules
import supervision
assert supervision.detection.core.Detections is Detections and drawing not in sys.modules
from supervision import BoxAnnotator, Detections as theirs
assert theirs is Detections and supervision.__version__ and drawing in sys.modules
assert not hasattr(supervision, "nothing_of_this_name")
print(json.dumps([before]))
"""
    assert imported_by(code=code) == {False}


def test_a_supervision_that_is_there_is_taken():
    code = """
import supervision
from hilum.detections import Detections
assert supervision.Detections is Detections
print("[]")
"""
    assert imported_by(code=code) == set()


@pytest.mark.parametrize(("name", "network"), [("unet", "UNet"), ("resnet", "ResNet")])
def test_the_defaults_of_a_config_are_those_of_its_network(name, network):
    import inspect
    from importlib import import_module

    parameters = inspect.signature(getattr(import_module(f"hilum.segmenters.{name}_network"), network)).parameters
    fields = config_class(name).model_fields["model"].annotation.model_fields
    shape = {key: field.default for key, field in fields.items() if key != "weights"}
    assert shape == {key: parameters[key].default for key in shape}
