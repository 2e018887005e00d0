"""Batches are loaded ahead: in order, no more than there is room for, and what goes wrong is said at its batch."""

import threading

import pytest

from hilum.training.prefetch import loaded_ahead


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 20])
def test_every_item_comes_once_and_in_order(workers, count):
    assert list(loaded_ahead(range(count), lambda item: item**2, workers)) == [(n, n**2) for n in range(count)]


def test_the_next_is_loaded_while_this_one_is_used():
    second = threading.Event()

    def load(item):
        if item == 1:
            second.set()

    stream = loaded_ahead(range(3), load)
    assert next(stream)[0] == 0
    assert second.wait(10)


@pytest.mark.parametrize("workers", [1, 2])
def test_no_more_is_taken_than_there_is_room_for(workers):
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    stream = loaded_ahead(items(), lambda item: item, workers)
    for used in range(5):
        next(stream)
        assert len(taken) <= used + 1 + 2 * workers


def test_an_error_comes_at_its_item_and_ends_the_loading():
    loaded = []

    def load(item):
        if item == 3:
            raise ZeroDivisionError(item)
        loaded.append(item)

    came = []
    with pytest.raises(ZeroDivisionError, match="3"):
        came.extend(item for item, _ in loaded_ahead(range(1000), load))
    assert len(loaded) < 10


def test_one_who_stops_listening_stops_the_loading():
    before, loaded = set(threading.enumerate()), []
    stream = loaded_ahead(range(1000), loaded.append)
    next(stream)
    stream.close()
    assert len(loaded) < 10
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()
