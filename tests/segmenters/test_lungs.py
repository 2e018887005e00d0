"""The backend `lungs` against torchxrayvision itself; with random weights, for tests have no connection."""

import socket
from urllib.error import URLError

import numpy as np
import pytest
import torch

from hilum.config import check_config
from hilum.datasets.folder import Dataset
from hilum.errors import HilumError
from hilum.train_run import train

xrv = pytest.importorskip("torchxrayvision", reason="needs the extra `lungs`")

FILE = "pspnet_chestxray_best_model_4.pth"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file as torchxrayvision publishes it: of a network inside DataParallel."""
    from torchxrayvision.baseline_models.chestx_det.ptsemseg.pspnet import pspnet

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("hub") / FILE
    torch.save({f"module.{name}": tensor for name, tensor in pspnet(14).state_dict().items()}, path)
    return path


@pytest.mark.slow
def test_the_map_is_torchxrayvisions(weights, dataset, tmp_path):
    data, run = Dataset.open(dataset), tmp_path / "run"
    predictor = train(check_config({"backend": "lungs", "weights": str(weights)}, "test"), data, run)
    assert {path.suffix for path in run.rglob("*") if path.is_file()} <= {".yaml", ".json", ".safetensors"}
    assert "NIH ChestX-ray14" in (run / "environment.json").read_text()
    image = np.random.default_rng(0).integers(0, 256, (512, 512), dtype=np.uint8)
    theirs = xrv.baseline_models.chestx_det.PSPNet(cache_dir=str(weights.parent))
    pixels = torch.from_numpy(xrv.datasets.normalize(image, 255)[None, None]).float()
    with torch.inference_mode(), pytest.warns(UserWarning, match="upsample|normalized"):
        expected = theirs(pixels)[0, [theirs.targets.index(f"{side} Lung") for side in ("Left", "Right")]]
    (covered,) = predictor.backend.probability_maps([image])
    np.testing.assert_allclose(covered, expected.sigmoid().amax(dim=0), atol=1e-4)
    assert covered.std() > 0


@pytest.mark.parametrize("content", ["pickle", "other", "missing"])
def test_what_is_no_such_file_is_one_line(content, dataset, tmp_path):
    path = tmp_path / FILE
    if content == "pickle":
        torch.save(torch.nn.Linear(1, 1), path)
    elif content == "other":
        torch.save(torch.nn.Linear(1, 1).state_dict(), path)
    with pytest.raises(
        HilumError, match=r"^weights: .*(cannot be read as tensors|not those of torchxrayvision|expected hub, or)"
    ) as error:
        train(check_config({"backend": "lungs", "weights": str(path)}, "test"), Dataset.open(dataset), tmp_path / "run")
    assert len(str(error.value).splitlines()) == 1


def test_without_a_connection_the_hub_is_one_line(dataset, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise URLError("the cable is pulled")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(HilumError, match=rf"cannot get https://.*{FILE} .*give its path"):
        train(check_config({"backend": "lungs"}, "test"), Dataset.open(dataset), tmp_path / "run")
