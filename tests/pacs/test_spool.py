"""The spool keeps what it acknowledged, whenever it is killed, and knows what needs no answer any more."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hilum.errors import HilumError
from hilum.pacs import answered as answered_module
from hilum.pacs.answered import Answered
from hilum.pacs.spool import MOST_ATTEMPTS, Group, Spool, SpoolFullError

KEY = b"k" * 32


def opened(folder: Path, most_waiting: int = 10, least_free_bytes: int = 0) -> Spool:
    return Spool(folder, KEY, most_waiting=most_waiting, least_free_bytes=least_free_bytes)


def put(spool: Spool, study: str, uid: str) -> bool:
    path = spool.incoming / "received"
    path.write_bytes(uid.encode())
    return spool.receive(path, spool.name_of_study(study), spool.name_of_object(uid))


def groups(spool: Spool, quiet_seconds: float = 0) -> list[Group]:
    spool.close(quiet_seconds)
    return spool.to_answer(16)


def answer_all(spool: Spool) -> None:
    for group in groups(spool):
        spool.answer(group, group.paths, [(f"9.{group.study}", b"report")])


def send_all(spool: Spool) -> list[bytes]:
    sent = []
    while answer := spool.next_answer():
        sent += [path.read_bytes() for path in answer.paths]
        spool.sent(answer)
    return sent


def test_killed_at_every_file_operation_it_loses_nothing_and_answers_nothing_twice(tmp_path):
    script = Path(__file__).with_name("dying_spool.py")
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lives = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lives) > 20
    for life in lives:
        assert life["status"] == 0
        assert life["left"] == ["answered"]
        # Sent again it may be, as the same object; and no picture stands in two of them.
        different = {tuple(json.loads(line)) for line in life["sent"]}
        assert sorted(uid for names in different for uid in names) == ["1.2.1", "1.2.2"]


def test_names_are_keyed_hashes(tmp_path):
    spool = opened(tmp_path / "spool")
    put(spool, "1.2.3", "1.2.3.4")
    names = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")]
    assert not [name for name in names if "1.2.3" in name]
    assert spool.name_of_study("1.2") != spool.name_of_object("1.2")
    assert Spool(tmp_path / "other", b"x" * 32, most_waiting=1, least_free_bytes=0).name_of_study("1.2") != (
        spool.name_of_study("1.2")
    )


def test_nobody_else_may_look_into_it(tmp_path):
    spool = opened(tmp_path / "spool")
    assert (tmp_path / "spool").stat().st_mode & 0o077 == 0
    put(spool, "1", "1.1")
    answer_all(spool)
    (answer,) = (tmp_path / "spool" / "results").iterdir()
    assert answer.stat().st_mode & 0o077 == 0


def test_a_study_is_closed_when_nothing_was_added_for_a_while(tmp_path, monkeypatch):
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    spool = opened(tmp_path / "spool")
    put(spool, "1", "1.1")
    now += 8
    put(spool, "2", "2.1")
    put(spool, "1", "1.2")
    now += 9
    assert not groups(spool, 10)
    assert spool.next_due_in(10) == pytest.approx(1)
    now += 1
    assert sorted(len(group.paths) for group in groups(spool, 10)) == [1, 2]
    assert spool.next_due_in(10) is None
    put(spool, "3", "3.1")
    now -= 100  # a clock that was put back
    assert len(groups(spool, 10)) == 3


def test_a_picture_again_is_the_same_picture(tmp_path):
    spool = opened(tmp_path / "spool")
    assert put(spool, "1", "1.1")
    assert put(spool, "1", "1.1")  # it waits, and takes its own place
    assert spool.figures["pictures_waiting"] == 1
    spool.close(0)
    assert not put(spool, "1", "1.1")  # its answer is to be made
    answer_all(spool)
    assert not put(spool, "1", "1.1")  # it waits to be sent
    assert not put(spool, "1", f"9.{spool.name_of_study('1')}")  # the answer itself comes back
    send_all(spool)
    assert not put(spool, "1", "1.1")  # it was sent
    spool = opened(tmp_path / "spool")
    assert not put(spool, "1", "1.1")
    assert not put(spool, "1", f"9.{spool.name_of_study('1')}")
    assert put(spool, "1", "1.2")  # a late picture of the study gets an answer of its own
    answer_all(spool)
    assert len(send_all(spool)) == 1


def test_a_picture_that_arrives_while_its_study_is_answered_waits_for_the_next_answer(tmp_path):
    spool = opened(tmp_path / "spool")
    put(spool, "1", "1.1")
    (first,) = groups(spool)
    put(spool, "1", "1.2")
    spool = opened(tmp_path / "spool")  # also where the first answer has to be made anew
    (again,) = spool.to_answer(16)
    assert again.paths == first.paths
    spool.answer(again, again.paths, [("9.1", b"report")])
    (second,) = groups(spool)
    assert [path.read_bytes() for path in second.paths] == [b"1.2"]


def test_a_picture_without_an_answer_may_come_again(tmp_path):
    spool = opened(tmp_path / "spool")
    put(spool, "1", "1.1")
    (group,) = groups(spool)
    spool.answer(group, [], [])
    assert spool.figures["pictures_waiting"] == 0
    assert put(spool, "1", "1.1")


def test_results_are_on_the_disk_before_the_next_one_is_made(tmp_path):
    spool = opened(tmp_path / "spool")
    put(spool, "1", "1.1")
    (group,) = groups(spool)

    def results():
        for number in range(3):
            assert len(list((tmp_path / "spool" / "results").glob("*/*.dcm"))) == number
            yield f"9.{number}", b"report"

    assert spool.answer(group, group.paths, results()) == 3
    assert len(spool.next_answer().paths) == 3


def test_answers_that_wait_are_few_and_what_comes_then_waits_as_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr("hilum.pacs.spool._MOST_ANSWERS", 2)
    spool = opened(tmp_path / "spool")
    for study in "123":
        put(spool, study, f"{study}.1")
    answer_all(spool)
    put(spool, "4", "4.1")
    assert not groups(spool)
    assert len(send_all(spool)) == 3
    answer_all(spool)
    assert len(send_all(spool)) == 1


def test_beyond_its_bounds_nothing_more_is_taken(tmp_path):
    spool = opened(tmp_path / "spool", most_waiting=2)
    put(spool, "1", "1.1")
    put(spool, "2", "2.1")
    with pytest.raises(SpoolFullError):
        put(spool, "3", "3.1")
    assert put(spool, "1", "1.1")  # takes no more room
    answer_all(spool)
    with pytest.raises(SpoolFullError):  # as long as the answers are not sent, too
        put(spool, "3", "3.1")
    send_all(spool)
    assert put(spool, "3", "3.1")
    with pytest.raises(SpoolFullError):
        put(opened(tmp_path / "full disk", least_free_bytes=1 << 60), "1", "1.1")


def test_what_was_begun_comes_alone_and_is_told_how_often(tmp_path):
    folder = tmp_path / "spool"
    spool = opened(folder)
    put(spool, "1", "1.1")
    put(spool, "2", "2.1")
    for attempts in range(MOST_ATTEMPTS):
        begun = groups(spool)
        assert [group.attempts for group in begun] == ([attempts] if attempts else [0, 0])
        with pytest.raises(RuntimeError), spool.begun(begun[:1]):
            raise RuntimeError
        spool = opened(folder)
    with pytest.raises(KeyboardInterrupt), spool.begun(groups(spool)):  # by a wish
        raise KeyboardInterrupt
    assert [group.attempts for group in groups(opened(folder))] == [0, 0]


def test_what_is_set_aside_stays_until_somebody_moves_it_back(tmp_path):
    folder = tmp_path / "spool"
    spool = opened(folder)
    put(spool, "1", "1.1")
    put(spool, "2", "2.1")
    first, _ = groups(spool)
    spool.set_aside(first)
    answer_all(spool)
    spool.set_aside(spool.next_answer().group)
    assert spool.next_answer() is None
    spool = opened(folder)
    assert not groups(spool)
    assert spool.figures["set_aside"] == 2
    for path in (folder / "aside").iterdir():
        path.rename(folder / "closed" / path.name)
    spool = opened(folder)
    answer_all(spool)
    assert send_all(spool) == [b"report", b"report"]


def test_of_what_is_set_aside_no_results_stay_and_its_pictures_take_room_until_somebody_takes_them(tmp_path):
    folder = tmp_path / "spool"
    spool = opened(folder, most_waiting=2)
    for study in "12":
        put(spool, study, f"{study}.1")
    answer_all(spool)
    for _ in range(2):
        spool.set_aside(spool.next_answer().group)
    assert not list((folder / "results").iterdir())
    assert spool.figures["pictures_waiting"] == 0
    for each in (spool, opened(folder, most_waiting=2)):
        with pytest.raises(SpoolFullError):
            put(each, "3", "3.1")
    next((folder / "aside").iterdir()).rename(tmp_path / "taken")
    assert put(spool, "3", "3.1")


def test_what_is_half_received_is_removed(tmp_path, monkeypatch):
    folder = tmp_path / "spool"
    spool = opened(folder)
    (spool.incoming / "half").write_bytes(b"half")
    spool.sweep()
    assert (spool.incoming / "half").exists()
    now = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: now)
    spool.sweep()
    assert not (spool.incoming / "half").exists()
    (spool.incoming / "half").write_bytes(b"half")
    assert not list(opened(folder).incoming.iterdir())


def test_answers_are_remembered_for_a_month(tmp_path, monkeypatch):
    day = 20_000
    monkeypatch.setattr(answered_module, "_day", lambda: day)
    path = tmp_path / "answered"
    answered = Answered(path)
    answered.add(["0" * 16])
    day += 29
    answered.add(["1" * 16])
    with path.open("ab") as file:
        file.write(b"20029 22222222")  # half a line, of a killed process
    answered = Answered(path)
    assert "0" * 16 in answered
    answered.add(["3" * 16])
    assert "3" * 16 in Answered(path)
    day += 1
    answered.add([])
    assert "0" * 16 not in answered
    assert "0" * 16 not in path.read_text()
    assert "1" * 16 in Answered(path)


def test_nothing_is_written_through_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "results").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HilumError, match="is a link"):
        opened(tmp_path / "spool")
