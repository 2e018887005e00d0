"""`hilum pacs`: between a PACS and its readers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from hilum.commands.arguments import RUN, check_order
from hilum.commands.options import Positive
from hilum.errors import HilumError

if TYPE_CHECKING:  # `hilum --help` is to be quick
    from hilum.findings.objects import Kind

_LOOPBACK = "127.0.0.1"
_Seconds = Annotated[float, Parameter(validator=validators.Number(gte=0, lte=86_400))]
_MAX_AUTHORIZATION = 1 << 14  # bytes


def pacs(
    run: Path,
    *,
    send: str,
    listen: str = "11112",
    title: str = "HILUM",
    allow: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    results: str = "sr,pr",
    quiet: _Seconds = 10.0,
    spool: Path = Path("pacs-spool"),
    queue: Positive = 1000,
    keep_free: Positive = 1024,
    key: Path | None = None,
    certificate: Path | None = None,
    authority: Path | None = None,
    send_tls: bool = False,
    authorization: Path | None = None,
) -> int:
    """Receive radiographs from a PACS, find opacities, and send the results back, until interrupted.

    What it does is told on standard error, a line an event, and summed up in SPOOL/status.json. Interrupted, the same
    command again goes on with what waits in the spool.

    Parameters
    ----------
    run
        Run folder.
    send
        Where results go: TITLE@host:port of a DICOM node, or the https:// address of a DICOMweb server.
    listen
        Port to receive on, from this machine alone; 0.0.0.0:PORT from everywhere, or another address of this machine.
    title
        Own AE title; who calls another one is turned away.
    allow
        AE titles of those who may send; all where not given. May be given several times.
    results
        What is sent: sr, a structured report a study; pr, a presentation state, and sc, a secondary capture, a picture.
    quiet
        A study is complete when so many seconds have passed since its last picture.
    spool
        Folder of what waits. It holds radiographs of patients for a while.
    queue
        Pictures that may wait until their results are sent; beyond, senders are told that there is no room.
    keep_free
        MiB of the spool's disk that stay free; else the same.
    key
        File with the key of the hashes that stand for studies in log and spool; made where it is missing. SPOOL/key
        where not given.
    certificate
        PEM file of a certificate and its key. With it, senders must use TLS.
    authority
        PEM file of who vouches for senders, which then need certificates too, and for the receiver.
    send_tls
        Use TLS to the DICOM node, too. An https:// address needs no such word.
    authorization
        File with what the header Authorization says to a DICOMweb server, such as `Bearer abc`; over https:// alone,
        but for a server on this machine.
    """
    check_order("pacs", (RUN, run))
    _check_installed()
    from hilum.files import locked
    from hilum.pacs.answers import writer
    from hilum.pacs.listen import Door
    from hilum.pacs.log import logging_here
    from hilum.pacs.send import Identity, check_title, receiver_at
    from hilum.pacs.serve import Service
    from hilum.pacs.spool import Spool
    from hilum.pacs.tls import tls_context
    from hilum.predict import algorithm_of, load
    from hilum.pseudonyms import read_or_make_key

    host, port = _address(listen)
    for each in (title, *allow):
        check_title(each)
    door = Door(host, port, title, allow, tls_context(certificate, authority, server=True) if certificate else None)
    receiver = receiver_at(send, Identity(title, certificate, authority, _authorization(authorization), send_tls))
    write = writer(algorithm_of(run), _kinds(results))
    predictor = load(run)
    spool.mkdir(mode=0o700, parents=True, exist_ok=True)
    with logging_here(), locked(spool, busy="another hilum works on it; give each a spool of its own"):
        opened = Spool(
            spool, read_or_make_key(key or spool / "key"), most_waiting=queue, least_free_bytes=keep_free << 20
        )
        Service(opened, predictor, write, receiver, quiet).run(door)
    return 0


def _check_installed() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("pynetdicom", "dicomweb_client", "highdicom") if not find_spec(name)]
    if missing:
        raise HilumError(f"`hilum pacs` needs {', '.join(missing)}: pip install 'hilum[pacs]'")


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not (port.isascii() and port.isdecimal() and int(port) < 1 << 16):
        raise HilumError(f"--listen: expected a port, or address:port, got {listen}")
    return host.strip("[]") or _LOOPBACK, int(port)


def _kinds(results: str) -> "list[Kind]":
    from hilum.findings.objects import KINDS

    wanted = [word.strip() for word in results.split(",")]
    if unknown := [word for word in wanted if word not in KINDS]:
        raise HilumError(f"--results: expected some of {', '.join(KINDS)}, with commas, got {', '.join(unknown)}")
    return [kind for kind in KINDS if kind in wanted]


def _authorization(path: Path | None) -> str:
    from hilum.documents import read_text

    said = read_text(path, _MAX_AUTHORIZATION).strip() if path else ""
    if not (said.isascii() and (said.isprintable())):
        raise HilumError(f"{path}: expected one line, such as: Bearer abc")
    return said
