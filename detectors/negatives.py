"""Which pictures without an opacity a detector is trained on."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def with_share_of_negatives(positive: Sequence[bool], share: float, seed: int) -> NDArray[np.int64]:
    """Which pictures to train on: all with a box, and a share of the others.

    Args:
        positive: Whether a picture has a box.
        share: Of the others, 0..1; half a picture counts as one.
        seed: Decides which; with the same one, a smaller share keeps some of those that a larger one keeps.

    Returns:
        Their numbers, ascending.
    """
    negatives = np.flatnonzero(~np.asarray(positive, bool))
    shuffled = np.random.default_rng(seed).permutation(negatives)
    dropped = shuffled[int(share * len(negatives) + 0.5) :]
    return np.setdiff1d(np.arange(len(positive)), dropped)
