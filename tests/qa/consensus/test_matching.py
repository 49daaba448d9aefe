"""Which regions are one thing: by hand, against brute force, and whoever comes first."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation import iou
from qa.consensus import matching
from store.arrays import Floats, Ints


def value(likeness: Floats, numbers: Ints, least: float) -> float:
    same = (numbers[:, None] == numbers[None, :]) & ~np.eye(len(numbers), dtype=np.bool_)
    return float((likeness - least)[same].sum())


def all_matchings(annotator: Ints) -> list[Ints]:
    found: list[list[int]] = [[]]
    for row in range(len(annotator)):
        longer = []
        for numbers in found:
            for number in range(max(numbers, default=-1) + 2):
                members = [i for i, each in enumerate(numbers) if each == number]
                if annotator[row] not in annotator[members]:
                    longer.append([*numbers, number])
        found = longer
    return [np.array(each) for each in found]


def test_two_people_and_one_box() -> None:
    likeness = np.array([[1, 0.8], [0.8, 1]])
    assert matching.match(likeness, np.array([4, 7]), least=0.5).tolist() == [0, 0]
    assert matching.match(likeness, np.array([4, 7]), least=0.9).tolist() == [0, 1]
    assert matching.match(likeness, np.array([4, 4]), least=0.5).tolist() == [0, 1]
    assert matching.match(np.zeros((0, 0)), np.zeros(0, np.int64), least=0.5).tolist() == []


def test_assignment_finds_both_pairs_where_the_greedy_choice_loses_one() -> None:
    """Side by side, one person drew two boxes a little to the right, so that the likest pair is a wrong one."""
    sides = np.array([[0, 0, 10, 10], [6, 0, 16, 10], [3.2, 0, 13.2, 10], [9, 0, 19, 10]])
    annotator = np.array([0, 0, 1, 1])
    likeness = iou.of_boxes(sides, sides)
    greedy = np.unravel_index(np.argmax(np.where(annotator[:, None] != annotator, likeness, 0)), likeness.shape)
    assert sorted(greedy) == [1, 2]
    found = matching.match(likeness, annotator, least=0.4)
    assert found.tolist() == [0, 1, 0, 1]
    rows, columns = matching.pairs(likeness[:2, 2:], least=0.4)
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [0, 1])


def test_a_chain_is_cut_where_its_ends_are_apart() -> None:
    """Each overlaps the next, the first and the last do not: two things, and neither annotator twice in one."""
    sides = np.array([[float(x), 0, x + 10, 10] for x in (0, 3, 6, 9, 12)])
    likeness = iou.of_boxes(sides, sides)
    assert all(likeness[a, b] > 0.4 for a, b in pairwise(range(5)))
    found = matching.match(likeness, np.arange(5), least=0.4)
    assert len(set(found.tolist())) > 1
    assert (np.diff(found) >= 0).all()


@settings(max_examples=60)
@given(st.integers(0, 100_000), st.integers(1, 7), st.integers(1, 4))
def test_hardly_any_matching_is_worthier(seed: int, regions: int, people: int) -> None:
    """Climbing from several starts comes within a tenth of the best of all matchings, and mostly to it."""
    generator = np.random.default_rng(seed)
    corner = generator.random((regions, 2)) * 8
    sides = np.concatenate([corner, corner + 8 + generator.random((regions, 2)) * 4], axis=1)
    annotator = generator.integers(0, people, regions)
    likeness = iou.of_boxes(sides, sides)
    found = matching.match(likeness, annotator, least=0.4)
    best = max(value(likeness, each, 0.4) for each in all_matchings(annotator))
    assert value(likeness, found, 0.4) >= 0.9 * best - 1e-9
    for number in set(found.tolist()):
        members = annotator[found == number]
        assert len(set(members.tolist())) == len(members)


def test_the_worthiest_is_found_nearly_always() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(100):
        corner = generator.random((7, 2)) * 8
        sides = np.concatenate([corner, corner + 10], axis=1)
        annotator = generator.integers(0, 3, 7)
        likeness = iou.of_boxes(sides, sides)
        best = max(value(likeness, each, 0.4) for each in all_matchings(annotator))
        hits += value(likeness, matching.match(likeness, annotator, least=0.4), 0.4) >= best - 1e-9
    assert hits >= 97


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_two_peoples_matching_is_the_best_of_all(seed: int) -> None:
    generator = np.random.default_rng(seed)
    corner = generator.random((7, 2)) * 8
    sides = np.concatenate([corner, corner + 10], axis=1)
    annotator = np.array([0, 0, 0, 1, 1, 1, 1])
    likeness = iou.of_boxes(sides, sides)
    best = max(value(likeness, each, 0.4) for each in all_matchings(annotator))
    assert value(likeness, matching.match(likeness, annotator, least=0.4), 0.4) == pytest.approx(best)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.permutations(range(4)))
def test_who_is_who_changes_nothing(seed: int, names: list[int]) -> None:
    generator = np.random.default_rng(seed)
    corner = np.round(generator.random((10, 2)) * 6)  # ties are common
    sides = np.concatenate([corner, corner + 10], axis=1)
    sides = sides[np.lexsort(sides.T)]
    annotator = generator.integers(0, 4, 10)
    likeness = iou.of_boxes(sides, sides)
    found = matching.match(likeness, annotator, least=0.4)
    assert matching.match(likeness, np.array(names)[annotator], least=0.4).tolist() == found.tolist()
