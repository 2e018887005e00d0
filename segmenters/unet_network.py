"""The U-Net of the capstone report: image in, logits of "opacity", or of each class, for every pixel out."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hilum.segmenters.image_head import ImageHead
from hilum.segmenters.keras_conventions import check_input, start_as_keras_does
from hilum.segmenters.losses import Output

# The report trained in Keras. These are Keras' defaults in PyTorch's terms; PyTorch's momentum is 1 - Keras'.
BATCHNORM_EPS = 1e-3
BATCHNORM_MOMENTUM = 0.01


class UNet(nn.Module):
    """The capstone report's U-Net, weight for weight. `UNet()` is the one its totals belong to.

    On the way down, each of `depth` levels is a block and a max pooling; a block concatenates its output with its
    input, so that the channels run 1, 33, 97, 225, 481, 993. On the way up, each level is a nearest upsampling, a 2x2
    convolution, the concatenation with the level's map from the way down, and a block. The report's sigmoid at the end
    is left out, which keeps the loss exact in bfloat16.

    Args:
        start_channels: Channels that a block of the first level adds.
        depth: Levels above the deepest block, each of which halves height and width.
        growth: Factor of the channels from one level to the next.
        dropout: Share of whole channels that a block drops between its two convolutions, in training only.
        momentum: Weight of the newest batch in BatchNorm's running statistics. The default 0.01 is Keras' default of
            0.99: after n steps 0.99**n of the start values is left, so a training of a few hundred steps needs more.
        image_head: Whether to see also, from the deepest map, if the image shows opacity at all. The report's has none.
        classes: Planes of logits.

    Raises:
        ValueError: If the sizes make no network.
    """

    def __init__(
        self,
        start_channels: int = 32,
        depth: int = 4,
        growth: int = 2,
        dropout: float = 0.5,
        *,
        momentum: float = BATCHNORM_MOMENTUM,
        image_head: bool = False,
        classes: int = 1,
    ) -> None:
        super().__init__()
        if start_channels < 1 or depth < 1 or growth < 1:
            raise ValueError(
                "a UNet needs start_channels >= 1, depth >= 1 and growth >= 1, "
                f"got start_channels={start_channels}, depth={depth}, growth={growth}"
            )
        self.depth = depth
        added = [start_channels * growth**level for level in range(depth + 1)]
        channels = 1
        skipped: list[int] = []
        self.down = nn.ModuleList()
        for level in range(depth):
            self.down.append(_Block(channels, added[level], dropout, momentum))
            channels += added[level]
            skipped.append(channels)
        self.deepest = _Block(channels, added[depth], dropout, momentum)
        channels += added[depth]
        deepest_channels = channels
        self.up_convolutions = nn.ModuleList()
        self.up = nn.ModuleList()
        for level in reversed(range(depth)):
            self.up_convolutions.append(_UpConvolution(channels, added[level]))
            channels = skipped[level] + added[level]
            self.up.append(_Block(channels, added[level], dropout, momentum))
            channels += added[level]
        self.last = nn.Conv2d(channels, classes, 1)
        self.image_head = ImageHead(deepest_channels, classes) if image_head else None
        start_as_keras_does(self)

    def forward(self, image: Tensor) -> Output:
        """Logits, see `Output`, of images (N, 1, H, W), brightness 0..1; H and W divisible by 2**depth."""
        check_input(image, self.depth)
        x = image.to(memory_format=torch.channels_last)
        skipped: list[Tensor] = []
        for block in self.down:
            x = block(x)
            skipped.append(x)
            x = F.max_pool2d(x, 2)
        x = self.deepest(x)
        shows = None if self.image_head is None else self.image_head(x)
        for up_convolution, block in zip(self.up_convolutions, self.up, strict=True):
            x = block(torch.cat([skipped.pop(), up_convolution(x)], dim=1))
        logits: Tensor = self.last(x)
        return logits if shows is None else (logits, shows)


class _Block(nn.Module):
    """Adds channels: (N, C, H, W) -> (N, C + added, H, W), the first C of which are the input."""

    def __init__(self, channels: int, added: int, dropout: float, momentum: float) -> None:
        super().__init__()
        # In place is safe: ReLU and dropout overwrite maps that no backward pass reads again.
        self.layers = nn.Sequential(
            nn.Conv2d(channels, added, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(added, eps=BATCHNORM_EPS, momentum=momentum),
            nn.Dropout2d(dropout, inplace=True),
            nn.Conv2d(added, added, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(added, eps=BATCHNORM_EPS, momentum=momentum),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.layers(x)], dim=1)


class _UpConvolution(nn.Module):
    """Nearest upsampling to twice the size, 2x2 convolution, ReLU: (N, C, H, W) -> (N, out_channels, 2H, 2W).

    Keras' "same" for an even kernel pads on the right and at the bottom only.

    The upsampled map is never made. What one weight of the 2x2 makes of one small pixel is the same for every output
    that sees it, so a product of each weight with each small pixel is enough, a quarter of the work; an output adds up
    four of them. Even rows see one small row with both rows of weights, odd ones that row and the next; columns alike.
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(out_channels, channels, 2, 2)))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        weights = self.weight.permute(2, 3, 0, 1).flatten(0, 2)
        products = F.linear(x.permute(0, 2, 3, 1), weights)
        products = products.view(*products.shape[:3], 2, 2, -1)  # (N, H, W, row, column, channel)
        top, bottom = products.unbind(3)
        below = F.pad(bottom[:, 1:], (0, 0, 0, 0, 0, 0, 0, 1))  # nothing below the last row
        left, right = torch.stack([top + bottom, top + below], dim=2).unbind(4)  # (N, H, 2, W, channel)
        beside = F.pad(right[:, :, :, 1:], (0, 0, 0, 1))
        large = torch.stack([left + right, left + beside], dim=4).flatten(3, 4).flatten(1, 2)  # (N, 2H, 2W, channel)
        return F.relu(large + self.bias, inplace=True).permute(0, 3, 1, 2)
