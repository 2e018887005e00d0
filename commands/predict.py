"""`hilum predict`: find opacities."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators

from hilum import __version__
from hilum.commands.arguments import IMAGES, NEW_PREDICTIONS, RUN, check_order
from hilum.commands.options import Positive, Share, Split
from hilum.commands.pictures import picture_names, picture_paths
from hilum.commands.terminal import bar, complain, say
from hilum.errors import HilumError

if TYPE_CHECKING:  # `hilum --help` is to be quick
    from hilum.predict import Result


def predict(
    run: Path,
    images: Path,
    out: Path,
    *,
    split: Split = "holdout",
    confidence: Share = None,
    pictures: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 24,
    batch_size: Positive = 16,
) -> None:
    """Find opacities: COCO results, a CSV, a table of images, and pictures with boxes.

    An image is named by its file, without the ending; images of one name by their path in IMAGES. Interrupted, the same
    command again goes on.

    Parameters
    ----------
    run
        Run folder.
    images
        A DICOM, JPEG or PNG file, a folder of them, a text file that lists them, or a dataset folder.
    out
        Folder to write.
    split
        Of a dataset folder.
    confidence
        Keep boxes from here on; the run's operating point where not given; 0 keeps all.
    pictures
        Draw the first this many.
    batch_size
        Images that the network sees at once.
    """
    from hilum.datasets.folder import Dataset
    from hilum.eval.prediction_journal import PredictionJournal, digest_of_files
    from hilum.eval.predictions_folder import write_predictions
    from hilum.files import locked
    from hilum.predict import load
    from hilum.run import run_digest
    from hilum.source_digest import source_digest

    check_order("predict", (RUN, run), (IMAGES, images), (NEW_PREDICTIONS, out))
    if (out / "conversion.json").exists() or (out / "config.yaml").exists():
        raise HilumError(f"{out}: is a dataset or a run folder; give OUT a folder of its own")
    coco_ids = None
    dataset = Dataset.open(images) if (images / "conversion.json").is_file() else None
    if dataset is None:
        paths = picture_paths(images)
    elif dataset.conversion.get("images"):
        chosen = dataset.split(split)
        paths, coco_ids = list(chosen.paths), chosen.coco_ids
    else:  # a converted tree without labels
        paths = dataset.unlabelled()
    if not paths:
        raise HilumError(f"{images}: " + ("lists no image" if coco_ids is None else f"the {split} split has no image"))
    names = picture_names(paths, images)
    predictor = load(run)
    least = predictor.confidence if confidence is None else confidence
    about: dict[str, Any] = {"run": run.name, "hilum": __version__, "confidence": least, "floor": least}
    if dataset is not None:
        about |= {"split": split, "data_fingerprint": dataset.fingerprint}
    made_with = {**about, "code": source_digest(), "of_run": run_digest(run), "of_images": digest_of_files(paths)}
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
                journal.add(replace(result, image_id=name))
                progress(journal.done, len(paths))
                if result.error:
                    complain(f"{path}: {result.error}")
        _draw(out / "pictures", paths[:pictures], journal.results())
        write_predictions(out, journal.results(), coco_ids, about)
        journal.remove()
    read = journal.done - journal.failed
    say(f"{out}: {journal.boxes} boxes on {read} images" + (f", {journal.failed} not read" if journal.failed else ""))
    if not read:
        raise HilumError(f"{images}: none of its {journal.failed} images could be read")


def _draw(folder: Path, paths: Sequence[Path], results: Iterable["Result"]) -> None:
    """Draw the boxes of the first images, in the place of pictures that were drawn before."""
    from hilum.datasets.pictures import picture_name, read_radiograph
    from hilum.eval.pictures import clear_drawn, draw_boxes

    clear_drawn(folder)
    for number, (path, result) in enumerate(zip(paths, results, strict=False), start=1):
        if result.error:
            continue
        try:
            image = read_radiograph(path)
        except HilumError as error:  # it was there a moment ago
            complain(f"{path}: not drawn: {error}")
            continue
        folder.mkdir(exist_ok=True)
        found = result.detections
        boxes_xyxy = found.xyxy * (image.scale_xy * 2)
        draw_boxes(image.pixels, boxes_xyxy, found.confidence, folder / f"{number:05d}-{picture_name(path)}.jpg")
