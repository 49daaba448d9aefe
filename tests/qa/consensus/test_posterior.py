"""The posterior: by hand, against brute force, and that it means what it says when evidence is not independent."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa.consensus import belief, confusion, dawid_skene, glad, majority, posterior
from qa.consensus.posterior import USUAL, Trust
from sampling.calibration import reliability
from store.arrays import Floats, Ints
from tests.qa.consensus.crowds import coins, crowd, right

ALL = [majority.fit, majority.fit_weighted, dawid_skene.fit_one_coin, dawid_skene.fit, glad.fit, posterior.fit]
ONE_BY_ONE = Trust(model=1, answer=1, repeat=0)


def unknown(items: int) -> Ints:
    return np.full(items, -1)


@st.composite
def tables(draw: st.DrawFn) -> Ints:
    cells = draw(st.dictionaries(st.tuples(st.integers(0, 7), st.integers(0, 3)), st.integers(0, 2), max_size=32))
    return np.array([(*cell, answer) for cell, answer in cells.items()], dtype=np.int64).reshape(-1, 3)


def by_brute_force(answers: Ints, known: Ints, confusion: Floats, prior: Floats, trust: Trust) -> Floats:
    """Bayes' rule, item by item, answer by answer."""
    result = prior**trust.model
    for item in range(len(known)):
        here = answers[answers[:, 0] == item]
        for _, annotator, answer in here:
            power = trust.answer / (1 + (len(here) - 1) * trust.repeat)
            result[item] *= confusion[annotator, :, answer] ** power
        if known[item] >= 0:
            result[item] = np.eye(len(result[item]))[known[item]]
    return np.asarray(result / result.sum(axis=1, keepdims=True))


@given(tables(), st.integers(0, 1000))
def test_it_is_bayes_rule_with_powers(answers: Ints, seed: int) -> None:
    generator = np.random.default_rng(seed)
    prior = generator.dirichlet([1, 1, 1], 8)
    known = np.where(generator.random(8) < 0.2, generator.integers(0, 3, 8), -1)
    trust = Trust(model=0.7, answer=0.9, repeat=0.3)
    found = posterior.fit(answers, known, annotators=4, classes=3, probabilities=prior, trust=trust)
    brute = by_brute_force(answers, known, found.confusion, prior, trust)
    assert found.posteriors == pytest.approx(brute, abs=1e-3)  # the confusions are those of one step later


def test_an_item_that_one_person_saw_is_what_they_say() -> None:
    """However lopsided their answers are: nobody is judged by items that nobody else saw."""
    answers = np.array([(item, item % 3, 0 if item < 90 else 1) for item in range(100)])
    found = posterior.fit(answers, unknown(100), annotators=3, classes=3)
    assert (found.posteriors.argmax(axis=1) == answers[:, 2]).all()
    assert found.trust == USUAL
    assert found.confusion[:, [0, 1, 2], [0, 1, 2]] == pytest.approx(np.full((3, 3), 0.8))


def test_a_known_class_is_certain_and_teaches_who_knows() -> None:
    answers = np.array([(item, annotator, 0 if annotator else item % 2) for item in range(60) for annotator in (0, 1)])
    known = np.concatenate([np.arange(40) % 2, unknown(20)])
    found = posterior.fit(answers, known, annotators=2, classes=2)
    assert (found.posteriors[:40].argmax(axis=1) == known[:40]).all()
    assert found.posteriors[:40].max(axis=1).tolist() == [1] * 40
    assert right(found.posteriors[40:], np.arange(40, 60) % 2) == 1  # who always says 0 is not listened to


def test_who_confuses_two_classes_is_believed_about_the_third() -> None:
    """One-coin weighs all their answers alike; confusions do not."""
    careful = coins([0.85] * 3, 3)
    blind = np.array([[[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1.0]]] * 3)
    answers, truth = crowd(0, np.concatenate([careful, blind]), items=800, overlap=4)
    full = dawid_skene.fit(answers, unknown(800), annotators=6, classes=3)
    coin = dawid_skene.fit_one_coin(answers, unknown(800), annotators=6, classes=3)
    assert right(full.posteriors, truth) > right(coin.posteriors, truth) + 0.02
    assert full.confusion[3:, 2, 2].min() > 0.93
    assert full.confusion[3:, 0, 0].max() < 0.65


def test_a_newcomer_is_everybody() -> None:
    answers, _ = crowd(1, coins([0.9, 0.8, 0.7], 3), items=300, overlap=3)
    found = posterior.fit(answers, unknown(300), annotators=4, classes=3)
    assert found.answers[3] == 0
    middle = found.confusion[:3].mean(axis=0)
    assert found.confusion[3] == pytest.approx(middle, abs=0.03)


def _hard_pictures(seed: int, *, items: int = 3000) -> tuple[Ints, Ints, Floats]:
    """Answers, truth and a model: on three pictures in ten people guess, mostly alike, and so does the model."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 4, items)
    hard = generator.random(items) < 0.3
    lookalike = (truth + 1) % 4
    rows = []
    for item in range(items):
        for annotator in range(3):
            said = truth[item] if generator.random() < (0.5 if hard[item] else 0.95) else lookalike[item]
            rows.append((item, annotator, said))
    logits = generator.normal(size=(items, 4)) + 2.5 * np.eye(4)[truth] * ~hard[:, None]
    logits += 1.5 * (np.eye(4)[truth] + np.eye(4)[lookalike]) * hard[:, None]
    chances = np.exp(logits)
    return np.array(rows), truth, chances / chances.sum(axis=1, keepdims=True)


def test_powers_that_foretell_answers_make_the_posterior_mean_what_it_says() -> None:
    answers, truth, chances = _hard_pictures(0)
    people = {"annotators": 3, "classes": 4, "probabilities": chances}
    naive = posterior.fit(answers, unknown(3000), trust=ONE_BY_ONE, **people)
    measured = posterior.fit(answers, unknown(3000), **people)
    assert measured.trust.repeat > 0.1
    assert reliability(measured.posteriors, truth).ece < 0.75 * reliability(naive.posteriors, truth).ece
    assert right(measured.posteriors, truth) >= right(naive.posteriors, truth) - 0.01


def test_a_model_helps_and_nonsense_is_found_out() -> None:
    rights = []
    for seed in range(10):
        answers, truth, chances = _hard_pictures(seed, items=1000)
        answers = answers[answers[:, 1] < 2]
        nonsense = np.random.default_rng(seed).dirichlet([0.3] * 4, 1000)
        alone, together, misled = (
            posterior.fit(answers, unknown(1000), annotators=3, classes=4, probabilities=told)
            for told in (None, chances, nonsense)
        )
        assert misled.trust.model < 0.2
        rights.append([right(found.posteriors, truth) for found in (alone, together, misled)])
    alone_right, together_right, misled_right = np.mean(rights, axis=0)
    assert together_right > alone_right + 0.01
    assert misled_right > alone_right - 0.03  # ties are broken by nothing better


def test_independent_answers_are_taken_at_their_word() -> None:
    errors = []
    for seed in range(10):
        answers, truth = crowd(seed, coins([0.8] * 5, 3), items=2000, overlap=3)
        found = posterior.fit(answers, unknown(2000), annotators=5, classes=3)
        assert found.trust.answer == pytest.approx(1, abs=0.15)
        assert found.trust.repeat < 0.1
        errors.append(reliability(found.posteriors, truth).ece)
    assert np.mean(errors) < 0.02


def test_two_answers_an_item_make_nobody_an_oracle() -> None:
    """Three people who are right in 85 %, two of them asked of each item: who is better nobody can tell."""
    errors, doubts = [], []
    for seed in range(10):
        answers, truth = crowd(seed, coins([0.85] * 3, 2), items=2000, overlap=2)
        found = posterior.fit(answers, unknown(2000), annotators=3, classes=2)
        said = answers[:, 2].reshape(2000, 2)
        errors.append(reliability(found.posteriors, truth).ece)
        doubts.append(found.posteriors[said[:, 0] != said[:, 1]].max(axis=1).mean())
    assert np.mean(errors) < 0.03
    assert np.mean(doubts) < 0.6


@pytest.mark.parametrize("fit", [dawid_skene.fit, posterior.fit])
@pytest.mark.parametrize("overlap", [1, 2, 3])
@pytest.mark.parametrize("classes", [2, 4])
def test_few_answers_never_lose_to_the_majority(fit: object, overlap: int, classes: int) -> None:
    ours, votes = [], []
    for seed in range(10):
        accuracies = np.random.default_rng(seed).uniform(0.5, 0.95, 25).tolist()
        answers, truth = crowd(seed, coins(accuracies, classes), items=100, overlap=overlap)
        people = {"annotators": 25, "classes": classes}
        ours.append(right(fit(answers, unknown(100), **people).posteriors, truth))  # type: ignore[operator]
        votes.append(right(majority.fit(answers, unknown(100), **people).posteriors, truth))
    assert np.mean(ours) >= np.mean(votes) - np.std(votes, ddof=1) / 10**0.5


@pytest.mark.parametrize("fit", ALL)
@pytest.mark.parametrize(
    ("people", "classes", "accuracy", "overlap"),
    [(2, 10, 0.9, 2), (10, 10, 0.9, 2), (30, 20, 0.9, 2), (10, 20, 0.75, 3)],
)
def test_what_nobody_agrees_on_is_in_doubt(
    fit: object, people: int, classes: int, accuracy: float, overlap: int
) -> None:
    """People who are equally good: nothing tells who is right, whatever pairs of classes their mistakes fall on."""
    believed, truths = [], []
    for seed in range(10):
        answers, truth = crowd(seed, coins([accuracy] * people, classes), items=300, overlap=overlap)
        posteriors = fit(answers, unknown(300), annotators=people, classes=classes).posteriors  # type: ignore[operator]
        said = answers[:, 2].reshape(300, overlap)
        disputed = [len(set(row)) == overlap for row in said.tolist()]
        believed.append(posteriors[disputed])
        truths.append(truth[disputed])
    posteriors, truth = np.concatenate(believed), np.concatenate(truths)
    assert len(truth) > 300
    assert posteriors.max(axis=1).mean() - right(posteriors, truth) < (0.2 if people == 2 else 0.15)
    assert (posteriors.max(axis=1) >= 0.9).mean() < 0.01


@pytest.mark.parametrize("fit", [majority.fit_weighted, dawid_skene.fit_one_coin, glad.fit])
def test_who_is_mostly_right_is_heard_above_who_guesses(fit: object) -> None:
    gains = []
    for seed in range(10):
        answers, truth = crowd(seed, coins([0.95, 0.95, 0.55, 0.55, 0.55], 2), items=300, overlap=2)
        people = {"annotators": 5, "classes": 2}
        votes = right(majority.fit(answers, unknown(300), **people).posteriors, truth)
        gains.append(right(fit(answers, unknown(300), **people).posteriors, truth) - votes)  # type: ignore[operator]
    assert np.mean(gains) > 3 * np.std(gains, ddof=1) / 10**0.5
    assert np.mean(gains) > 0.01


@pytest.mark.parametrize("fit", ALL)
@given(answers=tables(), random=st.randoms(use_true_random=False))
def test_what_holds_for_all(fit: object, answers: Ints, random: np.random.Generator) -> None:
    known = np.array([-1, -1, 2, -1, -1, -1, 0, -1])
    found = fit(answers, known, annotators=4, classes=3)  # type: ignore[operator]
    assert found.posteriors.sum(axis=1) == pytest.approx(np.ones(8))
    assert (found.posteriors >= 0).all()
    assert (found.posteriors[2, 2], found.posteriors[6, 0]) == (1, 1)
    assert found.answers.sum() == len(answers)
    silent = np.setdiff1d(np.flatnonzero(known < 0), answers[:, 0])
    assert found.posteriors[silent] == pytest.approx(np.tile(found.posteriors[silent][:1], (len(silent), 1)))
    order = list(range(8))
    random.shuffle(order)
    renamed = answers.copy()
    renamed[:, 0] = np.argsort(order)[answers[:, 0]] if len(answers) else answers[:, 0]
    again = fit(renamed, known[order], annotators=4, classes=3)  # type: ignore[operator]
    assert again.posteriors == pytest.approx(found.posteriors[order], abs=1e-3)


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("items", [1, 12, 400])
def test_people_who_all_name_one_class_are_believed(items: int, classes: int) -> None:
    answers = np.array([(item, annotator, 0) for item in range(items) for annotator in range(2)])
    found = posterior.fit(answers, unknown(items + 1), annotators=2, classes=classes)
    assert (found.posteriors[:-1, 0] > 0.9).all()
    share = (2 * items + posterior.NAMED) / (
        2 * items + classes * posterior.NAMED
    )  # beforehand, of the class that they named
    weighed = np.array([share, *[(1 - share) / (classes - 1)] * (classes - 1)]) ** found.trust.model
    assert found.posteriors[-1] == pytest.approx(weighed / weighed.sum())  # an item that nobody saw


@pytest.mark.parametrize("fit", ALL)
def test_edges(fit: object) -> None:
    def of(rows: list[tuple[int, int, int]], items: int, annotators: int) -> Floats:
        table = np.array(rows, dtype=np.int64).reshape(-1, 3)
        found: Floats = fit(table, unknown(items), annotators=annotators, classes=3).posteriors  # type: ignore[operator]
        return found

    assert of([], 0, 0).shape == (0, 3)
    assert of([], 2, 1) == pytest.approx(np.full((2, 3), 1 / 3))
    alone = of([(0, 0, 1), (1, 0, 2)], 2, 1)
    assert alone.argmax(axis=1).tolist() == [1, 2]
    agreeing = of([(item, annotator, item % 2) for item in range(60) for annotator in range(3)], 60, 3)
    assert agreeing.argmax(axis=1).tolist() == [0, 1] * 30
    assert agreeing[:, 2].max() < 0.02  # a class that nobody named
    disputed = of([(item, annotator, (item + annotator) % 3) for item in range(60) for annotator in range(3)], 60, 3)
    assert disputed == pytest.approx(np.full((60, 3), 1 / 3), abs=0.05)


def test_the_gradient_of_surprise() -> None:
    from scipy.optimize import check_grad

    generator = np.random.default_rng(0)
    facts = posterior._Facts(
        prior=np.log(generator.dirichlet([1, 1, 1], 40)),
        answers=np.log(generator.dirichlet([1, 1, 1], 40)),
        count=generator.integers(0, 4, 40),
        came=generator.random((40, 3)),
    )
    at = np.array([0.7, 1.1, 0.2])
    assert check_grad(lambda x: facts.surprise(x)[0], lambda x: facts.surprise(x)[1], at) < 1e-3


@pytest.mark.parametrize("seed", range(10))
def test_how_common_classes_are_among_people_is_what_it_comes_to_in_the_end(seed: int) -> None:
    """Fitted anew for each guess of the shares, it stopped up to .002 of an accuracy short of that."""
    random = np.random.default_rng(seed)
    truth = (random.random(1000) > 0.9).astype(np.int64)
    rows = [(item, who) for item in range(1000) for who in random.choice(6, 2, replace=False)]
    item, who = np.array(rows).T
    is_right = random.random(2000) < np.array([0.95, 0.9, 0.85, 0.8, 0.75, 0.7])[who]
    answers = np.stack([item, who, np.where(is_right, truth[item], 1 - truth[item])], axis=1)
    known = np.where(random.random(1000) < 0.02, truth, -1)
    shares, matrices = np.full((1, 2), 0.5), np.broadcast_to([[0.8, 0.2], [0.2, 0.8]], (6, 2, 2))
    for _ in range(500):
        posteriors = by_brute_force_at_once(answers, known, matrices, shares)
        shares = (posteriors.sum(axis=0, keepdims=True) + 1) / 1002
        counts = np.zeros((6, 2, 2))
        np.add.at(counts, (who, slice(None), answers[:, 2]), posteriors[item])
        matrices = confusion.shrunk(counts)
    found = posterior.of_people(answers, known, annotators=6, classes=2)
    assert found.accuracy == pytest.approx(belief.of(posteriors, answers, annotators=6).accuracy, abs=3e-4)
    assert found.probabilities == pytest.approx(np.tile(shares, (1000, 1)), abs=3e-4)


def by_brute_force_at_once(answers: Ints, known: Ints, confusion: Floats, shares: Floats) -> Floats:
    """Bayes' rule for all items, each answer as it is."""
    result = np.tile(shares, (len(known), 1))
    np.multiply.at(result, answers[:, 0], confusion[answers[:, 1], :, answers[:, 2]])
    result[known >= 0] = np.eye(result.shape[1])[known[known >= 0]]
    return np.asarray(result / result.sum(axis=1, keepdims=True))
