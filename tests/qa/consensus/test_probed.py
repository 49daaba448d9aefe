"""The posterior with the probe: that the probe hears of an item only through others, and helps."""

import numpy as np
import pytest

from qa.consensus import majority, posterior, probed
from sampling.head import Views
from store.arrays import Ints, Vectors
from tests.qa.consensus.crowds import right


def heaps(items: int, *, spread: float = 0.4) -> tuple[Views, Ints]:
    """Unit vectors around three axes, and which axis each is of."""
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, items)
    vectors = np.eye(3, 12)[truth] + generator.normal(scale=spread, size=(items, 12))
    unit: Vectors = np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)
    return Views(unit, unit), truth


def one_answer_each(truth: Ints, accuracy: float) -> Ints:
    generator = np.random.default_rng(1)
    said = np.where(generator.random(len(truth)) < accuracy, truth, generator.integers(0, 3, len(truth)))
    return np.stack([np.arange(len(truth)), np.arange(len(truth)) % 4, said], axis=1)


def test_one_answer_and_the_probe_are_better_than_one_answer() -> None:
    views, truth = heaps(600)
    answers = one_answer_each(truth, 0.7)
    nothing = np.full(600, -1)
    found = probed.fit(answers, nothing, views, np.arange(600), annotators=4, classes=3)
    votes = majority.fit(answers, nothing, annotators=4, classes=3)
    assert right(found.posteriors, truth) > right(votes.posteriors, truth) + 0.05


def test_what_is_said_of_an_item_does_not_hang_on_its_own_answer_or_on_those_of_what_is_tied_to_it() -> None:
    views, truth = heaps(60)
    tied = np.arange(60) // 2
    folds = probed.folds_of(tied, seed=3)
    assert (folds[::2] == folds[1::2]).all()
    assert np.bincount(folds, minlength=5).min() >= 10
    heard = np.ones(60, dtype=np.bool_)
    first = np.eye(3)[truth]
    other = first.copy()
    other[[10, 11]] = np.eye(3)[(truth[[10, 11]] + 1) % 3]
    one, two = (probed.out_of_fold(views, each, heard, folds) for each in (first, other))
    assert one is not None
    assert two is not None
    same = folds == folds[10]
    assert one[same].tolist() == two[same].tolist()
    assert not np.allclose(one[~same], two[~same])


def test_items_that_nobody_answered_get_what_the_probe_says() -> None:
    views, truth = heaps(300)
    answers = one_answer_each(truth, 0.9)[:200]
    found = probed.fit(answers, np.full(300, -1), views, np.arange(300), annotators=4, classes=3)
    assert right(found.posteriors[200:], truth[200:]) > 0.9


@pytest.mark.parametrize("rows", [[], [(0, 0, 1), (1, 0, 1), (2, 0, 1)]])
def test_without_two_classes_there_is_no_probe(rows: list[tuple[int, int, int]]) -> None:
    views, _ = heaps(6)
    answers = np.array(rows, dtype=np.int64).reshape(-1, 3)
    found = probed.fit(answers, np.full(6, -1), views, np.arange(6), annotators=1, classes=3)
    alone = posterior.fit(answers, np.full(6, -1), annotators=1, classes=3)
    assert found.posteriors == pytest.approx(alone.posteriors)
