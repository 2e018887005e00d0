"""Encoders of timm for torchvision's detectors: one grey channel, a pyramid on the features at strides 8, 16 and 32."""

from collections import OrderedDict
from typing import Any, Final

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

try:
    import timm
except ImportError as error:
    raise ImportError('timm (Apache-2.0) is missing: pip install "hilum[smp]"') from error

STRIDES: Final = (8, 16, 32)


class TimmEncoder(nn.Module):
    """A network of timm up to its feature maps, with random weights.

    Attributes:
        encoder: timm's own module.
        widths: channels of the map at each of `STRIDES`.
    """

    def __init__(self, name: str, image_size: int) -> None:
        """Build timm's `name`, for squares of `image_size` pixels where it is built for one size.

        Raises:
            ValueError: it has no features at one of the strides.
        """
        super().__init__()
        options: dict[str, Any] = {"pretrained": False, "in_chans": 1, "features_only": True}
        try:  # transformers are built for one size of picture, convolutional networks do not ask
            self.encoder: Any = timm.create_model(name, **options, img_size=image_size)
        except TypeError:
            self.encoder = timm.create_model(name, **options)
        strides, widths = self.encoder.feature_info.reduction(), self.encoder.feature_info.channels()
        if missing := set(STRIDES) - set(strides):
            raise ValueError(f"has no features at stride {min(missing)}, only at {', '.join(map(str, strides))}")
        self._at = [max(at for at, stride in enumerate(strides) if stride == wanted) for wanted in STRIDES]
        self.widths = [widths[at] for at in self._at]
        self._channels_last = getattr(self.encoder, "output_fmt", None) == "NHWC"

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """(N, 1, size, size) to a map (N, channels, rows, columns) for each of `STRIDES`."""
        maps = self.encoder(pictures)
        return [maps[at].permute(0, 3, 1, 2).contiguous() if self._channels_last else maps[at] for at in self._at]


class TimmPyramid(nn.Module):
    """A feature pyramid of so many channels on an encoder, as torchvision's detectors take it."""

    def __init__(self, encoder: TimmEncoder, channels: int, extra: Any, norm: Any) -> None:
        super().__init__()
        self.body, self.out_channels = encoder, channels
        self.fpn = FeaturePyramidNetwork(encoder.widths, channels, extra_blocks=extra, norm_layer=norm)

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """(N, 1, size, size) to a map for each level, by name."""
        maps = self.body(pictures)
        levels: dict[str, Tensor] = self.fpn(OrderedDict((str(level), each) for level, each in enumerate(maps)))
        return levels
