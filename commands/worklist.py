"""`hilum predict`: a page of what was found, and the pictures beside it."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hilum.commands.terminal import complain
from hilum.datasets.pictures import PackedPicture, Radiograph, read_radiograph
from hilum.errors import HilumError
from hilum.files import remove
from hilum.pages.page import is_page
from hilum.pages.worklist import PAGE, Made, Pictures, write_worklist
from hilum.predict import Look
from hilum.result import Result


@dataclass(frozen=True)
class Worklist:
    """The page that one prediction writes, or clears away.

    Attributes:
        pictures: where those beside the page go.
        numbers: of all images.
        sources: the images.
        made: what is told of them all; None where no page is wanted.
    """

    pictures: Pictures
    numbers: Sequence[int]
    sources: Sequence[Path | PackedPicture]
    made: Made | None

    def look(self, done: int) -> Look | None:
        """What writes each picture while it is in memory, in the threads that read ahead, behind the `done` first."""

        def look(position: int, image: Radiograph) -> None:
            with suppress(HilumError, OSError):  # it is tried again when the page is made, and told then
                self.pictures.write(self.numbers[done + position], image.pixels)

        return look if self.made else None

    def write(self, results: Iterator[Result]) -> bool:
        """Write the page in the place of an earlier one, or remove that; False where it failed."""
        page = self.pictures.out / PAGE
        try:
            if self.made:
                write_worklist(self.pictures, self._whole(results), self.made)
            elif page.is_file() and is_page(page):
                remove(page)
            self.pictures.clear(own=self.made is None)
        except (HilumError, OSError) as error:
            complain(f"{page}: is not written: {error.strerror if isinstance(error, OSError) else error}")
            return False
        return True

    def _whole(self, results: Iterator[Result]) -> Iterator[tuple[int, Result]]:
        """Each result with its number; a picture that is not there yet is written first."""
        for number, source, result in zip(self.numbers, self.sources, results, strict=True):
            if not result.error and not (self.pictures.out / self.pictures.link(number)).is_file():
                with suppress(HilumError):  # it was there a moment ago; the page says that it cannot be read
                    self.pictures.write(number, read_radiograph(source).pixels)
            yield number, result
