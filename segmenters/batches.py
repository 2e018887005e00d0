"""What a segmenter learns from: batches of pictures, varied, and the masks that are painted from their boxes."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from hilum.datasets.augmentation import Variation, draw, vary_boxes_with_classes, vary_picture
from hilum.datasets.cache import Squares
from hilum.datasets.folder import Split
from hilum.datasets.masks import boxes_to_mask, paint_masks, pixel_edges
from hilum.datasets.picture_tensors import as_tensor, to_unit
from hilum.segmenters.segmenter_config import SegmenterConfig


def load_batch(
    squares: Squares, split: Split, config: SegmenterConfig, epoch: int, numbers: NDArray[np.int64]
) -> tuple[Tensor, Tensor, list[Variation]]:
    """What the CPU has to do for a batch; the rest is `prepare_batch`.

    Each image has random numbers of its own, so that it is the same in whichever batch and process it falls.

    Returns:
        The pictures as they are, (N, size, size) uint8 or of 16 bits int32; the edges of their boxes after the
        variation, as `paint_masks` takes them of each picture and, in it, of each class; and how each picture is to be
        varied.
    """
    size, classes = config.image_size, len(config.class_names)
    variations, edges = [], []
    for number in numbers.tolist():
        variations.append(draw(config.augmentation, size, np.random.default_rng([config.seed, epoch, number])))
        in_square, class_ids = split.boxes_in_square(number, size), split.class_ids[number]
        boxes, class_ids = vary_boxes_with_classes(in_square, class_ids, variations[-1], size)
        of_classes = [boxes[class_ids == class_id] for class_id in range(classes)]
        edges += [torch.from_numpy(pixel_edges(each, (size, size))) for each in of_classes]
    return as_tensor(squares[numbers]), pad_sequence(edges, batch_first=True), variations


def prepare_batch(pictures: Tensor, edges: Tensor, variations: list[Variation]) -> tuple[Tensor, Tensor]:
    """What `load_batch` gives, on any device, as the network's input and its target (N, classes, size, size), there."""
    varied = [vary_picture(picture, variation) for picture, variation in zip(pictures, variations, strict=True)]
    size = pictures.shape[-1]
    return to_unit(torch.stack(varied)), paint_masks(edges, size).view(len(pictures), -1, size, size)


def mask_of(split: Split, number: int, size: int) -> NDArray[np.uint8]:
    """The mask (size, size) of an image as it is, of all its boxes."""
    return boxes_to_mask(split.boxes_in_square(number, size), (size, size))
