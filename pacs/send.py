"""Send results: to a DICOM node by C-STORE, or to a DICOMweb server by STOW-RS."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import pydicom

from hilum.errors import HilumError
from hilum.pacs.tls import tls_context

# SOP classes of results (PS3.4 B.5)
_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."
_RESULTS: Final = tuple(_STORAGE + number for number in ("88.33", "88.34", "88.22", "11.1", "7"))
_WARNINGS: Final = frozenset({0xB000, 0xB006, 0xB007})  # PS3.4 B.2.3: stored, with reservations
_BUSY: Final = range(0xA700, 0xA800)  # out of resources
_SECONDS: Final = 30
_HTTP_BUSY: Final = frozenset({401, 403, 404, 407, 408, 413, 429})  # what time, or whoever runs the server, mends
_DUPLICATES: Final = frozenset({0x0111, 0xB00E})  # it has this object: PS3.7 C.5.7, and Google's word for the same
_HTTP_CONFLICT: Final = 409  # PS3.18 10.5.3: none was stored, and the content says why


class UnavailableError(HilumError):
    """The receiver takes nothing now; later it may."""


class RefusedError(HilumError):
    """The receiver does not take these objects."""


class Receiver(Protocol):
    """Where results go."""

    def send(self, paths: Sequence[Path]) -> None:
        """Send objects of one study; return once the receiver has all of them.

        Raises:
            UnavailableError: nobody is there, or has no room.
            RefusedError: it does not take them.
        """

    def rest(self) -> None:
        """Let go of the connection: nothing is to be sent for a while."""


@dataclass(frozen=True)
class Identity:
    """Who hilum is to a receiver.

    Attributes:
        title: own AE title.
        certificate: PEM file of a certificate with its key; None where none is shown.
        authorities: PEM file of those who vouch for the receiver; the system's where None.
        authorization: what the header `Authorization` says to a DICOMweb server; nothing where empty.
        tls: whether C-STORE is encrypted; an address of DICOMweb says so itself.
    """

    title: str
    certificate: Path | None = None
    authorities: Path | None = None
    authorization: str = ""
    tls: bool = False


def check_title(title: str) -> None:
    """Raise a HilumError of what is no AE title (PS3.5 6.2)."""
    if not (title.isascii() and title.isprintable() and "\\" not in title and title.strip() and len(title) <= 16):
        raise HilumError(f"an AE title has 1 to 16 ASCII characters and no backslash, got {title}")


def receiver_at(address: str, identity: Identity) -> Receiver:
    """Where an address leads: `TITLE@host:port`, or the URL of a DICOMweb server.

    Raises:
        HilumError: it is neither, or who listens on the way could read what the header `Authorization` says.
    """
    if _is_url(address):
        return _DicomwebReceiver(address, identity)
    title, at, place = address.rpartition("@")
    host, colon, port = place.rpartition(":")
    is_port = port.isascii() and port.isdecimal() and 0 < int(port) < 1 << 16
    if not (at and colon and title and host and is_port):
        got = "a URL that is none" if "://" in address else address  # a password may be in it
        raise HilumError(f"--send: expected TITLE@host:port or the https:// address of a DICOMweb server, got {got}")
    try:
        check_title(title)
    except HilumError as error:
        raise error.within("--send") from error
    return _DicomReceiver(title, host.strip("[]"), int(port), identity)


class _DicomReceiver:
    """Keeps an association from one study to the next, while there is something to send."""

    def __init__(self, title: str, host: str, port: int, identity: Identity) -> None:
        from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
        from pynetdicom import AE

        from hilum.pacs.connection import bounds, quiet_pynetdicom

        quiet_pynetdicom()
        self._title, self._host, self._port = title, host, port
        self._entity = AE(identity.title)
        self._entity.acse_timeout = self._entity.dimse_timeout = self._entity.connection_timeout = _SECONDS
        for sop_class in _RESULTS:
            for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
                self._entity.add_requested_context(sop_class, syntax)
        self._tls = (
            (tls_context(identity.certificate, identity.authorities, server=False), host) if identity.tls else None
        )
        self._bounds = bounds()
        self._association: Any = None

    def send(self, paths: Sequence[Path]) -> None:
        kept = self._association is not None
        try:
            self._send(paths)
        except UnavailableError:
            self.rest()
            if not kept:
                raise
            self._send(paths)  # an old association may have been ended by the other side

    def _send(self, paths: Sequence[Path]) -> None:
        if self._association is None or not self._association.is_established:
            self._association = self._entity.associate(
                self._host, self._port, ae_title=self._title, tls_args=self._tls, evt_handlers=self._bounds
            )
        if not self._association.is_established:
            why = "rejects the AE titles" if self._association.is_rejected else "does not answer, or takes no results"
            self._association = None
            raise UnavailableError(f"{self._title}@{self._host}:{self._port} {why}")
        for path in paths:
            self._store(path)

    def _store(self, path: Path) -> None:
        try:
            answer = self._association.send_c_store(pydicom.dcmread(path))
        except ValueError as error:  # of pynetdicom, where no presentation context fits
            raise RefusedError(f"{self._title} does not take this kind of object") from error
        except RuntimeError as error:  # the association has ended meanwhile
            raise UnavailableError(f"{self._title} ended the association") from error
        status = answer.get("Status")
        if status is None:
            raise UnavailableError(f"{self._title} ended the association, or is silent")
        if status in _BUSY:
            raise UnavailableError(f"{self._title} has no room: status 0x{status:04X}")
        if status not in {0x0000} | _DUPLICATES | _WARNINGS:
            raise RefusedError(f"{self._title} refuses with status 0x{status:04X}")

    def rest(self) -> None:
        association, self._association = self._association, None
        if association is not None and association.is_established:
            association.release()


class _DicomwebReceiver:
    """Keeps a connection as HTTP does."""

    def __init__(self, url: str, identity: Identity) -> None:
        import requests
        from dicomweb_client import DICOMwebClient

        if urlsplit(url).username:
            raise HilumError("--send: the address holds a name or password; say it by --authorization FILE")
        if identity.authorization and urlsplit(url).scheme != "https" and not _is_here(urlsplit(url).hostname or ""):
            raise HilumError(
                "--authorization: over http:// whoever listens on the way can read it; give --send an https:// address"
            )
        session = requests.Session()
        session.max_redirects = 0  # results go where they are told to, and nowhere else
        session.trust_env = False  # nor through a proxy, nor with a password that lies about
        session.verify = str(identity.authorities) if identity.authorities else True
        session.cert = str(identity.certificate) if identity.certificate else None
        session.hooks["response"].append(_with_bare_type)
        headers = {"Accept": "application/dicom+json"}
        if identity.authorization:
            headers["Authorization"] = identity.authorization
        self._failures: tuple[type[Exception], ...] = (requests.RequestException,)
        self._name = urlsplit(url).netloc
        self._session = session
        self._client = DICOMwebClient(url.rstrip("/"), session=session, headers=headers, timeout=_SECONDS)
        self._client.set_http_retry_params(retry=False)

    def send(self, paths: Sequence[Path]) -> None:
        for path in paths:  # one by one: those of a study may be larger than memory
            self._store(pydicom.dcmread(path))

    def _store(self, result: pydicom.Dataset) -> None:
        stored, failures = self._told_of(result)
        if failures:
            reason = next(filter(_BUSY.__contains__, failures), failures[0])  # what time mends comes first
            kind = UnavailableError if reason in _BUSY else RefusedError
            raise kind(f"{self._name} refuses with reason 0x{reason:04X}")
        if str(result.SOPInstanceUID) not in stored:  # whatever is at this address may say 200: a page to log in
            raise UnavailableError(f"{self._name} does not say that it stored the result, as DICOMweb does")

    def _told_of(self, result: pydicom.Dataset) -> tuple[set[str], list[int]]:
        """Which objects the server has now, by their UIDs, and why it does not take others."""
        try:
            return _outcome(self._client.store_instances([result]))
        except self._failures as error:
            if isinstance(error, ValueError):
                raise self._is_none() from error
            response: Any = getattr(error, "response", None)
            if response is not None and response.status_code == _HTTP_CONFLICT:
                with suppress(Exception):
                    stored, failures = _outcome(pydicom.Dataset.from_json(response.json()))
                    if stored or failures:
                        return stored, failures
            raise self._failure(error) from error
        except MemoryError:
            raise
        except Exception as error:  # whatever the libraries meet in an answer that is none
            raise self._is_none() from error

    def _is_none(self) -> UnavailableError:
        return UnavailableError(f"{self._name} answers something else than DICOMweb")

    def _failure(self, error: Exception) -> HilumError:
        response = getattr(error, "response", None)
        if response is None:
            return UnavailableError(f"{self._name}: {type(error).__name__}")
        busy = response.status_code in _HTTP_BUSY or response.status_code >= 500 or response.is_redirect
        kind = UnavailableError if busy else RefusedError
        return kind(f"{self._name} answers with HTTP status {response.status_code}")

    def rest(self) -> None:
        with suppress(Exception):
            self._session.close()


def _is_url(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return address.startswith(("http://", "https://")) and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of a port or an address of IPv6 that is none
        return False


def _is_here(host: str) -> bool:
    """Whether a host is this machine, by its loopback interface."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def _with_bare_type(response: Any, **_: Any) -> None:
    """Leave out what follows the media type, such as a character set: the client knows the bare ones alone."""
    response.headers["Content-Type"] = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _outcome(told: pydicom.Dataset) -> tuple[set[str], list[int]]:
    """The UIDs of what is stored, now or before, and the reasons why other objects are not (PS3.18 10.5.3.1.1)."""
    failed = [
        (str(item.get("ReferencedSOPInstanceUID", "")), int(item.get("FailureReason", 0)))
        for item in told.get("FailedSOPSequence") or ()
    ]
    stored = {str(item.ReferencedSOPInstanceUID) for item in told.get("ReferencedSOPSequence") or ()}
    there = {uid for uid, reason in failed if reason in _DUPLICATES}
    return stored | there, [reason for _, reason in failed if reason not in _DUPLICATES]
