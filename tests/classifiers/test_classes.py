import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hilum.classifiers.classes import CLASSES, class_loss, opacity_probability, possible_classes

NORMAL, OTHER, OPACITY = CLASSES


def test_each_image_has_its_class():
    classes = [NORMAL, OTHER, OPACITY]
    np.testing.assert_array_equal(possible_classes("three_classes", classes, [False, False, True]), np.eye(3))
    np.testing.assert_array_equal(possible_classes("opacity", classes, [False, False, True]), [[1, 0], [1, 0], [0, 1]])


def test_where_nobody_says_which_a_negative_may_be_either():
    found = possible_classes("three_classes", ["", "", "???"], [False, True, False])
    np.testing.assert_array_equal(found, [[1, 1, 0], [0, 0, 1], [1, 1, 0]])


def test_boxes_count_before_a_class_that_contradicts_them():
    found = possible_classes("three_classes", [NORMAL, OPACITY], [True, False])
    np.testing.assert_array_equal(found, [[0, 0, 1], [1, 1, 0]])


LOGITS = st.lists(st.lists(st.floats(-20, 20), min_size=3, max_size=3), min_size=1, max_size=5)


@given(LOGITS, st.integers(0, 2))
def test_of_one_possible_class_it_is_cross_entropy(values, target):
    logits = torch.tensor(values)
    expected = torch.nn.functional.cross_entropy(logits, torch.full((len(values),), target))
    assert float(class_loss(logits, torch.eye(3)[[target] * len(values)])) == pytest.approx(float(expected), abs=1e-4)


@given(LOGITS)
def test_of_several_it_is_that_of_their_sum(values):
    logits = torch.tensor(values)
    together = -torch.log(logits.double().softmax(1)[:, :2].sum(1)).mean()
    ours = class_loss(logits, torch.tensor([[1, 1, 0]] * len(values)))
    assert float(ours) == pytest.approx(float(together), abs=1e-4)
    assert float(class_loss(logits, torch.ones(len(values), 3))) == pytest.approx(0, abs=1e-4)


@given(LOGITS)
def test_of_two_outputs_it_is_binary_cross_entropy_of_their_difference(values):
    logits = torch.tensor(values)[:, :2]
    difference, target = logits[:, 1] - logits[:, 0], torch.arange(len(values)) % 2
    expected = torch.nn.functional.binary_cross_entropy_with_logits(difference, target.float())
    assert float(class_loss(logits, torch.eye(2)[target])) == pytest.approx(float(expected), abs=1e-4)
    np.testing.assert_allclose(opacity_probability(logits), torch.sigmoid(difference.double()), atol=1e-6)


def test_the_loss_has_finite_gradients():
    logits = torch.tensor([[0.0, 30, -30], [1, 2, 3]], requires_grad=True)
    class_loss(logits, torch.tensor([[1, 0, 0], [1, 1, 0]])).backward()
    assert torch.isfinite(logits.grad).all()
    np.testing.assert_allclose(logits.grad.sum(1), 0, atol=1e-6)
