"""Data that several tests of figures need."""

from collections.abc import Callable

import numpy as np
import pytest

DataSet = tuple[list, list, list]  # truth boxes, predicted boxes, confidences: one array an image each


@pytest.fixture(scope="session")
def random_data() -> Callable[..., DataSet]:
    """A maker of data sets: boxes near the truth, beside it and anywhere; empty images of every kind."""

    def make(n_images: int, seed: int, *, tied: bool = False) -> DataSet:
        rng = np.random.default_rng(seed)

        def anywhere(n):
            return np.column_stack([rng.uniform(0, 700, (n, 2)), rng.uniform(60, 300, (n, 2))])

        truth, boxes, confidence = [], [], []
        for _ in range(n_images):
            truth.append(anywhere(rng.integers(0, 4)))
            near = truth[-1] + rng.uniform(-40, 40, truth[-1].shape)
            boxes.append(np.vstack([near[rng.random(len(near)) < 0.8], anywhere(rng.integers(0, 3))]))
            scores = rng.random(len(boxes[-1]))
            confidence.append(scores.round(1) if tied else scores)
        return truth, boxes, confidence

    return make
