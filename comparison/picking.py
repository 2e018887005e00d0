"""Which pictures to label next: those on which a run is unsure, its members disagree, or that are like no other.

Sources: Settles B: Active learning literature survey. University of Wisconsin-Madison, Computer Sciences Technical
Report 1648, 2009. Sener O, Savarese S: Active learning for convolutional neural networks: a core-set approach. ICLR
2018, whose greedy k-center is `diversity` here, on small copies of the pictures.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.datasets.pictures import read_picture
from hilum.detections import Detections
from hilum.ensemble.composed import Composed
from hilum.errors import HilumError
from hilum.predict import Predictor, read_batches
from hilum.result import at_or_above, class_probabilities

By = Literal["mixed", "uncertainty", "disagreement", "diversity", "random"]
_SIDE: Final = 16  # pixels of a small copy
_POOL: Final = 3  # so many times the wanted pictures are the unsure ones among which `mixed` takes different ones


@dataclass(frozen=True)
class Candidates:
    """Pictures that may be picked; all run in parallel.

    Attributes:
        found: every box above the run's floor.
        uncertainty: (images,) 0..1: 1 where the image's probability is the operating point, 0 at 0 and 1; of several
            classes that of the least sure.
        disagreement: (images,) standard deviation of the members' probabilities; None where the run has one member.
        looks: (images, features) small copies with mean 0 and length 1.
    """

    found: Sequence[Detections]
    uncertainty: NDArray[np.float64]
    disagreement: NDArray[np.float64] | None
    looks: NDArray[np.float64]


def look_at(
    predictor: Predictor, paths: Sequence[Path], progress: Callable[[int, int], None] | None = None
) -> Candidates:
    """What a run says of pictures.

    Raises:
        HilumError: pictures that cannot be read, a line each.
    """
    backend, classes = predictor.backend, len(predictor.class_names)
    least = np.broadcast_to(np.asarray(predictor.confidence, np.float64), classes)
    found: list[Detections] = []
    members: list[NDArray[np.float64]] = []
    looks: list[NDArray[np.float64]] = []
    for images in read_batches(paths, bits=backend.bits):
        found += predictor.find(images)
        looks += [_look(image) for image in images]
        if isinstance(backend, Composed):
            members.append(backend.member_probabilities(images).std(axis=0).max(axis=1))
        if progress:
            progress(len(found), len(paths))
    # What a map says of the whole image is in other units than the operating point, which is one of boxes.
    judged = [at_or_above(each, 0.0) for each in found] if backend.draws_maps else found
    probability = np.array([class_probabilities(each, classes) for each in judged]).reshape(-1, classes)
    below = probability / np.maximum(least, 1e-9)
    above = (1 - probability) / np.maximum(1 - least, 1e-9)
    unsure = np.minimum(below, above).clip(0, 1).max(axis=1)
    disagreement = np.concatenate(members) if members else None
    return Candidates(found, unsure, disagreement, np.array(looks).reshape(-1, _SIDE**2))


def looks_of(paths: Sequence[Path]) -> NDArray[np.float64]:
    """(images, features) of pictures that have labels."""
    return np.array([_look(read_picture(path)) for path in paths]).reshape(-1, _SIDE**2)


def _look(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    small = np.asarray(cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.float64).ravel()
    centred: NDArray[np.float64] = small - small.mean()
    return centred / max(float(np.linalg.norm(centred)), 1e-9)


def pick(candidates: Candidates, count: int, by: By, *, known: NDArray[np.float64], seed: int = 0) -> list[int]:
    """Choose pictures, the first the most wanted.

    Args:
        candidates: among which.
        count: how many; all where there are fewer.
        by: `uncertainty` and `disagreement` take the highest; `diversity` each time the picture that is least like all
            labelled and picked ones; `mixed` does that among the three times as many that are most unsure, by the mean
            rank of both where there are members; `random` is what the others are measured against.
        known: (images, features), looks of the pictures that have labels.
        seed: of `random`.

    Returns:
        Their numbers.

    Raises:
        HilumError: disagreement is asked for, and the run has one member.
    """
    if by == "disagreement" and candidates.disagreement is None:
        raise HilumError("--by disagreement: the run has one member; a composed run has several, or take another --by")
    everything = np.arange(len(candidates.found))
    if by == "random":
        return [int(number) for number in np.random.default_rng(seed).permutation(everything)[:count]]
    if by == "diversity":
        return _farthest_first(candidates.looks, everything, count, known)
    unsure = _ranks(candidates.uncertainty)
    if candidates.disagreement is not None:
        apart = _ranks(candidates.disagreement)
        unsure = {"uncertainty": unsure, "disagreement": apart}.get(by, (unsure + apart) / 2)
    order = np.argsort(-unsure, kind="stable")
    if by != "mixed":
        return [int(number) for number in order[:count]]
    return _farthest_first(candidates.looks, order[: _POOL * count], count, known)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(images,) how many are lower, so that figures of two kinds can be put together."""
    return np.searchsorted(np.sort(values), values).astype(np.float64)


def _farthest_first(
    looks: NDArray[np.float64], among: NDArray[np.int64], count: int, known: NDArray[np.float64]
) -> list[int]:
    """Greedy k-center: each time the picture whose most similar labelled or picked one is the least similar."""
    nearest = np.full(len(among), -1.0)
    for start in range(0, len(known), 4096):
        nearest = np.maximum(nearest, (looks[among] @ known[start : start + 4096].T).max(axis=1))
    picked: list[int] = []
    for _ in range(min(count, len(among))):
        best = int(nearest.argmin())
        picked.append(int(among[best]))
        nearest = np.maximum(nearest, looks[among] @ looks[among[best]])
        nearest[best] = np.inf
    return picked
