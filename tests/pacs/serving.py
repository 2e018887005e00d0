"""Runs `hilum pacs` for tests, and starts it anew whenever it is killed, as systemd does.

Each line on standard input is a folder and the words of a command, as JSON. Standard error goes to `log` in the folder,
the number of the process that serves to `pid`, and to `ended` how it ended. It forks a child for each start, so that
the heavy imports happen once.
"""

import json
import os
import signal
import sys
from pathlib import Path

import cv2
import dicomweb_client  # noqa: F401 - before the fork, for all children
import pynetdicom  # noqa: F401
import torch

from hilum.__main__ import main
from hilum.findings import presentation_state, secondary_capture, structured_report  # noqa: F401
from hilum.pacs import serve  # noqa: F401


def serve_once(words: list[str]) -> None:
    """Run the command and end this process."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.argv = ["hilum", *words]
    try:
        main()
    except SystemExit as end:
        os._exit(int(end.code or 0))  # tidying up the interpreter takes a second
    os._exit(0)


def keep_alive(folder: Path, words: list[str]) -> None:
    """Until it ends by itself, or is asked to end."""
    with (folder / "log").open("ab") as log:
        os.dup2(log.fileno(), sys.stderr.fileno())
    status = -signal.SIGKILL
    while status == -signal.SIGKILL:
        child = os.fork()
        if not child:
            serve_once(words)
        (folder / "pid").write_text(str(child))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    (folder / "ended").write_text(str(status))


torch.set_num_threads(1)
cv2.setNumThreads(1)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who keep alive
for line in sys.stdin:
    place, *words_of_it = json.loads(line)
    if not os.fork():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        keep_alive(Path(place), words_of_it)
        os._exit(0)
