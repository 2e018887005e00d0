import io

import numpy as np
import pytest
import torch
from torch import nn

from hilum.segmenters.keras_conventions import KerasAdam

# From far below epsilon to far above it.
GRADIENTS = np.random.default_rng(0).normal(size=(20, 6)) * 10.0 ** np.arange(-9, -3)


def by_the_formula(gradients: np.ndarray, lr: float, eps: float = 1e-7) -> np.ndarray:
    """Kingma and Ba's "epsilon hat" variant, which Keras implements, in double precision."""
    m = v = x = np.zeros(gradients.shape[1])
    for step, gradient in enumerate(gradients, start=1):
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        x = x - lr * np.sqrt(1 - 0.999**step) / (1 - 0.9**step) * m / (np.sqrt(v) + eps)
    return x


def follow(optimizer: torch.optim.Optimizer, variable: nn.Parameter, gradients: np.ndarray) -> None:
    for gradient in gradients:
        variable.grad = torch.from_numpy(gradient)
        optimizer.step()


def variable() -> nn.Parameter:
    return nn.Parameter(torch.zeros(GRADIENTS.shape[1], dtype=torch.float64))


@pytest.mark.parametrize("steps", [1, 2, 20])
def test_adam_is_keras(steps):
    x = variable()
    follow(KerasAdam([x], lr=0.01), x, GRADIENTS[:steps])
    expected = by_the_formula(GRADIENTS[:steps], 0.01)
    np.testing.assert_allclose(x.detach().numpy(), expected, rtol=1e-9)
    theirs = variable()
    follow(torch.optim.Adam([theirs], lr=0.01, eps=1e-7), theirs, GRADIENTS[:steps])
    assert (theirs.detach().numpy()[:2] / expected[:2] > 5).all()  # where PyTorch's epsilon is no stand-in


def test_adam_goes_on_where_it_was_stored():
    x = variable()
    first = KerasAdam([x], lr=0.01)
    follow(first, x, GRADIENTS[:7])
    stored = io.BytesIO()
    torch.save(first.state_dict(), stored)
    stored.seek(0)
    second = KerasAdam([x], lr=0.5)
    second.load_state_dict(torch.load(stored, weights_only=True))
    follow(second, x, GRADIENTS[7:])
    np.testing.assert_allclose(x.detach().numpy(), by_the_formula(GRADIENTS, 0.01), rtol=1e-9)
