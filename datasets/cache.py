"""Decode a dataset folder's pictures once, and keep of each what is needed again: its square, its signature.

What is kept is a file of arrays of one shape, uint8 or uint16, which is mapped into memory.
"""

import hashlib
import io
import math
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from hilum.datasets.derived import CACHE, place_for
from hilum.datasets.folder import SPLITS, Dataset, SplitName
from hilum.datasets.letterbox import Letterbox
from hilum.datasets.pictures import read_picture
from hilum.errors import HilumError
from hilum.files import locked, open_to_append
from hilum.talk import is_quiet, log

if TYPE_CHECKING:
    import pandas as pd

_AT_ONCE = 256  # pictures that are decoded before they are written
_MOST_COMPARED = 8  # squares of a file that is there, with what their pictures give
_ROUNDING = 2  # grey values, between builds of the libraries that decode and resize
_FORMAT = b"1"  # raised when the same pictures come to be other squares


@dataclass(frozen=True)
class Kept:
    """What is kept of each picture.

    Attributes:
        name: begins the name of the file; names the kind, and whatever its arrays depend on.
        shape: of an array.
        make: makes the array of a picture (H, W).
        rounding: how far an array may be off, between builds of the libraries that decode and resize.
        told: what the pictures are decoded for.
        remedy: where the disk has no room.
        bits: of a value of the array, and of the picture that it is made of.
    """

    name: str
    shape: tuple[int, ...]
    make: Callable[[NDArray[Any]], NDArray[Any]]
    rounding: int
    told: str
    remedy: str = ""
    bits: int = 8

    @property
    def dtype(self) -> str:
        """Of an array, as numpy's format names it."""
        return "|u1" if self.bits == 8 else "<u2"

    @property
    def size(self) -> int:
        """Bytes of an array."""
        return math.prod(self.shape) * self.bits // 8

    def of(self, picture: Path) -> bytes:
        """The array of a picture.

        Raises:
            HilumError: it cannot be read.
        """
        try:
            pixels = read_picture(picture, self.bits)
        except HilumError as error:
            raise HilumError(f"{picture}: {error}; convert again") from error
        return self.make(pixels).astype(self.dtype, copy=False).tobytes()


@dataclass(frozen=True)
class Squares:
    """The pictures of a split, each letterboxed to a square; on disk until they are asked for.

    Indexed as an array by a number, a slice or an array of numbers, it gives (size, size) or (N, size, size). A
    single picture is read-only; several are a copy.

    Attributes:
        mapped: (all pictures of the folder, size, size) uint8 or uint16, mapped into memory, read-only.
        rows: of each picture of the split, in the split's order.
    """

    mapped: NDArray[Any]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        """How many pictures."""
        return len(self.rows)

    def __getitem__(self, which: int | slice | NDArray[np.int64]) -> NDArray[Any]:
        """Some of the pictures."""
        return np.asarray(self.mapped[self.rows[which]])


def square_pictures(data: Dataset, name: SplitName, size: int, bits: int = 8) -> Squares:
    """The pictures of a split, each letterboxed to a square, in the split's order.

    Args:
        data: the dataset folder.
        name: of the split.
        size: side of the squares in pixels.
        bits: 8 or 16, of a pixel.

    Raises:
        HilumError: a picture cannot be read, or the file cannot be written.
    """

    def square(pixels: NDArray[Any]) -> NDArray[Any]:
        return Letterbox.fit((pixels.shape[1], pixels.shape[0]), size).apply(pixels)

    told, remedy = f"to {size} px", ", or take a smaller image_size"
    deep, rounding = ("", _ROUNDING) if bits == 8 else ("16bit-", 257 * _ROUNDING)
    kept = Kept(f"{deep}{size}", (size, size), square, rounding, told, remedy, bits)
    mapped, row = kept_of_pictures(data, kept)
    return Squares(mapped, np.array([row[picture] for picture in data.split(name).paths], np.int64))


def kept_of_pictures(data: Dataset, kept: Kept) -> tuple[NDArray[Any], dict[Path, int]]:
    """What is kept of all pictures of a folder, (pictures, *shape), and the row of each.

    The first call decodes all pictures of the folder into `cache/`, beside them, or into that of `data.scratch` where
    the folder cannot be written; later ones map that file. One file serves every split and further split. Its name
    holds a fingerprint of the pictures, so that changed ones never meet an old file. Building says how large the file
    will be, and where it was interrupted it goes on.

    Raises:
        HilumError: a picture cannot be read, or the file cannot be written.
    """
    whole = Dataset.open(data.root) if data.is_further_split else data
    pictures = sorted(path for part in SPLITS for path in whole.split(part).paths)
    path = data.root / CACHE / f"{kept.name}-{_fingerprint(pictures, whole.metadata)}.npy"
    header = _header((len(pictures), *kept.shape), kept.dtype)
    try:
        if not _serves(path, header, pictures, kept):
            path = place_for(data, CACHE) / path.name
            if not _serves(path, header, pictures, kept):
                _build(path, header, pictures, kept)
        mapped = np.asarray(np.load(path, mmap_mode="r"))
    except OSError as error:
        raise HilumError(f"{path}: the picture cache cannot be written: {error.strerror or error}") from error
    return mapped, {picture: number for number, picture in enumerate(pictures)}


def _fingerprint(pictures: Sequence[Path], metadata: "pd.DataFrame") -> str:
    digest = hashlib.sha256(_FORMAT)
    sha256 = dict(metadata["sha256"]) if "sha256" in metadata else {}
    for picture in pictures:
        digest.update(f"{picture.name},{sha256.get(picture.stem)}\n".encode())
    return digest.hexdigest()[:16]


def _header(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    """What numpy's format has before the values."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


def _is_whole(path: Path, header: bytes, pixels: int) -> bool:
    if not path.is_file() or path.stat().st_size != len(header) + pixels:
        return False
    with path.open("rb") as file:
        return file.read(len(header)) == header


def _serves(path: Path, header: bytes, pictures: Sequence[Path], kept: Kept) -> bool:
    """Whether a file is whole, and some of its arrays, drawn anew each time, are the pictures'; else it is removed.

    It may have come with the folder, from anybody.
    """
    if not _is_whole(path, header, len(pictures) * kept.size):
        return False
    mapped = np.load(path, mmap_mode="r")
    for number in np.random.default_rng().permutation(len(pictures))[:_MOST_COMPARED]:
        expected = np.frombuffer(kept.of(pictures[number]), kept.dtype).reshape(kept.shape)
        if np.abs(mapped[number].astype(int) - expected).max() > kept.rounding:
            log.info(f"{path}: has other pictures than the folder, and is made anew")
            with suppress(OSError):
                path.unlink()
            return False
    return True


def _build(path: Path, header: bytes, pictures: Sequence[Path], kept: Kept) -> None:
    """Append arrays to a hidden file, whose length so tells how far a killed process came; rename it when whole."""
    partial = path.with_name(f".{path.name}.part")
    with locked(path.parent, busy=None):  # where two trainings start at once, one builds and the other waits
        if _is_whole(path, header, len(pictures) * kept.size):
            return
        with open_to_append(partial) as file:
            file.seek(0)
            if file.read(len(header)) != header:
                file.truncate(0)
                file.write(header)
                file.flush()
            done = (os.fstat(file.fileno()).st_size - len(header)) // kept.size
            file.truncate(len(header) + done * kept.size)
            _append(file.fileno(), path, pictures, kept, done)
            partial.replace(path)
    for other in path.parent.iterdir():
        if other.name.removeprefix(".").startswith(f"{kept.name}-") and other != path:
            other.unlink(missing_ok=True)  # of pictures that are no more


def _append(file: int, path: Path, pictures: Sequence[Path], kept: Kept, done: int) -> None:
    left = (len(pictures) - done) * kept.size
    log.info(
        f"{path}: decoding {len(pictures) - done:,} pictures once, {kept.told}; it "
        f"takes {_bytes(left)} of disk" + (f", {done:,} are there" if done else "")
    )
    free = shutil.disk_usage(path.parent).free
    if free < left:
        raise HilumError(
            f"{path}: the picture cache needs {_bytes(left)} more, and the disk has {_bytes(free)}; make room"
            + kept.remedy
        )
    chunks = [pictures[start : start + _AT_ONCE] for start in range(done, len(pictures), _AT_ONCE)]
    console = Console(stderr=True)
    quiet = is_quiet() or not console.is_terminal
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding and resizing release the interpreter's lock
        for chunk in track(chunks, "decoding", console=console, transient=True, disable=quiet):
            view = memoryview(b"".join(pool.map(kept.of, chunk)))
            while view:
                view = view[os.write(file, view) :]


def _bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
