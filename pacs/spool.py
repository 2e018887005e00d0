"""The spool: pictures that were acknowledged and have no answer yet. Its folders are the journal.

    incoming/            what is being received; nothing of it is acknowledged
    open/STUDY/OBJECT    studies to which pictures are still added
    closed/GROUP/OBJECT  pictures that get one answer together, whatever comes later
    results/             answers that wait to be sent; lost, they are made anew, and are the same
    aside/GROUP          what the receiver refused, and what ended the program again and again; for people to look at
    answered             what had its answer: `hilum.pacs.answered`

Names are keyed hashes of UIDs. Every step is one rename, and is safe on the disk before the next one begins, so that
whoever is killed between two of them finds out which was the last.
"""

import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Condition
from typing import Final

from hilum.files import PARTIAL, make_durable, own_folder, remove
from hilum.pacs.answered import Answered
from hilum.pseudonyms import pseudonym

_ATTEMPTS = "attempts"
MOST_ATTEMPTS: Final = 5
"""So often an answer may have been begun, without an end, before its pictures are set aside."""
_MOST_ANSWERS: Final = 64  # that wait; the receiver is away, and no more are made
_STALE_SECONDS: Final = 600  # nothing is added to a file for so long: whoever sent it is gone


class SpoolFullError(Exception):
    """There is no place for another picture."""


@dataclass(frozen=True)
class Group:
    """Pictures of a study that get one answer.

    Attributes:
        folder: where they lie.
        paths: of the pictures.
        arrived: when the last one came, in seconds since 1970.
        attempts: how often an answer was begun, and ended neither well nor by a wish.
    """

    folder: Path
    paths: tuple[Path, ...]
    arrived: float
    attempts: int

    @property
    def study(self) -> str:
        """Keyed hash of its UID."""
        return self.folder.name.partition("-")[0]


@dataclass(frozen=True)
class Answer:
    """Results that wait to be sent.

    Attributes:
        group: the pictures.
        paths: of the results.
        objects: keyed hashes of the pictures that they are of, and of themselves.
    """

    group: Group
    paths: tuple[Path, ...]
    objects: frozenset[str]


class Spool:
    """The folder, which one process works on; its threads share this object."""

    def __init__(self, folder: Path, key: bytes, *, most_waiting: int, least_free_bytes: int) -> None:
        """Open a spool, and take up what lies in it.

        Args:
            folder: made where it is missing; nobody else may read what is in it.
            key: of the hashes.
            most_waiting: pictures, with those laid aside; beyond, nothing more is taken.
            least_free_bytes: of the disk that stay free.

        Raises:
            HilumError: a part of it is a link.
            OSError: it cannot be read or written.
        """
        self._key, self._most_waiting, self._least_free = key, most_waiting, least_free_bytes
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.incoming, self._open, self._closed, self._results, self._aside = (
            own_folder(folder, name) for name in ("incoming", "open", "closed", "results", "aside")
        )
        self.changed = Condition()
        self._names: dict[str, set[str]] = {}  # of the pictures of each open study
        self._last: dict[str, float] = {}  # when the last one came
        self._groups: dict[str, Group] = {}  # by name of the folder, the oldest first
        self._answers: dict[str, Answer] = {}  # likewise
        for place in (self.incoming, self._results):
            _clear(place.iterdir())
        _clear((*folder.glob(f".*{PARTIAL}"), *self._closed.glob(f"*{PARTIAL}")))
        self._answered = Answered(folder / "answered")
        for study in self._open.iterdir():
            for path in study.glob("*.dcm"):
                self._note(study.name, path.stem, path.stat().st_mtime)
        self._laid_aside = self._count_aside()  # pictures, as far as is known
        for group in sorted(map(_group, self._closed.iterdir()), key=lambda group: group.arrived):
            self._groups[group.folder.name] = group

    def _note(self, study: str, name: str, arrived: float) -> None:
        self._names.setdefault(study, set()).add(name)
        self._last[study] = max(self._last.get(study, 0.0), arrived)

    @property
    def room(self) -> bool:
        """Whether the disk has room for what is being received."""
        return shutil.disk_usage(self.folder).free > self._least_free // 2

    @property
    def figures(self) -> dict[str, float]:
        """What waits, for whoever watches."""
        with self.changed:
            oldest = min([*self._last.values(), *(group.arrived for group in self._groups.values())], default=None)
            return {
                "pictures_waiting": self._waiting,
                "answers_to_send": len(self._answers),
                "oldest_seconds": 0.0 if oldest is None else round(max(0.0, time.time() - oldest), 1),
                "set_aside": sum(1 for _ in self._aside.iterdir()),
            }

    @property
    def _waiting(self) -> int:
        return sum(map(len, self._names.values())) + sum(len(group.paths) for group in self._groups.values())

    def _is_full(self) -> bool:
        if self._waiting + self._laid_aside >= self._most_waiting:
            self._laid_aside = self._count_aside()  # somebody may have taken some away
        return self._waiting + self._laid_aside >= self._most_waiting

    def _count_aside(self) -> int:
        return sum(1 for _ in self._aside.glob("*/*.dcm"))

    def name_of_study(self, uid: str) -> str:
        """Keyed hash of its UID."""
        return pseudonym(self._key, "study", uid)

    def name_of_object(self, uid: str) -> str:
        """Keyed hash of a SOP Instance UID."""
        return pseudonym(self._key, "object", uid)

    def receive(self, path: Path, study: str, name: str) -> bool:
        """Take over a file, for good once this returns.

        Args:
            path: in `incoming`.
            study: keyed hash of the study's UID.
            name: keyed hash of the object's.

        Returns:
            False where its answer was sent or is on its way, and where it is an answer itself.

        Raises:
            SpoolFullError: too many wait, or the disk is almost full.
            OSError: the disk does not take it.
        """
        if shutil.disk_usage(self.folder).free < self._least_free:
            raise SpoolFullError
        make_durable(path)
        with self.changed:
            if self._is_known(name):
                return False
            if name not in self._names.get(study, ()) and self._is_full():
                raise SpoolFullError
            folder = self._open / study
            folder.mkdir(exist_ok=True)
            path.replace(folder / f"{name}.dcm")
            make_durable(folder)
            make_durable(self._open)
            self._note(study, name, time.time())
            self.changed.notify_all()
        return True

    def close(self, quiet_seconds: float) -> None:
        """Close the studies to which nothing was added for so long."""
        with self.changed:
            for study, last in sorted(self._last.items(), key=lambda each: each[1]):
                if 0 <= time.time() - last < quiet_seconds:  # negative where the clock was put back
                    continue
                folder = self._closed / f"{study}-{time.time_ns()}"
                (self._open / study).replace(folder)
                make_durable(self._closed)
                make_durable(self._open)
                self._groups[folder.name] = _group(folder)
                del self._names[study], self._last[study]

    def next_due_in(self, quiet_seconds: float) -> float | None:
        """Seconds until `close` closes something; None where nothing is open. To be called with `changed` held."""
        return max(0.0, min(self._last.values()) + quiet_seconds - time.time()) if self._last else None

    def to_answer(self, most_pictures: int) -> list[Group]:
        """Groups without an answer, the oldest first; none while so many answers wait that the receiver must be away.

        Those that were begun before come one by one, so that a picture that ends the program is known by it.

        Args:
            most_pictures: of all of them together; but at least one group.
        """
        with self.changed:
            if len(self._answers) >= _MOST_ANSWERS:
                return []
            left = [group for name, group in self._groups.items() if name not in self._answers]
        chosen = left[:1]
        for group in left[1:]:
            pictures = sum(len(each.paths) for each in (*chosen, group))
            if chosen[0].attempts or group.attempts or pictures > most_pictures:
                break
            chosen.append(group)
        return chosen

    @contextmanager
    def begun(self, groups: Sequence[Group]) -> Iterator[None]:
        """Note that answers are begun; whoever is killed inside, or fails, leaves the note."""
        for group in groups:
            with (group.folder / _ATTEMPTS).open("ab") as note:
                note.write(b".")
        failed = False
        try:
            yield
        except Exception:
            failed = True
            raise
        finally:
            if not failed:
                for group in groups:
                    (group.folder / _ATTEMPTS).unlink(missing_ok=True)

    def answer(self, group: Group, looked_at: Iterable[Path], results: Iterable[tuple[str, bytes]]) -> int:
        """Have results wait to be sent.

        Args:
            group: that they answer.
            looked_at: the pictures that they are of; the others of the group may come again.
            results: the SOP Instance UID and the file of each, taken one by one; none where there is nothing to say.

        Returns:
            How many results there are.

        Raises:
            OSError: the disk does not take them.
        """
        folder = self._results / group.folder.name
        remove(folder)
        folder.mkdir(mode=0o700)
        paths, names = [], {path.stem for path in looked_at}
        for number, (uid, content) in enumerate(results):
            paths.append(folder / f"{number:03}.dcm")
            paths[-1].write_bytes(content)
            names.add(self.name_of_object(uid))
        answer = Answer(group, tuple(paths), frozenset(names))
        if not paths:
            self.sent(answer)
            return 0
        with self.changed:
            self._answers[group.folder.name] = answer
            self.changed.notify_all()
        return len(paths)

    def next_answer(self) -> Answer | None:
        """The answer to send first. To be called with `changed` held."""
        return next(iter(self._answers.values()), None)

    def sent(self, answer: Answer) -> None:
        """Let go of an answer that its receiver has, and of its pictures.

        Raises:
            OSError: the disk does not take it; it is sent once more then, which changes nothing.
        """
        self._answered.add(answer.objects)
        folder = answer.group.folder
        gone = folder.with_name(folder.name + PARTIAL)
        self._let_go(answer.group, gone)
        _clear([gone])

    def set_aside(self, group: Group) -> None:
        """Lay the pictures of a group aside; they count among those that wait, until somebody takes them away."""
        self._let_go(group, self._aside / group.folder.name)
        self._laid_aside += len(group.paths)

    def sweep(self) -> None:
        """Remove what was begun to be received and will not end: the library leaves it there."""
        for path in self.incoming.iterdir():
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    path.unlink()

    def _let_go(self, group: Group, place: Path) -> None:
        with self.changed:
            group.folder.replace(place)
            del self._groups[group.folder.name]
            self._answers.pop(group.folder.name, None)
            self.changed.notify_all()
        _clear([self._results / group.folder.name])

    def _is_known(self, name: str) -> bool:
        return (
            name in self._answered
            or any(name in answer.objects for answer in self._answers.values())
            or any(path.stem == name for group in self._groups.values() for path in group.paths)
        )


def _group(folder: Path) -> Group:
    paths = tuple(sorted(folder.glob("*.dcm")))
    attempts = (folder / _ATTEMPTS).stat().st_size if (folder / _ATTEMPTS).exists() else 0
    return Group(folder, paths, max((path.stat().st_mtime for path in paths), default=0.0), attempts)


def _clear(places: Iterable[Path]) -> None:
    for place in places:
        remove(place)
