"""What a config with `backend: gate` says."""

from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from hilum.config import Table, builds
from hilum.errors import HilumError, first_line
from hilum.training.settings import NetworkConfig, TrainSettings

if TYPE_CHECKING:  # a config is read without torch
    from hilum.classifiers.gate_network import GateNetwork

Target = Literal["opacity", "three_classes"]

AUROC: Final = "auroc"  # of `hilum.eval.metrics`, which is slower to import than a config shall be
OF_BOXES: Final = frozenset({"competition", "ap", "froc", "siim", "vinbigdata"})
CLASSES: Final = ("Normal", "No Lung Opacity / Not Normal", "Lung Opacity")


class GateModel(Table):
    """The network.

    Attributes:
        name: Of timm, `resnet18` or with the weights to take, `resnet18.a1_in1k`.
        weights: Where it starts: `none` (random), `hub` (downloaded once, when training begins), `package` (those of
            `tf_efficientnet_lite0`, 1 and 2, installed with `hilum[lite]`), or the path of a file or folder of tensors.
            The folder of a finished run gives the whole network. A run is whole without it.
        dropout: Of the pooled features.
    """

    name: str = "resnet18"
    weights: str = "none"
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @field_validator("name")
    @classmethod
    def _known(cls, name: str, info: ValidationInfo) -> str:
        if builds(info):
            from hilum.training.pretrained import check_in_timm

            check_in_timm(name, "name")
        return name

    @model_validator(mode="after")
    def _can_be_had(self, info: ValidationInfo) -> Self:
        if self.weights in {"hub", "package"} and builds(info):
            from hilum.training.packaged_weights import package_of
            from hilum.training.pretrained import timm_repository

            (timm_repository if self.weights == "hub" else package_of)(self.name)
        return self


class GateTraining(TrainSettings):
    """How it is trained, with AdamW; epochs are chosen by the AUROC, or a plug-in's metric of images."""

    batch_size: int = Field(gt=1)
    weight_decay: float = Field(default=0.01, ge=0)
    select: str = Field(default=AUROC, min_length=1, exclude_if=lambda name: name == AUROC)

    @field_validator("select")
    @classmethod
    def _of_images(cls, name: str) -> str:
        if name in OF_BOXES:
            raise ValueError(f"'{name}' is of boxes, and the gate finds none; {AUROC}, or a plug-in's metric of images")
        return name


class GateConfig(NetworkConfig):
    """A config with `backend: gate`.

    Attributes:
        target: `opacity` or not, and of data of several classes each or not; or the challenge's `three_classes`, which
            also tells normal images from those with other findings, of which most false alarms are.
        model: The network.
    """

    start_key: ClassVar[str] = "model.weights"
    target: Target = "opacity"
    model: GateModel = GateModel()
    train: GateTraining

    @property
    def pretraining(self) -> str | None:
        """The hub's repository, the package, or the file's name, of the weights that it starts with."""
        from hilum.training.pretrained import timm_repository, weights_source

        return weights_source(self.model.weights, self.model.name, lambda: timm_repository(self.model.name))

    def network(self) -> "GateNetwork":
        """The network with random weights.

        Raises:
            HilumError: it cannot be built for pictures of this size.
        """
        from hilum.classifiers.gate_network import GateNetwork

        outputs = 2 if self.target == "opacity" else len(CLASSES)
        if len(self.class_names) > 1:  # a logit each, for an image may show several
            outputs = len(self.class_names)
        try:
            return GateNetwork(self.model.name, outputs, self.model.dropout, self.image_size)
        except Exception as error:  # timm's networks check sizes with any exception
            where = f"model.name: {self.model.name} cannot be built for image_size {self.image_size}"
            raise HilumError(f"{where} ({first_line(error)})") from error

    def pretrain(self, network: Any) -> None:
        """Put the weights of timm's network in; see `NetworkConfig.pretrain`."""
        from hilum.training.pretrained import start_encoder, timm_repository

        model = self.model
        start_encoder(network.encoder, model.weights, model.name, lambda: (timm_repository(model.name), None))
