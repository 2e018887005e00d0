"""The service: it receives, answers studies that are complete, and sends the answers, each in threads of its own."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

from hilum import __version__
from hilum.datasets.pictures import not_frontal_chest
from hilum.dicom.header import (
    BODY_PART,
    MODALITY,
    SOP_CLASS,
    SOP_INSTANCE,
    STUDY_INSTANCE,
    VIEW,
    describe,
    tag_against_radiograph,
)
from hilum.dicom.reading import read_start
from hilum.errors import HilumError, PassingError
from hilum.findings.finding import MANUFACTURER as OURS
from hilum.findings.mending import uid as valid_uid
from hilum.pacs.answers import Write
from hilum.pacs.listen import CONTRADICTS, NO_ROOM, NOT_UNDERSTOOD, STORED, Door, Incoming, listening
from hilum.pacs.log import ERROR, INFO, WARNING, tell
from hilum.pacs.send import Receiver, RefusedError, UnavailableError
from hilum.pacs.spool import MOST_ATTEMPTS, Answer, Group, Spool, SpoolFullError
from hilum.predict import Predictor
from hilum.result import Result
from hilum.run import write_json

_MANUFACTURER: Final = 0x00080070
_TAGS = (SOP_CLASS, SOP_INSTANCE, MODALITY, _MANUFACTURER, BODY_PART, VIEW, STUDY_INSTANCE)
_AT_ONCE: Final = 16  # pictures
_TICK_SECONDS: Final = 5.0
_LONGEST_WAIT: Final = 60.0  # seconds between two tries to send
_REST_AFTER: Final = 5.0  # seconds without anything to send
STATUS: Final = "status.json"
_Picture = tuple[Path, Result]  # and what was found in it


class Service:
    """What the threads share."""

    def __init__(
        self, spool: Spool, predictor: Predictor, write: Write, receiver: Receiver, quiet_seconds: float
    ) -> None:
        """Prepare; `run` begins.

        Args:
            spool: what waits.
            predictor: finds opacities.
            write: the results as DICOM.
            receiver: where they go.
            quiet_seconds: so long after its last picture a study is complete.
        """
        self._spool, self._predictor, self._write = spool, predictor, write
        self._receiver, self._quiet_seconds = receiver, quiet_seconds
        self._counts: Counter[str] = Counter()  # of events since the start
        self._started = time.time()
        self._receiver_down_since: float | None = None
        self._stop = threading.Event()
        self._failure: BaseException | None = None

    def run(self, door: Door) -> None:
        """Serve until interrupted.

        Raises:
            HilumError: the address is taken.
            OSError: the disk fails.
            KeyboardInterrupt: of the user, or of whoever ends the service.
        """

        def came_to_nothing(why: str) -> None:
            self._count("no_connection", WARNING, why)

        with listening(door, self._spool.incoming, self.store, lambda: self._spool.room, came_to_nothing) as server:
            tell(INFO, "listening", title=door.title, address=f"{door.host}:{server.server_address[1]}")
            with self._sending():
                while self._failure is None:
                    self._answer_what_is_due()
                    self._keep_house()
                    self._wait()
                raise self._failure

    def store(self, incoming: Incoming) -> int:
        """Take over a received object, in any thread, and return the status that its sender gets."""
        try:
            return self._store(incoming)
        except HilumError as error:
            self._count("damaged", WARNING, str(error))
            return NOT_UNDERSTOOD
        except SpoolFullError:
            self._count("no_room", ERROR, "too many wait, or the disk is almost full")
        except OSError as error:
            self._count("no_room", ERROR, error.strerror or "the disk fails")
        return NO_ROOM

    def _store(self, incoming: Incoming) -> int:
        header = read_start(incoming.path, _TAGS)
        uid, study_uid = header.get(SOP_INSTANCE, ""), header.get(STUDY_INSTANCE, "")
        if not study_uid or not uid or uid != incoming.sop_instance_uid:
            self._count("damaged", WARNING, "its UIDs are missing, or are not those of the command")
            return CONTRADICTS
        study = self._spool.name_of_study(study_uid)
        ours = header.get(_MANUFACTURER, "").casefold() == OURS
        if ours or tag_against_radiograph(header) is not None or not_frontal_chest(describe(header)):
            self._count("not_looked_at", INFO, study=study)
        elif not valid_uid(uid):
            self._count("damaged", WARNING, "its SOP Instance UID is invalid: no result could refer to it", study=study)
            return NOT_UNDERSTOOD
        elif self._spool.receive(incoming.path, study, self._spool.name_of_object(uid)):
            self._count("received", INFO, study=study)
        else:
            self._count("known", INFO, study=study)
        return STORED

    def _count(self, event: str, level: int, why: str = "", **about: object) -> None:
        self._counts[event] += 1
        tell(level, event, why, **about)

    def _wait(self) -> None:
        with self._spool.changed:
            due_in = self._spool.next_due_in(self._quiet_seconds)
            self._spool.changed.wait(min(_TICK_SECONDS, _TICK_SECONDS if due_in is None else due_in))

    def _answer_what_is_due(self) -> None:
        self._spool.close(self._quiet_seconds)
        while groups := self._spool.to_answer(_AT_ONCE):
            if groups[0].attempts >= MOST_ATTEMPTS:
                self._set_aside(groups[0], f"begun {MOST_ATTEMPTS} times without an end")
                continue
            with self._spool.begun(groups), ThreadPoolExecutor(1) as writing:
                paths = [path for group in groups for path in group.paths]
                # A picture of which there is no result leaves the spool, so that none may go for want of memory.
                found = self._predictor.predict(paths, batch_size=_AT_ONCE, raise_passing=True)
                answers = [
                    writing.submit(self._answer, group, list(islice(found, len(group.paths)))) for group in groups
                ]
                for answer in answers:
                    answer.result()
            self._keep_house()  # there may be hours of work
            self._spool.close(self._quiet_seconds)

    def _answer(self, group: Group, results: Sequence[Result]) -> None:
        readable = []
        for path, result in zip(group.paths, results, strict=True):
            if result.error:
                self._count("unreadable", ERROR, result.error, study=group.study)
            else:
                readable.append((path, result))
        try:
            made = self._spool.answer(group, _paths(readable), self._files(readable))
        except PassingError:
            raise
        except HilumError:  # a picture of which none can be written keeps none from the others
            readable = [each for each in readable if self._is_writable(group, each)]
            made = self._spool.answer(group, _paths(readable), self._files(readable))
        if made:
            seconds = time.time() - group.arrived
            self._count("answered", INFO, study=group.study, pictures=len(readable), results=made, seconds=seconds)

    def _files(self, readable: Sequence[_Picture]) -> Iterator[tuple[str, bytes]]:
        return self._write(_paths(readable), [result for _, result in readable]) if readable else iter(())

    def _is_writable(self, group: Group, picture: _Picture) -> bool:
        try:
            for _ in self._files([picture]):
                pass
        except PassingError:
            raise
        except HilumError as error:
            self._count("unreadable", ERROR, str(error), study=group.study)
            return False
        return True

    def _set_aside(self, group: Group, why: str) -> None:
        self._spool.set_aside(group)
        self._count("set_aside", ERROR, why, study=group.study)

    @contextmanager
    def _sending(self) -> Iterator[None]:
        """Send answers in a thread, until the end of the block."""
        thread = threading.Thread(target=self._send_all, name="sending", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            with self._spool.changed:
                self._spool.changed.notify_all()
            thread.join(_REST_AFTER)

    def _send_all(self) -> None:
        try:
            wait = 0.0
            while not self._stop.wait(wait):
                with self._spool.changed:
                    if (answer := self._spool.next_answer()) is None:
                        self._spool.changed.wait(_REST_AFTER)
                        answer = self._spool.next_answer()
                if answer is None:
                    self._receiver.rest()
                else:
                    wait = self._send(answer, wait)
        except BaseException as error:  # noqa: BLE001 - the main thread tells it
            self._failure = error
            with self._spool.changed:
                self._spool.changed.notify_all()

    def _send(self, answer: Answer, waited: float) -> float:
        """Send an answer, and return how many seconds to wait before the next."""
        began = time.time()
        try:
            self._receiver.send(answer.paths)
        except UnavailableError as error:
            self._receiver_down_since = self._receiver_down_since or began
            wait = min(max(1.0, 2 * waited), _LONGEST_WAIT)
            self._count("not_sent", WARNING, str(error), study=answer.group.study, again_in=wait)
            return wait
        except RefusedError as error:
            self._set_aside(answer.group, str(error))
            return 0.0
        self._receiver_down_since = None
        took, seconds = time.time() - began, time.time() - answer.group.arrived
        self._spool.sent(answer)
        self._count("sent", INFO, study=answer.group.study, took=took, seconds=seconds)
        return 0.0

    def _keep_house(self) -> None:
        """What is done every few seconds, however much there is to answer."""
        self._status()
        self._spool.sweep()

    def _status(self) -> None:
        """Write what a monitor may read."""
        down = self._receiver_down_since
        about = {
            "time": round(time.time(), 1),
            "hilum": __version__,
            "up_seconds": round(time.time() - self._started),
            "receiver_down_seconds": 0 if down is None else round(time.time() - down),
            **self._spool.figures,
            "since_start": dict(sorted(self._counts.items())),
        }
        write_json(self._spool.folder / STATUS, about)


def _paths(pictures: Sequence[_Picture]) -> list[Path]:
    return [path for path, _ in pictures]
