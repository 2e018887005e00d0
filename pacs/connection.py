"""Bounds and pace of a DICOM connection, whoever opened it.

pynetdicom believes what a peer says of the length of a PDU, takes messages of any length, and waits for a silent peer
for ever. Its hook for connections that open bounds all three here.
"""

import logging
import socket
from collections.abc import Callable
from typing import Any, Final

from pynetdicom import _config, evt

from hilum.dicom.header import MAX_FILE_BYTES
from hilum.dicom.reading import quiet_pydicom

PIECE_BYTES: Final = 1 << 17
"""What peers are told to send at most in one PDU."""
SILENT_SECONDS: Final = 30
"""So long a peer is waited for."""
_MOST_IN_MEMORY: Final = 1 << 20  # bytes of a message beside what is written to disk: its command has some hundred
_LARGEST_PDU: Final = 1 << 20  # a request that proposes everything has some 300 KB
_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", None)  # Linux


def quiet_pynetdicom() -> None:
    """Hold back pynetdicom's log, and pydicom's warnings of the commands that it decodes: they quote what is sent."""
    quiet_pydicom()
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)


def bounds(room: Callable[[], bool] = lambda: True) -> list[Any]:
    """What to bind to the events of a connection.

    Args:
        room: whether there is room for more; where there is none, the connection ends.
    """
    return [
        (evt.EVT_CONN_OPEN, _bound, [room]),
        (evt.EVT_DIMSE_RECV, _next_message),
        (evt.EVT_CONN_CLOSE, _closed),
    ]


class _Bounded:
    """Reads from a connection: no PDU that is too long, no message that is, nothing where there is no room."""

    def __init__(self, association: Any, room: Callable[[], bool]) -> None:
        connection = association.dul.socket
        self._receive, self._socket, self._room = connection.recv, connection.socket, room
        self._dimse = association.dimse
        self._socket.settimeout(SILENT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.of_message = 0

    def __call__(self, count: int) -> bytearray:
        self.of_message += count
        if count > _LARGEST_PDU or self.of_message > MAX_FILE_BYTES or not self._room():
            raise OSError  # the connection ends
        if self._in_memory() > _MOST_IN_MEMORY:
            raise OSError
        if _QUICKACK is not None:  # else many a peer waits 40 ms before the second half of each message
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        content: bytearray = self._receive(count)
        return content

    def _in_memory(self) -> int:
        """Bytes of the message that is being received; of C-STORE the data set goes to a file."""
        message = self._dimse.message
        if message is None:
            return 0
        kept: int = message.encoded_command_set.getbuffer().nbytes + message.data_set.getbuffer().nbytes
        return kept


def _bound(event: Any, room: Callable[[], bool]) -> None:
    event.assoc.dul.socket.recv = _Bounded(event.assoc, room)


def _next_message(event: Any) -> None:
    event.assoc.dul.socket.recv.of_message = 0


def _closed(event: Any) -> None:
    """Have an association that was never asked for end at once, and not when its time is up: ports are looked at."""
    if not event.assoc.is_established:
        event.assoc.dul.to_user_queue.put(None)
