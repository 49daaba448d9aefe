"""Votes and weighted votes: by hand, and crowd-kit's."""

import numpy as np
import pandas as pd
import pytest

from qa.consensus import belief, majority
from tests.qa.consensus.crowds import as_crowd_kit, sorted_values, ten_crowds

PEOPLE = [0.95, 0.85, 0.75, 0.65, 0.55]
ANSWERS = ten_crowds(PEOPLE, 3, items=30, overlap=3)
SIZE = {"annotators": 50, "classes": 3}
OPEN = np.full(300, -1)

pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")  # crowd-kit is older than that


def test_shares_by_hand() -> None:
    answers = np.array([(0, 0, 1), (0, 1, 1), (0, 2, 0), (1, 0, 0), (2, 1, 1)])
    found = majority.fit(answers, np.array([-1, -1, 0, -1]), annotators=3, classes=2)
    assert found.posteriors == pytest.approx(np.array([[1 / 3, 2 / 3], [1, 0], [1, 0], [0.5, 0.5]]))
    # right beside 8 of 10: ann 2/3 and 1, bob 2/3 and 0 as item 2 is known, cay 1/3
    assert found.accuracy == pytest.approx([(8 + 5 / 3) / 12, (8 + 2 / 3) / 12, (8 + 1 / 3) / 11])


def test_weights_by_hand() -> None:
    """Two against one: their weights are those accuracies."""
    answers = np.array([(0, 0, 1), (0, 1, 1), (0, 2, 0)])
    found = majority.fit_weighted(answers, np.array([-1]), annotators=3, classes=2)
    two, one = (8 + 2 / 3) / 11, (8 + 1 / 3) / 11
    assert found.posteriors[0] == pytest.approx([one / (2 * two + one), 2 * two / (2 * two + one)])


def test_shares_are_crowd_kits() -> None:
    from crowdkit.aggregation import MajorityVote

    theirs = MajorityVote().fit(as_crowd_kit(ANSWERS)).probas_
    assert majority.fit(ANSWERS, OPEN, **SIZE).posteriors == pytest.approx(sorted_values(theirs))


def test_weighted_shares_are_crowd_kits_with_the_same_weights() -> None:
    from crowdkit.aggregation import MajorityVote

    weights = pd.Series(majority.fit(ANSWERS, OPEN, **SIZE).accuracy)
    theirs = MajorityVote().fit_predict_proba(as_crowd_kit(ANSWERS), weights)
    assert majority.fit_weighted(ANSWERS, OPEN, **SIZE).posteriors == pytest.approx(sorted_values(theirs))


def test_without_a_prior_and_with_the_majority_as_the_truth_weights_are_those_of_wawa(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Worker agreement with the aggregate: what crowd-kit's `Wawa` weighs by, which fails with this scikit-learn."""
    from crowdkit.aggregation import MajorityVote

    theirs = MajorityVote().fit(as_crowd_kit(ANSWERS))
    monkeypatch.setattr(belief, "PRIOR_RIGHT", 0.0)
    monkeypatch.setattr(belief, "PRIOR_WRONG", 0.0)
    found = majority.fit(ANSWERS, theirs.labels_.sort_index().to_numpy(), **SIZE)
    assert found.accuracy == pytest.approx(theirs.skills_.sort_index().to_numpy())
