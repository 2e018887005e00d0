"""torchvision's detectors and backbones that can be built, by name."""

from typing import Final, Literal, get_args

Architecture = Literal[
    "fasterrcnn_resnet50_fpn_v2", "retinanet_resnet50_fpn_v2", "fcos_resnet50_fpn", "ssdlite320_mobilenet_v3_large"
]
Backbone = Literal["resnet18", "resnet34", "resnet50", "resnet101", "mobilenet_v3_small", "mobilenet_v3_large"]
BACKBONES: Final[tuple[Backbone, ...]] = get_args(Backbone)
ARCHITECTURES: Final[tuple[Architecture, ...]] = get_args(Architecture)
OWN_BACKBONE: Final[dict[Architecture, Backbone]] = {
    "fasterrcnn_resnet50_fpn_v2": "resnet50",
    "retinanet_resnet50_fpn_v2": "resnet50",
    "fcos_resnet50_fpn": "resnet50",
    "ssdlite320_mobilenet_v3_large": "mobilenet_v3_large",
}
