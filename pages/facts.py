"""What the numbers of a data set say: pure functions on plain arrays."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hilum.dicom.header import OLDEST_YEARS


def impossible_ages(ages_years: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which recorded ages no person has had; an unknown age, NaN, is not one of them."""
    return (ages_years < 0) | (ages_years > OLDEST_YEARS)


def rows_of_join(box_counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows that each image gets where the label table is joined with the class table on the image alone.

    Both tables name an image once a box, and once where it has none, so that n boxes become n x n rows.
    """
    return np.maximum(box_counts, 1) ** 2


def wilson_interval(hits: int, total: int) -> tuple[float, float]:
    """95% interval of a share (Wilson, J. Am. Stat. Assoc. 22, 1927); `total` is above 0."""
    z, share = 1.959964, hits / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * np.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))


def auc_of_groups(groups: Sequence[str] | NDArray[np.str_], positive: NDArray[np.bool_]) -> float:
    """How often an image with opacity ranks above one without, by the group alone (area under the ROC curve).

    Each group is ranked by its own share of opacity; equals count half. NaN where all are of one kind.
    """
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    hits = np.bincount(group, positive).astype(np.float64)
    misses = np.bincount(group, ~positive).astype(np.float64)
    if not hits.sum() or not misses.sum():
        return float("nan")
    order = np.argsort(hits / (hits + misses), kind="stable")
    hits, misses = hits[order], misses[order]
    below = np.cumsum(misses) - misses
    # Groups of exactly equal share cannot be told apart, yet order them as one likes: pairs across sum to the same.
    return float((hits * (below + misses / 2)).sum() / (hits.sum() * misses.sum()))


def leaked_share(images_of_patient: NDArray[np.int64], train: int) -> float:
    """Expected share of the images outside training whose patient is in training too, if images were dealt one by one.

    An image outside leaks unless the patient's other n - 1 images are outside as well: hypergeometric, exact.

    Args:
        images_of_patient: how many images each patient has.
        train: images that training gets, of all.
    """
    others = int(images_of_patient.sum()) - 1
    none_in_train = np.ones(int(images_of_patient.max()))  # at n - 1
    for more in range(1, len(none_in_train)):
        none_in_train[more] = none_in_train[more - 1] * max(0, others - train - more + 1) / (others - more + 1)
    leaked = 1 - none_in_train[images_of_patient - 1]
    return float((leaked * images_of_patient).sum() / images_of_patient.sum())


def box_coverage(
    boxes_xyxy: Sequence[NDArray[np.float64]], sizes_wh: NDArray[np.int64], cells: int = 128
) -> NDArray[np.float64]:
    """Share of images whose boxes cover each place.

    Args:
        boxes_xyxy: one (boxes, 4) an image, pixels.
        sizes_wh: (images, 2) pixels.
        cells: the pictures are laid over each other on a grid this fine.

    Returns:
        (cells, cells), rows from the top; a place is covered where a box holds its cell's centre.
    """
    total = np.zeros((cells, cells))
    for boxes, size_wh in zip(boxes_xyxy, sizes_wh, strict=True):
        covered = np.zeros((cells, cells), bool)
        edges = np.clip(np.ceil(boxes / np.tile(size_wh, 2) * cells - 0.5), 0, cells).astype(int)
        for left, top, right, bottom in edges.tolist():
            covered[top:bottom, left:right] = True
        total += covered
    return total / max(1, len(boxes_xyxy))
