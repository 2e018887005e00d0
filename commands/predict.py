"""`hilum predict`: find opacities."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators

from hilum import __version__
from hilum.commands.arguments import IMAGES, NEW_PREDICTIONS, RUN, check_order
from hilum.commands.options import Positive, Share, Split
from hilum.commands.pictures import picture_names, picture_paths, picture_places
from hilum.commands.terminal import bar, complain, say
from hilum.errors import HilumError
from hilum.printable import as_text

if TYPE_CHECKING:  # `hilum --help` is to be quick
    from hilum.result import Result

IN_PART = 3
"""Exit code where everything is written, and some images could not be read or drawn."""


def predict(
    run: Path,
    images: Path,
    out: Path,
    *,
    split: Split = "holdout",
    confidence: Share = None,
    pictures: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 24,
    batch_size: Positive = 16,
    identifiers: bool = True,
    overwrite: bool = False,
) -> int:
    """Find opacities: COCO results, a CSV, a table of images, and pictures with boxes.

    An image is named by its file, without the ending; images of one name by their path in IMAGES. Interrupted, the same
    command again goes on.

    The exit code is 0 where all images were predicted, 3 where some could not be read or drawn (the results of the
    others are written), and 1 where nothing was.

    Parameters
    ----------
    run
        Run folder.
    images
        A DICOM, JPEG, PNG, TIFF, BMP, WebP or JPEG 2000 file, a folder of them, a text file that lists them, or a
        dataset folder.
    out
        Folder to write. Predictions in it are replaced where they are of the same run and images.
    split
        Of a dataset folder.
    confidence
        Keep boxes from here on; the run's operating point where not given; 0 keeps all.
    pictures
        Draw the first this many.
    batch_size
        Images that the network sees at once.
    identifiers
        Write into images.csv what leads back to a person: the path of each image, and the UIDs of DICOM files.
    overwrite
        Replace predictions of another run or of other images, too.
    """
    from hilum.eval.prediction_journal import PredictionJournal, digest_of_files
    from hilum.eval.predictions_folder import write_predictions
    from hilum.files import locked
    from hilum.predict import load
    from hilum.run import run_digest
    from hilum.source_digest import source_digest

    check_order("predict", (RUN, run), (IMAGES, images), (NEW_PREDICTIONS, out))
    if (out / "conversion.json").exists() or (out / "config.yaml").exists():
        raise HilumError(f"{out}: is a dataset or a run folder; give OUT a folder of its own")
    source = _open(images, split)
    paths, names = source.paths, picture_names(source.paths, images)
    predictor = load(run)
    least = predictor.confidence if confidence is None else confidence
    about: dict[str, Any] = {"run": as_text(run.name), "hilum": __version__, "confidence": least, "floor": least}
    about |= source.about | {"of_run": run_digest(run), "of_images": digest_of_files(path.absolute() for path in paths)}
    if not overwrite:
        _check_replaces(out, about)
    made_with = {**about, "code": source_digest(), "identifiers": identifiers}
    out.mkdir(parents=True, exist_ok=True)
    with (
        locked(out, busy="another prediction is writing there; wait for its end"),
        PredictionJournal(out, made_with, names) as journal,
    ):
        if journal.done:
            complain(f"{out}: goes on after {journal.done:,} of {len(paths):,} images")
        left = slice(journal.done, None)
        with bar("predicting") as progress:
            stream = predictor.predict(paths[left], confidence=confidence, batch_size=batch_size)
            for path, name, result in zip(paths[left], names[left], stream, strict=True):
                journal.add(_named(result, name, identifiers=identifiers))
                progress(journal.done, len(paths))
                if note := result.error or result.warning:
                    complain(f"{path}: {note}")
        places = picture_places(paths, images) if identifiers else None
        write_predictions(out, journal.results(), source.coco_ids, about, places)
        # All is safe; what fails from here on costs a drawing.
        all_drawn = _draw(out / "pictures", paths[:pictures], journal.results())
        journal.remove()
    read = journal.done - journal.failed
    say(f"{out}: {journal.boxes} boxes on {read} images" + (f", {journal.failed} not read" if journal.failed else ""))
    if not read:
        raise HilumError(f"{images}: none of its {journal.failed} images could be read")
    return 0 if all_drawn and not journal.failed else IN_PART


@dataclass(frozen=True)
class _Source:
    """The images to look at.

    Attributes:
        paths: of the pictures.
        coco_ids: their numbers in a data set; None where they are of none.
        about: what to note of the data set.
    """

    paths: list[Path]
    coco_ids: tuple[int, ...] | None
    about: dict[str, Any]


def _open(images: Path, split: Split) -> _Source:
    from hilum.datasets.folder import Dataset

    if not (images / "conversion.json").is_file():
        source = _Source(picture_paths(images), None, {})
    else:
        dataset = Dataset.open(images)
        about = {"split": split, "data_fingerprint": dataset.fingerprint}
        if dataset.conversion.get("images"):
            chosen = dataset.split(split)
            source = _Source(list(chosen.paths), chosen.coco_ids, about)
        else:  # a converted tree without labels
            source = _Source(dataset.unlabelled(), None, about)
    if not source.paths:
        what = "lists no image" if source.coco_ids is None else f"the {split} split has no image"
        raise HilumError(f"{images}: {what}")
    return source


def _check_replaces(out: Path, about: dict[str, Any]) -> None:
    """Refuse a folder that holds other predictions than those that are to be made."""
    from hilum.eval.predictions_folder import holds_predictions, read_about

    if not holds_predictions(out):
        return
    try:
        before = read_about(out)
    except HilumError:  # damaged, so it does not say of what
        before = {}
    differ = [
        what
        for key, what in (("of_run", "another run"), ("of_images", "other images"))
        if before.get(key) != about[key]
    ]
    if differ:
        what = " and ".join(differ) if "of_run" in before else "a run and images that it does not name"
        raise HilumError(f"{out}: holds predictions of {what}; give another OUT, or --overwrite to replace them")


def _named(result: "Result", name: str, *, identifiers: bool) -> "Result":
    if identifiers:
        return replace(result, image_id=name)
    unnamed = replace(result.description, sop_instance_uid="", study_instance_uid="")
    return replace(result, image_id=name, description=unnamed)


def _draw(folder: Path, paths: Sequence[Path], results: Iterable["Result"]) -> bool:
    """Draw the boxes of the first images in the place of pictures that were drawn before; False where one failed."""
    from hilum.comparison.pictures import clear_drawn, draw_boxes, drawn_name
    from hilum.datasets.pictures import read_radiograph

    failed = False
    try:
        clear_drawn(folder)
        for number, (path, result) in enumerate(zip(paths, results, strict=False), start=1):
            if result.error:
                continue
            folder.mkdir(exist_ok=True)
            found = result.detections
            try:
                image = read_radiograph(path)
                boxes_xyxy = found.xyxy * (image.scale_xy * 2)
                draw_boxes(image.pixels, boxes_xyxy, found.confidence, folder / drawn_name(number, result.image_id))
            except HilumError as error:  # it was there a moment ago, or no JPEG can hold it
                complain(f"{path}: not drawn: {error}")
                failed = True
    except (HilumError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        complain(f"{folder}: boxes are not drawn: {reason}")
        failed = True
    return not failed
