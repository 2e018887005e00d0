"""The spool: what has arrived and is not answered, what is answered and not sent. Its folders are the journal.

    incoming/              what is being received; nothing of it is acknowledged
    pictures/STUDY/OBJECT  acknowledged, and not answered
    results/ANSWER/        answered, and not sent: the results, and in `of.json` what they are of
    aside/                 what the receiver refused, and what ended the program again and again; for people to look at
    answered               what had its answer: `hilum.pacs.answered`

Names are keyed hashes of UIDs. Every step is one rename, and is safe on the disk before the next one begins, so that
whoever is killed between two of them finds out which was the last. What has no answer yet is found in `pictures`, for
as long as its answer is not whole.
"""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Condition
from typing import Final

from pydantic import with_config
from typing_extensions import TypedDict

from hilum.documents import MAX_RECORD_BYTES, RECORD, read_json
from hilum.files import PARTIAL, make_durable, own_folder, remove, write_atomically
from hilum.pacs.answered import Answered
from hilum.pseudonyms import pseudonym
from hilum.run import json_text

_OF, _ATTEMPTS = "of.json", "attempts"
MOST_ATTEMPTS: Final = 5
"""So often a study may have been begun, without an end, before it is set aside."""
_STALE_SECONDS = 600  # nothing is added to a file for so long: whoever sent it is gone


class SpoolFullError(Exception):
    """There is no place for another picture."""


@with_config(RECORD)
class _Of(TypedDict):
    """What `of.json` says of an answer: whose it is, and since when its last picture waits, in seconds since 1970."""

    study: str
    arrived: float
    objects: list[str]


@dataclass(frozen=True)
class Study:
    """Pictures of a study that wait for one answer.

    Attributes:
        name: keyed hash of its UID.
        paths: of its pictures.
        arrived: when the last one came, in seconds since 1970.
        attempts: how often an answer was begun, and ended neither well nor by a wish.
    """

    name: str
    paths: tuple[Path, ...]
    arrived: float
    attempts: int


@dataclass(frozen=True)
class Answer:
    """Results that wait to be sent.

    Attributes:
        folder: where they lie.
        study: keyed hash of its UID.
        arrived: as of `Study`.
        objects: keyed hashes of the pictures they are of, and of themselves.
    """

    folder: Path
    study: str
    arrived: float
    objects: tuple[str, ...]

    @property
    def paths(self) -> list[Path]:
        """Of the results."""
        return sorted(self.folder.glob("*.dcm"))


class Spool:
    """The folder, which one process works on; its threads share this object."""

    def __init__(self, folder: Path, key: bytes, *, most_waiting: int, least_free_bytes: int) -> None:
        """Open a spool, and take up what lies in it.

        Args:
            folder: made where it is missing; nobody else may read what is in it.
            key: of the hashes.
            most_waiting: pictures and answers; beyond, nothing more is taken.
            least_free_bytes: of the disk that stay free.

        Raises:
            HilumError: a part of it is a link.
            OSError: it cannot be read or written.
        """
        self._key, self._most_waiting, self._least_free = key, most_waiting, least_free_bytes
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.incoming, self._pictures, self._results, self._aside = (
            own_folder(folder, name) for name in ("incoming", "pictures", "results", "aside")
        )
        self.changed = Condition()
        self._last: dict[str, float] = {}  # of each study that waits, when its last picture came
        self._waiting: set[tuple[str, str]] = set()  # the study and the name of each picture
        self._answers: dict[str, Answer] = {}  # by folder, in the order in which they are to be sent
        self._no_answer_needed: set[str] = set()  # objects of these answers
        for left in (*self.incoming.iterdir(), *folder.glob(f".*{PARTIAL}")):
            remove(left)
        self._answered = Answered(folder / "answered")
        self._take_up_answers()
        self._take_up_pictures()

    def _take_up_answers(self) -> None:
        found = []
        for folder in self._results.iterdir():
            if folder.name.endswith(PARTIAL):
                remove(folder)
                continue
            of = read_json(folder / _OF, _Of, at_most=MAX_RECORD_BYTES, remedy="move its folder out of the spool")
            found.append(Answer(folder, of["study"], of["arrived"], tuple(of["objects"])))
        for answer in sorted(found, key=lambda answer: answer.arrived):
            self._add(answer)

    def _take_up_pictures(self) -> None:
        for folder in self._pictures.iterdir():
            for path in folder.glob("*.dcm"):
                if self._is_known(path.stem):
                    path.unlink()
                else:
                    self._waiting.add((folder.name, path.stem))
                    self._last[folder.name] = max(self._last.get(folder.name, 0.0), path.stat().st_mtime)
            if folder.name not in self._last:
                remove(folder)

    @property
    def room(self) -> bool:
        """Whether the disk has room for what is being received."""
        return shutil.disk_usage(self.folder).free > self._least_free // 2

    @property
    def figures(self) -> dict[str, float]:
        """What waits, for whoever watches."""
        with self.changed:
            oldest = min([*self._last.values(), *(answer.arrived for answer in self._answers.values())], default=None)
            return {
                "pictures_waiting": len(self._waiting),
                "answers_to_send": len(self._answers),
                "oldest_seconds": 0.0 if oldest is None else round(max(0.0, time.time() - oldest), 1),
                "set_aside": sum(1 for _ in self._aside.iterdir()),
            }

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
            False where it had its answer, or is one.

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
            if (study, name) not in self._waiting and len(self._waiting) + len(self._answers) >= self._most_waiting:
                raise SpoolFullError
            folder = self._pictures / study
            folder.mkdir(exist_ok=True)
            path.replace(folder / f"{name}.dcm")
            make_durable(folder)
            make_durable(self._pictures)
            self._waiting.add((study, name))
            self._last[study] = time.time()
            self.changed.notify_all()
        return True

    def due(self, quiet_seconds: float, most_pictures: int) -> list[Study]:
        """Studies to which nothing was added for so long, the oldest first.

        Those that were begun before come one by one, so that a picture that ends the program is known by it.

        Args:
            quiet_seconds: since the last picture.
            most_pictures: of all of them together; but at least one study.
        """
        now = time.time()
        chosen: list[Study] = []
        pictures = 0
        with self.changed:
            quiet = [(last, study) for study, last in self._last.items() if not 0 <= now - last < quiet_seconds]
            for arrived, name in sorted(quiet):
                folder = self._pictures / name
                paths = tuple(sorted(folder.glob("*.dcm")))
                with suppress(FileNotFoundError):
                    attempts = 0
                    attempts = (folder / _ATTEMPTS).stat().st_size
                pictures += len(paths)
                if chosen and (attempts or chosen[0].attempts or pictures > most_pictures):
                    break
                chosen.append(Study(name, paths, arrived, attempts))
        return chosen

    def next_due_in(self, quiet_seconds: float) -> float | None:
        """Seconds until `due` gives something; None where nothing waits. To be called with `changed` held."""
        return max(0.0, min(self._last.values()) + quiet_seconds - time.time()) if self._last else None

    @contextmanager
    def begun(self, studies: Sequence[Study]) -> Iterator[None]:
        """Note that answers are begun; whoever is killed inside, or fails, leaves the note."""
        notes = [self._pictures / study.name / _ATTEMPTS for study in studies]
        for note in notes:
            with note.open("ab") as file:
                file.write(b".")
        failed = False
        try:
            yield
        except Exception:
            failed = True
            raise
        finally:
            if not failed:
                for note in notes:
                    note.unlink(missing_ok=True)

    def answer(self, study: Study, looked_at: Sequence[Path], results: Sequence[tuple[str, bytes]]) -> None:
        """Put results in the place of pictures, for good once this returns.

        Args:
            study: whose pictures need no answer any more.
            looked_at: those of them that the results are of; the others may come again.
            results: the SOP Instance UID and the file of each; none where there is nothing to say.

        Raises:
            OSError: the disk does not take them.
        """
        answer = self._written(study, looked_at, results) if results else None
        with self.changed:
            if answer:
                self._add(answer)
            for path in study.paths:
                path.unlink()
                self._waiting.discard((study.name, path.stem))
            if not any(name == study.name for name, _ in self._waiting):
                del self._last[study.name]
                remove(self._pictures / study.name)
            self.changed.notify_all()

    def _written(self, study: Study, looked_at: Sequence[Path], results: Sequence[tuple[str, bytes]]) -> Answer:
        pictures = [path.stem for path in looked_at]
        folder = self._results / f"{study.name}-{pseudonym(self._key, 'answer', ' '.join(pictures))}"
        objects = [*pictures, *(self.name_of_object(uid) for uid, _ in results)]
        of: _Of = {"study": study.name, "arrived": study.arrived, "objects": objects}
        partial = folder.with_name(folder.name + PARTIAL)
        remove(partial)
        partial.mkdir()
        files = {f"{number:03}.dcm": content for number, (_, content) in enumerate(results)}
        for name, content in (files | {_OF: json_text({**of}).encode()}).items():
            write_atomically(partial / name, content, private=True)
            make_durable(partial / name)
        make_durable(partial)
        partial.replace(folder)
        make_durable(self._results)
        return Answer(folder, study.name, study.arrived, tuple(objects))

    def next_answer(self) -> Answer | None:
        """The answer to send first. To be called with `changed` held."""
        return next(iter(self._answers.values()), None)

    def sent(self, answer: Answer) -> None:
        """Let go of an answer that its receiver has.

        Raises:
            OSError: the disk does not take it; it is sent once more then, which changes nothing.
        """
        gone = answer.folder.with_name(answer.folder.name + PARTIAL)
        self._let_go(answer, gone)
        remove(gone)

    def set_aside(self, what: Answer | Study) -> None:
        """Lay an answer or the pictures of a study aside."""
        place = self._aside / f"{what.study if isinstance(what, Answer) else what.name}-{time.time_ns()}"
        if isinstance(what, Answer):
            self._let_go(what, place)
            return
        with self.changed:
            (self._pictures / what.name).replace(place)
            self._waiting = {(study, name) for study, name in self._waiting if study != what.name}
            del self._last[what.name]

    def sweep(self) -> None:
        """Remove what was begun to be received and will not end: the library leaves it there."""
        for path in self.incoming.iterdir():
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    path.unlink()

    def _let_go(self, answer: Answer, place: Path) -> None:
        self._answered.add(answer.objects)
        with self.changed:
            answer.folder.replace(place)
            del self._answers[answer.folder.name]
            self._no_answer_needed.difference_update(answer.objects)

    def _add(self, answer: Answer) -> None:
        self._answers[answer.folder.name] = answer
        self._no_answer_needed.update(answer.objects)

    def _is_known(self, name: str) -> bool:
        return name in self._no_answer_needed or name in self._answered
