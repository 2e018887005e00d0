"""`hilum pacs` between senders and a real archive."""

import errno
import io
import json
import os
import threading
import time
from pathlib import Path

import orthanc
import pydicom
import pytest
from service import CR, CT, NAME, PATIENT

from hilum.errors import HilumError, PassingError
from hilum.findings.finding import Algorithm
from hilum.pacs import answers
from hilum.pacs.answers import writer
from hilum.pacs.listen import Incoming
from hilum.pacs.serve import Service as Serving
from hilum.pacs.spool import Spool
from hilum.pacs.tls import tls_context
from hilum.predict import Predictor
from hilum.result import no_detections

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # pynetdicom, of connections that fail


def reports_of(archive, number):
    """The reports that the archive has of a study."""
    query = {"Level": "Instance", "Expand": True, "Query": {"StudyInstanceUID": f"2.25.{number}", "Modality": "SR"}}
    return archive.post("/tools/find", query)


def wait_for_reports(archive, hilum, numbers, seconds=60):
    """Each study has its report, and the service knows that it was sent."""
    hilum.wait_until(lambda: all(reports_of(archive, each) for each in numbers), seconds)
    hilum.wait_until(lambda: not list((hilum.spool / "closed").iterdir()))


def numbers_of(number, count):
    return [f"{number}{each:03}" for each in range(100, 100 + count)]


def test_a_study_comes_back_with_one_report_and_what_lies_over_its_pictures(archive, service, make_study, number):
    hilum = service()
    before = len(archive.instances("PR"))
    assert hilum.send(make_study(number, pictures=3)) == [0, 0, 0]
    wait_for_reports(archive, hilum, [number])
    (report,) = reports_of(archive, number)
    told = pydicom.dcmread(io.BytesIO(archive.file(report["ID"])))
    assert (told.StudyInstanceUID, told.PatientID) == (f"2.25.{number}", f"{PATIENT}-{number}")
    assert len(archive.instances("PR")) == before + 3
    assert hilum.stop() == 143
    assert sorted(path.name for path in hilum.spool.iterdir() if path.is_file()) == ["answered", "key", "status.json"]
    assert not [
        path for name in ("incoming", "open", "closed", "results", "aside") for path in (hilum.spool / name).iterdir()
    ]


def test_results_go_to_a_dicomweb_server_as_well(archive, service, make_study, number):
    hilum = service(send=archive.dicomweb)
    hilum.send(make_study(number))
    wait_for_reports(archive, hilum, [number])
    assert len(reports_of(archive, number)) == 1


def test_sent_again_a_study_is_not_answered_again(archive, service, make_study, number):
    hilum = service()
    files = make_study(number, pictures=2)
    hilum.send([*files, *files])
    wait_for_reports(archive, hilum, [number])
    assert hilum.send(files) == [0, 0]
    hilum.kill()
    assert hilum.send(files) == [0, 0]
    hilum.wait_until(lambda: hilum.log.count(" known ") == 4)
    assert hilum.log.count(" answered ") == 1
    # Where all memory of it is lost, the same report comes again, under the same UID: the archive has one.
    other = service()
    other.send(files)
    other.wait_until(lambda: " sent " in other.log)
    assert len(reports_of(archive, number)) == 1


EVERYTHING = "function OnStoredInstance(id, tags, metadata)\n  SendToModality(id, 'hilum')\nend\n"
OF_DOCS = (Path(__file__).parents[2] / "docs" / "pacs" / "forward.lua").read_text()


@pytest.mark.parametrize(("script", "come_back"), [(EVERYTHING, 9), (OF_DOCS, 0)])
def test_an_archive_that_forwards_what_it_stores_gets_no_answer_to_an_answer(
    service, make_study, number, tmp_path, script, come_back
):
    if orthanc.CANNOT:
        pytest.skip(orthanc.CANNOT)
    path = tmp_path / "forward.lua"
    path.write_text(script)
    archive = orthanc.Orthanc(tmp_path / "orthanc", LuaScripts=[str(path)])
    try:
        hilum = service("--results", "sr,pr,sc", send=f"{archive.title}@127.0.0.1:{archive.port}")
        modality = {"AET": "HILUM", "Host": "127.0.0.1", "Port": hilum.port}
        archive.put("/modalities/hilum", modality)
        studies = numbers_of(number, 3)
        for each in studies:
            archive.post("/instances", make_study(each)[0])
        wait_for_reports(archive, hilum, studies)
        hilum.wait_until(lambda: hilum.log.count(" not_looked_at ") == come_back)
        assert archive.get("/statistics")["CountInstances"] == 12
        assert hilum.log.count(" answered ") == 3
    finally:
        archive.kill()


def test_what_is_no_frontal_chest_radiograph_is_taken_and_not_looked_at(archive, service, make_study, number):
    hilum = service()
    others = [
        make_study(f"{number}1", SOPClassUID=CT, Modality="CT"),
        make_study(f"{number}2", BodyPartExamined="HAND"),
        make_study(f"{number}3", ViewPosition="LL"),
        make_study(f"{number}4", Manufacturer="hilum"),
    ]
    assert hilum.send([file for files in others for file in files]) == [0, 0, 0, 0]
    hilum.send(make_study(f"{number}5", SOPClassUID=CR, Modality="CR"))
    wait_for_reports(archive, hilum, [f"{number}5"])
    assert hilum.log.count(" not_looked_at ") == 4
    assert not [each for end in "1234" for each in reports_of(archive, f"{number}{end}")]


def test_a_broken_picture_is_told_of_and_gets_no_report(archive, service, make_study, make_dicom, number):
    hilum = service()
    whole = make_study(number, pictures=2)
    cut = pydicom.dcmread(io.BytesIO(whole[1]))
    cut.PixelData = cut.PixelData[:100]
    file = io.BytesIO()
    cut.save_as(file)
    assert hilum.send([whole[0], file.getvalue(), *make_study(f"{number}1", StudyInstanceUID="")]) == [0, 0, 0xA900]
    wait_for_reports(archive, hilum, [number])
    (report,) = reports_of(archive, number)
    told = pydicom.dcmread(io.BytesIO(archive.file(report["ID"])))
    evidence = told.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert [each.ReferencedSOPInstanceUID for each in evidence] == [f"2.25.{number}.1.0"]
    assert "ERROR unreadable study=" in hilum.log
    assert hilum.status["since_start"]["damaged"] == 1


def test_two_senders_at_once(archive, service, make_study, number):
    hilum = service()
    studies = numbers_of(number, 10)
    threads = [
        threading.Thread(target=lambda half=half: [hilum.send(make_study(each)) for each in half])
        for half in (studies[::2], studies[1::2])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for_reports(archive, hilum, studies)
    assert [len(reports_of(archive, each)) for each in studies] == [1] * 10


def test_who_calls_another_title_or_is_not_allowed_is_turned_away(service, make_study, number):
    hilum = service("--allow", "MODALITY")
    assert hilum.send([], called="ANOTHER", calling="MODALITY") == []
    assert hilum.send(make_study(number), calling=NAME[:16]) == []
    assert hilum.send(make_study(number)) == [0]
    assert hilum.log.count("no_connection") == 2
    assert "another" not in hilum.log


def test_a_full_queue_refuses_until_there_is_room(archive, service, make_study, number):
    hilum = service("--queue", 2, quiet=2)
    studies = numbers_of(number, 3)
    assert [status for each in studies for status in hilum.send(make_study(each))] == [0, 0, 0xA700]
    hilum.send_until_taken(make_study(studies[2]))
    wait_for_reports(archive, hilum, studies)


def test_a_full_disk_refuses(service, make_study, number):
    hilum = service("--keep-free", 1 << 30)
    assert hilum.send(make_study(number)) == []  # nor has it room for what is being sent
    assert not list((hilum.spool / "open").iterdir())


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_again_and_again_it_loses_nothing_and_answers_nothing_twice(archive, service, make_study, number, kills):
    hilum = service()
    studies = numbers_of(number, 6 * kills)
    done = threading.Event()

    def send():
        for each in studies:
            hilum.send_until_taken(make_study(each))
        done.set()

    thread = threading.Thread(target=send)
    thread.start()
    for kill in range(1, kills + 1):
        hilum.wait_until(lambda kill=kill: done.is_set() or hilum.log.count(" received ") >= 5 * kill)
        time.sleep(0.05 * kill)  # at another moment of its work each time
        hilum.kill()
    thread.join()
    wait_for_reports(archive, hilum, studies, 120)
    assert [len(reports_of(archive, each)) for each in studies] == [1] * len(studies)


@pytest.mark.parametrize("kills", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_while_the_archive_is_down_answers_wait(service, make_study, number, tmp_path, kills):
    if orthanc.CANNOT:
        pytest.skip(orthanc.CANNOT)
    archive = orthanc.Orthanc(tmp_path / "orthanc")
    try:
        hilum = service(send=f"{archive.title}@127.0.0.1:{archive.port}")
        studies = numbers_of(number, 5 * kills)
        for kill in range(kills):
            for each in studies[5 * kill : 5 * kill + 5]:
                hilum.send(make_study(each))
            hilum.wait_until(lambda kill=kill: hilum.log.count(" sent ") > 5 * kill)
            archive.kill()
            hilum.wait_until(lambda kill=kill: hilum.log.count(" answered ") == 5 * kill + 5)
            archive.start()
            wait_for_reports(archive, hilum, studies[: 5 * kill + 5])
        assert [len(reports_of(archive, each)) for each in studies] == [1] * len(studies)
    finally:
        archive.kill()


@pytest.mark.parametrize("count", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_as_many_results_come_back_as_studies_go_in_and_the_log_names_nobody(
    archive, service, make_study, number, count
):
    hilum = service()
    studies = numbers_of(number, count)
    assert hilum.send([file for each in studies for file in make_study(each)]) == [0] * count
    wait_for_reports(archive, hilum, studies, 300)
    assert [len(reports_of(archive, each)) for each in studies] == [1] * count
    everywhere = hilum.log + "".join(path.name for path in hilum.spool.rglob("*")) + str(hilum.status)
    for planted in (NAME, NAME.split("^")[0], PATIENT, f"A{number}"[-16:], number, "20260102"):
        assert planted not in everywhere
    for line in hilum.log.splitlines():
        assert line.split()[1] in {"INFO", "WARNING", "ERROR"}, line
    assert hilum.log.count(" sent study=") == count


def test_tls_both_ways(service, make_study, number, certificates, tmp_path):
    if orthanc.CANNOT:
        pytest.skip(orthanc.CANNOT)
    tls = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(certificates / "archive.crt"),
        "DicomTlsPrivateKey": str(certificates / "archive.key"),
        "DicomTlsTrustedCertificates": str(certificates / "authority.crt"),
    }
    archive = orthanc.Orthanc(tmp_path / "orthanc", **tls)
    try:
        words = (
            "--certificate",
            certificates / "hilum.pem",
            "--authority",
            certificates / "authority.crt",
            "--send-tls",
        )
        hilum = service(*words, send=f"{archive.title}@127.0.0.1:{archive.port}")
        assert hilum.send(make_study(number)) == []  # without TLS
        authority = certificates / "authority.crt"
        known, stranger = (
            tls_context(certificates / f"{name}.pem", authority, server=False) for name in ("archive", "stranger")
        )
        assert hilum.send(make_study(number), tls_args=(stranger, "127.0.0.1")) == []
        assert hilum.send(make_study(number), tls_args=(known, "127.0.0.1")) == [0]
        wait_for_reports(archive, hilum, [number])
    finally:
        archive.kill()


class Network:
    """Finds nothing."""

    def predict_batch(self, pictures):
        return [no_detections() for _ in pictures]


class Archive:
    """Takes all."""

    def send(self, paths):
        pass

    def rest(self):
        pass


@pytest.fixture
def within(tmp_path):
    """A service in this process, with the thread that answers alone; it writes real reports."""
    spool = Spool(tmp_path / "spool", b"k" * 32, most_waiting=100, least_free_bytes=0)
    algorithm = Algorithm("tiny", "0", "0" * 16, 0.5)

    def write(paths, results):
        return writer(algorithm, ["sr"])(paths, results)

    return Serving(spool, Predictor(Network(), 0.5), write, Archive(), 0.0)


def receive(serving, file):
    """Have a service take a file over, and return the status that its sender gets."""
    path = serving._spool.incoming / "received"
    path.write_bytes(file)
    return serving.store(Incoming(path, str(pydicom.dcmread(path).SOPInstanceUID)))


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_a_picture_with_an_odd_uid_is_answered_or_refused_and_ends_nothing(within, make_study):
    (odd,) = make_study("7", SOPInstanceUID="1.2.392.200036.012345.1")
    assert receive(within, odd) == 0
    within._answer_what_is_due()
    assert within._counts == {"received": 1, "answered": 1}
    (none,) = make_study("8", SOPInstanceUID="1.2.x")
    assert receive(within, none) == 0xC000
    assert within._counts["damaged"] == 1


def test_a_picture_that_no_result_can_be_written_of_keeps_none_from_the_others(within, make_study, monkeypatch):
    real = answers.read_source

    def read(path):
        if pydicom.dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID == "2.25.7.1.1":
            raise HilumError("of a kind that nothing can be said of")
        return real(path)

    monkeypatch.setattr(answers, "read_source", read)
    for file in make_study("7", pictures=3):
        receive(within, file)
    within._answer_what_is_due()
    assert within._counts == {"received": 3, "unreadable": 1, "answered": 1}
    (result,) = within._spool.next_answer().paths
    told = pydicom.dcmread(result).CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    names = [each.ReferencedSOPInstanceUID for each in told.ReferencedSOPSequence]
    assert names == ["2.25.7.1.0", "2.25.7.1.2"]


@pytest.mark.parametrize(
    ("what", "failure"),
    [
        ("hilum.datasets.pictures.read_regular", OSError(errno.EMFILE, "Too many open files")),
        ("hilum.datasets.pictures.read_regular", MemoryError()),
        ("hilum.datasets.pictures.render_dicom", MemoryError()),
        ("hilum.dicom.reading.stored_values", MemoryError()),
        ("hilum.dicom.reading.read_regular", OSError(errno.EIO, "Input/output error")),  # as its report is written
        ("hilum.findings.source.display_of", MemoryError()),
        ("hilum.findings.structured_report.structured_report", MemoryError()),
    ],
)
def test_a_picture_that_cannot_be_read_now_is_kept_for_another_time(within, make_study, monkeypatch, what, failure):
    def fail(*_, **__):
        raise failure

    receive(within, make_study("7")[0])
    with monkeypatch.context() as failing:
        failing.setattr(what, fail)
        with pytest.raises(PassingError):
            within._answer_what_is_due()
    assert within._counts == {"received": 1}
    within._answer_what_is_due()
    assert within._counts == {"received": 1, "answered": 1}


def test_whoever_watches_is_told_also_while_there_is_much_to_answer(within, make_study, monkeypatch):
    monkeypatch.setattr("hilum.pacs.serve._AT_ONCE", 1)
    for number in "78":
        receive(within, make_study(number)[0])
    begun = within._spool.incoming / "half"
    begun.write_bytes(b"")
    os.utime(begun, (0, 0))
    told = []

    def predict_batch(pictures):
        if (within._spool.folder / "status.json").exists():
            status = json.loads((within._spool.folder / "status.json").read_text())
            told.append((status["since_start"]["answered"], begun.exists()))
        return [no_detections() for _ in pictures]

    monkeypatch.setattr(within._predictor.backend, "predict_batch", predict_batch)
    within._answer_what_is_due()
    assert told == [(1, False)]
