"""Boxes of images by hand; the second image has none."""

import numpy as np
import pytest

from sampling import boxes

OFFSETS = np.array([0, 3, 3, 4])
VALUES = np.array([0.2, 0.6, 0.4, 0.5])


def test_of_one_box() -> None:
    assert boxes.uncertainty(np.array([0.5, 1.0, 0.0])) == pytest.approx([1, 0, 0])
    assert boxes.uncertainty(np.array([0.9]), np.array([[0.6, 0.4]])) == pytest.approx([0.8])


@pytest.mark.parametrize(
    ("how", "expected"),
    [("sum", [1.2, 0, 0.5]), ("mean", [0.4, 0, 0.5]), ("max", [0.6, 0, 0.5]), ("top", [0.5, 0, 0.5])],
)
def test_of_an_image(how: boxes.Aggregate, expected: list[float]) -> None:
    assert boxes.aggregate(VALUES, OFFSETS, how=how, top=2) == pytest.approx(expected)


def test_classes_weigh() -> None:
    found = boxes.aggregate(
        VALUES, OFFSETS, how="max", classes=np.array([0, 1, 0, 1]), class_weights=np.array([1, 0.5])
    )
    assert found == pytest.approx([0.4, 0, 0.25])


def test_passes_that_agree_do_not_surprise() -> None:
    assert boxes.count_surprise(np.array([[2, 0, 1], [2, 0, 3]])) == pytest.approx([0, 0, 1 / 3])


def test_no_boxes_at_all() -> None:
    assert boxes.aggregate(np.empty(0), np.array([0, 0]), how="top").tolist() == [0]
