"""D-FINE: its sizes, files of the hub's form, what its loss takes, and that it keeps to itself.

No file of the hub is here. Those below are written by transformers' own `save_pretrained`, with random numbers, which
gives the names and shapes of the hub's, colours and COCO's 80 classes among them.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save, save_file

transformers = pytest.importorskip("transformers")

from hilum.config import check_config, load_config  # noqa: E402
from hilum.detectors.dfine_network import DFineNetwork, load_pretrained  # noqa: E402
from hilum.detectors.square_detector import Batch  # noqa: E402
from hilum.errors import HilumError  # noqa: E402
from hilum.training import pretrained  # noqa: E402

# MB of `model.safetensors` in ustc-community's repositories dfine-SIZE-coco, as the hub rounds them.
HUB_MB = {"nano": "15.3", "small": "41.5", "medium": "78.7", "large": "126", "xlarge": "252"}
# Of dfine-nano-coco's config.json, by transformers' conversion script.
STAGES = {
    "stem_channels": [3, 16, 16],
    "stage_in_channels": [16, 64, 256, 512],
    "stage_mid_channels": [16, 32, 64, 128],
    "stage_out_channels": [64, 256, 512, 1024],
    "hidden_sizes": [128, 256, 512, 1024],
    "stage_num_blocks": [1, 1, 2, 1],
    "stage_numb_of_layers": [3, 3, 3, 3],
    "use_learnable_affine_block": True,
}
NANO = {
    "num_feature_levels": 2,
    "encoder_ffn_dim": 512,
    "encode_proj_layers": [1],
    "d_model": 128,
    "encoder_hidden_dim": 128,
    "decoder_ffn_dim": 512,
    "encoder_in_channels": [512, 1024],
    "decoder_n_points": [6, 6],
    "decoder_in_channels": [128, 128],
    "feat_strides": [16, 32],
    "depth_mult": 0.5,
    "decoder_layers": 3,
    "hidden_expansion": 0.34,
}


@pytest.fixture(scope="module")
def theirs() -> Any:
    """D-FINE-N of transformers with random numbers, BatchNorm's statistics and what begins at zero among them."""
    torch.manual_seed(0)
    backbone = {"model_type": "hgnet_v2", "out_indices": [3, 4], **STAGES}
    config = transformers.DFineConfig(backbone_config=backbone, num_labels=80, num_queries=20, **NANO)
    network = transformers.DFineForObjectDetection(config).eval()
    for name, tensor in network.state_dict().items():
        if "running_var" in name:
            tensor.uniform_(0.5, 1.5)
        elif tensor.is_floating_point() and tensor.numel() > 1:
            tensor.add_(torch.randn_like(tensor) * 0.02)
    return network


@pytest.fixture(scope="module")
def folder(theirs: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a repository of the hub is downloaded: config.json and model.safetensors."""
    folder = tmp_path_factory.mktemp("hub") / "dfine-nano-coco"
    theirs.save_pretrained(folder)
    return folder


def nano(**model: Any) -> Any:
    values = {"size": "nano", "queries": 20, **model}
    return check_config({"backend": "dfine", "image_size": 64, "model": values}, "test")


def truth(*boxes: list[list[float]]) -> Batch:
    squares = torch.randint(0, 256, (len(boxes), 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Batch(squares, tuple(torch.tensor(some).reshape(-1, 4).float() for some in boxes))


@pytest.mark.parametrize("size", HUB_MB)
def test_each_size_is_as_large_as_the_hubs_file(size: Any) -> None:
    network = DFineNetwork(size, queries=300, image_size=640, classes=80)
    megabytes = len(save(network.state_dict())) / 1e6
    assert f"{megabytes:.3g}" == HUB_MB[size]


def test_a_file_of_the_hubs_form_sees_grey_as_it_saw_colours(theirs: Any, folder: Path) -> None:
    stored = load_file(folder / "model.safetensors")
    assert "model.encoder.encoder.0.layers.0.fc1.weight" in stored  # the names of the hub's files, not transformers' 5
    assert "class_embed.0.weight" not in stored
    network = DFineNetwork("nano", queries=20, image_size=64, classes=80).eval()
    load_pretrained(network, stored, "a file", "nano")
    pictures = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        boxes, confidences = network(pictures)
        expected = theirs(pictures.repeat(1, 3, 1, 1))
    centre, size = expected.pred_boxes.split(2, dim=-1)
    torch.testing.assert_close(boxes, 64 * torch.cat([centre - size / 2, centre + size / 2], -1), atol=2e-3, rtol=1e-4)
    torch.testing.assert_close(confidences, expected.logits.sigmoid(), atol=1e-5, rtol=1e-4)


def test_of_other_classes_all_is_taken_but_what_tells_them_apart(folder: Path) -> None:
    settings = nano(weights=str(folder))
    assert settings.pretraining == "dfine-nano-coco"
    torch.manual_seed(3)
    network = settings.starting_network()
    stored = load_file(folder / "model.safetensors")
    name = "decoder.bbox_embed.2.layers.1.weight"
    assert torch.equal(network.detector.state_dict()[name], stored[f"model.{name}"])
    score = network.detector.enc_score_head
    assert score.weight.shape == (1, 128)
    assert score.bias.sigmoid().item() == pytest.approx(0.01)  # as it begins


def test_older_files_have_the_heads_outside_alone(folder: Path, tmp_path: Path) -> None:
    inside = "model.decoder."
    heads = (f"{inside}class_embed.", f"{inside}bbox_embed.")
    stored = load_file(folder / "model.safetensors")
    moved = {name.removeprefix(inside) if name.startswith(heads) else name: each for name, each in stored.items()}
    assert moved.keys() != stored.keys()
    save_file(moved, tmp_path / "old.safetensors")
    ours = nano(weights=str(tmp_path / "old.safetensors")).starting_network().detector
    assert torch.equal(ours.decoder.bbox_embed[1].layers[0].bias, stored["model.decoder.bbox_embed.1.layers.0.bias"])


def test_what_is_no_dfine_of_this_size_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(HilumError, match=r"model\.weights: dfine-nano-coco: not the weights of this D-FINE of size sm"):
        nano(size="small", weights=str(folder)).starting_network()
    save_file({"model.enc_score_head.weight": torch.zeros(2, 3)}, tmp_path / "a.safetensors")
    with pytest.raises(HilumError, match=r"a\.safetensors: not the weights .* are missing"):
        nano(weights=str(tmp_path / "a.safetensors")).starting_network()
    with pytest.raises(HilumError, match=r"no such file; expected none, hub, or the path"):
        nano(weights="package").starting_network()


def test_hub_asks_for_the_file_of_its_size_and_says_in_a_line_that_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def nothing(repository: str, file: str, **_: Any) -> str:
        asked.append((repository, file))
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", nothing)
    settings = load_config("dfine")
    assert settings.pretraining == "ustc-community/dfine-small-coco"
    with pytest.raises(HilumError, match=r"model\.weights: cannot get ustc-community/dfine-small-coco from the hub"):
        settings.starting_network()
    assert asked == [("ustc-community/dfine-small-coco", "model.safetensors")]
    assert pretrained.CHOICES == "none, hub, package"


def test_a_batch_without_boxes_teaches_silence_to_every_parameter() -> None:
    network = nano().network().train()
    loss = network(truth([], []))
    loss.backward()
    assert 0 < loss.item() < network(truth([[8, 8, 40, 40]], [])).item()
    assert [name for name, each in network.named_parameters() if each.requires_grad and each.grad is None] == []


def test_truth_scores_better_than_other_boxes() -> None:
    """The loss's boxes are in shares of the square, centre first: what the network finds costs it the least."""
    torch.manual_seed(0)
    network = nano().network()
    batch = truth([[16, 16, 48, 56]])
    with torch.no_grad():
        boxes, confidences = network.eval()(batch.squares[:, None] / 255)
        best = boxes[0, confidences[0, :, 0].argmax()].tolist()
        network.train()
        losses = []
        for box in (best, [1.0, 1.0, 63.0, 5.0]):
            torch.manual_seed(1)
            losses.append(float(network(truth([box]))))
    assert losses[0] < losses[1]


def test_in_bfloat16_what_is_found_stays_float32() -> None:
    network = nano().network().train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = network(truth([[8, 8, 40, 40]], []))
    assert loss.dtype == torch.float32
    assert loss.isfinite()


def test_a_network_that_is_no_number_gives_a_loss_that_is_none() -> None:
    network = nano().network().train()
    with torch.no_grad():
        network.detector.enc_output[0].weight.fill_(float("nan"))
    assert not network(truth([[8, 8, 40, 40]])).isfinite()


def test_there_are_no_more_queries_than_places() -> None:
    """At 64 px strides 16 and 32 have 16 and 4 places."""
    network = nano(queries=300).network().eval()
    with torch.inference_mode():
        boxes, confidences = network(torch.zeros(1, 1, 64, 64))
    assert (boxes.shape, confidences.shape) == ((1, 20, 4), (1, 20, 1))


def test_random_weights_have_no_statistics_to_freeze() -> None:
    with pytest.raises(HilumError, match=r"train\.freeze_batchnorm: random weights .* or give model\.weights"):
        load_config("dfine", ["model.weights=none"])


def test_transformers_tells_nothing(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    network = nano(weights=str(folder)).starting_network().train()
    network(truth([[8, 8, 40, 40]], [])).backward()
    assert capfd.readouterr() == ("", "")
