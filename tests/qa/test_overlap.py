"""Who is asked next: by hand, against enumeration, and that the target is met."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa import gains, overlap
from qa.consensus.posterior import Posterior, Trust
from qa.overlap import Decisions, Rules, most_doubt
from store.arrays import Floats, Ints
from store.errors import InvalidInputError
from tests.qa.consensus.crowds import coins

SIMPLE = Trust(model=1, answer=1, repeat=0)
NOBODY: Ints = np.empty((0, 3), dtype=np.int64)


def belief(posteriors: list[list[float]], confusion: Floats) -> Posterior:
    people = len(confusion)
    nothing = np.zeros(people)
    return Posterior(np.array(posteriors), nothing, np.zeros((people, 2)), nothing.astype(int), confusion, SIMPLE)


def decide(held: Posterior, answers: Ints, candidates: Ints, **rules: Any) -> Decisions:
    """On items of one class, whose beliefs rest on `answers`."""
    doubt = 1 - held.posteriors.max(axis=1)
    given_ = np.bincount(answers[:, 0], minlength=len(doubt))
    return overlap.decide(doubt, given_, [candidates], partial(gains.of_class, held, answers), **rules)


def one_each(items: int) -> Ints:
    """Annotator 0 answered everything once."""
    return np.stack([np.arange(items), np.zeros(items), np.zeros(items)], axis=1).astype(np.int64)


def test_doubt_is_cut_where_the_mean_meets_the_target() -> None:
    doubt = np.array([0.5, 0.02, 0.0, 0.3])
    limit = most_doubt(doubt, 0.05)
    assert limit == pytest.approx(0.09)  # (.2 - .02) / 2: both doubtful items asked down to it
    assert np.minimum(doubt, limit).mean() == pytest.approx(0.05)
    assert most_doubt(doubt, 0.21) == 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.01, 0.5))
def test_the_limit_always_meets_the_target(doubts: list[float], target: float) -> None:
    doubt = np.array(doubts)
    limit = most_doubt(doubt, target)
    if doubt.mean() <= target:
        assert limit == 1
    else:
        assert np.minimum(doubt, limit).mean() == pytest.approx(target)


def test_asked_is_who_tells_the_classes_in_doubt_apart() -> None:
    """Annotator 1 is right more often on the whole, annotator 2 tells 0 from 1."""
    sees_two = np.array([[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1.0]])
    tells = np.array([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.6, 0.3, 0.1]])
    confusion = np.stack([coins([0.8], 3)[0], sees_two, tells])
    found = decide(
        belief([[0.5, 0.5, 0], [0.5, 0, 0.5]], confusion),
        one_each(2),
        np.array([(item, annotator) for item in (0, 1) for annotator in (1, 2)]),
        rules=Rules(audited=0),
    )
    assert found.asked.tolist() == [2, 1]
    assert not found.accepted.any()
    assert not found.adjudicated.any()


def test_sure_items_are_accepted_and_those_that_nobody_may_answer_go_to_an_expert() -> None:
    confusion = coins([0.8, 0.8, 0.8, 0.8], 2)
    held = belief([[0.99, 0.01], [0.6, 0.4], [0.6, 0.4], [0.6, 0.4]], confusion)
    thrice = np.array([(2, annotator, annotator % 2) for annotator in range(3)])
    answers = np.concatenate([one_each(2), thrice, [[3, 0, 0]]])
    candidates = np.array([[0, 1], [1, 1], [2, 3]])
    found = decide(held, answers, candidates, rules=Rules(audited=0))
    assert found.accepted.tolist() == [True, False, False, False]
    assert found.asked.tolist() == [-1, 1, -1, -1]
    assert found.adjudicated.tolist() == [False, False, True, True]


def test_an_expert_is_asked_where_others_only_guess() -> None:
    rules, candidates = Rules(audited=0, adjudication_cost=2), np.array([[0, 1]])
    guess, able = belief([[0.6, 0.4]], np.full((2, 2, 2), 0.5)), belief([[0.6, 0.4]], coins([0.9, 0.9], 2))
    assert decide(guess, one_each(1), candidates, rules=rules).adjudicated.tolist() == [True]
    assert decide(able, one_each(1), candidates, rules=rules).asked.tolist() == [1]
    cheap = replace(rules, adjudication_cost=1)
    # the expert settles .4 for 1; the answer is expected to settle .3
    assert decide(able, one_each(1), candidates, rules=cheap).adjudicated.tolist() == [True]


@pytest.mark.parametrize(("price", "is_adjudicated"), [(1, True), (2, True), (2.1, False), (200, False)])
def test_an_expert_who_costs_more_than_the_answers_left_comes_after_them(price: float, is_adjudicated: bool) -> None:
    """Of equally able people one more cannot overturn the first, so that it gains nothing; two can."""
    held = belief([[0.8, 0.2]], coins([0.8, 0.8], 2))
    rules = Rules(audited=0, adjudication_cost=price)
    found = decide(held, one_each(1), np.array([[0, 1]]), rules=rules)
    assert found.adjudicated.tolist() == [is_adjudicated]
    assert found.asked.tolist() == [-1 if is_adjudicated else 1]


def test_what_is_not_twice_as_likely_right_as_wrong_is_never_accepted() -> None:
    """Even where so much else is sure that the target allows it."""
    rows = [[1.0, 0.0, 0.0]] * 18 + [[0.67, 0.33, 0.0], [0.6, 0.4, 0.0]]
    found = decide(
        belief(rows, coins([0.8, 0.8], 3)), one_each(20), np.array([[19, 1]]), rules=Rules(audited=0, target_error=0.06)
    )
    assert found.accepted.tolist() == [True] * 19 + [False]
    assert found.asked[19] == 1
    assert found.most_doubt == pytest.approx(1 / 3)


def test_what_nobody_has_answered_is_never_accepted() -> None:
    found = decide(belief([[1.0, 0.0]], coins([0.8], 2)), NOBODY, np.array([[0, 0]]), rules=Rules(audited=0))
    assert (found.asked.tolist(), found.accepted.tolist()) == ([0], [False])


def unseen(answers: Ints) -> Ints:
    """Of three people and a thousand items every pair without an answer."""
    missing = np.ones((1000, 3), dtype=np.bool_)
    missing[answers[:, 0], answers[:, 1]] = False
    return np.argwhere(missing)


def test_the_same_share_is_audited_every_time_until_it_has_all_answers() -> None:
    sure = belief([[1.0, 0.0]] * 1000, coins([0.8, 0.8, 0.8], 2))
    rules = Rules(audited=0.1, most_answers=2)
    answers = one_each(1000)
    candidates = unseen(answers)
    first = decide(sure, answers, candidates, rules=rules, seed=4)
    audited = first.asked >= 0
    assert 70 < audited.sum() < 130
    assert (first.asked[audited] == 1).all()
    assert not first.accepted[audited].any()
    more = np.concatenate([answers, [(item, 1, 0) for item in np.flatnonzero(audited)]])
    again = decide(sure, more, unseen(more), rules=rules, seed=4)
    assert again.accepted.all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"target_error": 0.0},
        {"target_error": 1.0},
        {"most_answers": 0},
        {"audited": 1.5},
        {"answer_cost": 0.0},
        {"adjudication_cost": -1.0},
        {"answer_cost": float("nan")},
        {"adjudication_cost": float("inf")},
    ],
)
def test_rules_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        Rules(**wrong)
