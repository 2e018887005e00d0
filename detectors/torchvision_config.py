"""What a config with `backend: torchvision` says."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from pydantic import Field, ValidationInfo, model_validator

from hilum.config import Table, builds
from hilum.detectors.square_config import SquareConfig
from hilum.detectors.torchvision_names import BACKBONES, OWN_BACKBONE, Architecture
from hilum.errors import HilumError, first_line

if TYPE_CHECKING:  # a config is read without torch
    from torch import Tensor

    from hilum.datasets.folder import Split
    from hilum.detectors.torchvision_network import DetectionNetwork


class Model(Table):
    """The network.

    Attributes:
        architecture: As torchvision's builder is called.
        backbone: Another one than its name says: one of torchvision's, such as `resnet18`, or any encoder of timm's
            with features at strides 8, 16 and 32, such as `tf_efficientnet_lite0`. SSDlite keeps its own.
        channels: Of the feature pyramid and the heads on it; torchvision's is 256. SSDlite has no pyramid.
        weights: What training starts with: `none` (random), `hub` (the backbone as trained on ImageNet, downloaded
            once), `package` (that of `tf_efficientnet_lite0`, 1 and 2, installed with `hilum[lite]`), or the path of a
            file: of a classifier, which becomes the backbone, or of a whole detector, such as torchvision's trained on
            COCO. The folder of a finished run gives the whole detector. A run is whole without it.
    """

    architecture: Architecture = "fasterrcnn_resnet50_fpn_v2"
    backbone: str | None = None
    channels: int = Field(default=256, ge=64, le=1024, multiple_of=32)
    weights: str = Field(default="none", min_length=1)

    @property
    def backbone_name(self) -> str:
        """The backbone that is built."""
        return self.backbone or OWN_BACKBONE[self.architecture]

    @property
    def of_timm(self) -> bool:
        """Whether the backbone is an encoder of timm."""
        return self.backbone_name not in BACKBONES

    @property
    def hub_name(self) -> str:
        """What the hub calls the backbone's weights."""
        from hilum.training.pretrained import timm_repository, torchvision_name

        return timm_repository(self.backbone_name) if self.of_timm else torchvision_name(self.backbone_name)

    @model_validator(mode="after")
    def _is_there(self, info: ValidationInfo) -> Self:
        if not builds(info):
            return self
        if self.of_timm:
            import hilum.detectors.timm_encoder  # noqa: F401 - says what to install
            from hilum.training.pretrained import check_in_timm, timm_repository

            check_in_timm(self.backbone_name, "backbone")
            if self.weights == "hub":
                timm_repository(self.backbone_name)
        if self.weights == "package":
            from hilum.training.packaged_weights import package_of

            package_of(self.backbone_name)
        return self

    @model_validator(mode="after")
    def _ssdlite_has_its_own(self) -> Self:
        if self.architecture == "ssdlite320_mobilenet_v3_large":
            if self.backbone not in (None, OWN_BACKBONE[self.architecture]):
                raise ValueError(f"backbone: SSDlite comes with mobilenet_v3_large, not {self.backbone}")
            if self.channels != 256:
                raise ValueError(f"channels: SSDlite has no feature pyramid; leave this out, not {self.channels}")
        return self


class Boxes(Table):
    """How the network's output becomes boxes, in validation and prediction alike.

    Attributes:
        nms_iou: Of boxes that overlap by more than this IoU only the most confident is kept. Opacities hardly overlap.
    """

    nms_iou: float = Field(default=0.3, ge=0, le=1)


class TorchvisionConfig(SquareConfig):
    """A config with `backend: torchvision`."""

    start_key: ClassVar[str] = "model.weights"
    model: Model = Model()
    boxes: Boxes = Boxes()

    @property
    def pretraining(self) -> str | None:
        """The hub's name, or the package, of the weights that training starts with, or their file's name."""
        from hilum.training.pretrained import weights_source

        model = self.model
        return weights_source(model.weights, model.backbone_name, lambda: model.hub_name)

    def network(self) -> "DetectionNetwork":
        """The network with random weights and room for anchors."""
        return self._network_from(None)

    def starting_network(self) -> "DetectionNetwork":
        """The network that training starts with, without anchors.

        Raises:
            HilumError: its weights cannot be had, or are not of this architecture.
        """
        if self.model.weights == "none" or self.starts_from is not None:
            return cast("DetectionNetwork", super().starting_network())
        from hilum.training.packaged_weights import packaged_tensors
        from hilum.training.pretrained import CHOICES, download, download_classifier
        from hilum.training.tensors import read_tensors

        model, path = self.model, Path(self.model.weights)
        if model.weights == "package":
            return self._network_from(packaged_tensors(model.backbone_name))
        if model.weights == "hub" and not model.of_timm:
            return self._network_from(download_classifier(model.backbone_name))
        if model.weights == "hub":
            path = download(model.hub_name, None)
        return self._network_from(read_tensors(path, "model.weights", CHOICES))

    def first_network(self, train: "Split") -> "DetectionNetwork":
        """The network that training starts with, its anchors fitted to the train split, or those of a run."""
        from hilum.detectors.torchvision_network import fitted_anchors

        network = self.starting_network()
        if self.starts_from is not None:  # what was learned belongs to the anchors that it was learned with
            return network
        network.set_anchors(fitted_anchors(network, train, self.image_size))
        return network

    def _network_from(self, tensors: "dict[str, Tensor] | None") -> "DetectionNetwork":
        from hilum.detectors.torchvision_network import DetectionNetwork, build_classifier
        from hilum.training.pretrained import is_detector, load_classifier, load_detector, load_encoder

        model, source = self.model, str(self.pretraining)
        ssdlite = model.architecture == "ssdlite320_mobilenet_v3_large"
        try:
            classifier: Any = build_classifier(model.backbone_name, self.image_size, ssdlite=ssdlite)
        except Exception as error:  # timm's networks check what they are given with any exception
            where = f"model.backbone: {model.backbone_name} cannot be built for image_size {self.image_size}"
            raise HilumError(f"{where} ({first_line(error)})") from error
        if tensors is not None and not is_detector(tensors):
            if model.of_timm:
                load_encoder(classifier.encoder, tensors, source, "backbone")
            else:
                load_classifier(classifier, tensors, source)
        network = DetectionNetwork(
            model.architecture,
            classifier,
            image_size=self.image_size,
            channels=model.channels,
            nms_iou=self.boxes.nms_iou,
            freeze_batchnorm=self.train.freeze_batchnorm,
            classes=len(self.class_names),
        )
        if tensors is not None and is_detector(tensors):
            load_detector(network.detector, tensors, source)
        return network
