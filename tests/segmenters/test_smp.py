import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file

import hilum
from hilum.config import check_config
from hilum.datasets.folder import Dataset
from hilum.errors import HilumError
from hilum.train_run import train
from hilum.training.tensors import read_tensors

smp = pytest.importorskip("segmentation_models_pytorch", reason="needs the extra `smp`")
timm = pytest.importorskip("timm")

from hilum.segmenters.smp_network import SMPNetwork  # noqa: E402
from hilum.training import pretrained  # noqa: E402
from hilum.training.pretrained import GREY_MEAN, GREY_STD, load_encoder  # noqa: E402

TINY = {
    "backend": "segmenter",
    "image_size": 64,
    "model": {"encoder": "tu-mobilenetv3_small_050", "options": {"decoder_channels": [16, 16, 8, 8, 8]}},
    "train": {"epochs": 1, "batch_size": 8},
}


def config(model=None, **changes):
    return check_config({**TINY, **changes, "model": {**TINY["model"], **(model or {})}}, "test")


@pytest.mark.parametrize(
    ("architecture", "encoder", "options"),
    [
        ("Unet", "resnet18", {}),
        ("Unet", "tu-convnextv2_atto", {"drop_path_rate": 0.1}),
        ("Unet", "mit_b0", {}),
        ("UnetPlusPlus", "tu-resnet18d", {"encoder_depth": 3, "decoder_channels": [16, 8, 8]}),
        ("MAnet", "mobilenet_v2", {}),
        ("Linknet", "resnet18", {}),
        ("FPN", "tu-mobilenetv3_small_050", {}),
        ("PSPNet", "resnet18", {}),
        ("PAN", "resnet18", {}),
        ("DeepLabV3", "resnet18", {}),
        ("DeepLabV3Plus", "tu-mobilenetv3_small_050", {}),
        ("UPerNet", "resnet18", {}),
        ("Segformer", "tu-convnextv2_atto", {}),
        ("DPT", "tu-vit_tiny_patch16_224", {"dynamic_img_size": True}),
        ("Unet", "tu-swin_tiny_patch4_window7_224", {"img_size": 128}),
    ],
)
@pytest.mark.parametrize("image_loss", [pytest.param(0, marks=pytest.mark.slow), 0.3])
def test_any_decoder_over_any_encoder(architecture, encoder, options, image_loss):
    """Masks are as large as the image, and images judged."""
    values = {"architecture": architecture, "encoder": encoder, "options": options}
    checked = check_config(
        {**TINY, "image_size": 128, "model": values, "train": {**TINY["train"], "image_loss": image_loss}}, "test"
    )
    image = torch.rand(3, 1, 128, 128)
    with torch.inference_mode():
        output = checked.network().eval()(image)
    pixels, images = output if image_loss else (output, None)
    assert pixels.shape == image.shape
    assert images is None or images.shape == (3,)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"architecture": "Unett"}, "model: architecture: no 'Unett' in .*; did you mean 'Unet'?"),
        ({"architecture": "YOLO"}, "there are Unet, UnetPlusPlus"),
        ({"encoder": "resnet33"}, "model: encoder: no 'resnet33' in .*; did you mean 'resnet"),
        ({"encoder": "convnextv2_tiny"}, "did you mean 'tu-convnextv2_tiny'"),
        (
            {"encoder": "tu-convnextv2_tinny"},
            r"no 'tu-convnextv2_tinny' in timm [\d.]+; did you mean 'tu-convnextv2_tiny'",
        ),
        ({"encoder": "tu-convnextv2_tiny.fcmae_ft_in22k_in1kk"}, "did you mean 'fcmae_ft_in22k_in1k'"),
        ({"encoder": "tu-hf-hub:someone/something"}, "no 'tu-hf-hub:someone/something' in timm"),
        ({"options": {"decoder_channel": [1]}}, "has no 'decoder_channel'; did you mean 'decoder_channels'"),
        ({"options": {"checkpoint_path": "x.pth"}}, "has no 'checkpoint_path'; there are "),
        ({"options": {"pretrained": True}}, "has no 'pretrained'; "),
        ({"options": {"classes": 3}}, "has no 'classes'; "),
        ({"options": {"decoder_channels": [8, 8]}}, "model: cannot be built: Model depth is 5"),
        ({"encoder": "resnet18", "options": {"drop_path_rate": 0.1}}, "Unet with resnet18 has no 'drop_path_rate'"),
        ({"encoder": "tu-test_byobnet", "weights": "hub", "options": {"zzz": 1}}, "has no 'zzz'"),
        ({"encoder": "tu-swin_tiny_patch4_window7_224"}, r"does not take 64 \(.*img_size: 64"),
        ({"wieghts": "none"}, "model.wieghts: unknown key; did you mean 'weights'"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(model, message):
    with pytest.raises(HilumError, match=message) as caught:
        config(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "size", "multiple"),
    [({}, 80, 32), ({"options": {"encoder_depth": 3, "decoder_channels": [8, 8, 8]}}, 84, 8)],
)
def test_the_multiple_that_an_image_size_must_be_is_said(model, size, multiple):
    with pytest.raises(HilumError, match=f"image_size: expected a multiple of {multiple} for this model, not {size}"):
        config(model, image_size=size)
    assert config(model, image_size=size // multiple * multiple)


def test_a_batch_of_one_is_refused():
    with pytest.raises(HilumError, match=r"train\.batch_size: expected 2 or more"):
        config(train={"epochs": 1, "batch_size": 1})


# What pretrained weights are put to.


def _save_whole_timm(name: str, path: Path) -> None:
    torch.manual_seed(3)
    save_file(timm.create_model(name).state_dict(), path)


@pytest.mark.parametrize(
    "name",
    ["mobilenetv3_small_050", "convnextv2_atto", "resnet18d", "efficientnet_b0", "regnetx_002", "swin_s3_tiny_224"],
)
def test_timms_weights_are_loaded_as_timm_loads_them(name, tmp_path):
    """Oracle: timm's own reading of the same file, for one channel."""
    _save_whole_timm(name, tmp_path / "w.safetensors")
    encoder = SMPNetwork("Unet", f"tu-{name}", {}).encoder
    load_encoder(encoder, read_tensors(tmp_path / "w.safetensors", "model.weights", "none, hub"), "w")
    overlay = {"file": str(tmp_path / "w.safetensors")}
    theirs = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay=overlay, in_chans=1, features_only=True
    ).eval()
    image = torch.rand(1, 1, 224, 224)
    with torch.inference_mode():
        ours, expected = encoder.eval()(image), theirs(image)
    ours = [map_.permute(0, 2, 3, 1) if "swin" in name else map_ for map_ in ours if map_.shape[1] > 1]
    for one, other in zip(reversed(ours), reversed(expected), strict=False):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("inside", [None, "state_dict", "model"])
def test_a_torchvision_checkpoint_sees_grey_as_three_equal_colours(inside, tmp_path):
    torch.manual_seed(1)
    theirs = torchvision.models.resnet18(weights=None).eval()
    state = theirs.state_dict()
    if inside:
        state = {inside: {f"module.{name}": tensor for name, tensor in state.items()}, "epoch": 3}
    torch.save(state, tmp_path / "w.pth")
    network = SMPNetwork("Unet", "resnet18", {}).eval()
    load_encoder(network.encoder, read_tensors(tmp_path / "w.pth", "model.weights", "none, hub"), "w.pth")
    image = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        deepest = network.encoder((image - GREY_MEAN) / GREY_STD)[-1]
        x = ((image - GREY_MEAN) / GREY_STD).repeat(1, 3, 1, 1)
        for layer in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            x = getattr(theirs, layer)(x)
    torch.testing.assert_close(deepest, x, atol=1e-4, rtol=1e-4)


def test_weights_of_another_encoder_are_refused_and_change_nothing(tmp_path):
    encoder = SMPNetwork("Unet", "tu-mobilenetv3_small_050", {}).encoder
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    whole = timm.create_model("mobilenetv3_small_050").state_dict()
    small, other = timm.create_model("mobilenetv3_small_075").state_dict(), timm.create_model("resnet18").state_dict()
    part = {name: tensor for name, tensor in whole.items() if not name.startswith("blocks.3")}
    for wrong, message in ((other, "are missing"), (small, "has shape"), (part, "blocks_3_0.* first")):
        with pytest.raises(HilumError, match=f"model.weights: mine: not the weights of this encoder.*{message}"):
            load_encoder(encoder, wrong, "mine")
        assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


def test_a_run_can_start_with_the_encoder_of_another(tmp_path):
    torch.manual_seed(5)
    network = config().network()
    save_file(
        {name: tensor.contiguous() for name, tensor in network.state_dict().items()}, tmp_path / "run.safetensors"
    )
    start = config({"weights": str(tmp_path / "run.safetensors")}).starting_network()
    for name, tensor in network.encoder.state_dict().items():
        assert torch.equal(tensor, start.encoder.state_dict()[name]), name


def test_without_weights_there_is_no_pretraining():
    assert config().pretraining is None
    assert config({"weights": "/secret/place/w.safetensors"}).pretraining == "w.safetensors"
    assert config({"weights": "hub"}).pretraining == "timm/mobilenetv3_small_050.lamb_in1k"
    assert config({"weights": "hub", "encoder": "resnet18"}).pretraining == "smp-hub/resnet18.imagenet"


def test_no_connection_is_one_line(monkeypatch):
    import huggingface_hub

    def unreachable(*_, **__):
        raise huggingface_hub.errors.LocalEntryNotFoundError("An error\nof several lines")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    expected = "cannot get timm/mobilenetv3_small_050.lamb_in1k from the hub .*give its path, or set it to none"
    with pytest.raises(HilumError, match=expected) as caught:
        config({"weights": "hub"}).starting_network()
    assert "\n" not in str(caught.value)


def test_a_run_from_the_hub_says_so_resumes_and_loads_without_it(dataset, tmp_path, monkeypatch):
    """Asked for when training begins, before the run folder is there; neither resuming nor loading asks again."""
    _save_whole_timm("mobilenetv3_small_050", tmp_path / "model.safetensors")
    asked = []

    def download(repository, revision):
        asked.append((repository, run.exists()))
        return tmp_path / "model.safetensors"

    monkeypatch.setattr("hilum.training.pretrained.download", download)
    data, run = Dataset.open(dataset), tmp_path / "run"
    # A learning rate of next to nothing leaves the weights what they came as.
    settings = config({"weights": "hub"}, train={"epochs": 2, "batch_size": 8, "learning_rate": 1e-12})

    class Stop(Exception):  # noqa: N818
        pass

    def killed(*_):
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr("hilum.train_run.write_operating_point", killed)
        with pytest.raises(Stop):
            train(settings, data, run)
    # The second time it is in the hub's cache.
    assert asked == [("timm/mobilenetv3_small_050.lamb_in1k", False), ("timm/mobilenetv3_small_050.lamb_in1k", True)]
    train(settings, data, run)
    assert len(asked) == 2
    assert json.loads((run / "environment.json").read_text())["pretraining"] == asked[0][0]
    trained, source = load_file(run / "weights.safetensors"), load_file(tmp_path / "model.safetensors")
    np.testing.assert_allclose(
        trained["network.encoder.model.conv_stem.weight"], source["conv_stem.weight"].sum(1, keepdim=True), atol=1e-6
    )
    (tmp_path / "model.safetensors").unlink()
    monkeypatch.setattr(pretrained, "download", killed)
    assert [result.error for result in hilum.load(run).predict(data.split("val").paths[:2])] == [None, None]
    assert len(asked) == 2


def test_global_pooling_trains_whatever_the_last_batch(dataset, tmp_path):
    """17 images in batches of 8 would leave one alone, whose globally pooled map BatchNorm cannot normalise."""
    data = Dataset.open(dataset)
    batch_size = next(size for size in range(2, 99) if len(data.split("train")) % size == 1)
    settings = config(
        {"architecture": "DeepLabV3Plus", "encoder": "tu-mobilenetv3_small_050", "options": {"decoder_channels": 16}},
        train={"epochs": 1, "batch_size": batch_size},
    )
    train(settings, data, tmp_path / "run")
