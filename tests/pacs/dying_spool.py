"""Kills a spool right before each file operation of its life; started by test_spool.py as `dying_spool.py FOLDER`.

A life is: two pictures of a study arrive, are answered, and the answer is sent. After each kill the spool is opened
anew and lives on, as a restarted service does, with a sender that sends again what was not acknowledged. At the end one
JSON line for each kill tells which answers were sent, and what is left.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from hilum.pacs.spool import Spool

PICTURES = ("1.2.1", "1.2.2")


def die_at_event(number: int, folder: Path) -> None:
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}:
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        place = str(arguments[0])
        if place.startswith("/") and not place.startswith(str(folder)):
            return
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def live(folder: Path, sent: Path) -> None:
    """What the service and who sends to it do, until nothing waits."""
    spool = Spool(folder, b"k" * 32, most_waiting=10, least_free_bytes=0)
    for uid in PICTURES:
        acknowledged = sent.with_name(f"{sent.name}-{uid}")
        if not acknowledged.exists():
            path = spool.incoming / "tmp"
            path.write_bytes(uid.encode())
            assert spool.receive(path, spool.name_of_study("1"), spool.name_of_object(uid)) or sent.exists()
            acknowledged.touch()
    while True:
        spool.close(0)
        for group in spool.to_answer(16):
            with spool.begun([group]):
                names = sorted(path.read_text() for path in group.paths)
                spool.answer(group, group.paths, [("2." + ".".join(names), json.dumps(names).encode())])
        answer = spool.next_answer()
        if answer is None:
            return
        with sent.open("a") as file:
            file.writelines(path.read_text() + "\n" for path in answer.paths)
        spool.sent(answer)


def main() -> None:
    base = Path(sys.argv[1])
    for number in range(1, 1000):
        folder, sent = base / f"spool-{number}", base / f"sent-{number}"
        for die_at in (number, 0):
            child = os.fork()
            if not child:
                if die_at:
                    die_at_event(die_at, folder)
                live(folder, sent)
                os._exit(0)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            killed = status == -signal.SIGKILL
            if not killed:
                break
        left = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        told = {"status": status, "killed": (bool(die_at) and killed) or not die_at, "left": left}
        sys.stdout.write(json.dumps({**told, "sent": sent.read_text().splitlines()}) + "\n")
        if die_at:  # it lived to its end
            return


if __name__ == "__main__":
    main()
