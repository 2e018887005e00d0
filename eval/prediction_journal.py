"""What an interrupted prediction had found: one JSON line an image, so that none need be predicted again.

It lies in the predictions folder while a prediction is under way, and is gone from a finished one. Results are in it
and not in memory: of boxes above a confidence of 0 there can be 100 an image.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
from supervision import Detections

from hilum.predict import Result

JOURNAL = ".predictions.jsonl"


class PredictionJournal:
    """An open journal.

    Attributes:
        done: images that are in it, from the first on, without a gap.
        failed: those of them that could not be read.
        boxes: found in the others.
    """

    def __init__(self, folder: Path, made_with: Mapping[str, Any], image_ids: Iterable[str]) -> None:
        """Open the journal of a predictions folder; begin it anew where it is of other images or made otherwise.

        Args:
            folder: exists, and nobody else writes there.
            made_with: all that results depend on, as JSON values.
            image_ids: of the images, in their order.

        Raises:
            OSError: the folder is not writable.
        """
        self.done = self.failed = self.boxes = 0
        self._path = folder / JOURNAL
        begun = json.dumps(made_with).encode() + b"\n"
        length = 0
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            if file.readline() == begun:
                length = len(begun)
                # The last line may be cut where the run was killed, and the disk may have lost others.
                for image_id, line in zip(image_ids, file, strict=False):
                    result = _read(line)
                    if result is None or result.image_id != image_id:
                        break
                    self._count(result)
                    length += len(line)
        self._file = self._path.open("ab")
        self._file.truncate(length)
        if not length:
            self._file.write(begun)

    def add(self, result: Result) -> None:
        """Note what was found in the next image."""
        found = result.detections
        values = [result.image_id, found.xyxy.tolist(), found.confidence.tolist(), float(result.image_probability)]
        self._file.write(json.dumps([*values, result.error]).encode() + b"\n")
        self._file.flush()
        self._count(result)

    def results(self) -> Iterator[Result]:
        """What was found in each image, in order, read one at a time."""
        with self._path.open("rb") as file:
            file.readline()
            for line in file:
                if result := _read(line):
                    yield result

    def remove(self) -> None:
        """Everything has been written elsewhere."""
        self._path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _count(self, result: Result) -> None:
        self.done += 1
        self.failed += result.error is not None
        self.boxes += len(result.detections)


def digest_of_files(paths: Iterable[Path]) -> str:
    """Of the files' paths, sizes and times of change; of one that is not there, its path."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            about = path.stat()
            digest.update(f"{path}\0{about.st_size}\0{about.st_mtime_ns}\n".encode(errors="surrogateescape"))
        except (OSError, ValueError):  # not there, or no name of a file at all
            digest.update(f"{path}\0\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def _read(line: bytes) -> Result | None:
    """A line's result; None where it is cut or damaged."""
    try:
        image_id, xyxy, confidence, probability, error = json.loads(line)
        found = Detections(
            xyxy=np.array(xyxy, np.float64).reshape(-1, 4),
            confidence=np.array(confidence, np.float64),
            class_id=np.zeros(len(confidence), int),
        )
        return Result(image_id, found, probability, error) if line.endswith(b"\n") else None
    except (ValueError, TypeError):
        return None
