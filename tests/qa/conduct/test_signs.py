import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from qa.conduct import accuracy, signs
from qa.consensus import posterior
from qa.consensus.posterior import Posterior, Trust
from store.arrays import Floats, Ints
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


def test_discoveries_by_hand() -> None:
    """.03 is no more than .05 · 3 / 5, though .02 alone and .9 are; a sixth test takes that away."""
    p_values = np.array([0.03, 0.9, 0.001, 0.02, 0.06, np.nan])
    assert signs.discoveries(p_values).tolist() == [True, False, True, True, False, False]
    assert signs.discoveries(p_values, tests=6).tolist() == [False, False, True, False, False, False]


@given(st.lists(st.floats(0, 1) | st.just(float("nan")), max_size=12), st.integers(0, 5))
def test_discoveries_are_statsmodels(values: list[float], others: int) -> None:
    from statsmodels.stats.multitest import multipletests

    p_values = np.array(values)
    tested = ~np.isnan(p_values)
    found = signs.discoveries(p_values, tests=int(tested.sum()) + others)
    assert not found[~tested].any()
    if tested.any():
        theirs = multipletests([*p_values[tested], *[1.0] * others], alpha=0.05, method="fdr_bh")[0]
        assert found[tested].tolist() == theirs[: tested.sum()].tolist()


def test_haste_is_scipys_exact_test() -> None:
    p_values = signs.haste(np.array([6, 1, 0, 0]), np.array([40, 40, 40, 0]))
    theirs = [binomtest(fast, 40, 0.05, alternative="greater").pvalue for fast in (6, 1, 0)]
    assert p_values[:3] == pytest.approx(theirs)
    assert p_values[1:3] == pytest.approx([1 - 0.95**40, 1])  # by hand
    assert np.isnan(p_values[3])


def certain(confusion: Floats, answers: Ints) -> Posterior:
    """People of whom everything is known."""
    given_ = np.bincount(answers[:, 1], minlength=len(confusion))
    nothing = np.zeros((len(confusion), 2))
    simple = Trust(model=1, answer=1, repeat=0)
    return Posterior(np.zeros((1, 2)), nothing[:, 0], nothing, given_, confusion, simple)


def test_one_class_by_hand() -> None:
    """Ann says 0 to all of twenty known items, of which ten are; anyone says it to .9 of these and .1 of the others.

    Half of their answers blind, .75 would be 0 on average: so all twenty with the chance .75^20, for two classes.
    """
    answers = np.array([(item, 0, 0) for item in range(20)] + [(item, 1, item % 2) for item in range(20)])
    known = np.arange(20) % 2
    found = certain(coins([0.9, 0.9], 2), answers)
    judged = accuracy.judge(answers, np.ones(40, np.bool_), known, found)
    most, usual, p_values = signs.one_class(answers, judged, found)
    assert most[0] == 0
    assert usual == pytest.approx([0.5, 0.5])
    theirs = binomtest(20, 20, 0.75, alternative="greater").pvalue
    assert p_values == pytest.approx([2 * theirs, 1])
    assert theirs == pytest.approx(0.75**20)


def test_same_answers_by_hand() -> None:
    """Two who are right in .8 share four mistakes on ten known items, where .2 · .2 · 10 of them would be expected.

    Where nobody else knows what is right, nothing is compared.
    """
    answers = np.array([(item, who, int(item < 4)) for item in range(10) for who in range(2)])
    found = certain(coins([0.8, 0.8], 2), answers)
    pairs = signs.same_answers(answers, np.zeros(10, np.int64), found)
    assert pairs.people.tolist() == [[0, 1]]
    assert (pairs.items.tolist(), pairs.shared.tolist()) == ([10], [4])
    assert pairs.expected == pytest.approx([0.4])
    assert pairs.p_value == pytest.approx([binomtest(4, 10, 0.04, alternative="greater").pvalue])
    assert len(signs.same_answers(answers, np.full(10, -1), found).people) == 0


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
