"""Grey pictures of 8 and of 16 bits: the same range from black to white, in 256 and in 65,536 levels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_bits(pixels: NDArray[Any], bits: int) -> NDArray[Any]:
    """Pictures in so many bits: (...) uint8 or uint16 to uint8 or uint16. 8 to 16 and back loses nothing."""
    if pixels.dtype.itemsize * 8 == bits:
        return pixels
    if bits == 16:
        return np.asarray(pixels.astype(np.uint16) * 257)
    return np.asarray((pixels.astype(np.uint32) + 128) // 257, np.uint8)  # the nearest level
