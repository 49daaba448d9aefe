"""AP by hand, and beside a second implementation that is as slow as it is plain."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.average_precision import Boxes, average_precision, hits
from curation import iou
from store.arrays import Floats


def boxes(*rows: tuple[int, float, float, float, float, int]) -> Boxes:
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    return Boxes(table[:, 0].astype(np.int64), table[:, 1:5], table[:, 5].astype(np.int64))


def test_iou_by_hand() -> None:
    first = np.array([[0, 0, 10, 10], [5, 5, 5, 5.0]])
    second = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30.0]])
    assert iou.of_boxes(first, second) == pytest.approx(np.array([[1, 50 / 150, 0], [0, 0, 0]]))
    assert iou.of_boxes(first, np.zeros((0, 4))).shape == (2, 0)


def test_a_hit_a_miss_and_a_ghost_by_hand() -> None:
    truth = boxes((0, 0, 0, 10, 10, 0), (0, 20, 20, 30, 30, 0), (1, 0, 0, 10, 10, 0))
    found = boxes((0, 0, 0, 10, 10, 0), (0, 50, 50, 60, 60, 0), (1, 0, 0, 10, 8, 0))
    scores = np.array([0.9, 0.8, 0.7])
    at_half, at_nine = average_precision(found, scores, truth, thresholds=(0.5, 0.9))
    # recall 1/3 at precision 1, 2/3 at precision 2/3; of 101 levels 34 lie at or below 1/3 and 33 up to 2/3
    assert at_half == pytest.approx([(34 * 1 + 33 * 2 / 3) / 101])
    assert at_nine == pytest.approx([34 / 101])


def test_of_boxes_that_are_equally_sure_the_order_does_not_matter() -> None:
    truth = boxes((0, 0, 0, 10, 10, 0), (0, 20, 20, 30, 30, 0))
    found = boxes((0, 50, 50, 60, 60, 0), (0, 0, 0, 10, 10, 0))
    turned = boxes((0, 0, 0, 10, 10, 0), (0, 50, 50, 60, 60, 0))
    for each in (found, turned):
        assert average_precision(each, np.ones(2), truth, thresholds=[0.5]) == pytest.approx(51 * 0.5 / 101)


def test_a_thing_is_found_once_and_only_by_its_class() -> None:
    truth = boxes((0, 0, 0, 10, 10, 0), (0, 40, 40, 50, 50, 1))
    found = boxes((0, 0, 0, 10, 9, 0), (0, 0, 0, 10, 10, 0), (0, 40, 40, 50, 50, 0))
    assert hits(found, np.array([0.9, 0.8, 0.7]), truth, thresholds=[0.5]).tolist() == [[True, False, False]]
    assert hits(found, np.ones(3), truth, thresholds=[0.5]).tolist() == [[False, True, False]]


def test_nothing_found_and_nothing_there() -> None:
    nothing, thing = boxes(), boxes((0, 0, 0, 10, 10, 2))
    assert average_precision(nothing, np.zeros(0), thing).tolist() == [[0.0]] * 10
    assert average_precision(thing, np.ones(1), nothing).shape == (10, 0)


def plain(found: list[tuple[int, Floats, float]], truth: list[tuple[int, Floats]], least: float) -> float:
    """AP of one class with distinct scores, one box and one level at a time."""
    taken: set[int] = set()
    marks = []
    for image, box, _ in sorted(found, key=lambda each: -each[2]):
        best, place = least, None
        for i, (there, other) in enumerate(truth):
            overlap = iou.of_boxes(box[None], other[None])[0, 0]
            if there == image and i not in taken and overlap >= best and overlap > (best if place is not None else 0):
                best, place = overlap, i
        marks.append(place is not None)
        if place is not None:
            taken.add(place)
    levels = []
    for level in np.linspace(0, 1, 101):
        reached = [
            sum(marks[: n + 1]) / (n + 1) for n in range(len(marks)) if sum(marks[: n + 1]) / len(truth) >= level
        ]
        levels.append(max(reached, default=0.0))
    return float(np.mean(levels))


@given(st.integers(0, 10_000), st.integers(0, 8), st.integers(1, 6))
def test_it_is_what_a_plain_implementation_says(seed: int, found: int, there: int) -> None:
    generator = np.random.default_rng(seed)

    def drawn(count: int) -> Floats:
        corner = generator.integers(0, 12, (count, 2)).astype(np.float64)
        return np.concatenate([corner, corner + generator.integers(4, 12, (count, 2))], axis=1)

    image, of_truth = generator.integers(0, 2, found), generator.integers(0, 2, there)
    sides, true_sides, scores = drawn(found), drawn(there), generator.permutation(found) + 1.0
    ours = average_precision(
        Boxes(image, sides, np.zeros(found, np.int64)), scores, Boxes(of_truth, true_sides, np.zeros(there, np.int64))
    )
    for threshold, each in zip((0.5, 0.75), ours[[0, 5], 0], strict=True):
        rows = list(zip(image.tolist(), sides, scores.tolist(), strict=True))
        assert each == pytest.approx(plain(rows, list(zip(of_truth.tolist(), true_sides, strict=True)), threshold))
