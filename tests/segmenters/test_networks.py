"""Both networks against the report's totals, and against a plain rewriting of what the report describes."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hilum.segmenters.losses import iou_bce_loss
from hilum.segmenters.resnet_network import ResNet
from hilum.segmenters.unet_network import UNet, _UpConvolution

SMALL: dict[str, Callable[[], nn.Module]] = {
    "resnet": lambda: ResNet(channels=4, blocks=1, depth=3),
    "resnet-plain": lambda: ResNet(channels=4, blocks=2, depth=2, head="plain"),
    "unet": lambda: UNet(start_channels=4, depth=2, dropout=0.0),
}


@pytest.fixture(autouse=True)
def _one_thread():
    """These networks are too small to share out, and on a busy machine threads that wait for each other cost 10x."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


each_small = pytest.mark.parametrize("build", SMALL.values(), ids=SMALL.keys())


@pytest.mark.parametrize(
    ("build", "total", "trainable", "not_trainable"),
    [
        pytest.param(ResNet, 14_957_729, 14_947_297, 10_432, id="resnet-base"),
        pytest.param(
            lambda: ResNet(head="plain", head_momentum=0.0001), 12_727_969, 12_718_305, 9_664, id="resnet-tries-2-and-3"
        ),
        pytest.param(lambda: ResNet(depth=3, head="plain"), 3_149_217, 3_144_673, 4_544, id="resnet-try-4"),
        pytest.param(UNet, 10_700_546, 10_694_658, 5_888, id="unet"),
    ],
)
def test_is_the_reports_network(build, total, trainable, not_trainable):
    with torch.device("meta"):  # shapes without numbers: full size at no cost
        network = build()
        logits = network(torch.empty(2, 1, 320, 256))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    running = sum(b.numel() for name, b in network.named_buffers() if name.endswith(("running_mean", "running_var")))
    assert (parameters + running, parameters, running) == (total, trainable, not_trainable)
    assert logits.shape == (2, 1, 320, 256)


def test_unet_channels():
    with torch.device("meta"):
        network = UNet()
        seen = []
        for block in [*network.down, network.deepest]:
            block.register_forward_hook(lambda _, args, out: seen.append((args[0].shape[1], out.shape[1])))
        network(torch.empty(1, 1, 64, 64))
    assert seen == [(1, 33), (33, 97), (97, 225), (225, 481), (481, 993)]


@each_small
@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (3, 1, 16, 40)])
def test_output_has_the_inputs_shape(build, shape):
    logits = build().eval()(torch.rand(shape))
    assert logits.shape == shape
    assert logits.isfinite().all()


@each_small
@pytest.mark.parametrize("shape", [(1, 1, 16, 18), (1, 1, 18, 16), (1, 3, 16, 16), (1, 16, 16)])
def test_wrong_shapes_are_named(build, shape):
    with pytest.raises(ValueError, match=r"divisible by \d, got \(1, "):
        build()(torch.rand(shape))


@pytest.mark.parametrize(
    "build",
    [
        lambda: ResNet(depth=1),
        lambda: ResNet(depth=0, head="plain"),
        lambda: ResNet(channels=0),
        lambda: ResNet(head="fancy"),
        lambda: UNet(depth=0),
        lambda: UNet(start_channels=0),
        lambda: UNet(growth=0),
    ],
)
def test_sizes_that_make_no_network(build):
    with pytest.raises(ValueError, match="got"):
        build()


def test_smallest_depths():
    assert ResNet(channels=2, depth=2)(torch.rand(2, 1, 8, 8)).shape == (2, 1, 8, 8)
    assert ResNet(channels=2, depth=1, head="plain")(torch.rand(2, 1, 8, 8)).shape == (2, 1, 8, 8)


def _unsettle(network: nn.Module) -> nn.Module:
    """Numbers that no default shares, in every parameter and running statistic: else a test would not see them."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 1e-3, 1)
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.uniform_(module.bias, -0.5, 0.5)
        elif getattr(module, "bias", None) is not None:
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return network.eval()


def _norm(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    scaled = (x - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + 1e-3).sqrt()
    return scaled * norm.weight[:, None, None] + norm.bias[:, None, None]


@pytest.mark.parametrize(("head", "depth", "blocks"), [("transposed", 3, 2), ("plain", 2, 1)])
def test_resnet_step_by_step(head, depth, blocks):
    network = _unsettle(ResNet(channels=3, depth=depth, blocks=blocks, head=head))
    layers = iter([m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d)])

    def norm_relu_conv(x: Tensor, **options: int) -> Tensor:
        norm, conv = next(layers), next(layers)
        convolve = F.conv_transpose2d if isinstance(conv, nn.ConvTranspose2d) else F.conv2d
        return convolve(F.relu(_norm(norm, x)), conv.weight, conv.bias, **options)

    image = torch.rand(2, 1, 16, 24)
    x = F.conv2d(image, next(layers).weight, padding=1)
    for _ in range(depth):
        x = F.max_pool2d(norm_relu_conv(x), 2)
        for _ in range(blocks):
            x = x + norm_relu_conv(norm_relu_conv(x, padding=1), padding=1)
    if head == "transposed":
        x = norm_relu_conv(norm_relu_conv(x), stride=4, padding=2)
        repeats = 2 ** (depth - 2)
    else:
        repeats = 2**depth
    probability = norm_relu_conv(x).sigmoid()  # the report's order: the sigmoid comes before the upsampling
    probability = probability.repeat_interleave(repeats, 2).repeat_interleave(repeats, 3)
    assert next(layers, None) is None
    torch.testing.assert_close(network(image).sigmoid(), probability)


def test_unet_step_by_step():
    network = _unsettle(UNet(start_channels=3, depth=2))

    def block(module: nn.Module, x: Tensor) -> Tensor:
        conv1, _, norm1, _, conv2, _, norm2 = module.layers
        y = _norm(norm1, F.relu(F.conv2d(x, conv1.weight, conv1.bias, padding=1)))
        y = _norm(norm2, F.relu(F.conv2d(y, conv2.weight, conv2.bias, padding=1)))
        return torch.cat([x, y], 1)

    image = torch.rand(2, 1, 8, 12)
    first = block(network.down[0], image)
    second = block(network.down[1], F.max_pool2d(first, 2))
    deepest = block(network.deepest, F.max_pool2d(second, 2))
    up = block(network.up[0], torch.cat([second, _up_convolution(network.up_convolutions[0], deepest)], 1))
    up = block(network.up[1], torch.cat([first, _up_convolution(network.up_convolutions[1], up)], 1))
    torch.testing.assert_close(network(image), F.conv2d(up, network.last.weight, network.last.bias))


def _up_convolution(module: nn.Module, x: Tensor) -> Tensor:
    """Without the shortcut: upsample, pad right and bottom, convolve."""
    large = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    return F.relu(F.conv2d(F.pad(large, (0, 1, 0, 1)), module.weight, module.bias))


def test_up_convolution_learns_as_without_its_shortcut():
    torch.manual_seed(0)
    module = _UpConvolution(3, 5).double()
    nn.init.uniform_(module.bias, -0.5, 0.5)
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64, requires_grad=True)
    towards = torch.randn(2, 5, 8, 12, dtype=torch.float64)
    inputs = [x, *module.parameters()]
    short = torch.autograd.grad((module(x) * towards).sum(), inputs)
    long = torch.autograd.grad((_up_convolution(module, x) * towards).sum(), inputs)
    torch.testing.assert_close(module(x), _up_convolution(module, x))
    torch.testing.assert_close(short, long)


@each_small
def test_starts_as_keras_does(build):
    torch.manual_seed(0)
    checked = 0
    for module in build().modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | _UpConvolution):
            weight = module.weight
            limit = math.sqrt(6 / ((weight.shape[0] + weight.shape[1]) * weight[0, 0].numel()))
            assert weight.abs().max() <= limit
            assert weight.numel() < 30 or weight.abs().max() > 0.8 * limit
            assert module.bias is None or not module.bias.any()
            checked += 1
    assert checked > 5


def test_batchnorm_is_keras():
    def of(network: nn.Module, value: str) -> set[float]:
        return {getattr(m, value) for m in network.modules() if isinstance(m, nn.BatchNorm2d)}

    try_2 = ResNet(channels=2, depth=2, head="plain", head_momentum=0.0001)
    assert of(try_2.body, "momentum") == {0.1}
    assert of(try_2.head, "momentum") == {0.0001}
    assert of(ResNet(channels=2, depth=2), "momentum") == {0.1}
    assert of(ResNet(channels=2, depth=2, momentum=0.3).body, "momentum") == {0.3}
    assert of(UNet(start_channels=2, depth=1), "momentum") == {0.01}
    assert of(UNet(start_channels=2, depth=1, momentum=0.3), "momentum") == {0.3}
    assert of(try_2, "eps") == of(UNet(start_channels=2, depth=1), "eps") == {1e-3}


@each_small
def test_gradient_reaches_every_parameter(build):
    torch.manual_seed(0)
    network = build()
    iou_bce_loss(network(torch.rand(2, 1, 16, 16)), torch.rand(2, 1, 16, 16) > 0.7).backward()
    # The two biases in the transposed head come right before a BatchNorm, which takes every constant out again: the
    # report has them, and they never learn.
    idle = {"head.2.bias", "head.5.bias"} if build is SMALL["resnet"] else set()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert name in idle or parameter.grad.abs().max() > 1e-7, name


@each_small
def test_training_lowers_the_loss(build):
    torch.manual_seed(0)
    network = build()
    image = torch.rand(4, 1, 16, 16)
    mask = torch.zeros(4, 1, 16, 16)
    mask[:, :, 4:12, 8:] = 1
    image[mask > 0] += 1
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, eps=1e-7)
    losses = []
    for _ in range(8):
        loss = iou_bce_loss(network(image), mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    assert losses[-1] < 0.9 * losses[0]


@each_small
def test_batched_equals_single(build):
    network = _unsettle(build())
    images = torch.rand(3, 1, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(network(images), torch.cat([network(image[None]) for image in images]))


@each_small
def test_bfloat16_is_close(build):
    network = _unsettle(build())
    image = torch.rand(1, 1, 16, 16)
    with torch.inference_mode():
        exact = network(image)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = network(image)
    assert rough.dtype == torch.bfloat16
    assert (exact.sigmoid() - rough.float().sigmoid()).abs().max() < 0.05


def test_dropout_drops_whole_channels_in_training_only():
    torch.manual_seed(0)
    network = UNet(start_channels=64, depth=1, dropout=0.5)
    nn.init.constant_(network.down[0].layers[2].bias, 0.1)  # else channels that ReLU silences look dropped
    dropped = []
    network.down[0].layers[3].register_forward_hook(lambda _, __, out: dropped.append((out == 0).flatten(2).all(2)))
    image = torch.rand(2, 1, 8, 8)
    network(image)
    network.eval()(image)
    assert 0.3 < dropped[0].float().mean() < 0.7
    assert not dropped[1].any()
