"""torchvision's detectors for square grey pictures: anchors that are given, no resizing inside."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models import get_model
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.rpn import RPNHead
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteFeatureExtractorMobileNet, SSDLiteHead
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from hilum.datasets.folder import Split
from hilum.datasets.picture_tensors import white
from hilum.detectors.anchors import fit_anchors
from hilum.detectors.torchvision_names import BACKBONES, Architecture
from hilum.training.pretrained import GREY_MEAN, GREY_STD

CONFIDENCE_FLOOR: Final = 0.001
MAX_BOXES: Final = 100
_AS_IF: Final = 10
# Levels and anchors a cell; FCOS knows places and no anchors, but torchvision writes a place as a square of its stride.
_ANCHORS: Final[dict[Architecture, tuple[int, int]]] = {
    "fasterrcnn_resnet50_fpn_v2": (5, 3),
    "retinanet_resnet50_fpn_v2": (5, 9),
    "fcos_resnet50_fpn": (5, 1),
    "ssdlite320_mobilenet_v3_large": (6, 6),
}


class Anchors(nn.Module):
    """The same shapes around the middle of each cell, for any of torchvision's detectors.

    They are float32 whatever the features are: in bfloat16 a coordinate beyond 256 is a whole 2 pixels off.

    Attributes:
        sizes_wh: (levels, anchors a cell, 2) widths and heights in pixels; a buffer, so they are stored as weights are.
    """

    sizes_wh: Tensor

    def __init__(self, levels: int, per_cell: int) -> None:
        """Make room; `sizes_wh` is filled in later."""
        super().__init__()
        self.register_buffer("sizes_wh", torch.zeros(levels, per_cell, 2))

    def num_anchors_per_location(self) -> list[int]:
        """As torchvision asks for it."""
        return [self.sizes_wh.shape[1]] * len(self.sizes_wh)

    def forward(self, images: Any, features: list[Tensor]) -> list[Tensor]:
        """An ImageList of squares and the features of each level to one (anchors, 4), xyxy in pixels, an image."""
        size = images.tensors.shape[-1]
        levels = []
        for sizes_wh, level in zip(self.sizes_wh, features, strict=True):
            rows, columns = level.shape[-2:]
            y = (torch.arange(rows, device=level.device) + 0.5) * (size / rows)
            x = (torch.arange(columns, device=level.device) + 0.5) * (size / columns)
            centres = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1).reshape(-1, 1, 2)
            levels.append(torch.cat([centres - sizes_wh / 2, centres + sizes_wh / 2], dim=2).reshape(-1, 4))
        anchors = torch.cat(levels)
        return [anchors] * len(images.image_sizes)


class SquareInput(nn.Module):
    """Takes the place of torchvision's GeneralizedRCNNTransform, which resizes and pads by the rest of the batch.

    One grey channel becomes as many equal ones as there are means, scaled as for pretrained weights. Three see the grey
    photograph that they would have seen, and files of weights keep torchvision's shapes; encoders of timm have one.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, squares: Tensor, targets: Any = None) -> tuple[Any, Any]:
        """(N, size, size) uint8 or of 16 bits int32 to an ImageList of (N, channels, size, size)."""
        pictures = (squares[:, None].float() / white(squares) - self.mean) / self.std
        return ImageList(pictures, [tuple(pictures.shape[-2:])] * len(pictures)), targets

    def postprocess(self, found: Any, *_: Any) -> Any:
        """The boxes are in pixels of the square already."""
        return found


class SilentSSD(SSD):  # type: ignore[misc]
    """An SSD that also learns from images that show nothing.

    torchvision takes three background anchors for each one on an object of the same image, and so none of such images:
    nothing would teach the detector to stay silent.
    """

    def compute_loss(
        self, targets: Any, head_outputs: dict[str, Tensor], anchors: Any, matched_idxs: list[Tensor]
    ) -> dict[str, Tensor]:
        """As torchvision's; an image without objects counts as one with `_AS_IF` anchors on them."""
        losses: dict[str, Tensor] = super().compute_loss(targets, head_outputs, anchors, matched_idxs)
        silent = torch.tensor([not len(target["boxes"]) for target in targets])
        logits = head_outputs["cls_logits"][silent]
        background = nn.functional.cross_entropy(
            logits.flatten(0, 1),
            torch.zeros(logits.shape[:2], dtype=torch.int64, device=logits.device).flatten(),
            reduction="none",
        ).view(logits.shape[:2])
        hardest = background.topk(min(int(self.neg_to_pos_ratio * _AS_IF), background.shape[1]), dim=1).values
        on_objects = sum(int((matched >= 0).sum()) for matched in matched_idxs)
        known = losses["classification"] * max(1, on_objects) + hardest.sum()
        return losses | {"classification": known / max(1, on_objects + _AS_IF * len(logits))}


class DetectionNetwork(nn.Module):
    """A detector of torchvision. In training it gives the loss of a `Batch`, else what it finds in squares.

    Attributes:
        detector: torchvision's own module, with its names of tensors.
        frozen: what stays in evaluation mode in training.
    """

    def __init__(
        self,
        architecture: Architecture,
        classifier: nn.Module,
        *,
        image_size: int,
        channels: int,
        nms_iou: float,
        freeze_batchnorm: bool,
        classes: int = 1,
    ) -> None:
        """Build a detector, as `TorchvisionConfig` says, on the layers of what `build_classifier` built."""
        super().__init__()
        # Those of the pyramid and the heads come with none.
        self.frozen: list[nn.Module] = [
            module for module in classifier.modules() if freeze_batchnorm and isinstance(module, _BatchNorm)
        ]
        self.detector = _BUILDERS[architecture](classifier, channels, image_size, nms_iou, classes)
        two_stages, of_timm = architecture == "fasterrcnn_resnet50_fpn_v2", hasattr(classifier, "encoder")
        theirs = self.detector.transform
        mean, std = ([GREY_MEAN], [GREY_STD]) if of_timm else (theirs.image_mean, theirs.image_std)
        self.detector.transform = SquareInput(mean, std)
        owner = self.detector.rpn if two_stages else self.detector
        levels, per_cell = _ANCHORS[architecture]
        # Over timm's there is no level of stride 4, which Faster R-CNN would have: opacities are larger.
        owner.anchor_generator = Anchors(levels - (two_stages and of_timm), per_cell)
        # What is computed from here on are coordinates, for which autocast's bfloat16 is too coarse.
        heads = [owner.head, self.detector.roi_heads.box_predictor] if two_stages else [owner.head]
        for head in heads:
            head.register_forward_hook(_to_float32)
        self._two_stages, self._has_anchors = two_stages, architecture != "fcos_resnet50_fpn"
        # Faster R-CNN's and SSD's class 0 is the background; the sigmoids of the other two need none.
        self._label = 0 if architecture in {"retinanet_resnet50_fpn_v2", "fcos_resnet50_fpn"} else 1

    def compile_backbone(self) -> None:
        """Have the backbone and its pyramid compiled for training; what is validated stays as it is."""
        backbone: Any = self.detector.backbone
        plain: Callable[[Tensor], Any] = backbone.forward
        compiled: Callable[[Tensor], Any] = torch.compile(plain)

        def forward(pictures: Tensor) -> Any:
            return compiled(pictures) if backbone.training else plain(pictures)

        backbone.forward = forward

    @property
    def anchors(self) -> Anchors:
        """Where the anchors' sizes are."""
        owner: Any = self.detector.rpn if self._two_stages else self.detector
        return cast("Anchors", owner.anchor_generator)

    @property
    def has_anchors(self) -> bool:
        """Whether anchors can be fitted; FCOS has places alone."""
        return self._has_anchors

    def set_anchors(self, sizes_wh: NDArray[np.float64]) -> None:
        """Take (levels, anchors a cell, 2) widths and heights in pixels."""
        self.anchors.sizes_wh.copy_(torch.from_numpy(sizes_wh))

    @torch.inference_mode()
    def strides(self, image_size: int) -> NDArray[np.float64]:
        """(levels,) pixels between the cells of each level."""
        backbone: Any = self.detector.backbone
        mode, device = backbone.training, next(self.parameters()).device
        pictures = self.detector.transform(torch.zeros(1, image_size, image_size, device=device))[0].tensors
        features = backbone.eval()(pictures)
        backbone.train(mode)
        return np.array([image_size / level.shape[-1] for level in features.values()])

    def forward(self, batch: Any) -> Any:
        """In training a `Batch` to its loss, a scalar; else (N, size, size) uint8 to N dicts, see `SquareConfig`."""
        if not self.training:
            return [{**found, "class_ids": found["labels"] - self._label} for found in self.detector(batch)]
        squares, boxes, class_ids = batch.squares, batch.boxes_xyxy, batch.class_ids
        if len(squares) == 1:  # BatchNorm takes no single value a channel, and SSDlite ends in 1 x 1 cells
            squares, boxes, class_ids = squares.repeat(2, 1, 1), boxes * 2, class_ids * 2
        targets = [{"boxes": some, "labels": ids + self._label} for some, ids in zip(boxes, class_ids, strict=True)]
        return sum(self.detector(squares, targets).values())


def build_classifier(backbone: str, image_size: int, *, ssdlite: bool = False) -> nn.Module:
    """The classifier of that name with random weights: in torchvision's names of tensors, or an encoder of timm."""
    if backbone not in BACKBONES:
        from hilum.detectors.timm_encoder import TimmEncoder

        return TimmEncoder(backbone, image_size)
    # SSDlite's own numbers. The tail is not reduced, so that weights of the classifier fit.
    norm = {"norm_layer": partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)} if ssdlite else {}
    return cast("nn.Module", get_model(backbone, weights=None, **norm))


def _pyramid(classifier: Any, channels: int, first: int, extra: Any, norm: Any = None) -> Any:
    """A feature pyramid from stride 4 (`first` = 0) or 8 (1, or timm's) to 32, and what `extra` adds."""
    if hasattr(classifier, "encoder"):
        from hilum.detectors.timm_encoder import TimmPyramid

        return TimmPyramid(classifier, channels, extra(classifier.widths[-1]), norm)
    if hasattr(classifier, "layer4"):
        names = [f"layer{stage}" for stage in (1, 2, 3, 4)]
        widths = [classifier.inplanes // 8 * factor for factor in (1, 2, 4, 8)]
        body = classifier
    else:
        body = classifier.features
        strided = [at for at, block in enumerate(body) if getattr(block, "_is_cn", False)]  # halves the resolution
        ends = [*(at - 1 for at in strided[1:]), len(body) - 1]
        names, widths = [str(end) for end in ends], [body[end].out_channels for end in ends]
    layers = {name: str(number) for number, name in enumerate(names[first:])}
    return BackboneWithFPN(body, layers, widths[first:], channels, extra_blocks=extra(widths[-1]), norm_layer=norm)


def _faster_rcnn(classifier: Any, channels: int, _: int, nms_iou: float, classes: int) -> Any:
    return FasterRCNN(
        _pyramid(classifier, channels, 0, lambda _: LastLevelMaxPool(), nn.BatchNorm2d),
        num_classes=1 + classes,
        rpn_head=RPNHead(channels, 3, conv_depth=2),
        box_head=FastRCNNConvFCHead((channels, 7, 7), [channels] * 4, [1024], norm_layer=nn.BatchNorm2d),
        # A radiograph has at most a handful of opacities, where COCO's pictures hold dozens of things.
        rpn_post_nms_top_n_train=1000,
        rpn_post_nms_top_n_test=300,
        box_batch_size_per_image=128,
        box_score_thresh=CONFIDENCE_FLOOR,
        box_nms_thresh=nms_iou,
        box_detections_per_img=MAX_BOXES * classes,
    )


def _retinanet(classifier: Any, channels: int, _: int, nms_iou: float, classes: int) -> Any:
    head = RetinaNetHead(channels, 9, classes, norm_layer=partial(nn.GroupNorm, 32))
    head.regression_head._loss_type = "giou"  # noqa: SLF001 - as torchvision's builder of v2 does
    pyramid = _pyramid(classifier, channels, 1, lambda width: LastLevelP6P7(width, channels))
    return RetinaNet(pyramid, classes, head=head, **_postprocessing(nms_iou, classes))


def _fcos(classifier: Any, channels: int, _: int, nms_iou: float, classes: int) -> Any:
    pyramid = _pyramid(classifier, channels, 1, lambda _: LastLevelP6P7(channels, channels))
    detector = FCOS(pyramid, classes, **_postprocessing(nms_iou, classes))
    # Distances to the edges pass through a ReLU. From torchvision's bias of 0 half of them begin, and many stay, where
    # it has no gradient; 4 strides is where a level's range of distances begins.
    nn.init.constant_(detector.head.regression_head.bbox_reg.bias, 4.0)
    return detector


def _ssdlite(classifier: Any, _: int, image_size: int, nms_iou: float, classes: int) -> Any:
    norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
    features = classifier.features
    c4 = max(at for at, block in enumerate(features) if getattr(block, "_is_cn", False))
    backbone = SSDLiteFeatureExtractorMobileNet(features, c4, norm)
    with torch.no_grad():
        levels = backbone.eval()(torch.zeros(1, 3, image_size, image_size)).values()
    widths = [level.shape[1] for level in levels]
    levels_count, per_cell = _ANCHORS["ssdlite320_mobilenet_v3_large"]
    return SilentSSD(
        backbone.train(),
        DefaultBoxGenerator([[2, 3]] * levels_count),
        (image_size, image_size),
        1 + classes,
        head=SSDLiteHead(widths, [per_cell] * levels_count, 1 + classes, norm),
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        **_postprocessing(nms_iou, classes),
    )


_BUILDERS: Final[dict[Architecture, Any]] = {
    "fasterrcnn_resnet50_fpn_v2": _faster_rcnn,
    "retinanet_resnet50_fpn_v2": _retinanet,
    "fcos_resnet50_fpn": _fcos,
    "ssdlite320_mobilenet_v3_large": _ssdlite,
}


def _postprocessing(nms_iou: float, classes: int) -> dict[str, Any]:
    # Of several classes more boxes, so that a frequent one leaves room for the others.
    return {"score_thresh": CONFIDENCE_FLOOR, "nms_thresh": nms_iou, "detections_per_img": MAX_BOXES * classes}


def _to_float32(_: nn.Module, __: Any, output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.float()
    if isinstance(output, dict):
        return {key: _to_float32(_, __, value) for key, value in output.items()}
    return type(output)(_to_float32(_, __, value) for value in output)


def fitted_anchors(network: DetectionNetwork, split: Split, size: int) -> NDArray[np.float64]:
    """(levels, anchors a cell, 2) widths and heights in pixels of the square, fitted to a split's boxes."""
    strides = network.strides(size)
    if not network.has_anchors:
        return np.repeat(strides[:, None, None], 2, axis=2)
    boxes = np.concatenate([split.boxes_in_square(number, size) for number in range(len(split))])
    return fit_anchors(boxes[:, 2:] - boxes[:, :2], strides, network.anchors.sizes_wh.shape[1])
