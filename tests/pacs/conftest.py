"""An archive, and hilum beside it, on loopback."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import orthanc
import pytest
from service import DX, NAME, PATIENT, Service, Starter


@pytest.fixture(scope="session")
def archive(tmp_path_factory) -> Iterator[orthanc.Orthanc]:
    """An Orthanc that tests of this folder share; the studies of each have UIDs of their own."""
    if orthanc.CANNOT:
        pytest.skip(orthanc.CANNOT)
    started = orthanc.Orthanc(tmp_path_factory.mktemp("archive") / "orthanc")
    yield started
    started.kill()


@pytest.fixture(scope="session")
def starter() -> Iterator[Starter]:
    prepared = Starter()
    yield prepared
    prepared.end()


@pytest.fixture(autouse=True)
def _temporary_files_as_before(monkeypatch):
    """A listener has all temporary files of its process in its own folder; here that is the tests' process."""
    monkeypatch.setattr(tempfile, "tempdir", tempfile.tempdir)


@pytest.fixture
def service(archive, starter, tiny_run, tmp_path):
    """Starts `hilum pacs` with further words, and ends it with the test."""
    started: list[Service] = []

    def start(*words: object, send: str = f"{archive.title}@127.0.0.1:{archive.port}", quiet: float = 0.3) -> Service:
        folder = tmp_path / f"service-{len(started)}"
        folder.mkdir()
        started.append(Service(starter, folder, tiny_run, send, "--quiet", quiet, *words))
        return started[-1]

    yield start
    for each in started:
        each.stop()


@pytest.fixture(scope="session")
def make_study(make_dicom, make_picture):
    """Files of a study; UIDs are those of the number, so that the same study can be made again."""

    def make(number: str, pictures: int = 1, **tags) -> list[bytes]:
        files = []
        for picture in range(pictures):
            uids = {
                "StudyInstanceUID": f"2.25.{number}",
                "SeriesInstanceUID": f"2.25.{number}.1",
                "SOPInstanceUID": f"2.25.{number}.1.{picture}",
                "SOPClassUID": DX,
                "Modality": "DX",
                "PatientName": NAME,
                "PatientID": f"{PATIENT}-{number}",
                "AccessionNumber": f"A{number}"[-16:],
                "StudyDate": "20260102",
            }
            files.append(make_dicom(make_picture(picture), **(uids | tags)))
        return files

    return make


@pytest.fixture
def number(request) -> Iterator[str]:
    """A number that no other test of this session has, for its UIDs."""
    return str(int.from_bytes(os.urandom(6)))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory) -> Path:
    """An authority, those whom it vouches for (`archive`, `hilum`), and a stranger who vouches for himself."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl here")
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, capture_output=True, check=True)

    for name in ("authority", "stranger"):
        openssl(*f"req -x509 -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.crt".split())
    for name in ("archive", "hilum"):
        openssl(*f"req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr".split())
        openssl(
            *f"x509 -req -in {name}.csr -CA authority.crt -CAkey authority.key -extfile names -out {name}.crt".split()
        )
    for name in ("archive", "hilum", "stranger"):
        both = (folder / f"{name}.crt").read_text() + (folder / f"{name}.key").read_text()
        (folder / f"{name}.pem").write_text(both)
    return folder
