"""`hilum submit`: write a submission."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hilum.commands.arguments import IMAGES, NEW_FILE, RUN, check_order
from hilum.commands.options import Share
from hilum.commands.pictures import picture_paths
from hilum.commands.predict import IN_PART
from hilum.commands.terminal import bar, complain, say
from hilum.errors import HilumError

if TYPE_CHECKING:
    from hilum.detections import Detections
    from hilum.eval.layouts import Layout
    from hilum.result import Result


def submit(
    run: Path,
    images: Path,
    out: Path,
    *,
    layout: Literal["rsna", "siim", "vinbigdata"] = "rsna",
    confidence: Share = None,
    overwrite: bool = False,
) -> int:
    """Write a submission in Kaggle's form.

    The exit code is 0 where all images were predicted, 3 where some could not be read (they have an empty row), and 1
    where nothing was written.

    Parameters
    ----------
    run
        Run folder.
    images
        A dataset folder, whose unlabelled images are meant, or a folder of pictures.
    out
        The CSV file to write.
    layout
        The challenge that it is for. SIIM and VinBigData score all boxes by their order, so all are written, with the
        class of images without a box, whose confidence is 1 - the image's probability. For SIIM, images in folders
        study/series give their studies' rows too.
    confidence
        Keep boxes from here on; where not given, the run's operating point, and for siim and vinbigdata all boxes.
    overwrite
        Write over an existing file.
    """
    from hilum.datasets.folder import Dataset
    from hilum.eval.layouts import LAYOUTS
    from hilum.files import replacing
    from hilum.predict import load

    check_order("submit", (RUN, run), (IMAGES, images), (NEW_FILE, out))
    dataset = (images / "conversion.json").is_file()
    paths = Dataset.open(images).unlabelled() if dataset else picture_paths(images)
    if not paths:
        raise HilumError(f"{images}: the dataset has no unlabelled images; give a folder of pictures")
    _check_out(out, overwrite=overwrite)
    _check_names(paths)
    predictor = load(run)
    form = LAYOUTS[layout]
    form.check_classes(predictor.class_names)
    least = 0.0 if confidence is None and form.words else confidence
    instead = "the row of an image without a box" if form.words else "an empty row"
    with replacing(out) as file:  # whether it can be written is known at once
        results = _predicted(paths, predictor.predict(paths, confidence=least), instead)
        bad = sum(result.error is not None for result in results)
        if bad == len(paths):
            raise HilumError(f"{images}: none of its {bad} images could be read")
        file.write(_text(form, results, ["" if dataset else _study_of(path, images) for path in paths]))
    count = sum(len(result.detections) for result in results)
    say(f"{out}: {count} boxes on {len(results)} images" + (f", {bad} not read" if bad else ""))
    return IN_PART if bad else 0


def _predicted(paths: Sequence[Path], predicted: Iterator["Result"], instead: str) -> list["Result"]:
    """All results; of pictures that cannot be read it is said what they get instead."""
    results = []
    with bar("predicting") as progress:
        for path, result in zip(paths, predicted, strict=True):
            results.append(result)
            progress(len(results), len(paths))
            if result.error:
                complain(f"{path}: {result.error}; it gets {instead}")
            elif result.warning:
                complain(f"{path}: {result.warning}")
    return results


def _text(layout: "Layout", results: Sequence["Result"], studies: Sequence[str]) -> str:
    """The submission; the study of each image is "" where none is known."""
    from hilum.datasets.boxes import xyxy_to_xywh
    from hilum.eval.challenges import found_rows
    from hilum.eval.submission import rows_text, submission_text

    ids = [result.image_id for result in results]
    if not layout.words:
        boxes = [xyxy_to_xywh(result.detections.xyxy) for result in results]
        return submission_text(ids, boxes, [result.detections.confidence for result in results])
    images = {*ids}
    rows = found_rows(ids, [_with_probability(result) for result in results], results[0].class_names, layout, studies)
    return rows_text(layout, {layout.row_id(name) if name in images else name: row for name, row in rows.items()})


def _with_probability(result: "Result") -> "Detections":
    """The boxes that are kept, and what all boxes said of the image; of one that was not read nothing."""
    from hilum.result import IMAGE_PROBABILITY

    probability = 0.0 if result.error else result.image_probability
    return replace(result.detections, metadata={IMAGE_PROBABILITY: probability})


def _study_of(path: Path, images: Path) -> str:
    """The folder of its study, as SIIM's download has it, `study/series/image`; "" elsewhere."""
    parts = path.relative_to(images).parts if path.is_relative_to(images) else ()
    return parts[-3].strip() if len(parts) > 2 else ""


def _check_out(out: Path, *, overwrite: bool) -> None:
    if not out.absolute().parent.is_dir():
        raise HilumError(f"{out}: its folder does not exist")
    if out.is_dir() or (out.exists() and not overwrite):
        raise HilumError(f"{out}: is there already; give a new file, or --overwrite to replace one")


def _check_names(paths: Sequence[Path]) -> None:
    """Refuse files whose names a submission cannot hold, before anything is predicted."""
    from hilum.datasets.pictures import picture_name

    named = Counter(map(picture_name, paths))
    for path in paths:
        name = picture_name(path)
        if named[name] > 1:
            raise HilumError(f"{path}: another file has the same name, and a submission knows images by name")
        if name != name.strip():
            raise HilumError(f"{path}: its name begins or ends with a blank, which a submission cannot hold; rename it")
