import krippendorff
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qa import agreement

COUNTS = arrays(np.int64, st.tuples(st.integers(1, 12), st.integers(2, 4)), elements=st.integers(0, 3))


def test_alpha_by_hand() -> None:
    counts = np.array([[2, 0], [2, 0], [1, 1], [0, 2]])
    # 8 answers, 5 of one kind and 3 of the other: by chance 30 of 56 ordered pairs differ; seen: 2 of 8
    assert agreement.krippendorff_alpha(counts) == pytest.approx(1 - (2 / 8) / (30 / 56))


def test_raw_agreement_by_hand() -> None:
    assert agreement.raw_agreement(np.array([[2, 0], [1, 1], [2, 1], [1, 0]])) == pytest.approx((1 + 0 + 1 / 3) / 3)


def test_krippendorffs_own_example() -> None:
    """Four observers, twelve units, .743: Krippendorff (2011), section C."""
    ratings = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, np.nan, np.nan, np.nan],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, np.nan, 3],
        [np.nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, np.nan],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, np.nan],
    ]
    counts = np.array([[np.sum(np.array(unit) == c) for c in range(1, 6)] for unit in zip(*ratings, strict=True)])
    assert agreement.krippendorff_alpha(counts) == pytest.approx(0.743, abs=5e-4)


@given(COUNTS)
def test_alpha_is_the_peers(counts: np.ndarray) -> None:
    assume((counts[counts.sum(axis=1) >= 2].sum(axis=0) > 0).sum() >= 2)
    theirs = krippendorff.alpha(value_counts=counts, level_of_measurement="nominal")
    assert agreement.krippendorff_alpha(counts) == pytest.approx(theirs)


@given(COUNTS, st.randoms(use_true_random=False))
def test_the_order_of_items_and_classes_does_not_matter(counts: np.ndarray, random: np.random.Generator) -> None:
    rows, columns = list(range(counts.shape[0])), list(range(counts.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    shuffled = counts[rows][:, columns]
    assert agreement.krippendorff_alpha(shuffled) == pytest.approx(agreement.krippendorff_alpha(counts))
    assert agreement.raw_agreement(shuffled) == pytest.approx(agreement.raw_agreement(counts))


@pytest.mark.parametrize("counts", [np.zeros((0, 2), np.int64), np.zeros((3, 2), np.int64), np.eye(2, dtype=np.int64)])
def test_without_two_answers_nothing_can_be_said(counts: np.ndarray) -> None:
    assert agreement.krippendorff_alpha(counts) is None
    assert agreement.raw_agreement(counts) is None


def test_where_only_one_answer_was_ever_given_alpha_is_undefined() -> None:
    assert agreement.krippendorff_alpha(np.array([[2, 0], [3, 0]])) is None
    assert agreement.raw_agreement(np.array([[2, 0], [3, 0]])) == 1
