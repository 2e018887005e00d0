"""The residual network of the capstone report: image in, logits of "opacity", or of each class, for every pixel out."""

from typing import Literal

import torch
from torch import Tensor, nn

from hilum.segmenters.image_head import ImageHead
from hilum.segmenters.keras_conventions import check_input, start_as_keras_does
from hilum.segmenters.losses import Output

# The report trained in Keras. These are Keras' numbers in PyTorch's terms; PyTorch's momentum is 1 - Keras'.
BATCHNORM_EPS = 1e-3
BATCHNORM_MOMENTUM = 0.1


class ResNet(nn.Module):
    """The capstone report's ResNet, weight for weight.

    A 3x3 convolution, then `depth` stages that each double the channels, halve the map and pass it through `blocks`
    residual blocks, then a head. `"transposed"` is the head of the report's base network: its logits have a quarter of
    the image's resolution (for depth 4) before they are repeated to full size. `"plain"` is the head of tries 2 to 4: a
    single 1x1 convolution on the deepest map. `ResNet()` is the base network, `ResNet(head="plain",
    head_momentum=0.0001)` is try 2, and `ResNet(depth=3, head="plain")` is try 4.

    The report ends in a sigmoid and a nearest upsampling. This network stops before the sigmoid, which changes nothing
    (repeating pixels commutes with it) and keeps the loss exact in bfloat16.

    Args:
        channels: Channels of the first convolution; the stages have 2, 4, 8, ... times as many.
        blocks: Residual blocks in each stage.
        depth: Stages, each of which halves height and width.
        head: `"transposed"` needs a depth of 2 or more.
        momentum: Weight of the newest batch in the running statistics outside the head. The default 0.1 is Keras' 0.9,
            which the network's public ancestor (the Kaggle kernel "CNN segmentation + connected components") sets in
            every BatchNorm; Keras' own default of 0.99 would be 0.01.
        head_momentum: The same for the head. Try 2's Keras momentum of 0.9999 is 0.0001 here. It leaves the running
            statistics close to their start for thousands of steps, and so spoils predictions of a short training.
        image_head: Whether to see also, from the deepest map, if the image shows opacity at all. The report's has none.
        classes: Planes of logits.

    Raises:
        ValueError: If the sizes make no network.
    """

    def __init__(
        self,
        channels: int = 32,
        blocks: int = 2,
        depth: int = 4,
        head: Literal["transposed", "plain"] = "transposed",
        *,
        momentum: float = BATCHNORM_MOMENTUM,
        head_momentum: float = BATCHNORM_MOMENTUM,
        image_head: bool = False,
        classes: int = 1,
    ) -> None:
        super().__init__()
        if head not in ("transposed", "plain"):
            raise ValueError(f"head must be 'transposed' or 'plain', got {head!r}")
        least_depth = 2 if head == "transposed" else 1
        if channels < 1 or blocks < 0 or depth < least_depth:
            raise ValueError(
                f"a ResNet with the {head} head needs channels >= 1, blocks >= 0 and depth >= {least_depth}, "
                f"got channels={channels}, blocks={blocks}, depth={depth}"
            )
        self.depth = depth
        layers: list[nn.Module] = [nn.Conv2d(1, channels, 3, padding=1, bias=False)]
        for _ in range(depth):
            layers += [*_norm_relu(channels, momentum), nn.Conv2d(channels, 2 * channels, 1, bias=False)]
            layers += [nn.MaxPool2d(2)]
            channels *= 2
            layers += [_ResidualBlock(channels, momentum) for _ in range(blocks)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(
            *(
                [
                    *_norm_relu(channels, head_momentum),
                    nn.Conv2d(channels, 256, 1),
                    *_norm_relu(256, head_momentum),
                    # Keras' "same" for kernel 8 and stride 4: exactly four times the size, two pixels cut on each side
                    nn.ConvTranspose2d(256, 128, 8, stride=4, padding=2),
                    *_norm_relu(128, head_momentum),
                    nn.Conv2d(128, classes, 1),
                    nn.Upsample(scale_factor=2 ** (depth - 2), mode="nearest"),
                ]
                if head == "transposed"
                else [
                    *_norm_relu(channels, head_momentum),
                    nn.Conv2d(channels, classes, 1),
                    nn.Upsample(scale_factor=2**depth, mode="nearest"),
                ]
            )
        )
        self.image_head = ImageHead(channels, classes) if image_head else None
        start_as_keras_does(self)

    def forward(self, image: Tensor) -> Output:
        """Logits, see `Output`, of images (N, 1, H, W), brightness 0..1; H and W divisible by 2**depth."""
        check_input(image, self.depth)
        deepest = self.body(image.to(memory_format=torch.channels_last))
        shows = None if self.image_head is None else self.image_head(deepest)
        logits: Tensor = self.head(deepest)
        return logits if shows is None else (logits, shows)


class _ResidualBlock(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x))))))."""

    def __init__(self, channels: int, momentum: float) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *_norm_relu(channels, momentum),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            *_norm_relu(channels, momentum),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.residual(x)
        # In place is safe and saves a map: a convolution's backward pass needs its input, never its output.
        return residual.add_(x)


def _norm_relu(channels: int, momentum: float) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(channels, eps=BATCHNORM_EPS, momentum=momentum), nn.ReLU(inplace=True)
