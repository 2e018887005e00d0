"""Whoever connects cannot make the listener wait, fill up or fall over."""

import contextlib
import io
import os
import resource
import socket
import struct
import time
import warnings

import pydicom
import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification
from service import CT, DX

from hilum.pacs import connection as connection_module
from hilum.pacs import listen as listen_module
from hilum.pacs.listen import STORED, Door, listening
from hilum.pacs.tls import tls_context

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


class Listener:
    def __init__(self, folder, **options):
        self.folder, self.options = folder, options
        self.taken, self.told, self.opened, self.room = [], [], [], True

    def store(self, incoming):
        self.taken.append((incoming.sop_instance_uid, incoming.path.read_bytes()))
        return STORED

    @contextlib.contextmanager
    def __call__(self):
        self.folder.mkdir(exist_ok=True)
        door = Door("127.0.0.1", 0, "HILUM", **self.options)
        with listening(door, self.folder, self.store, lambda: self.room, self.told.append) as server:
            self.port = server.server_address[1]
            yield self
        for connection in self.opened:  # pynetdicom leaves some to whoever collects garbage
            connection.close()

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def associate(self, *contexts, **options):
        entity = AE("MODALITY")
        entity.add_requested_context(Verification)
        for context in contexts:
            entity.add_requested_context(*context)
        note = (evt.EVT_CONN_OPEN, lambda event: self.opened.append(event.assoc.dul.socket.socket))
        return entity.associate("127.0.0.1", self.port, ae_title="HILUM", evt_handlers=[note], **options)

    def echoes(self, **options):
        association = self.associate(**options)
        answer = association.send_c_echo().get("Status") if association.is_established else None
        association.release()
        return answer == 0


@pytest.fixture
def listener(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("pynetdicom._config.STORE_RECV_CHUNKED_DATASET", False)
    with Listener(tmp_path / "incoming")() as started:
        yield started


def closed(connection):
    """Whether the other side ends the connection."""
    with contextlib.suppress(ConnectionError):
        while connection.recv(1 << 16):
            pass
    return True


def test_what_is_sent_is_a_whole_file_with_a_preamble(listener, make_study):
    file = make_study("7")[0]
    dataset = pydicom.dcmread(io.BytesIO(file))
    association = listener.associate((DX, dataset.file_meta.TransferSyntaxUID))
    assert association.send_c_store(dataset).Status == 0
    association.release()
    ((uid, content),) = listener.taken
    assert uid == dataset.SOPInstanceUID
    assert pydicom.dcmread(io.BytesIO(content)) == dataset
    assert not list(listener.folder.iterdir())


def test_a_pdu_that_says_to_be_huge_ends_the_connection(listener):
    with listener.connect() as connection:
        connection.sendall(struct.pack(">BBL", 1, 0, 0xFFFFFFFF) + bytes(1 << 16))
        assert closed(connection)
    assert listener.echoes()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 8 << 20  # KiB


def test_an_object_that_is_too_long_ends_the_connection(listener, make_study, monkeypatch):
    monkeypatch.setattr(connection_module, "MAX_FILE_BYTES", 1 << 14)
    association = listener.associate((DX, "1.2.840.10008.1.2.1"))
    dataset = pydicom.dcmread(io.BytesIO(make_study("7")[0]))
    for _ in range(3):  # each is short enough, and so are all of them
        assert association.send_c_store(dataset).Status == 0
    dataset.PixelData = bytes(1 << 20)
    assert "Status" not in association.send_c_store(dataset)
    assert len(listener.taken) == 3
    assert listener.echoes()


@pytest.mark.parametrize("kind", [b"\1", b"\0"])  # of a command; of a data set that belongs to none
def test_a_message_that_fills_memory_ends_the_connection(listener, kind):
    association = listener.associate()
    connection = listener.opened[-1]
    fragment = struct.pack(">LB", (1 << 17) + 2, association.accepted_contexts[0].context_id) + kind + bytes(1 << 17)
    with contextlib.suppress(OSError):
        for _ in range(64):
            connection.sendall(struct.pack(">BBL", 4, 0, len(fragment)) + fragment)
    deadline = time.monotonic() + 5
    while association.is_established:
        assert time.monotonic() < deadline
    assert listener.echoes()


def test_of_an_invalid_uid_nothing_is_told_by_pydicom(tmp_path, make_study):
    dataset = pydicom.dcmread(io.BytesIO(make_study("7")[0]))
    uid = "1.2.392.200036.012345.1"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with Listener(tmp_path / "incoming")() as listener:
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
            association = listener.associate((DX, dataset.file_meta.TransferSyntaxUID))
            assert association.send_c_store(dataset).Status == 0
            association.release()
    assert listener.taken[0][0] == uid
    assert not [each for each in told if uid in str(each.message)]


def test_without_room_nothing_is_received(listener):
    listener.room = False
    assert not listener.echoes()
    listener.room = True
    assert listener.echoes()


@pytest.mark.parametrize("begun", [b"", b"\1\0", struct.pack(">BBL", 1, 0, 1000) + b"half"])
def test_who_falls_silent_is_not_waited_for(tmp_path, monkeypatch, begun):
    for module in (connection_module, listen_module):
        monkeypatch.setattr(module, "SILENT_SECONDS", 0.5)
    with Listener(tmp_path / "incoming")() as listener, listener.connect() as connection:
        connection.sendall(begun)
        started = time.monotonic()
        assert listener.echoes()
        assert closed(connection)
        assert time.monotonic() - started < 5


def test_who_does_not_speak_dicom_is_let_go(listener):
    for said in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096), struct.pack(">BBL", 4, 0, 8) + bytes(8)):
        with listener.connect() as connection:
            connection.sendall(said)
            connection.shutdown(socket.SHUT_WR)
            assert closed(connection)
    assert listener.echoes()


def test_too_many_connections_are_refused_and_the_next_ones_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(listen_module, "_CONNECTIONS", 2)
    with Listener(tmp_path / "incoming")() as listener:
        crowd = [listener.connect() for _ in range(12)]
        for connection in crowd:
            connection.close()
        deadline = time.monotonic() + 20
        while not listener.echoes():
            assert time.monotonic() < deadline


def test_a_silent_peer_does_not_keep_others_from_tls(tmp_path, certificates):
    tls = tls_context(certificates / "hilum.pem", certificates / "authority.crt", server=True)
    with Listener(tmp_path / "incoming", tls=tls)() as listener, listener.connect():
        context = tls_context(certificates / "archive.pem", certificates / "authority.crt", server=False)
        assert listener.echoes(tls_args=(context, "127.0.0.1"))
        assert not listener.echoes()


def test_radiographs_come_as_they_can_be_decoded_and_others_as_they_are(listener, monkeypatch):
    jpeg_2000, mpeg, implicit = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2"

    def chosen(sop_class, *syntaxes, of=listener):
        association = of.associate((sop_class, list(syntaxes)))
        found = [str(cx.transfer_syntax[0]) for cx in association.accepted_contexts if cx.abstract_syntax == sop_class]
        association.release()
        return found

    assert chosen(DX, implicit) == [implicit]
    assert chosen(DX, mpeg) == []
    assert chosen(CT, mpeg) == [mpeg]
    assert chosen("1.2.840.10008.5.1.4.1.1.88.33", implicit) == [implicit]
    monkeypatch.setattr(listen_module, "find_spec", lambda name: None)
    with Listener(listener.folder)() as without_codecs:
        assert chosen(DX, jpeg_2000, implicit, of=without_codecs) == [implicit]


def test_an_address_that_is_taken_is_told_in_a_line(listener, tmp_path):
    from hilum.errors import HilumError

    door = Door("127.0.0.1", listener.port, "HILUM")
    with (
        pytest.raises(HilumError, match="cannot be listened on: Address already in use"),
        listening(door, tmp_path, listener.store, lambda: True, print),
    ):
        pass
