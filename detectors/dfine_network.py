"""D-FINE of Hugging Face's transformers (Apache-2.0) for square grey pictures: a transformer's queries, and no NMS.

Peng et al., D-FINE: Redefine Regression Task in DETRs as Fine-grained Distribution Refinement, arXiv:2410.13842.
It is built from the numbers below: no file of anybody says what is built, and nothing is asked of a hub.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.ops import box_convert

try:
    import scipy  # noqa: F401 - its loss matches queries to boxes with it, and would say so only then
    from transformers import DFineConfig, DFineForObjectDetection
    from transformers.loss.loss_d_fine import DFineForObjectDetectionLoss
    from transformers.modeling_outputs import BaseModelOutput
except ImportError as error:
    raise ImportError('transformers (Apache-2.0) is missing: pip install "hilum[transformers]"') from error

from hilum.training.pretrained import load_encoder


class _Numbers(NamedTuple):
    """What tells the sizes apart, as in the files of the hub; of the backbone's four stages where there are four."""

    stem: tuple[int, int]
    inside: tuple[int, ...]
    out: tuple[int, ...]
    blocks: tuple[int, ...]
    layers: int
    affine: bool
    width: int
    encoder: int
    feedforward: tuple[int, int]
    points: tuple[int, ...]
    depth: float
    expansion: float
    decoders: int


_B0: Final = ((16, 16), (16, 32, 64, 128), (64, 256, 512, 1024), (1, 1, 2, 1), 3, True)
_B2: Final = ((24, 32), (32, 64, 128, 256), (96, 384, 768, 1536), (1, 1, 3, 1), 4, True)
_B4: Final = ((32, 48), (48, 96, 192, 384), (128, 512, 1024, 2048), (1, 1, 3, 1), 6, False)
_B5: Final = ((32, 64), (64, 128, 256, 512), (128, 512, 1024, 2048), (1, 2, 5, 2), 6, False)
_SIZES: Final[dict[str, _Numbers]] = {
    "nano": _Numbers(*_B0, 128, 128, (512, 512), (6, 6), 0.5, 0.34, 3),
    "small": _Numbers(*_B0, 256, 256, (1024, 1024), (3, 6, 3), 0.34, 0.5, 3),
    "medium": _Numbers(*_B2, 256, 256, (1024, 1024), (3, 6, 3), 0.67, 1.0, 4),
    "large": _Numbers(*_B4, 256, 256, (1024, 1024), (3, 6, 3), 1.0, 1.0, 6),
    "xlarge": _Numbers(*_B5, 256, 384, (2048, 1024), (3, 6, 3), 1.0, 1.0, 6),
}
_RARE: Final = 0.01  # how likely a query begins to find something; of one class transformers would say 0.5
# transformers 5 calls layers otherwise than the hub's files.
_RENAMED: Final = (
    (re.compile(r"^(detector|model)\."), ""),
    (re.compile(r"^(class|bbox)_embed\."), r"decoder.\1_embed."),
    (re.compile(r"\.out_proj\."), ".o_proj."),
    (re.compile(r"\.fc1\."), ".mlp.layers.0."),
    (re.compile(r"\.fc2\."), ".mlp.layers.1."),
    (re.compile(r"^encoder\.encoder\."), "encoder.aifi."),
)
_OF_CLASSES: Final = re.compile(r"class_embed|enc_score_head")


class DFineNetwork(nn.Module):
    """D-FINE with random weights. In training it gives the loss of a `Batch`, else what its queries find.

    Attributes:
        detector: transformers' own module, with its names of tensors.
    """

    def __init__(self, size: str, *, queries: int, image_size: int, classes: int) -> None:
        """Build it; there are no more queries than places in the feature maps."""
        super().__init__()
        # The loss takes the heads from the model, in whose decoder they are; outside they would be there twice.
        self.detector: Any = DFineForObjectDetection(_config(_SIZES[size], queries, image_size, classes)).model
        self.learning_maps: Callable[[Tensor], Sequence[Tensor]] = self.maps

    def maps(self, pictures: Tensor) -> Sequence[Tensor]:
        """(N, 1, size, size) in 0..1 to the backbone's feature map of each level, from the finest on."""
        maps: Sequence[Tensor] = self.detector.backbone.model(pictures).feature_maps
        return maps

    def _pyramid(self, maps: Sequence[Tensor]) -> list[Tensor]:
        projected = [project(each) for project, each in zip(self.detector.encoder_input_proj, maps, strict=True)]
        return list(self.detector.encoder(projected).last_hidden_state)

    def forward(self, seen: Any) -> Any:
        """In training a `Batch` to its loss, a scalar.

        Else (N, 1, size, size) in 0..1 to boxes (N, queries, 4), xyxy in pixels of the square, and to the confidence
        in each class, (N, queries, classes).
        """
        if not self.training:
            found = self._found(self._pyramid(self.maps(seen)), None)
            boxes = box_convert(found.intermediate_reference_points[:, -1], "cxcywh", "xyxy")
            return boxes * seen.shape[-1], found.intermediate_logits[:, -1].sigmoid()
        size = seen.squares.shape[-1]
        truth = [
            {"boxes": box_convert(boxes, "xyxy", "cxcywh") / size, "class_labels": class_ids}
            for boxes, class_ids in zip(seen.boxes_xyxy, seen.class_ids, strict=True)
        ]
        pyramid = self._pyramid(self.learning_maps(seen.squares[:, None].float() / 255))
        found = self._found(pyramid, truth)
        with torch.autocast(seen.squares.device.type, enabled=False):
            loss = self._loss(found, truth)
        # Without a box nothing is made noisy; processes that learn together expect a gradient all the same.
        return loss + 0 * self.detector.denoising_class_embed.weight.sum()

    def _found(self, pyramid: list[Tensor], truth: list[dict[str, Tensor]] | None) -> Any:
        """What the queries find; with the truth, also what they make of noisy copies of it."""
        with torch.autocast(pyramid[0].device.type, enabled=False):  # for coordinates bfloat16 is too coarse
            maps = [each.float() for each in pyramid]
            return self.detector(
                None, inputs_embeds=maps[0], encoder_outputs=BaseModelOutput(last_hidden_state=maps), labels=truth
            )

    def _loss(self, found: Any, truth: list[dict[str, Tensor]]) -> Tensor:
        logits, boxes = found.intermediate_logits, found.intermediate_reference_points
        total: Tensor = logits.sum() + boxes.sum()
        if not bool(total.isfinite()):  # what is no number matches nothing; the loop says so
            return total
        loss: Tensor = DFineForObjectDetectionLoss(
            logits[:, -1],
            truth,
            logits.device,
            boxes[:, -1],
            self.detector.config,
            logits,
            boxes,
            enc_topk_logits=found.enc_topk_logits,
            enc_topk_bboxes=found.enc_topk_bboxes,
            denoising_meta_values=found.denoising_meta_values,
            predicted_corners=found.intermediate_predicted_corners,
            initial_reference_points=found.initial_reference_points,
        )[0]
        return loss


def load_pretrained(network: DFineNetwork, tensors: Mapping[str, Tensor], source: str, size: str) -> None:
    """Put the tensors of a file of the hub's form into a network of the same size, in place.

    What tells classes apart is left as it is where the file's classes are not as many.

    Raises:
        HilumError: another tensor is missing or has another shape: nothing is loaded in part.
    """
    given: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        for pattern, replacement in _RENAMED:
            name = pattern.sub(replacement, name)  # noqa: PLW2901
        given[name] = tensor
    for name, tensor in network.detector.state_dict().items():
        if _OF_CLASSES.search(name) and name in given and given[name].shape != tensor.shape:
            given[name] = tensor
    load_encoder(network.detector, given, source, f"D-FINE of size {size}")


def _config(numbers: _Numbers, queries: int, image_size: int, classes: int) -> DFineConfig:
    levels = len(numbers.points)
    strides = [8, 16, 32][-levels:]
    backbone = {
        "model_type": "hgnet_v2",
        "num_channels": 1,
        "stem_channels": [1, *numbers.stem],
        "stage_in_channels": [numbers.stem[1], *numbers.out[:-1]],
        "stage_mid_channels": list(numbers.inside),
        "stage_out_channels": list(numbers.out),
        "hidden_sizes": list(numbers.out),
        "stage_num_blocks": list(numbers.blocks),
        "stage_numb_of_layers": [numbers.layers] * 4,
        "use_learnable_affine_block": numbers.affine,
        "out_indices": [2, 3, 4][-levels:],
    }
    return DFineConfig(
        backbone_config=backbone,
        num_labels=classes,
        initializer_bias_prior_prob=_RARE,
        num_queries=min(queries, sum((image_size // stride) ** 2 for stride in strides)),
        freeze_backbone_batch_norms=False,  # `train.freeze_batchnorm` says it
        num_feature_levels=levels,
        feat_strides=strides,
        encode_proj_layers=[levels - 1],
        encoder_in_channels=list(numbers.out[-levels:]),
        encoder_hidden_dim=numbers.encoder,
        encoder_ffn_dim=numbers.feedforward[0],
        d_model=numbers.width,
        decoder_in_channels=[numbers.encoder] * levels,
        decoder_ffn_dim=numbers.feedforward[1],
        decoder_n_points=list(numbers.points),
        decoder_layers=numbers.decoders,
        depth_mult=numbers.depth,
        hidden_expansion=numbers.expansion,
    )
