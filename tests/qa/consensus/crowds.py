"""Simulated crowds, for tests."""

import numpy as np

from store.arrays import Floats, Ints


def crowd(seed: int, confusions: Floats, *, items: int, overlap: int) -> tuple[Ints, Ints]:
    """Answers `(M, 3)` and the truth `(N,)`: each item put to `overlap` people drawn at random, in their order.

    Args:
        seed: Of everything drawn.
        confusions: `(A, C, C)`, what annotator a answers to each class.
        items: N.
        overlap: People per item.
    """
    generator = np.random.default_rng(seed)
    annotators, classes, _ = confusions.shape
    truth = generator.integers(0, classes, items)
    rows = []
    for item in range(items):
        for annotator in generator.choice(annotators, overlap, replace=False):
            rows.append((item, annotator, generator.choice(classes, p=confusions[annotator, truth[item]])))
    return np.array(rows, dtype=np.int64), truth


def coins(accuracies: list[float], classes: int) -> Floats:
    """Confusions `(A, C, C)` of people who are right with one probability and else say anything."""
    accuracy = np.array(accuracies)[:, None, None]
    right = np.eye(classes)[None]
    return np.asarray(right * accuracy + (1 - right) * (1 - accuracy) / (classes - 1))


def right(posteriors: Floats, truth: Ints) -> float:
    return float(np.mean(posteriors.argmax(axis=1) == truth))
