"""What an interrupted prediction had found: one JSON line an image, so that none need be predicted again.

It lies in the predictions folder while a prediction is under way, and is gone from a finished one. Results are in it
and not in memory: of boxes above a confidence of 0 there can be 100 an image.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
from pydantic import Field, TypeAdapter

from hilum.class_names import MOST_CLASSES, ONE_CLASS
from hilum.detections import Detections
from hilum.dicom.header import Description
from hilum.documents import check, parse_json
from hilum.errors import HilumError
from hilum.result import Result
from hilum.sealed_lines import SealedLines

JOURNAL = ".predictions.jsonl"


class _Line(NamedTuple):
    """An image's line: what `Result` holds, as JSON."""

    image_id: str
    xyxy: list[Annotated[list[float], Field(min_length=4, max_length=4)]]
    confidence: list[float]
    image_probability: float | None
    error: str | None
    warning: str | None
    description: tuple[str, str, str, str, str]
    size_wh: tuple[int, int] | None
    class_id: list[Annotated[int, Field(ge=0, lt=MOST_CLASSES)]]
    class_probabilities: tuple[float, ...]


_LINE = TypeAdapter(_Line)


class PredictionJournal:
    """An open journal.

    Attributes:
        done: images that are in it, from the first on, without a gap.
        failed: those of them that could not be read.
        boxes: found in the others.
    """

    def __init__(
        self,
        folder: Path,
        made_with: Mapping[str, Any],
        image_ids: Iterable[str],
        class_names: tuple[str, ...] = ONE_CLASS,
    ) -> None:
        """Open the journal of a predictions folder; begin it anew where it is of other images or made otherwise.

        Args:
            folder: exists, and nobody else writes there.
            made_with: all that results depend on, as JSON values.
            image_ids: of the images, in their order.
            class_names: of what is looked for.

        Raises:
            HilumError: a link, a pipe or a device is in the place of the journal.
            OSError: the folder is not writable.
        """
        self.done = self.failed = self.boxes = 0
        self._path, self._class_names = folder / JOURNAL, class_names
        expected = iter(image_ids)

        def take(line: str) -> bool:
            result = _read(line, class_names)
            if result is None or result.image_id != next(expected, None):
                return False
            self._count(result)
            return True

        self._lines = SealedLines(self._path, json.dumps(made_with), take)

    def add(self, result: Result) -> None:
        """Note what was found in the next image."""
        found = result.detections
        probability = float(result.image_probability)
        values = [found.xyxy.tolist(), found.confidence.tolist(), None if math.isnan(probability) else probability]
        said = [result.error, result.warning, astuple(result.description), result.size_wh]
        said += [found.class_id.tolist(), result.class_probabilities]
        self._lines.add(json.dumps([result.image_id, *values, *said]))
        self._count(result)

    def results(self) -> Iterator[Result]:
        """What was found in each image, in order, read one at a time."""
        for line in self._lines:
            if result := _read(line, self._class_names):
                yield result

    def remove(self) -> None:
        """Everything has been written elsewhere."""
        self._path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()

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


def _read(line: str, class_names: tuple[str, ...]) -> Result | None:
    """A line's result; None where it is none."""
    try:
        values = check(parse_json(line, JOURNAL), _LINE, JOURNAL)
    except HilumError:
        return None
    if len(values.xyxy) != len(values.confidence) or len(values.class_id) != len(values.confidence):
        return None
    if max(values.class_id, default=0) >= len(class_names):
        return None
    found = Detections(
        xyxy=np.array(values.xyxy, np.float64).reshape(-1, 4),
        confidence=np.array(values.confidence, np.float64),
        class_id=np.array(values.class_id, int),
    )
    probability = math.nan if values.image_probability is None else values.image_probability
    said = values.error, values.warning, Description(*values.description), values.size_wh
    return Result(values.image_id, found, probability, *said, class_names, values.class_probabilities)
