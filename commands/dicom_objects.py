"""`hilum predict --dicom`: findings as DICOM objects, in a folder that an archive takes."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from hilum.commands.terminal import complain
from hilum.comparison.pictures import drawn_name
from hilum.datasets.pictures import PackedPicture, content_of
from hilum.errors import HilumError
from hilum.files import own_folder, refuse_links, write_atomically
from hilum.findings.finding import Algorithm
from hilum.findings.objects import KINDS, PREAMBLE, Kind, check_kinds, to_dicom
from hilum.findings.source import SourceImage, read_source
from hilum.result import Result

_FOLDER = "dicom"


def kinds_named(words: str, images: Path, *, identifiers: bool) -> tuple[Kind, ...]:
    """The kinds of objects that `--dicom` asks for.

    Raises:
        HilumError: a kind that is none; where no object could be written, or none may.
    """
    named = [word.strip().lower() for word in words.split(",") if word.strip()]
    if wrong := [word for word in named if word not in KINDS]:
        raise HilumError(f"--dicom: '{wrong[0]}' is no kind of object; expected {', '.join(KINDS)}, with commas")
    kinds = tuple(kind for kind in KINDS if kind in named)
    if kinds and not identifiers:
        raise HilumError("--dicom: a DICOM object names the patient; leave --no-identifiers out, or --dicom")
    if kinds and (images / "conversion.json").is_file():
        raise HilumError(f"--dicom: {images}: is a dataset folder, whose pictures are nobody's; give the DICOM files")
    check_kinds(kinds)
    return kinds


def write_objects(
    out: Path,
    pictures: Sequence[Path | PackedPicture],
    paths: Sequence[Path],
    results: Callable[[], Iterator[Result]],
    algorithm: Algorithm,
    kinds: Sequence[Kind],
    at: datetime,
) -> bool:
    """Write the objects of all studies in the place of those that were written before.

    Only the results of studies that are not whole yet are held in memory.

    Args:
        out: the predictions folder.
        pictures: what was looked at.
        paths: of the pictures, for messages.
        results: gives what was found in each, in order, from the first on each time.
        algorithm: what made it.
        kinds: which objects.
        at: when it was found.

    Returns:
        Whether all were written.
    """
    folder = out / _FOLDER
    try:
        _clear(folder)
        if not kinds:
            return True
        own_folder(out, _FOLDER)
        notes: Counter[str] = Counter()
        whole = True
        for study in _studies(results):
            try:
                read = _read(study, pictures, paths)
                whole &= len(read) == len(study)
                notes.update(note for image, _, _ in read for note in image.notes)
                for name, content in _objects(read, algorithm, kinds, at):
                    write_atomically(folder / name, content)
            except HilumError as error:
                complain(f"{paths[study[0][0]]}: DICOM objects of this study are missing: {error}")
                whole = False
    except (HilumError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        complain(f"{folder}: DICOM objects are not written: {reason}")
        return False
    if notes:
        told = ", ".join(f"{note} in {count:,}" for note, count in sorted(notes.items()))
        complain(f"{folder}: of the pictures' own attributes: {told}")
    return whole


def _read(
    study: list[tuple[int, Result]], pictures: Sequence[Path | PackedPicture], paths: Sequence[Path]
) -> list[tuple[SourceImage, int, Result]]:
    """The pictures of a study that objects can refer to, with their positions and results; others are told."""
    images: list[tuple[SourceImage, int, Result]] = []
    for position, result in study:
        picture = pictures[position]
        try:
            image = read_source(picture if isinstance(picture, Path) else partial(content_of, picture))
        except HilumError as error:
            complain(f"{paths[position]}: DICOM objects of this picture are missing: {error}")
        else:
            images.append((image, position, result))
    return images


def _objects(
    read: list[tuple[SourceImage, int, Result]], algorithm: Algorithm, kinds: Sequence[Kind], at: datetime
) -> Iterator[tuple[str, bytes]]:
    """The name and the content of each object of a study."""
    for made in to_dicom([image for image, _, _ in read], [result for _, _, result in read], algorithm, kinds, at):
        _, position, result = read[made.positions[0]]
        yield f"{drawn_name(position + 1, result.image_id).removesuffix('.jpg')}.{made.kind}.dcm", made.content()


def _studies(results: Callable[[], Iterator[Result]]) -> Iterator[list[tuple[int, Result]]]:
    """The results of each study, with their positions, as soon as its last picture has come by."""
    left = Counter(_study(result, position) for position, result in enumerate(results()) if not result.error)
    waiting: dict[str, list[tuple[int, Result]]] = {}
    for position, result in enumerate(results()):
        if result.error:
            continue
        study = _study(result, position)
        waiting.setdefault(study, []).append((position, result))
        left[study] -= 1
        if not left[study]:
            yield waiting.pop(study)


def _study(result: Result, position: int) -> str:
    """Its UID; a picture that names none is a study of its own."""
    return result.description.study_instance_uid or f"picture {position}"


def _clear(folder: Path) -> None:
    """Remove the objects that were written before, and nothing else.

    Raises:
        HilumError: the folder is a link, behind which they would be somebody else's.
    """
    refuse_links(folder.parent, folder.name)
    for path in folder.glob("[0-9][0-9][0-9][0-9][0-9]*-*.dcm"):
        if path.is_file():
            with path.open("rb") as file:
                ours = file.read(len(PREAMBLE)) == PREAMBLE
            if ours:
                path.unlink()
