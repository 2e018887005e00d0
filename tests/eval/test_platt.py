"""Platt's two numbers: against scikit-learn's, and the laws that let them be applied everywhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from hilum.eval.platt import UNCHANGED, Platt, fit_platt, fit_where_it_helps

RNG = np.random.default_rng(0)
TRUTH = RNG.random(2000)
SHOWS = RNG.random(2000) < TRUTH
TOO_SURE = TRUTH**3 / (TRUTH**3 + (1 - TRUTH) ** 3)  # logits three times as large
PLATTS = st.builds(Platt, st.floats(0.05, 20), st.floats(-5, 5))


def test_the_numbers_are_those_of_a_logistic_regression_on_logits():
    ours = fit_platt(SHOWS, TOO_SURE)
    theirs = LogisticRegression(C=np.inf, tol=1e-10).fit(np.log(TOO_SURE / (1 - TOO_SURE))[:, None], SHOWS)
    assert ours.slope == pytest.approx(theirs.coef_[0, 0], rel=1e-3)
    assert ours.intercept == pytest.approx(theirs.intercept_[0], abs=1e-3)
    assert ours.slope == pytest.approx(1 / 3, rel=0.1)
    assert abs(ours.intercept) < 0.15


@given(platt=PLATTS, values=st.lists(st.floats(1e-4, 1 - 1e-4), min_size=2, unique=True))
def test_order_stays_and_what_was_done_can_be_undone(platt, values):
    values = np.unique(np.round(values, 4))
    after = platt.apply(values)
    assert ((after >= 0) & (after <= 1)).all()
    assert (np.diff(after) >= 0).all()
    inner = (after > 1e-6) & (after < 1 - 1e-6)
    assert (np.diff(after[inner]) > 0).all()
    np.testing.assert_allclose(platt.undo(after)[inner], values[inner], atol=1e-6)


def test_nothing_is_changed_where_little_is_known():
    few = np.zeros(500, bool)
    few[:9] = True
    assert fit_platt(few, np.linspace(0, 1, 500)) == UNCHANGED
    np.testing.assert_array_equal(UNCHANGED.apply([0.0, 0.3, 1.0]), [0.0, 0.3, 1.0])


def test_it_is_used_where_it_helps_on_patients_that_it_was_not_fitted_on():
    fold = np.arange(2000) % 5
    used, (before, after) = fit_where_it_helps(SHOWS, TOO_SURE, fold)
    assert used == fit_platt(SHOWS, TOO_SURE)
    assert before == pytest.approx(np.mean((TOO_SURE - SHOWS) ** 2))
    assert after < before - 0.01
    # Fold 0 alone tells the opposite of all others: what is fitted on some does not serve the rest.
    contrary, odd = np.tile([False, True], 30), np.repeat([0, 1], 30)
    said = np.where(odd == 0, np.where(contrary, 0.7, 0.3), np.where(contrary, 0.3, 0.7))
    assert fit_where_it_helps(contrary, said, odd)[0] == UNCHANGED


def test_probabilities_of_other_things_are_refused():
    with pytest.raises(ValueError, match="expected the shape"):
        fit_platt([True], [0.1, 0.2])
