"""The one predict interface over all backends: anything that is a radiograph in, one Result for each, in order."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypeIs  # of typing from Python 3.13 on

from hilum import __version__
from hilum.backend import Backend, backend_named
from hilum.calibration import Calibration, read_calibration
from hilum.class_names import ONE_CLASS, Confidence
from hilum.datasets.folder import Split
from hilum.datasets.picture_folder import pictures_below
from hilum.datasets.pictures import Image, PackedPicture, Radiograph, is_one, is_open, picture_name, read_radiograph
from hilum.datasets.record import CONVERSION
from hilum.detections import Detections
from hilum.errors import NO_MEMORY, HilumError, PassingError
from hilum.findings.finding import Algorithm
from hilum.hub import folder_of
from hilum.printable import as_text
from hilum.result import IMAGE_PROBABILITY, Result, at_or_above, class_probabilities, image_probability, no_detections
from hilum.run import check_run, operating_confidence, run_config, run_digest
from hilum.system import keep_freed_memory
from hilum.training.calibrating import calibrated
from hilum.training.validation import best_operating_point

Look = Callable[[int, Radiograph], None]
_PERCENT = 2.0  # confidences from here on


@dataclass(frozen=True)
class Predictor:
    """A trained backend at its operating point, calibrated. It keeps nothing between calls.

    Examples:
        >>> import hilum
        >>> predictor = hilum.load("RUN")
        >>> predictor.class_names, 0 <= predictor.confidence <= 1
        (('opacity',), True)

    Attributes:
        backend: whose confidences and probabilities are not calibrated.
        confidence: from which on boxes are kept, in calibrated units.
        class_names: of what it looks for.
        calibration: None where confidences and probabilities are the backend's.
    """

    backend: Backend
    confidence: Confidence
    class_names: tuple[str, ...] = ONE_CLASS
    calibration: Calibration | None = None

    def predict(
        self,
        images: Image | Iterable[Image],
        *,
        confidence: Confidence | None = None,
        batch_size: int = 16,
        look: Look | None = None,
        raise_passing: bool = False,
    ) -> Iterator[Result]:
        """Find opacities; files are decoded ahead of the network, in constant memory.

        Args:
            images: DICOM, JPEG, PNG, TIFF, BMP, WebP or JPEG 2000 files, by path, as bytes, opened for reading bytes or
                in a zip; folders, which stand for all pictures below them, sorted; arrays (H, W), 8 or 16 bit; or what
                pydicom parsed, which stays as it is. Also a single one. A file is read when its result is asked for.
            confidence: keep boxes from here on; the operating point where None.
            batch_size: images that the network sees at once; it does not change what is found.
            look: called with the position of each result of what could be read, from 0, and its picture, in the threads
                that read ahead, before its result is there.
            raise_passing: end where an input cannot be read for a reason that lies not in it and may pass, such as too
                many open files; else it gives a Result with `error`, too.

        Yields:
            Exactly one Result an input, of a folder one a picture, in order; a bad one gives one with `error`, which
            begins with the place, from 0, where an input of several has no name of its own.

        Raises:
            HilumError: the confidence is none, which would keep nothing; or the backend gives a class of no run.
            PassingError: as `raise_passing` says.

        Examples:
            >>> import hilum
            >>> import pydicom
            >>> predictor = hilum.load("RUN")
            >>> [result.image_id for result in predictor.predict(["a.dcm", pydicom.dcmread("a.dcm"), "STUDIES"])]
            ['a', '1', 'a', 'b']
            >>> [result.error for result in predictor.predict([b"no picture", "a.dcm"])]
            ['input 0: not a DICOM file', None]
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        inputs = cast("Iterable[Image]", [images] if is_one(images) else images)
        one = is_one(images) and not _is_folder(images)
        least = self.confidence if confidence is None else self._checked(confidence)
        decoded = _decoded(_unfolded(inputs), 0 if one else 2 * batch_size, look, getattr(self.backend, "bits", 8))
        for batch in _batches(decoded, batch_size):
            read = [image.pixels for _, image in batch if isinstance(image, Radiograph)]
            found = iter(self.find(read))
            for image_id, image in batch:
                if raise_passing and isinstance(image, PassingError):
                    raise image
                if isinstance(image, HilumError):
                    yield Result(image_id, no_detections(), float("nan"), str(image), class_names=self.class_names)
                    continue
                every = next(found)
                kept = _in_input(at_or_above(every, least), image.scale_xy)
                said = image.warning, image.description, image.size_wh, self.class_names, self._of_classes(every)
                yield Result(image_id, kept, image_probability(every), None, *said)

    def find(self, images: list[NDArray[Any]]) -> list[Detections]:
        """All that is found in decoded pictures, as of `Backend.predict_batch`, calibrated.

        Raises:
            HilumError: the backend gives a class that the run does not have.
        """
        found = self.backend.predict_batch(images)
        for each in found:
            self._check_classes(each)
        return found if self.calibration is None else [self.calibration.apply(each) for each in found]

    def _checked(self, confidence: Confidence) -> Confidence:
        values, classes = confidence if isinstance(confidence, tuple) else (confidence,), len(self.class_names)
        # Above 1 nothing is kept, which may be meant; 50 is not, a share in percent.
        numbers = all(isinstance(value, int | float | np.number) and 0 <= value < _PERCENT for value in values)
        if not numbers or (isinstance(confidence, tuple) and len(values) != classes):
            each = f", or a tuple of {classes}, a class each" if classes > 1 else ""
            raise HilumError(f"confidence: expected a number from 0 to 1{each}, not {confidence!r}")
        return confidence

    def _check_classes(self, found: Detections) -> None:
        count, said = len(self.class_names), np.size(found.metadata.get(IMAGE_PROBABILITY, 0.0))
        if (highest := int(found.class_id.max(initial=0))) >= count or said not in {1, count}:
            what = f"a box of class {highest}" if highest >= count else f"the probabilities of {said} classes"
            raise HilumError(f"the backend gives {what}, where the run has {count}, from 0 on; train again")

    def _of_classes(self, found: Detections) -> tuple[float, ...]:
        count = len(self.class_names)
        return tuple(class_probabilities(found, count).tolist()) if count > 1 else ()


def predict_all(predictor: Predictor, paths: Sequence[Path]) -> list[Result]:
    """Results with every box above the backend's floor, for a score that needs each picture.

    Raises:
        HilumError: pictures that cannot be read, a line each: a score over the others would flatter.
    """
    results = list(predictor.predict(paths, confidence=0.0))
    bad = [f"{path}: {result.error}" for path, result in zip(paths, results, strict=True) if result.error]
    if bad:
        raise HilumError(*bad)
    return results


def find_all(backend: Backend, paths: Sequence[Path]) -> list[Detections]:
    """All that a backend finds in a dataset folder's pictures, above its floor and not calibrated.

    Raises:
        HilumError: pictures that cannot be read, a line each.
    """
    return [found for images in read_batches(paths, bits=backend.bits) for found in backend.predict_batch(images)]


def operating_point(backend: Backend, val: Split) -> dict[str, Any]:
    """What `operating_point.json` shall hold: what the backend chooses, or the confidence that suits val best.

    Of a backend that learns from opacities, that is in calibrated units, with the calibration.

    Raises:
        HilumError: pictures that cannot be read, a line each.
    """
    chosen = backend.choose(val)
    # Whoever names a figure of its own has chosen a threshold on whole images, which is in their units.
    calibrates = backend.learns and "figure" not in (chosen or {})
    if chosen is not None and not calibrates:
        return chosen
    found = find_all(backend, val.paths)
    if chosen is None:
        confidence, score = best_operating_point(val, found)
        chosen = {"confidence": confidence, "val_score": score}
    return chosen | (calibrated(val, found, chosen["confidence"])[0] if calibrates else {})


def read_batches(paths: Sequence[Path], batch_size: int = 16, bits: int = 8) -> Iterator[list[NDArray[Any]]]:
    """All pictures in so many bits, decoded ahead of who takes them.

    Raises:
        HilumError: pictures that cannot be read, a line each, once the others have been given.
    """
    bad = []
    read = _decoded(paths, 2 * batch_size, bits=bits)
    for batch in _batches(((str(path), image) for path, (_, image) in zip(paths, read, strict=True)), batch_size):
        bad += [f"{name}: {image}" for name, image in batch if isinstance(image, HilumError)]
        if not bad:
            yield [image.pixels for _, image in batch if isinstance(image, Radiograph)]
    if bad:
        raise HilumError(*bad)


def load(run: str | Path) -> Predictor:
    """Load a trained run, of whatever backend, out of a folder or of the Hugging Face hub, hf://OWNER/NAME@COMMIT.

    Examples:
        >>> import hilum
        >>> for result in hilum.load("RUN").predict("STUDIES"):
        ...     print(result.image_id, 0 <= result.image_probability <= 1, result.error)
        a True None
        b True None

    On Linux this process keeps from now on what memory it frees, for the next batch: see `system.keep_freed_memory`.

    Raises:
        HilumError: the folder is not a finished run, or its backend is not installed.
    """
    folder = folder_of(run)
    check_run(folder)
    keep_freed_memory()
    config = run_config(folder)
    return at_operating_point(backend_named(config.backend).load(folder), folder, config.class_names)


def at_operating_point(backend: Backend, run: Path, class_names: tuple[str, ...]) -> Predictor:
    """A run's backend as its operating point says.

    Raises:
        HilumError: the record is missing or damaged.
    """
    return Predictor(backend, operating_confidence(run), class_names, read_calibration(run, len(class_names)))


def algorithm_of(run: str | Path, confidence: float | None = None) -> Algorithm:
    """What tells in DICOM objects which run made them.

    Args:
        run: the run folder.
        confidence: from which on boxes were kept; the operating point where None.

    Raises:
        HilumError: the folder is not a finished run.
    """
    folder = Path(run)
    check_run(folder)
    name = as_text(folder.resolve().name)
    least = operating_confidence(folder) if confidence is None else confidence
    return Algorithm(name, __version__, run_digest(folder), least)


def _in_input(detections: Detections, scale_xy: tuple[float, float]) -> Detections:
    """Boxes of a picture in the pixels of its input, whose own need not be square."""
    if scale_xy == (1.0, 1.0):
        return detections
    xyxy = detections.xyxy / (scale_xy * 2)
    return Detections(xyxy=xyxy, confidence=detections.confidence, class_id=detections.class_id)


def _is_folder(image: object) -> TypeIs[str | Path]:
    return isinstance(image, str | Path) and os.path.isdir(image)  # noqa: PTH112 - Path's raises where a name is none


def _unfolded(images: Iterable[Image]) -> Iterator[Image]:
    """The pictures of folders in the places of these; the folder itself where it gives none: its reading says why."""
    for image in images:
        try:
            yield from _pictures_of(Path(image)) if _is_folder(image) else [image]
        except HilumError:
            yield image


def _pictures_of(folder: Path) -> list[Path]:
    if (folder / CONVERSION).exists():
        how = "`Dataset.open(FOLDER).split(NAME).paths` of hilum.datasets.folder are the pictures of a split"
        raise HilumError(f"a dataset folder; {how}")
    try:
        return pictures_below(folder)
    except OSError as error:
        raise PassingError(f"cannot be read: {error.strerror}") from error


def _decode(image: Image, bits: int) -> Radiograph | HilumError:
    try:
        if _is_folder(image):
            _pictures_of(Path(image))
        return read_radiograph(image, bits)
    except HilumError as error:
        return error
    except MemoryError:
        return PassingError(NO_MEMORY)
    except Exception:  # noqa: BLE001 - one bad input must not end the stream
        return HilumError("cannot be read: damaged in a way that nothing here expects")


def _name(image: Image) -> str | None:
    """That of a file whose path is known; None of an input without one."""
    if isinstance(image, PackedPicture) and not is_open(image):
        return picture_name(image.name.rpartition("/")[2])
    return picture_name(image) if isinstance(image, str | Path) else None


def _decoded(
    images: Iterable[Image], ahead: int, look: Look | None = None, bits: int = 8
) -> Iterator[tuple[str, Radiograph | HilumError]]:
    """Decoded in threads, so many ahead of what is asked for; here, where nothing is."""

    def read(item: tuple[int, Image]) -> Radiograph | HilumError:
        number, image = item
        decoded = _decode(image, bits)
        if look and isinstance(decoded, Radiograph):
            look(number, decoded)
        if ahead and isinstance(decoded, HilumError) and _name(image) is None:
            kind = PassingError if isinstance(decoded, PassingError) else HilumError
            return kind(f"input {number}: {decoded}")
        return decoded

    numbered = enumerate(images)
    if not ahead:
        return ((_name(item[1]) or str(item[0]), read(item)) for item in numbered)
    from hilum.training.prefetch import loaded_ahead  # imports torch, which every backend has done by now

    return (
        (_name(image) or str(number), decoded) for (number, image), decoded in loaded_ahead(numbered, read, 4, ahead)
    )


def _batches(
    images: Iterator[tuple[str, Radiograph | HilumError]], size: int
) -> Iterator[list[tuple[str, Radiograph | HilumError]]]:
    while batch := list(islice(images, size)):
        yield batch
