"""Decode and resize a split once, into a file of uint8 squares that is mapped into memory."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.datasets.folder import Dataset, SplitName
from hilum.datasets.letterbox import Letterbox
from hilum.datasets.pictures import read_picture
from hilum.errors import HilumError


def square_pictures(
    data: Dataset, name: SplitName, size: int, progress: Callable[[int, int], None] | None = None
) -> NDArray[np.uint8]:
    """The pictures of a split, each letterboxed to a square, in the split's order.

    The first call decodes them into `DATA/cache/` (that of the pictures, for a further split too); later ones map that
    file. Its name holds the data's fingerprint, so a changed data set never meets an old cache.

    Args:
        data: the dataset folder.
        name: of the split.
        size: side of the squares in pixels.
        progress: called with the pictures done and their total while the file is built.

    Returns:
        (images, size, size) uint8, read-only.

    Raises:
        HilumError: a picture cannot be read, or the file cannot be written.
    """
    path = data.root / "cache" / f"{name}-{size}-{data.fingerprint}.npy"
    if not path.is_file():
        _build(data, name, size, path, progress)
    return np.asarray(np.load(path, mmap_mode="r"))


def _build(data: Dataset, name: SplitName, size: int, path: Path, progress: Callable[[int, int], None] | None) -> None:
    split = data.split(name)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")

    def read(picture: Path) -> NDArray[np.uint8]:
        try:
            pixels = read_picture(picture)
        except HilumError as error:
            raise HilumError(f"{picture}: {error}; convert again") from error
        return Letterbox.fit((pixels.shape[1], pixels.shape[0]), size).apply(pixels)

    try:
        path.parent.mkdir(exist_ok=True)
        squares: Any = np.lib.format.open_memmap(partial, "w+", np.uint8, (len(split), size, size))
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding and resizing release the interpreter's lock
            for done, square in enumerate(pool.map(read, split.paths), start=1):
                squares[done - 1] = square
                if progress:
                    progress(done, len(split))
        squares.flush()
        partial.replace(path)
    except OSError as error:
        raise HilumError(f"{path}: the picture cache cannot be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
