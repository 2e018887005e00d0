"""The report's attempts against Keras itself: same weights, same output, same losses, same training step."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hilum.config import load_config
from hilum.segmenters.keras_conventions import KerasAdam
from hilum.segmenters.losses import bce_loss, iou_bce_loss, iou_loss, mean_iou, pixel_accuracy
from hilum.segmenters.unet_network import _UpConvolution

pytestmark = pytest.mark.slow
WITH_WEIGHTS = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, _UpConvolution)
SMALL_PX = 64
# From far below Adam's epsilon to far above it.
GRADIENTS = np.random.default_rng(0).normal(size=(20, 8)) * 10.0 ** np.arange(-9, -1)


def in_order_of_computation(network: nn.Module) -> list[Any]:
    """The modules with weights, as a forward pass meets them."""
    met: list[Any] = []
    modules = [module for module in network.modules() if isinstance(module, WITH_WEIGHTS)]
    hooks = [module.register_forward_hook(lambda module, *_: met.append(module)) for module in modules]
    with torch.no_grad():
        network.eval()(torch.zeros(1, 1, SMALL_PX, SMALL_PX, dtype=torch.float64))
    for hook in hooks:
        hook.remove()
    return met


def unsettle(network: nn.Module, layers: list[Any], image: Tensor) -> None:
    """Numbers that no default shares in every weight; running statistics that keep the maps within bounds.

    And logits within 16 of 0: beyond, Keras' cross-entropy clips probabilities at 1e-7, and ours does not.
    """
    norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm2d)]
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
        if layer.bias is not None:
            nn.init.uniform_(layer.bias, -0.3, 0.3)
    with torch.no_grad():
        layers[-1].weight *= 0.3
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(image)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.running_mean += norm.running_var.sqrt() * torch.empty_like(norm.running_mean).uniform_(-0.2, 0.2)
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.8, 1.2)


def as_keras(layer: Any) -> list[np.ndarray]:
    """A module's weights in Keras' order and layout."""
    if isinstance(layer, nn.BatchNorm2d):
        tensors = [layer.weight, layer.bias, layer.running_mean, layer.running_var]
    else:
        # (out, in, h, w) -> (h, w, in, out); a transposed convolution's (in, out, h, w) -> (h, w, out, in)
        tensors = [layer.weight.permute(2, 3, 1, 0), *([] if layer.bias is None else [layer.bias])]
    return [tensor.detach().numpy().copy() for tensor in tensors]


def all_as_keras(layers: list[Any]) -> list[np.ndarray]:
    return [weight for layer in layers for weight in as_keras(layer)]


def random_image(count: int, size: int) -> Tensor:
    return torch.rand(count, 1, size, size, dtype=torch.float64)


def box_masks(count: int, size: int) -> Tensor:
    masks = torch.zeros(count, 1, size, size, dtype=torch.float64)
    for number in range(1, count):  # the first has no opacity
        masks[number, :, size // 4 : size // 2, number * size // 8 : size * 3 // 4] = 1
    return masks


def channels_last(x: Tensor) -> np.ndarray:
    return x.detach().permute(0, 2, 3, 1).numpy()


@pytest.fixture(scope="module", params=["resnet_try_1", "resnet_try_2", "resnet_try_4", "unet_try_1"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """An attempt's network, and what Keras answers for the same weights and images."""
    for package in ("keras", "tensorflow"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f'{package} is not installed, so there is no Keras to compare with: pip install "hilum[keras]"')
    overrides = ["model.dropout=0"] if request.param.startswith("unet") else []  # what it drops is up to chance
    config = load_config(f"report/{request.param}", overrides)
    torch.manual_seed(0)
    network = config.network().double()
    layers = in_order_of_computation(network)
    images = {"small": random_image(4, SMALL_PX), "full": random_image(2, config.image_size)}
    unsettle(network, layers, images["small"])
    mask = box_masks(4, SMALL_PX)
    arrays = {f"weight_{number}": weight for number, weight in enumerate(all_as_keras(layers))}
    arrays |= {f"{size}_image": channels_last(image) for size, image in images.items()}
    folder = tmp_path_factory.mktemp(request.param)
    np.savez(folder / "request.npz", **arrays, small_mask=channels_last(mask), gradients=GRADIENTS)
    twin = Path(__file__).with_name("keras_twin.py")
    command = [sys.executable, twin, request.param, folder / "request.npz", folder / "answer.npz"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "answer.npz") as file:
        keras = dict(file)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    return SimpleNamespace(
        config=config, network=network, layers=layers, images=images, mask=mask, keras=keras, state=state
    )


def difference(ours: Tensor, keras: np.ndarray) -> float:
    assert keras.std() > 0.05  # a dead or saturated output would agree with anything
    return float(np.abs(channels_last(ours) - keras).max())


def test_keras_counts_the_same_parameters(pair):
    assert pair.keras["parameters"] == pair.config.report.parameters
    assert pair.keras["trainable"] == pair.config.report.trainable


@pytest.mark.parametrize("mode", ["evaluation", "training"])
@pytest.mark.parametrize("size", ["small", "full"])
def test_same_output(pair, size, mode):
    pair.network.load_state_dict(pair.state)
    with torch.no_grad():
        ours = pair.network.train(mode == "training")(pair.images[size]).sigmoid()
    assert difference(ours, pair.keras[f"{size}_{mode}"]) < 1e-9


def test_same_output_in_single_precision(pair):
    network = pair.config.network()
    network.load_state_dict(pair.state)
    with torch.no_grad():
        ours = network.eval()(pair.images["full"].float()).sigmoid()
    assert difference(ours, pair.keras["full_evaluation_float32"]) < 1e-4


def test_same_losses_and_figures(pair):
    pair.network.load_state_dict(pair.state)
    with torch.no_grad():
        logits = pair.network.eval()(pair.images["small"])
    assert logits.abs().max() < 16
    for loss, name in ((bce_loss, "bce"), (iou_loss, "iou"), (iou_bce_loss, "iou_bce")):
        assert loss(logits, pair.mask).item() == pytest.approx(float(pair.keras[name]), rel=1e-5), name
    for figure, name in ((mean_iou, "mean_iou"), (pixel_accuracy, "pixel_accuracy")):
        assert 0.02 < pair.keras[name] < 0.98
        assert figure(logits.sigmoid(), pair.mask).item() == pytest.approx(float(pair.keras[name]), rel=1e-5), name


def test_same_step_of_training(pair):
    """Gradient, Adam and running statistics: from the same weights to the same weights."""
    pair.network.load_state_dict(pair.state)
    start = all_as_keras(pair.layers)
    values_a_channel: dict[Any, int] = {}
    for layer in pair.layers:
        layer.register_forward_hook(
            lambda layer, args, _: values_a_channel.update({layer: args[0].numel() // args[0].shape[1]})
        )
    loss = iou_bce_loss(pair.network.train()(pair.images["small"]), pair.mask)
    pair.network.zero_grad()
    loss.backward()
    KerasAdam(pair.network.parameters(), lr=1e-3).step()
    assert loss.item() == pytest.approx(float(pair.keras["loss"]), rel=1e-5)
    owners = [(layer, kind) for layer in pair.layers for kind in range(len(as_keras(layer)))]
    worst = 0.0
    for number, ((layer, kind), ours, before) in enumerate(zip(owners, all_as_keras(pair.layers), start, strict=True)):
        theirs = pair.keras[f"trained_{number}"]
        if isinstance(layer, nn.BatchNorm2d) and kind == 3:
            # Keras 3 keeps the variance of the batch itself. The Keras of the report's day, like PyTorch, made the
            # population's of it first.
            faded = before * (1 - layer.momentum)
            theirs = faded + (theirs - faded) * values_a_channel[layer] / (values_a_channel[layer] - 1)
        worst = max(worst, float(np.abs(ours - theirs).max()))
    assert worst < 5e-6  # of a step of 1e-3; the losses are computed in single precision


def test_same_adam(pair):
    variable = nn.Parameter(torch.zeros(GRADIENTS.shape[1], dtype=torch.float64))
    optimizer = KerasAdam([variable], lr=1e-3)
    path = []
    for gradient in GRADIENTS:
        variable.grad = torch.from_numpy(gradient)
        optimizer.step()
        path.append(variable.detach().numpy().copy())
    np.testing.assert_allclose(path, pair.keras["adam"], rtol=2e-5)  # Keras corrects its moments in single precision
