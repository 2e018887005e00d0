"""`hilum predict`: find opacities."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators

from hilum import __version__
from hilum.class_names import said_of_classes
from hilum.commands.arguments import IMAGES, NEW_PREDICTIONS, RUN, check_order
from hilum.commands.options import Positive, Share, Split
from hilum.commands.pictures import (
    is_zip,
    packed_pictures,
    picture_names,
    picture_paths,
    picture_places,
)
from hilum.commands.terminal import bar, complain, say
from hilum.errors import HilumError
from hilum.printable import as_text
from hilum.system import STANDARD_INPUT

if TYPE_CHECKING:  # `hilum --help` is to be quick
    from hilum.datasets.pictures import PackedPicture
    from hilum.eval.prediction_journal import PredictionJournal
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
    dicom: str = "",
    worklist: bool = True,
    show_names: Annotated[bool, Parameter(negative="")] = False,
    calibration: Path | None = None,
    identifiers: bool = True,
    overwrite: bool = False,
    dask: str | None = None,
) -> int:
    """Find opacities: COCO results, tables, JSON lines, a worklist to look through, and DICOM objects.

    An image is named by its file, without the ending; images of one name by their path in IMAGES. Interrupted, the same
    command again goes on.

    The exit code is 0 where all images were predicted, 3 where some could not be read or drawn (the results of the
    others are written), and 1 where nothing was.

    Parameters
    ----------
    run
        Run folder.
    images
        A DICOM, JPEG, PNG, TIFF, BMP, WebP or JPEG 2000 file, a folder or a zip of them, a text file that lists them
        (`-` reads the list from standard input), or a dataset folder.
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
    dicom
        Write DICOM objects into OUT/dicom for an archive to lay beside the pictures: any of sr, a structured report of
        each study; pr, a presentation state, and sc, a capture with boxes burnt in, of each picture; with commas.
    worklist
        Write OUT/worklist.html, the likeliest first, with all pictures beside it in OUT/worklist.
    show_names
        Call images by their names there, which may be those of people, and not only by numbers.
    calibration
        What `hilum evaluate RUN DATA --json FILE` wrote: the worklist then tells how often such a probability is right.
    identifiers
        Write into images.csv and results.jsonl what leads back to a person: the path of each image, and the UIDs of
        DICOM files. Without them images are named by numbers, in all files, but for those of a dataset folder.
    overwrite
        Replace predictions of another run or of other images, too.
    dask
        Address of a Dask scheduler (tcp://10.0.0.1:8786) whose workers predict, and see RUN, IMAGES and OUT under the
        same paths.
    """
    from hilum.commands.dicom_objects import kinds_named, write_objects
    from hilum.commands.worklist import Worklist
    from hilum.eval.calibration import read_calibration
    from hilum.eval.prediction_journal import JOURNAL, PredictionJournal
    from hilum.eval.predictions_folder import write_predictions
    from hilum.findings.finding import Algorithm
    from hilum.kinds import kind_of
    from hilum.pages.worklist import Made, Pictures
    from hilum.predict import Predictor, load
    from hilum.run import run_digest
    from hilum.source_digest import source_digest

    words = [(IMAGES, images)] if images != STANDARD_INPUT else []
    check_order("predict", (RUN, run), *words, (NEW_PREDICTIONS, out))
    if kind_of(out) not in NEW_PREDICTIONS.kinds:
        raise HilumError(f"{out}: holds something else than predictions of hilum; give OUT a folder of its own")
    kinds = kinds_named(dicom, images, identifiers=identifiers)
    with ExitStack() as held:
        if dask is not None:  # before files are listed, which takes long where they are many
            from hilum.commands.shards import run_of_workers, workers_for

            there = run_of_workers(run)
            executor = held.enter_context(workers_for(run, dask, [out / JOURNAL] if worklist else []))
        source = held.enter_context(_opened(images, split, out))
        paths, names = source.paths, picture_names(source.paths, images)
        numbers = source.coco_ids or range(1, len(paths) + 1)
        if not identifiers and not source.about:  # hilum named those of a data set
            names = [str(number) for number in numbers]
        predictor = load(run) if dask is None else there
        least = predictor.confidence if confidence is None else confidence
        name = as_text(run.resolve().name)
        about: dict[str, Any] = {"run": name, "hilum": __version__, "confidence": least, "floor": least}
        about |= (
            said_of_classes(predictor.class_names)
            | source.about
            | {"of_run": run_digest(run), "of_images": source.digest()}
        )
        if not overwrite:
            _check_replaces(out, about)
        measured = read_calibration(calibration, about["of_run"]) if calibration else None
        shown = show_names, predictor.class_names
        made = Made(len(paths), name, __version__, least, measured, *shown) if worklist else None
        page = Worklist(Pictures(out, about["of_images"]), numbers, source.pictures, made)
        made_with = {**about, "code": source_digest(), "identifiers": identifiers}
        if not source.zipped:
            held.enter_context(_locked(out))
        journal = held.enter_context(PredictionJournal(out, made_with, names, predictor.class_names))
        if journal.done:
            complain(f"{out}: goes on after {journal.done:,} of {len(paths):,} images")
        left = source.pictures[journal.done :]
        if isinstance(predictor, Predictor):
            look = page.look(journal.done)
            stream = predictor.predict(left, confidence=least, batch_size=batch_size, look=look)
        else:
            rest = replace(page, numbers=numbers[journal.done :])
            stream = predictor.predict(executor, left, rest, least, batch_size)
        _write_down(journal, paths, names, stream, identifiers=identifiers)
        places = picture_places(paths, images) if identifiers else None
        at = datetime.now().astimezone()
        write_predictions(out, journal.results(), source.coco_ids, about, places, at)
        # All is safe; what fails from here on costs a drawing, or an object.
        all_drawn = _draw(out / "pictures", source, pictures, journal.results())
        algorithm = Algorithm(name, __version__, about["of_run"], least)
        all_drawn &= write_objects(out, source.pictures, paths, journal.results, algorithm, kinds, at)
        all_drawn &= page.write(journal.results())
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
        paths: of the pictures, as messages name them; of those in a zip, its own and then theirs.
        pictures: what is read, one a path.
        zipped: the zip, if it is one.
        coco_ids: their numbers in a data set; None where they are of none.
        about: what to note of the data set.
    """

    paths: list[Path]
    pictures: "Sequence[Path | PackedPicture]"
    zipped: Path | None
    coco_ids: tuple[int, ...] | None
    about: dict[str, Any]

    def digest(self) -> str:
        """By which other images are told from these."""
        from hilum.eval.prediction_journal import digest_of_files

        files = [self.zipped, *self.paths] if self.zipped else self.paths
        return digest_of_files(path.absolute() for path in files)


@contextmanager
def _opened(images: Path, split: Split, out: Path) -> Iterator[_Source]:
    """The images; of a zip, with OUT locked, where zips in it lie unpacked as long as they are needed.

    A command that is refused leaves nothing there: it may be somebody else's. One that was interrupted finds it again.
    """
    from hilum.converters.source import UNPACKED
    from hilum.files import remove

    if not is_zip(images):
        yield _open(images, split)
        return
    with _locked(out):
        earlier = (out / UNPACKED).exists()
        try:
            pictures = packed_pictures(images, out)
            yield _Source([images / each.name for each in pictures], pictures, images, None, {})
        except HilumError:
            if not earlier:
                remove(out / UNPACKED)
            raise
        remove(out / UNPACKED)


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    from hilum.files import locked

    out.mkdir(parents=True, exist_ok=True)
    with locked(out, busy="another prediction is writing there; wait for its end"):
        yield


def _open(images: Path, split: Split) -> _Source:
    from hilum.datasets.folder import Dataset

    if not (images / "conversion.json").is_file():
        paths = picture_paths(images)
        source = _Source(paths, paths, None, None, {})
    else:
        dataset = Dataset.open(images)
        about = {"split": split, "data_fingerprint": dataset.fingerprint}
        if dataset.conversion.get("images"):
            chosen = dataset.split(split)
            source = _Source(list(chosen.paths), chosen.paths, None, chosen.coco_ids, about)
        else:  # a converted tree without labels
            unlabelled = dataset.unlabelled()
            source = _Source(unlabelled, unlabelled, None, None, about)
    if not source.paths:
        what = "lists no image" if source.coco_ids is None else f"the {split} split has no image"
        raise HilumError(f"{images}: {what}")
    return source


def _write_down(
    journal: "PredictionJournal", paths: Sequence[Path], names: Sequence[str], stream: Iterable["Result"], **named: bool
) -> None:
    """Add the results of all images that the journal has not yet, as they come, and tell what was not right."""
    left = slice(journal.done, None)
    with bar("predicting") as progress:
        for path, name, result in zip(paths[left], names[left], stream, strict=True):
            journal.add(_named(result, name, **named))
            progress(journal.done, len(paths))
            if note := result.error or result.warning:
                complain(f"{path}: {note}")


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


def _draw(folder: Path, source: _Source, most: int, results: Iterable["Result"]) -> bool:
    """Draw the boxes of the first images in the place of pictures that were drawn before; False where one failed."""
    from hilum.comparison.pictures import clear_drawn, draw_boxes, drawn_name
    from hilum.datasets.pictures import read_radiograph

    failed = False
    try:
        clear_drawn(folder)
        drawn = zip(source.paths[:most], source.pictures, results, strict=False)
        for number, (path, picture, result) in enumerate(drawn, start=1):
            if result.error:
                continue
            folder.mkdir(exist_ok=True)
            try:
                image = read_radiograph(picture)
                boxes_xyxy = result.detections.xyxy * (image.scale_xy * 2)
                draw_boxes(image.pixels, boxes_xyxy, result.box_labels(), folder / drawn_name(number, result.image_id))
            except HilumError as error:  # it was there a moment ago, or no JPEG can hold it
                complain(f"{path}: not drawn: {error}")
                failed = True
    except (HilumError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        complain(f"{folder}: boxes are not drawn: {reason}")
        failed = True
    return not failed
