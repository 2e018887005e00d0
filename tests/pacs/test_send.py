"""Results go to their receiver, or wait, or are laid aside: what it answers decides."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import TCPServer

import pydicom
import pytest
from pynetdicom import AE, evt
from pynetdicom.transport import ThreadedAssociationServer
from service import CT

from hilum.errors import HilumError
from hilum.pacs.send import Identity, RefusedError, UnavailableError, receiver_at

PRESENTATION_STATE = "1.2.840.10008.5.1.4.1.1.11.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
QUICKLY = {"poll_interval": 0.01}  # seconds after which a server sees that it is to end
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture(scope="module")
def result(tmp_path_factory, make_dicom, make_picture):
    path = tmp_path_factory.mktemp("result") / "0.dcm"
    path.write_bytes(make_dicom(make_picture(0), StudyInstanceUID="2.25.2", SeriesInstanceUID="2.25.3"))
    return path


@pytest.fixture(scope="module")
def other(tmp_path_factory, make_dicom, make_picture):
    path = tmp_path_factory.mktemp("other") / "0.dcm"
    uids = {"StudyInstanceUID": "2.25.2", "SeriesInstanceUID": "2.25.3", "SOPInstanceUID": "2.25.5"}
    path.write_bytes(make_dicom(make_picture(0), **uids))
    return path


def uid_of(path):
    return str(pydicom.dcmread(path).SOPInstanceUID)


def answer(stored=(), failed=()):
    """What a DICOMweb server says: UIDs of what it has, and UIDs with reasons of what it does not take."""
    stored, told = list(stored), pydicom.Dataset()
    told.ReferencedSOPSequence = [pydicom.Dataset() for _ in stored]
    told.FailedSOPSequence = [pydicom.Dataset() for _ in failed]
    for item, uid in zip(told.ReferencedSOPSequence, stored, strict=True):
        item.ReferencedSOPInstanceUID = uid
    for item, (uid, reason) in zip(told.FailedSOPSequence, failed, strict=True):
        item.ReferencedSOPInstanceUID, item.FailureReason = uid, reason
    return told.to_json().encode()


@contextlib.contextmanager
def node(answer=0, *, sop_class=SECONDARY_CAPTURE, title="ARCHIVE", syntaxes=("1.2.840.10008.1.2",)):
    """A DICOM node; its port, and what it was sent."""
    taken = []

    def store(event):
        taken.append(event.dataset.SOPInstanceUID)
        return answer

    entity = AE(title)
    entity.require_called_aet = True
    entity.add_supported_context(sop_class, list(syntaxes))
    handlers = [(evt.EVT_C_STORE, store)]
    server = entity.make_server(
        ("127.0.0.1", 0),
        contexts=entity.supported_contexts,
        evt_handlers=handlers,
        server_class=ThreadedAssociationServer,
    )
    threading.Thread(target=server.serve_forever, kwargs=QUICKLY, daemon=True).start()
    try:
        yield server.server_address[1], taken
    finally:
        for association in server.active_associations:
            association.abort()
        TCPServer.shutdown(server)  # the library's own looks for it in a list that `start_server` fills
        server.server_close()


@contextlib.contextmanager
def web(status, content=b"", **headers):
    """A web server that answers all the same; its port, and what it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            left = int(self.headers.get("Content-Length", 0))
            asked.append((self.path, dict(self.headers), self.rfile.read(left)))
            self.send_response(status)
            for name, value in {"Content-Type": "application/dicom+json", **headers}.items():
                if value is None:
                    continue
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs=QUICKLY, daemon=True).start()
        yield server.server_address[1], asked
        server.shutdown()


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB007, 0x0111])
def test_what_a_node_has_is_sent(result, status):
    with node(status) as (port, taken):
        receiver = receiver_at(f"ARCHIVE@127.0.0.1:{port}", Identity("HILUM"))
        receiver.send([result, result])
        receiver.send([result])
        receiver.rest()
    assert len(taken) == 3


@pytest.mark.parametrize(
    ("answer", "kind", "why"),
    [
        ({"answer": 0xA700}, UnavailableError, "has no room: status 0xA700"),
        ({"answer": 0xA900}, RefusedError, "refuses with status 0xA900"),
        ({"answer": 0xC001}, RefusedError, "refuses with status 0xC001"),
        ({"sop_class": PRESENTATION_STATE}, RefusedError, "does not take this kind of object"),
        ({"sop_class": CT}, UnavailableError, "does not answer, or takes no results"),
        ({"title": "OTHER"}, UnavailableError, "rejects the AE titles"),
    ],
)
def test_what_a_node_does_not_take_is_told(result, answer, kind, why):
    with node(**answer) as (port, _):
        receiver = receiver_at(f"ARCHIVE@127.0.0.1:{port}", Identity("HILUM"))
        with pytest.raises(kind, match=why):
            receiver.send([result])
        receiver.rest()


def test_a_node_that_was_away_is_called_again(result):
    receiver = None
    for _ in range(2):
        with node() as (port, taken):
            receiver = receiver or receiver_at(f"ARCHIVE@127.0.0.1:{port}", Identity("HILUM"))
            receiver._port = port
            receiver.send([result])
            assert len(taken) == 1
    with pytest.raises(UnavailableError, match="does not answer"):
        receiver.send([result])


def test_a_dicomweb_server_gets_the_object_and_who_sends_it(result):
    identity = Identity("HILUM", authorization="Bearer abc")
    with web(200, answer(stored=[uid_of(result)])) as (port, asked):
        receiver_at(f"http://127.0.0.1:{port}/dicom-web/", identity).send([result])
    ((path, headers, content),) = asked
    assert path == "/dicom-web/studies"
    assert headers["Authorization"] == "Bearer abc"
    assert headers["Content-Type"].startswith("multipart/related")
    assert result.read_bytes()[128:] in content


UNREAD = {"Content-Type": None}
PAGE = {"Content-Type": "text/html"}


@pytest.mark.parametrize(
    ("status", "failed", "kind", "why"),
    [
        (401, [], UnavailableError, "HTTP status 401"),
        (503, [], UnavailableError, "HTTP status 503"),
        (409, [], RefusedError, "HTTP status 409"),
        (409, [0x0122], RefusedError, "refuses with reason 0x0122"),
        (409, [0xA700], UnavailableError, "refuses with reason 0xA700"),
        (202, [0xA700], UnavailableError, "refuses with reason 0xA700"),
        (202, [0x0122], RefusedError, "refuses with reason 0x0122"),
        (202, [0x0111, 0x0122], RefusedError, "refuses with reason 0x0122"),
        (202, [0x0122, 0xA700], UnavailableError, "refuses with reason 0xA700"),
    ],
)
def test_what_a_dicomweb_server_does_not_take_is_told(result, other, status, failed, kind, why):
    uids = [uid_of(result), uid_of(other)]
    with web(status, answer(failed=list(zip(uids, failed, strict=False)))) as (port, _):
        receiver = receiver_at(f"http://127.0.0.1:{port}/dicom-web", Identity("HILUM"))
        with pytest.raises(kind, match=why):
            receiver.send([result, other])
    with pytest.raises(UnavailableError, match="ConnectionError"):
        receiver.send([result])


@pytest.mark.parametrize(
    ("status", "content", "headers"),
    [
        (200, b"", {}),
        (200, b"", PAGE),
        (204, b"", UNREAD),
        (200, b"<html>login</html>", PAGE),
        (200, b"<html>login</html>", UNREAD),
        (200, b"<html>login</html>", {}),
        (200, b"<html>login", {"Content-Type": "application/xml"}),
        (200, b"{}", {}),
        (200, b"[1]", {}),
        (200, b'{"00081199": {"vr": "SQ", "Value": [{}]}}', {}),
    ],
)
def test_a_server_that_does_not_name_what_it_stored_has_stored_nothing(result, status, content, headers):
    with web(status, content, **headers) as (port, _), pytest.raises(UnavailableError, match="DICOMweb"):
        receiver_at(f"http://127.0.0.1:{port}/", Identity("HILUM")).send([result])


def test_a_server_that_names_one_of_two_objects_has_not_stored_both(result, other):
    with web(200, answer(stored=[uid_of(other)])) as (port, _):
        receiver = receiver_at(f"http://127.0.0.1:{port}/", Identity("HILUM"))
        receiver.send([other])
        with pytest.raises(UnavailableError, match="does not say that it stored the result"):
            receiver.send([result, other])


def test_objects_go_to_a_dicomweb_server_one_by_one(result, other):
    paths = [result, other]
    with web(200, answer(stored=map(uid_of, paths))) as (port, asked):
        receiver_at(f"http://127.0.0.1:{port}", Identity("HILUM")).send(paths)
    found = [[path.read_bytes()[128:] in content for path in paths] for *_, content in asked]
    assert found == [[True, False], [False, True]]


@pytest.mark.parametrize("kind", ["application/dicom+json; charset=utf-8", "Application/JSON"])
def test_an_answer_counts_whatever_follows_its_media_type(result, kind):
    with web(200, answer(stored=[uid_of(result)]), **{"Content-Type": kind}) as (port, _):
        receiver_at(f"http://127.0.0.1:{port}/", Identity("HILUM")).send([result])


@pytest.mark.parametrize("reason", [0x0111, 45070])
def test_what_a_dicomweb_server_had_before_is_sent(result, other, reason):
    uids = [uid_of(result), uid_of(other)]
    for status, content in (
        (409, answer(failed=[(uid, reason) for uid in uids])),
        (202, answer(stored=uids[:1], failed=[(uids[1], reason)])),
    ):
        with web(status, content) as (port, _):
            receiver_at(f"http://127.0.0.1:{port}/", Identity("HILUM")).send([result, other])


def test_results_follow_no_redirection(result):
    with web(200) as (elsewhere, asked), web(307, Location=f"http://127.0.0.1:{elsewhere}/") as (port, _):
        with pytest.raises(UnavailableError):
            receiver_at(f"http://127.0.0.1:{port}", Identity("HILUM")).send([result])
        assert not asked


@pytest.mark.parametrize(
    "address",
    [
        *("", "archive:104", "ARCHIVE@host", "A@h:0", "A@h:\u0661", "@h:104"),
        *("ftp://h", "http://", "https://h:abc", "http://[::1", "https://me:secret@h:abc"),
    ],
)
def test_an_address_that_is_none_is_told(address):
    with pytest.raises(HilumError, match="expected TITLE@host:port or the https:// address") as told:
        receiver_at(address, Identity("HILUM"))
    assert "secret" not in str(told.value)


@pytest.mark.parametrize("title", ["A" * 17, "\u00c4", "A\\B", "   ", "A\nB"])
def test_a_title_that_is_none_is_told(title):
    with pytest.raises(HilumError, match="--send: an AE title has 1 to 16 ASCII characters and no backslash") as told:
        receiver_at(f"{title}@archive:104", Identity("HILUM"))
    assert len(str(told.value).splitlines()) == 1


def test_a_token_goes_through_no_open_network():
    identity = Identity("HILUM", authorization="Bearer secret")
    for address in ("http://archive/dicom-web", "http://192.0.2.1:8042", "http://127.0.0.1.example.org"):
        with pytest.raises(HilumError, match="--authorization: over http://") as told:
            receiver_at(address, identity)
        assert "secret" not in str(told.value)
        receiver_at(address, Identity("HILUM"))
    for address in ("https://archive/dicom-web", "http://localhost:8042", "http://127.0.0.1", "http://[::1]:8042"):
        receiver_at(address, identity)


def test_a_password_in_the_address_is_refused_and_not_shown():
    with pytest.raises(HilumError, match="--authorization") as told:
        receiver_at("https://me:secret@archive/dicom-web", Identity("HILUM"))
    assert "secret" not in str(told.value)
