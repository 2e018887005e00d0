"""What was found in the pictures of a study, as files to send."""

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from hilum.errors import HilumError, PassingError
from hilum.findings.finding import Algorithm
from hilum.findings.objects import Kind, check_kinds, to_dicom
from hilum.findings.source import read_source
from hilum.result import Result

Write = Callable[[Sequence[Path], Sequence[Result]], Iterator[tuple[str, bytes]]]
"""Writes results: of pictures of one study and what was found in each, the SOP Instance UID and the file of each.

One comes at a time, for those of a study may be larger than memory.
"""


def writer(algorithm: Algorithm, kinds: Collection[Kind]) -> Write:
    """Have results written as DICOM objects.

    Args:
        algorithm: what finds them.
        kinds: which objects.

    Returns:
        It raises a HilumError where nothing can be written of one of the pictures, and a PassingError where memory or
        the disk fail.

    Raises:
        HilumError: highdicom is not installed.
    """
    check_kinds(kinds)  # imports now what would keep the first study waiting

    def write(paths: Sequence[Path], results: Sequence[Result]) -> Iterator[tuple[str, bytes]]:
        try:
            for made in to_dicom([read_source(path) for path in paths], results, algorithm, kinds):
                yield str(made.dataset.SOPInstanceUID), made.content()
        except HilumError as error:
            if isinstance(error.__cause__, MemoryError | OSError):
                raise PassingError(str(error)) from error
            raise

    return write
