"""Nothing is sent, no host is looked up, and HOME stays empty: watched from outside, where nothing passes by.

Each script runs in a network namespace of its own, whose cable is pulled, under strace: what it would have sent is seen
there whichever library tried, in whichever language.
"""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from textwrap import indent

import pytest

import hilum

NAMESPACE = ["unshare", "--map-root-user", "--net"]
STRACE = ["strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg"]


def _cannot() -> str | None:
    if not shutil.which("strace"):
        return "no strace here; on Debian: apt-get install strace"
    try:
        done = subprocess.run([*NAMESPACE, *STRACE, "-o", os.devnull, "true"], capture_output=True, check=False)
    except OSError as error:
        return f"no network namespace: {error.strerror}"
    return None if done.returncode == 0 else f"no network namespace or no strace in it: {done.stderr.decode()[:80]}"


CANNOT = _cannot()
pytestmark = pytest.mark.skipif(CANNOT is not None, reason=str(CANNOT))

SMALL = {
    "unet": "sample/unet image_size=64 model.start_channels=4 model.depth=2 train.epochs=1",
    "yolo": "sample/yolo image_size=64 train.epochs=1 model_yaml.scales.n=[0.33,0.03125,256] ultralytics.plots=true",
    "segmenter": "convnext-unet image_size=64 model.encoder=tu-test_convnext model.weights=none train.epochs=1",
    "gate": "gate image_size=64 model.name=test_resnet model.weights=none train.epochs=1",
    "torchvision": "ssdlite image_size=64 model.weights=none train.epochs=1",
    "dfine": "sample/dfine image_size=64 train.epochs=1",
}
TRAIN = """
from hilum.config import load_config
from hilum.datasets.folder import Dataset
from hilum.train_run import train

config, *overrides = {config!r}.split()
data = Dataset.open(Path({data!r}))
predictor = train(load_config(config, overrides), data, Path({out!r}) / "run")
assert all(result.error is None for result in predictor.predict(data.split("val").paths))
"""
EXPORT = """
import hilum
from hilum.export import export

export(Path({out!r}) / "run", {kind!r}, Path({out!r}) / {kind!r})
assert all(result.error is None for result in hilum.load(Path({out!r}) / {kind!r}).predict([np.zeros((64, 64), "u1")]))
"""
LATER = """
import threading, time

time.sleep({seconds})  # what reports does so in the background
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join(10)
"""
ORT = """
import hilum
import onnxruntime
from onnx import TensorProto, helper

value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", value[:1], value[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
assert session.run(None, {"x": np.ones(1, "f4")})[0] == -1
"""


class Seen:
    """What a script did: addresses that it turned to, and files that it left."""

    def __init__(self, calls: str, home: Path) -> None:
        internet = [line for line in calls.splitlines() if "AF_INET" in line]
        at_home = re.compile(r'inet_addr\("127\.|"::1"|::ffff:127\.')
        # A resolver may be on this machine, and ask others.
        self.turned_to = [line for line in internet if not at_home.search(line) or "port=htons(53)" in line]
        self.left = sorted(str(path.relative_to(home)) for path in home.rglob("*"))


def run(script: str, folder: Path, *, seconds: float = 0.2, private: bool = True) -> Seen:
    """Run a script without a network and with an empty HOME, and see what it did."""
    home, calls = folder / "home", folder / "calls"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    # Little of the environment is kept: libraries that report keep still where CI or a variable of theirs is set.
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "LANG", "TMPDIR", "LD_LIBRARY_PATH")}
    before = "import numpy as np\nfrom pathlib import Path\n" + ("import hilum\n" if private else "")
    done = subprocess.run(
        [*NAMESPACE, *STRACE, "-o", calls, sys.executable, "-c", before + script + LATER.format(seconds=seconds)],
        capture_output=True,
        text=True,
        check=False,
        env={**kept, "HOME": str(home), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(hilum.__file__).parents[1])},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return Seen(calls.read_text(), home)


def nothing(seen: Seen) -> None:
    assert seen.turned_to == []
    assert seen.left == []


def needs(*packages: str) -> pytest.MarkDecorator:
    missing = [package for package in packages if not find_spec(package)]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} is not installed")


def test_a_connection_would_be_seen(tmp_path: Path) -> None:
    """Else the tests below would prove nothing; so with a host that is looked up, and a file in HOME."""
    looked_up = "import socket\ntry:\n    socket.create_connection((%r, 80), 1)\nexcept OSError:\n    pass\n"
    assert run(looked_up % "192.0.2.1", tmp_path, seconds=0).turned_to
    assert run(looked_up % "example.org", tmp_path, seconds=0).turned_to
    assert run("(Path.home() / 'a').touch()", tmp_path, seconds=0).left == ["a"]


@needs("onnxruntime", "onnx")
def test_onnx_runtime_leaves_no_number_of_this_machine(tmp_path: Path) -> None:
    nothing(run(ORT, tmp_path, seconds=1))


@needs("onnxruntime", "onnx")
def test_onnx_runtime_without_hilum_does(tmp_path: Path) -> None:
    """Else the test above would prove nothing."""
    assert any("deviceid" in path for path in run(ORT.replace("import hilum\n", ""), tmp_path, private=False).left)


def test_drawing_leaves_no_list_of_fonts(tmp_path: Path) -> None:
    script = "from hilum.pages.plotting import *\nwith new_figure(2, 2) as figure:\n    to_png(figure)\n"
    nothing(run(script + "import matplotlib.pyplot\n", tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_training_and_prediction(name: str, dataset: Path, tmp_path: Path) -> None:
    needed = {
        "yolo": "ultralytics",
        "segmenter": "segmentation_models_pytorch",
        "gate": "timm",
        "dfine": "transformers",
    }
    package = needed.get(name)
    if package and not find_spec(package):
        pytest.skip(f"{package} is not installed")
    nothing(run(TRAIN.format(config=SMALL[name], data=str(dataset), out=str(tmp_path)), tmp_path))


@pytest.mark.slow
@needs("onnxscript", "onnxruntime", "openvino")
def test_export_and_what_was_exported(dataset: Path, tmp_path: Path) -> None:
    script = TRAIN.format(config=SMALL["unet"], data=str(dataset), out=str(tmp_path))
    script += "".join(EXPORT.format(kind=kind, out=str(tmp_path)) for kind in ("onnx", "openvino"))
    nothing(run(script, tmp_path, seconds=2))


@pytest.mark.slow
@needs("onnxscript", "openvino", "nncf")
def test_calibration_of_8_bits(dataset: Path, tmp_path: Path) -> None:
    """NNCF would report to its makers, though not within pytest, which it looks for; this is another process."""
    script = TRAIN.format(config=SMALL["unet"], data=str(dataset), out=str(tmp_path))
    script += f"from hilum.export import export\n\nout = Path({str(tmp_path)!r})\n"
    nothing(run(script + 'export(out / "run", "openvino", out / "int8", int8=data)\n', tmp_path, seconds=2))


@pytest.mark.slow
@needs("torchxrayvision")
def test_lungs_without_their_weights_are_a_line(dataset: Path, tmp_path: Path) -> None:
    script = TRAIN.format(config="lungs weights=missing.pth", data=str(dataset), out=str(tmp_path))
    refused = (
        "except hilum.errors.HilumError as error:\n    assert 'no such file' in str(error)\nelse:\n    raise OSError"
    )
    nothing(run(f"try:\n{indent(script, '    ')}\n{refused}\n", tmp_path))


@pytest.mark.slow
@needs("distributed")
def test_conversion_on_a_cluster(sample_folder: Path, tmp_path: Path) -> None:
    script = """
import fcntl, socket, struct, sys

with socket.socket() as any_socket:  # the namespace's own loopback, which is down at first
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 1))

from distributed import LocalCluster
from hilum.__main__ import main

here = {{"host": "127.0.0.1", "protocol": "tcp", "dashboard_address": None, "processes": False}}
with LocalCluster(1, threads_per_worker=1, **here) as cluster:
    sys.argv = ["hilum", "convert", {source!r}, {out!r}, "--dask", cluster.scheduler_address]
    main()
"""
    nothing(run(script.format(source=str(sample_folder), out=str(tmp_path / "data")), tmp_path))
    assert (tmp_path / "data" / "conversion.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["benchmark", "explore"])
def test_commands(command: str, dataset: Path, tmp_path: Path) -> None:
    """With COCO's metric, by faster-coco-eval where that is installed, and all pages; and loggers of a training."""
    loggers = ",".join(name for name in ("tensorboard", "mlflow") if find_spec(name))
    script = TRAIN.format(config=SMALL["unet"] + f" train.loggers=[{loggers}]", data=str(dataset), out=str(tmp_path))
    benchmark = ["benchmark", str(dataset), str(tmp_path / "run"), "--out", str(tmp_path / "benchmark")]
    words = benchmark if command == "benchmark" else ["explore", str(dataset)]
    script += f"\nimport sys\nfrom hilum.__main__ import main\nsys.argv = ['hilum', *{words!r}]\nmain()\n"
    nothing(run(script, tmp_path))


@pytest.mark.slow
def test_importing_everything(tmp_path: Path) -> None:
    """Also what is imported at a distance, and what comes with an extra."""
    modules = "imagecodecs faster_coco_eval pycocotools distributed segmentation_models_pytorch timm huggingface_hub "
    modules += "onnx onnxscript onnxruntime torchxrayvision supervision torchvision torch.utils.tensorboard rich "
    modules += (
        "mlflow safetensors.torch pandas cv2 matplotlib.pyplot pydicom transformers.models.d_fine.modeling_d_fine"
    )
    found = [name for name in modules.split() if find_spec(name.split(".", maxsplit=1)[0])]
    if find_spec("ultralytics"):
        found.append("hilum.detectors.private_ultralytics")
    nothing(run("".join(f"import {name}\n" for name in found), tmp_path, seconds=2))
