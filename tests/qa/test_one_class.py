"""Labels of one class: planted wrong ones are found; right ones left alone, however rare and badly seen their class."""

import numpy as np
import pytest

from curation.labels import LabelInForce
from qa import suspicion
from qa.suspects import one_class
from qa.suspects.found import Found
from sampling.head import Views
from store.arrays import Bools, Floats, Ints

SEEDS = range(10)
ITEMS = 600
RARE = np.array([0.95, 0.05])
EVEN = np.full(5, 0.2)


def problem(
    seed: int, shares: Floats, *, apart: float, flipped: float = 0.0, to_next: bool = False
) -> tuple[Ints, Ints, Floats]:
    """Truth and labels `(N,)` and unit vectors in heaps `apart` deviations from the middle."""
    random = np.random.default_rng(seed)
    truth = random.choice(len(shares), ITEMS, p=shares)
    step = 1 if to_next else random.integers(1, len(shares), ITEMS)
    labels = np.where(random.random(ITEMS) < flipped, (truth + step) % len(shares), truth)
    vectors = random.normal(size=(ITEMS, 32)) + apart * np.eye(len(shares), 32)[truth]
    return truth, labels, (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def search(labels: Ints, vectors: Floats, *, groups: Ints | None = None) -> Found:
    held = [LabelInForce(i, i, f"{i:064}", f"c{label}", 0.95, i) for i, label in enumerate(labels.tolist())]
    alone = np.arange(len(labels))
    views = Views.of(lambda rows: vectors[rows], len(labels))
    classes = [f"c{number}" for number in np.unique(labels).tolist()]
    return one_class.search(held, classes, views, tied=alone, groups=alone if groups is None else groups)


def candidates(found: Found) -> Bools:
    result = np.zeros(ITEMS, dtype=np.bool_)
    result[[one.label_id for one in found.candidates]] = True
    return result


@pytest.mark.parametrize("shares", [EVEN, np.full(10, 0.1), RARE], ids=["five", "ten", "rare"])
@pytest.mark.parametrize("seed", SEEDS)
def test_where_vectors_tell_nothing_nothing_is_doubted_and_nothing_said(seed: int, shares: Floats) -> None:
    _, labels, vectors = problem(seed, shares, apart=0.0)
    found = search(labels, vectors)
    assert found.candidates == []
    assert found.expected_wrong is None


def test_copies_that_differ_are_doubted_all_the_same() -> None:
    _, labels, vectors = problem(0, RARE, apart=0.0)
    rare, common = int(np.flatnonzero(labels == 1)[0]), int(np.flatnonzero(labels == 0)[0])
    groups = np.arange(ITEMS)
    groups[rare] = groups[common]
    found = search(labels, vectors, groups=groups)
    assert {one.label_id: one.suggestion for one in found.candidates} == {rare: "c0", common: "c1"}
    assert all("probe" not in one.why for one in found.candidates)  # it knows nothing


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rare_class_among_a_common_one_is_not_doubted_for_that(seed: int) -> None:
    """The neighbours of nearly all who are rare are common; all labels are right."""
    _, labels, vectors = problem(seed, RARE, apart=2.0)
    alone = np.arange(ITEMS)
    rare = labels == 1
    near = suspicion.of_neighbours(vectors, labels, alone, classes=2)
    assert np.median(near.score[rare]) > 0.75
    assert candidates(search(labels, vectors))[rare].mean() <= 0.35


def test_and_of_ten_collections_few_rare_labels_are_doubted() -> None:
    doubted = rare = 0
    for seed in SEEDS:
        _, labels, vectors = problem(seed, RARE, apart=2.0)
        doubted += int(candidates(search(labels, vectors))[labels == 1].sum())
        rare += int((labels == 1).sum())
    assert doubted / rare < 0.15


@pytest.mark.parametrize(
    ("flipped", "shares"),
    [
        *((flipped, EVEN) for flipped in (0.02, 0.05, 0.1, 0.2, 0.3)),
        *((flipped, RARE) for flipped in (0.02, 0.05, 0.1)),
    ],
)
def test_what_was_flipped_is_found(flipped: float, shares: Floats) -> None:
    """Of ten collections together. Where a fifth is flipped four of five rare labels are of the common class."""
    found, named, planted = counted(shares, flipped=flipped)
    assert found / planted > 0.85
    assert found / named > 0.88


@pytest.mark.parametrize("flipped", [0.05, 0.1, 0.2])
def test_what_was_taken_for_one_other_class_is_found(flipped: float) -> None:
    found, named, planted = counted(EVEN, flipped=flipped, to_next=True)
    assert found / planted > 0.7
    assert found / named > 0.8


def counted(shares: Floats, *, flipped: float, to_next: bool = False) -> tuple[int, int, int]:
    """Of ten collections together: wrong labels among the candidates, candidates, wrong labels."""
    result = np.zeros(3, dtype=np.int64)
    for seed in SEEDS:
        truth, labels, vectors = problem(seed, shares, apart=4.0, flipped=flipped, to_next=to_next)
        wrong, doubted = truth != labels, candidates(search(labels, vectors))
        result += (wrong & doubted).sum(), doubted.sum(), wrong.sum()
    return int(result[0]), int(result[1]), int(result[2])


@pytest.mark.parametrize("apart", [1.5, 4.0])
@pytest.mark.parametrize("flipped", [0.0, 0.05, 0.2])
def test_what_is_wrong_at_most_is_rarely_exceeded(flipped: float, apart: float) -> None:
    said, wrong = [], []
    for seed in SEEDS:
        truth, labels, vectors = problem(seed, EVEN, apart=apart, flipped=flipped)
        expected = search(labels, vectors).expected_wrong
        assert expected is not None
        said.append(expected)
        wrong.append(float((truth != labels).mean()))
    assert np.mean(said) >= np.mean(wrong) - 0.005


def test_of_badly_seen_right_labels_fewer_are_doubted_than_confident_learning_flags() -> None:
    flagged = doubted = 0
    alone = np.arange(ITEMS)
    for seed in SEEDS:
        _, labels, vectors = problem(seed, np.full(10, 0.1), apart=2.0)
        probabilities = suspicion.out_of_fold(Views.of(vectors.__getitem__, ITEMS), labels, alone, classes=10)
        assert probabilities is not None
        flagged += int(suspicion.confident_learning(labels, probabilities).flagged.sum())
        doubted += int(candidates(search(labels, vectors)).sum())
    assert doubted < 0.75 * flagged
