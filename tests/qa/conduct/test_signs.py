import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from qa.conduct import accuracy, signs
from qa.consensus import posterior
from store.arrays import Ints
from tests.qa.consensus.crowds import coins, crowd

HONEST = [0.95, 0.9, 0.9, 0.85, 0.85, 0.8, 0.8, 0.75, 0.75, 0.7]
People = set[int]


def blind_ones(answers: Ints, *, annotators: int, classes: int) -> People:
    known = np.full(answers[:, 0].max() + 1, -1)
    found = posterior.fit(answers, known, annotators=annotators, classes=classes)
    judged = accuracy.judge(answers, np.ones(len(answers), np.bool_), known, found)
    p_values = signs.one_class(answers, judged, found)[2]
    return set(np.flatnonzero(signs.discoveries(p_values)).tolist())


def friends(answers: Ints, known: Ints, *, annotators: int, classes: int) -> set[tuple[int, ...]]:
    found = posterior.fit(answers, known, annotators=annotators, classes=classes)
    pairs = signs.same_answers(answers, known, found)
    return {tuple(pair) for pair in pairs.people[signs.discoveries(pairs.p_value)].tolist()}


def copied(answers: Ints, *, of: int, by: int) -> Ints:
    """The same answers, but where both answered an item `by` says what `of` said."""
    said = {item: value for item, person, value in answers.tolist() if person == of}
    return np.array(
        [(item, person, said.get(item, value) if person == by else value) for item, person, value in answers.tolist()]
    )


@given(st.lists(st.floats(0, 1) | st.just(float("nan")), max_size=12))
def test_discoveries_are_benjamini_and_hochbergs(values: list[float]) -> None:
    tested = sorted(p for p in values if not np.isnan(p))
    steps = [p for i, p in enumerate(tested) if p <= 0.05 * (i + 1) / len(tested)]
    assert signs.discoveries(np.array(values)).tolist() == [bool(steps) and p <= max(steps) for p in values]


def test_haste_is_an_exact_test() -> None:
    p_values = signs.haste(np.array([6, 1, 0]), np.array([40, 40, 0]))
    assert p_values[0] == pytest.approx(sum(binom.pmf(k, 40, 0.05) for k in range(6, 41)))
    assert p_values[1] == pytest.approx(1 - 0.95**40)
    assert np.isnan(p_values[2])


@pytest.mark.parametrize("classes", [2, 4])
def test_who_always_says_one_class_is_found_and_nobody_else(classes: int) -> None:
    """Ten crowds of ten with one who always says the first: found in each, and at most one other person in all."""
    others = 0
    for seed in range(10):
        answers, _ = crowd(seed, coins(HONEST, classes), items=250, overlap=3)
        answers[answers[:, 1] == 4, 2] = 0
        found = blind_ones(answers, annotators=10, classes=classes)
        assert 4 in found
        others += len(found - {4})
    assert others <= 1


def test_saying_the_commonest_class_is_no_sign_where_it_is_what_the_items_are() -> None:
    """Nine in ten items are of one class: nobody who says so nine times in ten is suspected, in ten crowds."""
    for seed in range(10):
        generator = np.random.default_rng(seed)
        truth = (generator.random(250) < 0.1).astype(np.int64)
        answers, _ = crowd(seed, coins(HONEST, 2), items=250, overlap=3)
        right = generator.random(len(answers)) < np.array(HONEST)[answers[:, 1]]
        answers[:, 2] = np.where(right, truth[answers[:, 0]], 1 - truth[answers[:, 0]])
        assert blind_ones(answers, annotators=10, classes=2) == set()


def test_who_copies_is_found() -> None:
    """Of ten crowds of ten, four answers an item, one copying another who is right in 70 %: found in seven or more.

    At most one pair of honest people is found beside them.
    """
    found, others = 0, 0
    for seed in range(10):
        answers, truth = crowd(seed, coins([0.7, 0.7, *HONEST[:8]], 4), items=500, overlap=4)
        pairs = friends(copied(answers, of=0, by=1), np.full(len(truth), -1), annotators=10, classes=4)
        found += (0, 1) in pairs
        others += len(pairs - {(0, 1)})
    assert found >= 7
    assert others <= 1


def test_gold_shows_copying_where_only_two_answer() -> None:
    """Two answers an item leave no third; where the truth of 150 items is known, copying is found in ten of ten."""
    for seed in range(10):
        answers, truth = crowd(seed, coins([0.7, 0.7], 4), items=150, overlap=2)
        answers = copied(answers, of=0, by=1)
        assert friends(answers, truth, annotators=2, classes=4) == {(0, 1)}
        assert friends(answers, np.full(150, -1), annotators=2, classes=4) == set()


@pytest.mark.parametrize("hard", [0.0, 0.25])
def test_honest_people_are_no_friends_even_where_items_mislead_them(hard: float) -> None:
    """Ten honest crowds; on hard items half of all answers fall for the same wrong class. At most one pair is found."""
    found = 0
    for seed in range(10):
        generator = np.random.default_rng(seed)
        answers, truth = crowd(seed, coins(HONEST, 4), items=400, overlap=4)
        misled = (generator.random(400) < hard)[answers[:, 0]] & (generator.random(len(answers)) < 0.5)
        answers[misled, 2] = (truth[answers[misled, 0]] + 1) % 4
        found += len(friends(answers, np.full(400, -1), annotators=10, classes=4))
    assert found <= 1


def test_one_person_and_nobody_have_no_friends() -> None:
    alone = np.array([(0, 0, 0), (1, 0, 1)])
    assert friends(alone, np.array([0, 1]), annotators=1, classes=2) == set()
    assert friends(np.zeros((0, 3), np.int64), np.array([0, 1]), annotators=0, classes=2) == set()
