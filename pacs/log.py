"""The service's log: a line an event, with time, level, the study's keyed hash, seconds; no identifier of anybody."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from hilum.printable import one_line

_LOG: Final = logging.getLogger("hilum.pacs")
# They quote what they read and send.
_OTHERS: Final = ("pynetdicom", "pydicom", "highdicom", "dicomweb_client", "urllib3")
INFO, WARNING, ERROR = logging.INFO, logging.WARNING, logging.ERROR


def tell(level: int, event: str, why: str = "", **about: object) -> None:
    """Write a line: an event, what it is about as `key=value`, and why.

    Args:
        level: INFO, WARNING or ERROR.
        event: a word.
        why: a sentence without anybody's identifier.
        about: numbers, keyed hashes and own names.
    """
    fields = "".join(
        f" {key}={value:.3f}" if isinstance(value, float) else f" {key}={value}" for key, value in about.items()
    )
    _LOG.log(level, "%s", one_line(f"{event}{fields}{': ' if why else ''}{why}"))


@contextmanager
def logging_here() -> Iterator[None]:
    """Write to standard error, and hold the libraries' own logs back, until the end of the block."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    _LOG.addHandler(handler)
    _LOG.setLevel(logging.INFO)
    _LOG.propagate = False
    for name in _OTHERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        _LOG.removeHandler(handler)
