"""Images of several classes and labels of them with planted mistakes, for tests and measurements."""

import numpy as np

from store.arrays import Bools, Floats

ITEMS, CLASSES, DIMENSIONS = 400, 6, 24


def pictures(seed: int, *, flipped: float = 0.05) -> tuple[Bools, Bools, Floats]:
    """Which bits are wrong, the labels, and vectors that are the sum of their classes' directions and noise."""
    random = np.random.default_rng(seed)
    truth = random.random((ITEMS, CLASSES)) < np.linspace(0.1, 0.5, CLASSES)
    directions = np.linalg.qr(random.normal(size=(DIMENSIONS, CLASSES)))[0].T
    vectors = truth @ directions + random.normal(scale=0.25, size=(ITEMS, DIMENSIONS))
    wrong = random.random(truth.shape) < flipped
    return wrong, truth ^ wrong, vectors
