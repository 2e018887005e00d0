"""Whether the words of a command stand in their order, told by what they lead to."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from pathlib import Path

from hilum.errors import HilumError
from hilum.kinds import TELLING, Kind, kind_of


@dataclass(frozen=True)
class Place:
    """A place for a word.

    Attributes:
        name: as the help calls it.
        expected: what is expected there, in words.
        kinds: what fits.
    """

    name: str
    expected: str
    kinds: frozenset[Kind]


def _place(name: str, expected: str, *kinds: Kind) -> Place:
    return Place(name, expected, frozenset(kinds))


CONFIG = _place("CONFIG", "a config", "config")
CONFIG_OR_RUN = _place("CONFIG", "a config or a run folder", "config", "run")
DATA = _place("DATA", "a dataset folder", "dataset")
RUN = _place("RUN", "a run folder", "run")
ANSWERS = _place("PREDICTIONS", "a run, a predictions folder or a file of predictions", "run", "predictions", "file")
TRUTH = _place("DATA", "a dataset folder or marks of a worklist", "dataset", "file")
IMAGES = _place("IMAGES", "a dataset folder or pictures", "dataset", "challenge", "archive", "folder", "file")
SOURCE = _place("SRC", "a download of the challenge or pictures", "challenge", "archive", "folder", "file")
NEW_RUN = _place("RUN", "a run folder to write", "run", "nothing", "empty", "folder")
NEW_DATA = _place("DATA", "a dataset folder to write", "dataset", "nothing", "empty")
NEW_PREDICTIONS = _place("OUT", "a folder of its own", "predictions", "nothing", "empty")
NEW_FILE = _place("OUT", "a file to write", "nothing", "file")
NEW_FOLDER = _place("OUT", "a folder to write", "nothing", "empty")
LABELS = _place("LABELS", "labels that a tool exported", "file", "archive")
NAME = _place("NAME", "a name", "nothing", "empty", "folder", "file")
_MOST_ORDERS = 6  # words of which every order is tried


def check_order(command: str, *words: tuple[Place, Path | str]) -> None:
    """Raise where the words of a command are in another order than it takes, or clearly lead to something else.

    What leads to nothing, or could be anything, is left to those who read it.

    Args:
        command: such as `evaluate`.
        words: each with its place.

    Raises:
        HilumError: they are.
    """
    places = [place for place, _ in words]
    given = [str(word) for _, word in words]
    kinds = [_kinds(word) for word in given]
    wrong = [number for number, place in enumerate(places) if not kinds[number] & place.kinds]
    if not wrong:
        return
    right = next(
        (order for order in _orders(len(words)) if all(kinds[n] & p.kinds for n, p in zip(order, places, strict=True))),
        None,
    )
    lines = [
        f"{places[number].name}: {given[number]} is {told}, where {places[number].expected} is expected"
        for number in wrong
        if (told := next((TELLING[kind] for kind in TELLING if kind in kinds[number]), None))
    ]
    if right is not None:
        number = wrong[0]
        line = lines[0] if lines else f"{places[number].name}: {given[number]} is not {places[number].expected}"
        meant = shlex.join(["hilum", command, *(given[number] for number in right)])
        raise HilumError(f"{line}; did you mean: {meant}")
    if lines:
        raise HilumError(*lines)


def _kinds(word: str) -> set[Kind]:
    """What a word may be: the name of a shipped config may be that of a file or folder too."""
    from hilum.config import shipped_configs

    kind = kind_of(Path(word))
    if word.removesuffix(".yaml") in shipped_configs():
        return {kind, "config"}
    return {kind}


def _orders(count: int) -> Iterator[Sequence[int]]:
    """Orders of so many words, first those in which two change places."""
    for one, other in combinations(range(count), 2):
        order = list(range(count))
        order[one], order[other] = other, one
        yield order
    if count <= _MOST_ORDERS:
        yield from permutations(range(count))
