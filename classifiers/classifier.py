"""What a classifier is: a backend that finds no boxes, but says how likely an image shows an opacity."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hilum.backend import Backend


class Classifier(Backend, Protocol):
    """Says whether an image shows an opacity at all.

    It is a backend, so that it is trained, evaluated and compared like any other; its `predict_batch` finds no box and
    puts the probability into `metadata[IMAGE_PROBABILITY]`.
    """

    def predict_probability(self, images: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
        """The probability, 0..1, that each image shows an opacity.

        Args:
            images: H x W each, any sizes, white bones.

        Returns:
            (images,).
        """
        ...
