"""Grey pictures as tensors: of 8 bits uint8, of 16 bits int32, for torch has hardly any operation on uint16."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def as_tensor(pixels: NDArray[Any]) -> Tensor:
    """Pictures (...) uint8 or uint16 as a tensor; one of uint8 shares their memory."""
    return torch.from_numpy(pixels.astype(np.int32) if pixels.dtype == np.uint16 else pixels)


def white(pictures: Tensor) -> int:
    """The value of white in pictures as `as_tensor` gives them."""
    return 255 if pictures.dtype == torch.uint8 else 65_535


def to_unit(squares: Tensor) -> Tensor:
    """(N, size, size) as `as_tensor` gives them to (N, 1, size, size) float32 in 0..1."""
    return squares[:, None].float().div_(white(squares))
