"""Confusions from few answers: by hand, where there is nothing to shrink, and how likely counts are."""

import numpy as np
import pytest
from scipy.stats import dirichlet_multinomial

from qa.consensus import confusion


def test_of_nobody_known_everybody_is_as_good_as_is_usual() -> None:
    found = confusion.shrunk(np.zeros((2, 3, 3)))
    assert found == pytest.approx(np.tile(0.7 * np.eye(3) + 0.1, (2, 1, 1)))  # right in 8 of 10


def test_one_person_by_hand() -> None:
    """Ten answers, all right, five to each class: everybody is right in 18 of 20, and so is the one person."""
    found = confusion.shrunk(np.array([[[5.0, 0], [0, 5]]]))
    everybody = (5 + 20 * 0.9) / 25
    own, usual = (10 + 20 * 0.9) / 30, (10 * everybody + 20 * 0.9) / 30
    odds = everybody / (1 - everybody) * own / (1 - own) * (1 - usual) / usual
    bent = odds / (1 + odds)
    by_strength = [(5 + strength * bent) / (5 + strength) for strength in confusion._ALIKE]
    assert found[0, 0, 0] == found[0, 1, 1]
    assert min(abs(found[0, 0, 0] - one) for one in by_strength) < 1e-12


def test_many_answers_are_taken_at_their_word() -> None:
    counts = np.array(
        [[[700.0, 200, 100], [0, 900, 100], [50, 50, 900]], [[600, 400, 0], [300, 600, 100], [0, 0, 1e3]]]
    )
    assert confusion.shrunk(counts) == pytest.approx(counts / 1000, abs=0.01)


@pytest.mark.parametrize("seed", range(10))
def test_how_likely_counts_are_is_scipys_but_for_the_order(seed: int) -> None:
    """Theirs is of counts, ours of answers in an order: they differ by what does not hang on the prior."""
    generator = np.random.default_rng(seed)
    counts = generator.integers(0, 6, (4, 3, 3)).astype(np.float64)
    first, second = generator.random((2, 4, 3, 3)) * 5 + 0.1

    def theirs(prior: np.ndarray) -> float:
        rows = zip(prior.reshape(-1, 3), counts.reshape(-1, 3).astype(int), strict=True)
        return float(sum(dirichlet_multinomial(alpha, row.sum()).logpmf(row) for alpha, row in rows if row.sum()))

    ours = confusion._evidence(counts, first) - confusion._evidence(counts, second)
    assert ours == pytest.approx(theirs(first) - theirs(second))


def test_habits_are_found_and_chance_is_none() -> None:
    """Twenty wrong answers to each of ten classes: all the same one, or any; and people alike or each of their own."""
    generator = np.random.default_rng(0)
    wrong = generator.multinomial(20, np.full(9, 1 / 9), 10).astype(np.float64)
    counts = np.diag(np.full(10, 80.0))
    habit = counts + 20 * np.roll(np.eye(10), 1, axis=1)
    counts[~np.eye(10, dtype=np.bool_)] = wrong.ravel()
    by_chance, by_habit = (confusion.shrunk(each[None])[0] for each in (counts, habit))
    assert by_habit.diagonal(1).min() > 0.15
    assert np.abs(confusion._everybody(counts, 0.8)[~np.eye(10, dtype=np.bool_)] - 0.2 / 9).max() < 0.005
    assert by_chance.diagonal().min() > 0.75
    alike = confusion.shrunk(np.tile(habit / 20, (40, 1, 1)))  # five answers to a class each: everybody's word counts
    assert alike[:, 0, 1].min() > 0.12
    for seed in range(10):  # habits of their own: 100 answers to each class, of which 20 are one that others never give
        order = np.random.default_rng(seed).permutation(np.arange(1, 10))[:4]
        own = np.stack([np.diag(np.full(10, 80.0)) + 20 * np.roll(np.eye(10), turn, axis=1) for turn in order])
        found = confusion.shrunk(own)
        assert (found[np.arange(4), 0, order] > 0.15).all()
