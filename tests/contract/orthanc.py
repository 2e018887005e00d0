"""Orthanc, the archive, started on loopback for tests, for measuring and for showing."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
CANNOT = None if PROGRAM and PLUGIN.exists() else "no Orthanc here; on Debian: apt-get install orthanc orthanc-dicomweb"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Orthanc:
    """An archive in a folder of its own, which stays when it is killed."""

    title = "ORTHANC"

    def __init__(self, folder: Path, **settings: Any) -> None:
        folder = folder.resolve()
        folder.mkdir()
        self.http_port, self.port = free_port(), free_port()
        self.dicomweb = f"http://127.0.0.1:{self.http_port}/dicom-web"
        self._folder = folder
        (folder / "orthanc.json").write_text(
            json.dumps(
                {
                    "StorageDirectory": str(folder / "storage"),
                    "IndexDirectory": str(folder / "storage"),
                    "Plugins": [str(PLUGIN)],
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": False,
                    "HttpPort": self.http_port,
                    "DicomAet": self.title,
                    "DicomPort": self.port,
                    "DicomCheckCalledAet": True,
                    "DicomAlwaysAllowStore": True,
                    "OverwriteInstances": False,
                    "StableAge": 1,
                    "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
                    **settings,
                }
            )
        )
        self.start()

    def start(self) -> None:
        with (self._folder / "orthanc.log").open("ab") as log:
            command = [PROGRAM, str(self._folder / "orthanc.json")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._folder / "orthanc.log").read_text()[-2000:])
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        return self._process.pid

    def _answers(self) -> bool:
        try:
            self.get("/system")
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """End it at once; ending by itself takes it three seconds."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def get(self, path: str) -> Any:
        return json.loads(self._ask(path))

    def post(self, path: str, content: bytes | dict[str, Any]) -> Any:
        return json.loads(self._ask(path, content if isinstance(content, bytes) else json.dumps(content).encode()))

    def put(self, path: str, content: dict[str, Any]) -> None:
        self._ask(path, json.dumps(content).encode(), method="PUT")

    def _ask(self, path: str, content: bytes | None = None, *, method: str | None = None) -> bytes:
        connection = HTTPConnection("127.0.0.1", self.http_port, timeout=60)
        try:
            connection.request(method or ("GET" if content is None else "POST"), path, content)
            answer = connection.getresponse()
            told = answer.read()
        finally:
            connection.close()
        assert answer.status == 200, (path, answer.status, told)
        return told

    def file(self, instance: str) -> bytes:
        return self._ask(f"/instances/{instance}/file")

    def instances(self, modality: str) -> list[dict[str, Any]]:
        """The objects of a modality, each with its main tags and ParentStudyUID."""
        query = {"Level": "Instance", "Expand": True, "Query": {"Modality": modality}}
        found: list[dict[str, Any]] = self.post("/tools/find", query)
        return found

    def wait_for(self, modality: str, count: int, seconds: float = 60) -> list[dict[str, Any]]:
        """The objects of a modality as soon as there are so many."""
        deadline = time.monotonic() + seconds
        while len(found := self.instances(modality)) < count:
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(found)} of {count} {modality} after {seconds} s")
            time.sleep(0.05)
        return found
