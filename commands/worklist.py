"""`hilum predict`: a page of what was found, and the pictures beside it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from hilum.commands.terminal import complain
from hilum.datasets.pictures import PackedPicture, Radiograph, read_radiograph
from hilum.errors import HilumError
from hilum.files import remove
from hilum.pages.page import GENERATOR
from hilum.pages.worklist import PAGE, Made, Pictures, write_worklist
from hilum.predict import Look
from hilum.result import Result


def write_pictures(pictures: Pictures, numbers: Sequence[int], done: int) -> Look:
    """What writes each picture while it is in memory, in the threads that read ahead.

    Args:
        pictures: where they go.
        numbers: of all images.
        done: how many of them were predicted before.
    """

    def look(position: int, image: Radiograph) -> None:
        with suppress(HilumError, OSError):  # it is tried again when the page is made, and told then
            pictures.write(numbers[done + position], image.pixels)

    return look


def write_page(
    pictures: Pictures,
    numbers: Sequence[int],
    sources: Sequence[Path | PackedPicture],
    results: Callable[[], Iterator[Result]],
    made: Made | None,
) -> bool:
    """Write the page in the place of an earlier one, or remove that where `made` is None; False where it failed."""
    page = pictures.out / PAGE
    try:
        if made is None:
            if _is_ours(page):
                remove(page)
        else:
            write_worklist(pictures, _whole(pictures, numbers, sources, results()), made)
        pictures.clear(own=made is None)
    except (HilumError, OSError) as error:
        complain(f"{page}: is not written: {error.strerror if isinstance(error, OSError) else error}")
        return False
    return True


def _whole(
    pictures: Pictures, numbers: Sequence[int], sources: Sequence[Path | PackedPicture], results: Iterator[Result]
) -> Iterator[tuple[int, Result]]:
    """Each result with its number; a picture that is not there yet is written first."""
    for number, source, result in zip(numbers, sources, results, strict=True):
        if not result.error and not (pictures.out / pictures.link(number)).is_file():
            with suppress(HilumError):  # it was there a moment ago; the page says that it cannot be read
                pictures.write(number, read_radiograph(source).pixels)
        yield number, result


def _is_ours(page: Path) -> bool:
    try:
        with page.open("rb") as file:
            return GENERATOR.encode() in file.read(4096)
    except OSError:
        return False
