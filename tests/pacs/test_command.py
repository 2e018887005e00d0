"""What is wrong with the words of `hilum pacs` is a line, before anything is received."""

import pytest
from commandline import complaint

from hilum.commands import pacs as command

SEND = ("--send", "ORTHANC@127.0.0.1:4242")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--send", "127.0.0.1:4242"), "--send: expected TITLE@host:port or the https:// address of a DICOMweb server"),
        (("--send", "https://me:secret@archive"), "--send: the address holds a name or password"),
        ((*SEND, "--listen", "all"), "--listen: expected a port, or address:port, got all"),
        ((*SEND, "--listen", "127.0.0.1:99999"), "--listen: expected a port, or address:port"),
        ((*SEND, "--title", "A TITLE THAT IS FAR TOO LONG"), "an AE title has 1 to 16 ASCII characters"),
        ((*SEND, "--allow", "MODALITÄT"), "an AE title has 1 to 16 ASCII characters"),
        (("--send", "A\\B@archive:104"), "--send: an AE title has 1 to 16 ASCII characters"),
        (("--send", "   @archive:104"), "--send: an AE title has 1 to 16 ASCII characters"),
        ((*SEND, "--results", "sr,pdf"), "--results: expected some of sr, pr, sc, with commas, got pdf"),
        ((*SEND, "--results", ""), "--results: expected some of sr, pr, sc"),
        ((*SEND, "--certificate", "none.pem"), "none.pem: cannot be used for TLS: No such file or directory"),
        ((*SEND, "--send-tls", "--authority", "none.pem"), "none.pem: cannot be used for TLS"),
        ((*SEND, "--authorization", "none.txt"), "none.txt: cannot be read"),
        (("--quiet", "1"), "--send"),
    ],
)  # fmt: skip
def test_a_word_that_is_wrong_is_told(tiny_run, tmp_path, monkeypatch, words, line):
    monkeypatch.chdir(tmp_path)
    told = complaint("pacs", tiny_run, *words)
    assert line in told
    assert "secret" not in told
    assert not list(tmp_path.iterdir())


def test_a_certificate_that_is_none_is_told(tiny_run, tmp_path):
    (tmp_path / "hilum.pem").write_text("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n")
    told = complaint("pacs", tiny_run, *SEND, "--certificate", tmp_path / "hilum.pem")
    assert "hilum.pem: cannot be used for TLS: no certificate with its key, in PEM" in told


def test_a_header_of_two_lines_is_refused(tiny_run, tmp_path):
    (tmp_path / "token").write_text("Bearer abc\nX-Other: 1\n")
    assert "expected one line" in complaint("pacs", tiny_run, *SEND, "--authorization", tmp_path / "token")


def test_what_is_not_installed_is_told(tiny_run, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "needs pynetdicom, dicomweb_client, highdicom: pip install 'hilum[pacs]'" in complaint(
        "pacs", tiny_run, *SEND
    )


def test_a_spool_is_of_one_process(service, tiny_run):
    hilum = service()
    told = complaint("pacs", tiny_run, *SEND, "--listen", 0, "--spool", hilum.spool)
    assert "another hilum works on it" in told


def test_an_address_stands_for_this_machine_where_it_is_a_port_alone():
    assert command._address("11112") == ("127.0.0.1", 11112)
    assert command._address("192.0.2.1:11112") == ("192.0.2.1", 11112)
    assert command._address("[::1]:104") == ("::1", 104)
