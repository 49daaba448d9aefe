"""Simulated crowds, for tests; and tables as crowd-kit has them."""

import numpy as np
import pandas as pd

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


def ten_crowds(accuracies: list[float], classes: int, *, items: int, overlap: int) -> Ints:
    """Answers `(M, 3)` of ten crowds of such people in one table; they share no item and nobody."""
    tables = [crowd(seed, coins(accuracies, classes), items=items, overlap=overlap)[0] for seed in range(10)]
    return np.concatenate(
        [table + np.array([seed * items, seed * len(accuracies), 0]) for seed, table in enumerate(tables)]
    )


def balanced(answers: Ints, classes: int) -> Ints:
    """The answers again with the classes in every rotation, to other items: so all classes are equally common."""
    items = answers[:, 0].max() + 1
    item, who, said = answers.T
    turned = [np.column_stack([item + turn * items, who, (said + turn) % classes]) for turn in range(classes)]
    return np.concatenate(turned)


def as_crowd_kit(answers: Ints) -> pd.DataFrame:
    """A table of crowd-kit's."""
    return pd.DataFrame(answers, columns=["task", "worker", "label"])


def sorted_values(table: pd.DataFrame) -> Floats:
    """`(N, C)`, what crowd-kit says of items and classes in their order."""
    values: Floats = table.sort_index(axis=0).sort_index(axis=1).to_numpy()
    return values
