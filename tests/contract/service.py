"""`hilum pacs` in a process of its own, and studies to send to it."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orthanc
import pydicom
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

import hilum

NAME, PATIENT = "Quixotic^Zebulon", "MRN-8819"  # nobody's; no log may hold them
DX, CR, CT = (f"1.2.840.10008.5.1.4.1.1.{number}" for number in ("1.1", "1", "2"))


class Starter:
    """Starts services, each quickly, for the imports are done."""

    def __init__(self) -> None:
        script = Path(__file__).parents[1] / "pacs" / "serving.py"
        environment = {**os.environ, "PYTHONPATH": str(Path(hilum.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(script)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, env=environment)

    def start(self, folder: Path, *words: object) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps([str(folder), *map(str, words)]) + "\n")
        self._process.stdin.flush()

    def end(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


class Service:
    """`hilum pacs` in a process, which is started anew when it is killed."""

    def __init__(self, starter: Starter, folder: Path, run: Path, send: str, *words: object) -> None:
        self.port = orthanc.free_port()
        self.spool = folder / "spool"
        self._folder = folder
        starter.start(folder, "pacs", run, "--listen", self.port, "--send", send, "--spool", self.spool, *words)
        self.wait_until(lambda: "listening" in self.log)

    @property
    def log(self) -> str:
        path = self._folder / "log"
        return path.read_text() if path.exists() else ""

    @property
    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads((self.spool / "status.json").read_text())
        return status

    def wait_until(self, true, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            assert not (self._folder / "ended").exists(), self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL; it is back when this returns."""
        starts = self.log.count("listening")
        os.kill(int((self._folder / "pid").read_text()), signal.SIGKILL)
        self.wait_until(lambda: self.log.count("listening") > starts)

    def stop(self) -> int:
        ended = self._folder / "ended"
        if not ended.exists():
            os.kill(int((self._folder / "pid").read_text()), signal.SIGTERM)
        deadline = time.monotonic() + 30
        while not ended.exists() or not ended.read_text():
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)
        return int(ended.read_text())

    def send(self, files: Sequence[bytes], *, called: str = "HILUM", calling: str = "MODALITY", **tls) -> list[int]:
        """Send files over one association; the status of each, none where there is no association."""
        entity = AE(calling)
        datasets = [pydicom.dcmread(io.BytesIO(file)) for file in files]
        for sop_class, syntax in {(each.SOPClassUID, each.file_meta.TransferSyntaxUID) for each in datasets}:
            entity.add_requested_context(sop_class, syntax)
        entity.add_requested_context(Verification)
        opened: list[Any] = []
        note = (evt.EVT_CONN_OPEN, lambda event: opened.append(event.assoc.dul.socket.socket))
        try:
            association = entity.associate("127.0.0.1", self.port, ae_title=called, evt_handlers=[note], **tls)
            if not association.is_established:
                return []
            answers = [association.send_c_echo(), *(association.send_c_store(dataset) for dataset in datasets)]
            association.release()
        finally:
            for connection in opened:  # pynetdicom leaves some to whoever collects garbage
                connection.close()
        answered, *statuses = (answer.get("Status", -1) for answer in answers)
        assert answered == 0  # C-ECHO
        return statuses

    def send_until_taken(self, files: Sequence[bytes]) -> None:
        """As an archive does: again and again, until each is acknowledged."""
        left = list(files)
        deadline = time.monotonic() + 60
        while left:
            assert time.monotonic() < deadline
            try:
                answers = self.send(left)
            except (RuntimeError, AssertionError):  # the association, or who listens, is gone
                answers = []
            left = [file for file, status in zip(left, [*answers, *[-1] * len(left)], strict=False) if status]
