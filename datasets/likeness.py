"""Whether pictures are the same or look alike, whatever file, format or size they are stored in.

Of each decoded picture a signature is kept: a digest of its pixels, and a perceptual hash, the signs of 16 x 16 low
frequencies (imagehash's `phash`). On 704 radiographs of the challenge, copies that were compressed harder, shrunk to a
quarter, or shown in a brighter or steeper window differ from their originals in 20 of the 256 bits at most, and two
different radiographs in 54 at least. Copies that were cut, padded, turned, or equalised are not found.

Looking up all pictures of one set in another takes no look at all pairs: two hashes that differ in at most 24 bits
differ in at most one bit of one of their 16 rows, so only those are compared that share a row but for a bit (Norouzi M,
Punjani A, Fleet DJ: Fast search in Hamming space with multi-index hashing. CVPR 2012).
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.datasets.cache import Kept, kept_of_pictures
from hilum.datasets.folder import Dataset

MOST_BITS: Final = 24
"""In which two hashes of pictures differ that look alike."""
_HASH = 16  # frequencies each way
_SIDE = 4 * _HASH  # pixels of the picture that is hashed
_DIGEST = hashlib.sha256().digest_size
_ROWS = _HASH
_AT_ONCE = 1 << 20  # pairs that are compared at once: 32 MB
_ONES = np.array([number.bit_count() for number in range(1 << 16)], np.uint8)
_NEIGHBOURS = np.array([0, *(1 << bit for bit in range(16))], np.uint16)


def signature(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns the signature of a picture (H, W), (64,) uint8: the digest of its size and pixels, then its hash."""
    from imagehash import phash
    from PIL import Image

    digest = hashlib.sha256(f"{pixels.shape}".encode() + np.ascontiguousarray(pixels).tobytes()).digest()
    small = cv2.resize(pixels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    bits = np.packbits(phash(Image.fromarray(small), _HASH).hash)
    return np.concatenate([np.frombuffer(digest, np.uint8), bits])


def signatures(data: Dataset, pictures: Sequence[Path]) -> NDArray[np.uint8]:
    """Signatures of some pictures of a folder, (pictures, 64); all are decoded once, and kept beside them.

    Raises:
        HilumError: a picture cannot be read.
    """
    kept = Kept("signatures", (_DIGEST + _ROWS * 2,), signature, 0, "to compare them")
    with TemporaryDirectory() as elsewhere:  # where the folder cannot be written, and nobody said where else
        data = data if data.scratch else replace(data, scratch=Path(elsewhere))
        mapped, row = kept_of_pictures(data, kept)
        return mapped[[row[picture] for picture in pictures]]


def same_pixels(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Returns for each signature of the second set which of the first has the same pixels, (second,); -1 for none."""
    known = {each.tobytes(): number for number, each in reversed(list(enumerate(first[:, :_DIGEST])))}
    return np.array([known.get(each.tobytes(), -1) for each in second[:, :_DIGEST]], np.int64)


def look_alike(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Returns for each signature of the second set one of the first that looks alike, (second,); -1 where none does.

    Args:
        first: (N, 64) uint8.
        second: (M, 64) uint8.
    """
    here, number = np.unique(_hashes(first), axis=0, return_index=True)  # a thousand black pictures are one
    there, inverse = np.unique(_hashes(second), axis=0, return_inverse=True)
    found = np.full(len(there), -1, np.int64)
    for row in range(_ROWS):
        order = np.argsort(here[:, row], kind="stable")
        left = np.flatnonzero(found < 0)
        for of_first, of_second in _sharing(here[order, row], there[left, row]):
            pairs = order[of_first], left[of_second]
            near = _ONES[here[pairs[0]] ^ there[pairs[1]]].sum(axis=1, dtype=np.int64) <= MOST_BITS
            found[pairs[1][near]] = number[pairs[0][near]]
    return found[inverse.reshape(-1)]


def _hashes(of: NDArray[np.uint8]) -> NDArray[np.uint16]:
    return np.ascontiguousarray(of[:, _DIGEST:]).view(np.uint16)


def _sharing(
    here: NDArray[np.uint16], there: NDArray[np.uint16]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The pairs whose rows agree but for a bit, many at once: numbers in `here`, which rises, and in `there`."""
    wanted = there[:, None] ^ _NEIGHBOURS
    start = np.searchsorted(here, wanted.ravel(), side="left")
    count = np.searchsorted(here, wanted.ravel(), side="right") - start
    of_second = np.repeat(np.arange(len(there)), len(_NEIGHBOURS))
    some = np.flatnonzero(count)
    ends = np.cumsum(count[some])
    parts = np.searchsorted(ends, np.arange(_AT_ONCE, ends[-1] if len(ends) else 0, _AT_ONCE))
    for chunk in np.split(some, parts):
        many = count[chunk]
        within = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
        yield np.repeat(start[chunk], many) + within, np.repeat(of_second[chunk], many)
