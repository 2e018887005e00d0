"""A DICOM listener: it answers C-ECHO and C-STORE, within bounds that whoever connects cannot move."""

import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from socketserver import TCPServer
from typing import Any, Final

from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    AllTransferSyntaxes,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
    UncompressedTransferSyntaxes,
)
from pynetdicom import AE, AllStoragePresentationContexts, _config, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined] # pynetdicom makes its names while it runs
from pynetdicom.transport import ThreadedAssociationServer

from hilum.dicom.header import SOP_CLASS, tag_against_radiograph
from hilum.errors import HilumError
from hilum.pacs.connection import PIECE_BYTES, SILENT_SECONDS, bounds, quiet_pynetdicom

STORED: Final = 0x0000
# PS3.4 B.2.3: out of resources; the data set contradicts the command; it cannot be understood
NO_ROOM, CONTRADICTS, NOT_UNDERSTOOD = 0xA700, 0xA900, 0xC000
_JPEG_2000 = (JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K)
_CONNECTIONS: Final = 16


@dataclass(frozen=True)
class Incoming:
    """An object that was received, and is not acknowledged yet.

    Attributes:
        path: its file, which is removed afterwards unless it was moved.
        sop_instance_uid: as the sender's command says.
    """

    path: Path
    sop_instance_uid: str


@dataclass(frozen=True)
class Door:
    """Where to listen, and to whom.

    Attributes:
        host: address of the interface.
        port: of TCP; 0 takes a free one.
        title: own AE title, by which senders must call.
        allowed: AE titles of senders; all where empty.
        tls: of the connections; None where they are not encrypted.
    """

    host: str
    port: int
    title: str
    allowed: tuple[str, ...] = ()
    tls: ssl.SSLContext | None = None


@contextmanager
def listening(
    door: Door, incoming: Path, store: Callable[[Incoming], int], room: Callable[[], bool], tell: Callable[[str], None]
) -> Iterator[ThreadedAssociationServer]:
    """Listen until the end of the block.

    Args:
        door: where.
        incoming: folder for what is being received.
        store: takes over an object, in one of several threads, and returns the status that its sender gets.
        room: whether the disk has room for more; where it has not, connections end.
        tell: is told why a connection came to nothing.

    Yields:
        The server; its `server_address` has the port.

    Raises:
        HilumError: the address is in use, or is not this machine's.
    """
    quiet_pynetdicom()
    _config.STORE_RECV_CHUNKED_DATASET = True
    tempfile.tempdir = str(incoming)  # where pynetdicom writes
    entity = AE(door.title)
    entity.maximum_pdu_size, entity.maximum_associations = PIECE_BYTES, _CONNECTIONS
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = SILENT_SECONDS
    entity.require_called_aet, entity.require_calling_aet = True, list(door.allowed)
    for context in AllStoragePresentationContexts:
        of_radiographs = tag_against_radiograph({SOP_CLASS: str(context.abstract_syntax)}) is None
        entity.add_supported_context(str(context.abstract_syntax), _readable() if of_radiographs else _every())
    entity.add_supported_context(Verification)

    def turned_away(event: Any) -> None:
        address = event.assoc.requestor.address
        tell(f"{address} was turned away: its AE title or the one it calls is not agreed on, or too many are connected")

    handlers: list[Any] = [
        *bounds(room),
        (evt.EVT_REJECTED, turned_away),
        (evt.EVT_C_STORE, _stored, [store]),
    ]
    try:
        server = entity.make_server(
            (door.host, door.port),
            contexts=_Shared(entity.supported_contexts),
            ssl_context=door.tls,
            evt_handlers=handlers,
            server_class=_Server,
        )
    except OSError as error:
        raise HilumError(f"{door.host}:{door.port}: cannot be listened on: {error.strerror or error}") from error
    before = threading.excepthook
    threading.excepthook = lambda failed: tell(f"a connection ended in the middle: {failed.exc_type.__name__}")
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    try:
        yield server
    finally:
        TCPServer.shutdown(server)
        for association in server.active_associations:
            association.abort()
        server.server_close()
        threading.excepthook = before


def _every() -> list[UID]:
    """All transfer syntaxes but the deflated one, of which nothing can be read without unpacking all."""
    return [syntax for syntax in AllTransferSyntaxes if not syntax.is_deflated]


def _readable() -> list[UID]:
    """The transfer syntaxes that are decoded here, so that senders choose among these, or convert to one."""
    compressed = [*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *_JPEG_2000] if find_spec("imagecodecs") else []
    plain = [syntax for syntax in UncompressedTransferSyntaxes if not syntax.is_deflated]
    return list(dict.fromkeys([*plain, JPEGBaseline8Bit, RLELossless, *compressed]))


class _Shared(list[Any]):
    """What is proposed to every peer. pynetdicom copies it for each, which takes longer than a small picture."""

    def __deepcopy__(self, memo: Any) -> "_Shared":
        return self


class _Server(ThreadedAssociationServer):
    """Waits for nobody while it takes connections, not for the handshake of TLS either."""

    def get_request(self) -> tuple[socket.socket, Any]:
        listener: Any = self.socket
        connection, address = listener.accept()
        connection.settimeout(SILENT_SECONDS)
        if self.ssl_context:
            connection = self.ssl_context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """It would print where in pynetdicom a connection failed."""

    def verify_request(self, request: Any, client_address: Any) -> bool:
        del request, client_address
        return len(self.active_associations) < 2 * _CONNECTIONS


def _stored(event: Any, store: Callable[[Incoming], int]) -> int:
    return store(Incoming(event.dataset_path, str(event.request.AffectedSOPInstanceUID)))
