import errno
import os
import shutil
import struct
import subprocess
import warnings
import zipfile
import zlib
from contextlib import suppress

import pytest

from hilum.converters import source as source_module
from hilum.converters.source import list_files
from hilum.errors import HilumError


def contents(source, out):
    files, left_out = list_files(source, out)
    return {file.name: file.read() for file in files}, {entry.file: entry.reason for entry in left_out}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "data"


def zipped(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


MEMBERS = {"a/b/one.dcm": b"1" * 5000, "two.csv": b"x,y\n", "a/empty": b""}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_is_read_in_place(tmp_path, out, method):
    assert contents(zipped(tmp_path / "k.zip", MEMBERS, method), out) == (MEMBERS, {})
    assert not out.exists()


def test_a_folder_and_the_zip_of_it_hold_the_same(tmp_path, out):
    folder = tmp_path / "folder"
    for name, content in MEMBERS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    assert contents(folder, out) == contents(zipped(tmp_path / "k.zip", MEMBERS), out)


@pytest.mark.parametrize("inner", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("outer", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_in_a_zip_is_a_folder(tmp_path, out, inner, outer):
    nested = zipped(tmp_path / "inner.zip", MEMBERS, inner).read_bytes()
    found, left_out = contents(zipped(tmp_path / "k.zip", {"deep/images.zip": nested, "z": b"0"}, outer), out)
    assert found == {**{f"deep/images.zip/{name}": content for name, content in MEMBERS.items()}, "z": b"0"}
    assert left_out == {}
    assert out.exists() == (outer == zipfile.ZIP_DEFLATED)  # only a packed one has to be unpacked


def test_the_dataset_folder_is_no_part_of_the_source(tmp_path):
    (tmp_path / "x.dcm").write_bytes(b"x")
    (tmp_path / "data" / "images").mkdir(parents=True)
    (tmp_path / "data" / "images" / "y.jpg").write_bytes(b"y")
    assert contents(tmp_path, tmp_path / "data")[0] == {"x.dcm": b"x"}


def test_names_that_lead_out_are_refused(tmp_path, out):
    members = {"../x.dcm": b"1", "a/../../y": b"2", "/etc/z": b"3", "C:\\w": b"4", "fine.dcm": b"5"}
    found, left_out = contents(zipped(tmp_path / "k.zip", members), out)
    assert found == {"fine.dcm": b"5"}
    assert len(left_out) == 4
    assert set(left_out.values()) == {"its name leads out of the zip"}


def test_encrypted_and_exotic_members_are_named(tmp_path, out):
    path = zipped(tmp_path / "k.zip", {"secret.dcm": b"1", "fine.dcm": b"2"})
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\1\2") + 8] |= 1  # the encryption flag of the first entry
    path.write_bytes(raw)
    found, left_out = contents(path, out)
    assert found == {"fine.dcm": b"2"}
    assert "encrypted" in left_out["secret.dcm"]
    path = zipped(tmp_path / "l.zip", {"odd.dcm": b"1" * 100}, zipfile.ZIP_LZMA)
    with pytest.raises(HilumError, match="empty"):
        list_files(path, out)


def test_a_member_that_unpacks_to_more_than_it_says_is_refused_in_little_memory(tmp_path, out):
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = bomb.compress(bytes(64 << 20)) + bomb.flush()
    path = zipped(tmp_path / "k.zip", {"bomb.dcm": b"x" * 1000}, zipfile.ZIP_STORED)
    raw = path.read_bytes()
    crc = zlib.crc32(b"x" * 1000)
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 0, crc, len(packed), 1000, 8, 0) + b"bomb.dcm"
    central = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 8, 0, 0, crc, len(packed), 1000, 8, 0, 0, 0, 0, 0, 0)
    central += b"bomb.dcm"
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(central), len(local) + len(packed), 0)
    path.write_bytes(local + packed + central + end)
    assert raw != path.read_bytes()
    files, _ = list_files(path, out)
    with pytest.raises(HilumError, match="size or checksum"):
        files[0].read()


def test_overlapping_members_are_refused(tmp_path, out):
    path = zipped(tmp_path / "k.zip", {"one.dcm": b"1" * 500, "two.dcm": b"2" * 500}, zipfile.ZIP_STORED)
    raw = bytearray(path.read_bytes())
    second = raw.rindex(b"PK\1\2")
    raw[second + 42 : second + 46] = struct.pack("<L", 10)  # its offset, inside the first
    path.write_bytes(raw)
    found, left_out = contents(path, out)
    assert list(found) == ["one.dcm"]
    assert "zip bombs" in left_out["two.dcm"]


def test_what_is_too_large_is_not_read(tmp_path, out, monkeypatch):
    monkeypatch.setattr(source_module, "MAX_FILE_BYTES", 1 << 10)
    found, left_out = contents(zipped(tmp_path / "k.zip", {"large": bytes(5000), "small": b"1"}), out)
    assert found == {"small": b"1"}
    assert "larger than" in left_out["large"]
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "large").write_bytes(bytes(5000))
    files, _ = list_files(tmp_path / "folder", out)
    with pytest.raises(HilumError, match="at most"):
        files[0].read()


def test_damage_is_said_and_never_a_traceback(tmp_path, out):
    path = zipped(tmp_path / "k.zip", {f"{n}.dcm": bytes([n]) * 3000 for n in range(6)})
    original = path.read_bytes()
    for at in range(0, len(original), 7):
        raw = bytearray(original)
        raw[at] ^= 0x55
        path.write_bytes(raw)
        try:
            files, _ = list_files(path, out)
        except HilumError:
            continue
        for file in files:
            with suppress(HilumError):
                assert file.read() in {bytes([n]) * 3000 for n in range(6)}


def test_what_is_no_source_is_said(tmp_path, out):
    (tmp_path / "file").write_bytes(b"1")
    (tmp_path / "folder").mkdir()
    for path, said in [("gone", "no such"), ("file", "neither a folder nor a zip"), ("folder", "is empty")]:
        with pytest.raises(HilumError, match=said):
            list_files(tmp_path / path, out)


def test_a_pipe_in_the_tree_is_not_waited_for(tmp_path, out):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "x.dcm").write_bytes(b"x")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    found, left_out = contents(tmp_path, out)
    assert found == {"x.dcm": b"x"}
    assert left_out.keys() == {"pipe", "broken"}


def test_a_packed_zip_in_a_zip_that_is_damaged_costs_itself_alone(tmp_path, out):
    nested = zipped(tmp_path / "inner.zip", {f"{n}.dcm": bytes([n]) * 500 for n in range(9)}).read_bytes()
    path = zipped(tmp_path / "k.zip", {"Doe_John/in.zip": nested, "fine.dcm": b"2"})
    original = path.read_bytes()
    for at in range(0, len(original), 5):
        raw = bytearray(original)
        raw[at] ^= 0x5A
        path.write_bytes(raw)
        with suppress(HilumError):
            files, _ = list_files(path, out)
            assert all(file.name for file in files)
        shutil.rmtree(out, ignore_errors=True)


def test_inner_zips_share_one_budget(tmp_path, out, monkeypatch):
    monkeypatch.setattr(source_module, "_MAX_UNPACKED", 3000)
    nested = zipped(tmp_path / "inner.zip", {"x.dcm": b"1" * 2000}, zipfile.ZIP_STORED).read_bytes()
    found, left_out = contents(zipped(tmp_path / "k.zip", {"a.zip": nested, "b.zip": nested}), out)
    assert list(found) == ["a.zip/x.dcm"]
    assert "zip bombs" in left_out["b.zip"]


def test_a_pipe_named_as_a_zip_is_not_waited_for(tmp_path, out):
    os.mkfifo(tmp_path / "a.zip")
    (tmp_path / "x.dcm").write_bytes(b"x")
    assert contents(tmp_path, out)[0] == {"x.dcm": b"x"}


def test_a_very_deep_tree_is_walked(tmp_path, out):
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(1500):  # deeper than a path may be long
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
    finally:
        os.close(here)
    (tmp_path / "x.dcm").write_bytes(b"x")
    try:
        found, _ = contents(tmp_path, out)
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # Python's own way down is too short for it
    assert found == {"x.dcm": b"x"}


def test_no_two_files_have_one_name(tmp_path, out):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("a\nb.dcm", "a\\nb.dcm", "a\\\\nb.dcm"):
        (folder / name).write_bytes(name.encode())
    found, _ = contents(folder, out)
    assert len(found) == 3
    assert all(name.isprintable() for name in found)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(tmp_path / "k.zip", "w") as archive:
            archive.writestr("x.dcm", b"1")
            archive.writestr("x.dcm", b"2")
    found, left_out = contents(tmp_path / "k.zip", out)
    assert found == {"x.dcm": b"1"}
    assert "same name" in left_out["x.dcm"]


def test_links_to_folders_are_followed_once(tmp_path, out):
    real = tmp_path / "elsewhere"
    real.mkdir()
    (real / "x.dcm").write_bytes(b"x")
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "one").symlink_to(real)
    (tmp_path / "top" / "two").symlink_to(real)
    (real / "loop").symlink_to(tmp_path / "top")
    found, left_out = contents(tmp_path / "top", out)
    assert len(found) == 1
    assert len(left_out) == 2
    assert all("read already" in reason for reason in left_out.values())


def test_packing_that_claims_to_enlarge_is_refused_before_it_is_read(tmp_path, out):
    path = zipped(tmp_path / "k.zip", {"fine.dcm": b"1" * 500, "forged.dcm": b"2" * 500})
    raw = bytearray(path.read_bytes())
    last = raw.rindex(b"PK\1\2")
    raw[last + 20 : last + 24] = struct.pack("<L", 0xFFFFFFF0)  # bytes in the zip
    path.write_bytes(raw)
    found, left_out = contents(path, out)
    assert found == {"fine.dcm": b"1" * 500}
    assert left_out == {"forged.dcm": "says to be far larger packed than unpacked"}


@pytest.mark.parametrize("packed_in", ["zip", "folder"])
def test_a_full_disk_ends_the_listing_and_leaves_no_half_of_an_inner_zip(tmp_path, out, monkeypatch, packed_in):
    nested = zipped(tmp_path / "inner.zip", MEMBERS).read_bytes()
    (tmp_path / "folder").mkdir()
    source = zipped(tmp_path / "folder" / "k.zip", {"a.zip": nested})

    def fill_the_disk(member, target):
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr(source_module, "_unpack", fill_the_disk)
    with pytest.raises(OSError, match="No space left on device"):
        list_files(source if packed_in == "zip" else source.parent, out)
    assert list((out / source_module.UNPACKED).iterdir()) == []


def test_a_file_that_is_gone_is_no_fault_of_its_own(tmp_path, out):
    (tmp_path / "x.dcm").write_bytes(b"x")
    files, _ = list_files(tmp_path, out)
    (tmp_path / "x.dcm").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        files[0].read()
    assert caught.value.filename == files[0].path
    (tmp_path / "x.dcm").mkdir()
    with pytest.raises(HilumError, match="cannot be read: Is a directory"):
        files[0].read()


def test_a_disk_that_fails_while_folders_are_listed_ends_it(tmp_path, out, monkeypatch):
    (tmp_path / "below").mkdir()
    (tmp_path / "x.dcm").write_bytes(b"x")
    scandir = os.scandir
    number = errno.EIO

    def fail(folder):
        if folder.endswith("below"):
            raise OSError(number, os.strerror(number), folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(OSError, match="Input/output error"):
        list_files(tmp_path, out)
    number = errno.EACCES
    assert contents(tmp_path, out) == ({"x.dcm": b"x"}, {"below": "the folder cannot be read: Permission denied"})


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_zip_that_is_cut_short_is_told_as_that(tmp_path, out, share):
    whole = zipped(tmp_path / "k.zip", {f"{number}.dcm": bytes(500) for number in range(9)})
    content = whole.read_bytes()
    whole.write_bytes(content[: int(share * len(content))])
    with pytest.raises(HilumError, match=rf"^{whole}: the zip is cut short: .* download or copy it again$"):
        list_files(whole, out)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(b"1")
    whole.rename(folder / "k.zip")
    found, left_out = contents(folder, out)
    assert found == {"a.dcm": b"1"}
    assert left_out["k.zip"].startswith("the zip is cut short")


def test_a_stored_zip_in_a_zip_that_is_cut_short_is_told_as_that(tmp_path, out):
    inner = zipped(tmp_path / "inner.zip", {"a.dcm": bytes(500)}).read_bytes()
    with zipfile.ZipFile(tmp_path / "k.zip", "w") as archive:
        archive.writestr("inner.zip", inner[:-30])
        archive.writestr("b.dcm", b"1")
    found, left_out = contents(tmp_path / "k.zip", out)
    assert found == {"b.dcm": b"1"}
    assert left_out["inner.zip"].startswith("the zip is cut short")


@pytest.mark.parametrize("as_zip", [False, True])
def test_hidden_files_are_passed_over_and_counted(tmp_path, out, as_zip):
    members = {"a/._1.dcm": b"x", "a/1.dcm": b"1", ".DS_Store": b"x", ".git/2.dcm": b"x", "a/.b/3.dcm": b"x"}
    if as_zip:
        source = zipped(tmp_path / "k.zip", members)
    else:
        source = tmp_path / "folder"
        for name, content in members.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(content)
    found, left_out = contents(source, out)
    assert found == {"a/1.dcm": b"1"}
    assert left_out == {".*": "4 hidden files or folders, whose names begin with a dot"}
