"""Networks of segmentation_models_pytorch: any of its decoders, any encoder of its own or of timm, grey pictures."""

import inspect
from typing import Any, Final

import torch
from torch import Tensor, nn

try:
    import segmentation_models_pytorch as smp
    import timm
except ImportError as error:
    raise ImportError('segmentation_models_pytorch (MIT) is missing: pip install "hilum[smp]"') from error

from hilum.segmenters.losses import Output
from hilum.training.pretrained import GREY_MEAN, GREY_STD, check_in_timm, nearest, timm_repository

# Told by other keys of the config or by the data, or not to be told: logits are what the losses take.
_OURS: Final = {"encoder_name", "encoder_weights", "in_channels", "classes", "activation", "aux_params", "kwargs"}
# Of timm's own arguments those that shape the encoder. Others would unpickle files or download weights.
_TIMMS: Final = ("drop_path_rate", "drop_rate", "dynamic_img_size", "img_size", "window_size")

# Of a number in an option, and of numbers in a list: larger ones are no architecture's, and fit into no memory.
LARGEST: Final = 2048
LONGEST: Final = 16


class SMPNetwork(nn.Module):
    """A network of segmentation_models_pytorch with random weights.

    Args:
        architecture: Its name of a decoder, such as `Unet`.
        encoder: Its name of an encoder, such as `resnet34`, or `tu-` and timm's name of one.
        options: Further arguments of the architecture; `check_options` says which.
        image_head: Whether to see also if an image shows opacity at all, from the encoder's deepest features.
        classes: Planes of logits.
    """

    def __init__(
        self, architecture: str, encoder: str, options: dict[str, Any], *, image_head: bool = False, classes: int = 1
    ) -> None:
        super().__init__()
        self.network = smp.create_model(
            architecture,
            encoder,
            encoder_weights=None,
            in_channels=1,
            classes=classes,
            aux_params={"classes": classes, "dropout": 0.0} if image_head else None,
            **options,
        )
        self.to(memory_format=torch.channels_last)

    @property
    def encoder(self) -> nn.Module:
        """What pretrained weights go into."""
        module: nn.Module = self.network.encoder
        return module

    @property
    def stride(self) -> int:
        """Height and width of an image must be multiples of this."""
        return int(self.network.encoder.output_stride)

    def forward(self, image: Tensor) -> Output:
        """Logits, see `Output`.

        Args:
            image: (N, 1, H, W), brightness 0..1.
        """
        image = image.to(memory_format=torch.channels_last)
        output: Output = self.network((image - GREY_MEAN) / GREY_STD)
        if isinstance(output, Tensor):
            return output
        pixels, images = output
        return pixels, images[:, 0] if images.shape[1] == 1 else images


def check_names(architecture: str, encoder: str) -> None:
    """Make sure that there are such an architecture and such an encoder.

    Raises:
        ValueError: there is none, with the nearest name.
    """
    architectures = _architectures()
    if architecture not in architectures:
        hint = nearest(architecture, list(architectures)) or f"there are {', '.join(architectures)}"
        raise ValueError(f"architecture: no '{architecture}' in segmentation_models_pytorch {smp.__version__}; {hint}")
    timms, dot, tag = encoder.removeprefix("tu-").partition(".")
    if encoder.startswith("tu-"):
        check_in_timm(encoder, "encoder", "tu-")
        tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{timms}.*")]
        if dot and tag not in tags:
            hint = nearest(tag, tags) or f"there are {', '.join(tags) or 'none'}"
            raise ValueError(f"encoder: timm {timm.__version__} has no weights '{tag}' of '{timms}'; {hint}")
    elif encoder not in _smps_encoders():
        own = _smps_encoders()
        near = nearest(encoder, [*own, *(f"tu-{name}" for name in timm.list_models())])
        hint = near or f"there are {', '.join(own)}, and timm's with `tu-` before their names"
        raise ValueError(f"encoder: no '{encoder}' in segmentation_models_pytorch {smp.__version__}; {hint}")


def check_options(architecture: str, encoder: str, options: dict[str, Any]) -> None:
    """Make sure that an architecture takes these options.

    Raises:
        ValueError: one is unknown, with the nearest name; segmentation_models_pytorch itself would leave most unread.
            One is so large that no machine's memory would hold the network.
    """
    known = [name for name in inspect.signature(_architectures()[architecture]).parameters if name not in _OURS]
    known += _TIMMS if encoder.startswith("tu-") else ()
    for name, value in options.items():
        if name not in known:
            hint = nearest(name, known) or f"there are {', '.join(known)}"
            raise ValueError(f"options.{name}: {architecture} with {encoder} has no '{name}'; {hint}")
        if not _is_bounded(value):
            raise ValueError(
                f"options.{name}: expected a number of at most {LARGEST:,}, a word, or at most {LONGEST} of them in a "
                "list; more does not fit into memory"
            )


def _is_bounded(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return len(value) <= LONGEST and all(not isinstance(part, list) and _is_bounded(part) for part in value)
    if isinstance(value, int | float):
        return abs(value) <= LARGEST
    return value is None or (isinstance(value, str) and len(value) <= LARGEST)


def hub_address(encoder: str) -> tuple[str, str | None]:
    """The repository, and its revision where one is fixed, that holds an encoder's weights on the hub.

    Raises:
        ValueError: there are none in the hub's own format.
    """
    if encoder.startswith("tu-"):
        return timm_repository(encoder.removeprefix("tu-")), None
    known = smp.encoders.encoders[encoder]["pretrained_settings"]
    chosen = known.get("imagenet") or next(iter(known.values()))
    return chosen["repo_id"], chosen["revision"]


def _architectures() -> dict[str, Any]:
    return {found.__name__: found for found in smp.MODEL_ARCHITECTURES_MAPPING.values()}


def _smps_encoders() -> list[str]:
    return [name for name in smp.encoders.get_encoder_names() if not name.startswith("timm-")]  # deprecated there
