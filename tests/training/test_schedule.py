import math

import pytest

from hilum.training.schedule import SCHEDULES, constant, cosine


def test_cosine_by_hand():
    rates = [cosine(epoch, 4, 1e-3) for epoch in range(5)]
    half = math.sqrt(0.5)
    assert rates == pytest.approx([1e-3, 0.5e-3 * (1 + half), 0.5e-3, 0.5e-3 * (1 - half), 0], abs=1e-12)


def test_cosine_falls_and_the_last_epoch_still_learns():
    rates = [cosine(epoch, 10, 0.1) for epoch in range(10)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] > 0


def test_constant():
    assert [constant(epoch, 3, 1e-3) for epoch in range(3)] == [1e-3] * 3


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())
@pytest.mark.parametrize(("epoch", "epochs"), [(-1, 3), (4, 3), (0, 0)])
def test_epochs_outside_the_training(schedule, epoch, epochs):
    with pytest.raises(ValueError, match=f"got epoch={epoch}, epochs={epochs}"):
        schedule(epoch, epochs, 1e-3)


def test_names_for_configs():
    assert {"cosine": cosine, "constant": constant} == SCHEDULES
