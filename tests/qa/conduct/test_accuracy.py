import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta

from qa import simulate
from qa.conduct import accuracy
from qa.consensus import posterior
from qa.consensus.posterior import Posterior
from qa.overlap import Rules
from qa.simulate import Recorded
from store.arrays import Floats, Ints
from tests.qa.consensus.crowds import coins, crowd

ANSWERS = np.array([(0, 0, 0), (0, 1, 1), (1, 0, 1), (2, 0, 1)])
OPEN = np.array([-1, -1, -1])


def fit(answers: Ints, known: Ints, *, annotators: int, classes: int = 2) -> Posterior:
    return posterior.fit(answers, known, annotators=annotators, classes=classes)


def test_nobody_is_judged_by_their_own_word() -> None:
    everything = np.ones(4, dtype=np.bool_)
    found = fit(ANSWERS, OPEN, annotators=2)
    judged = accuracy.judge(ANSWERS, everything, OPEN, found)
    assert judged.rows.tolist() == [0, 1]  # on items 1 and 2 there is nobody else
    assert judged.chance(ANSWERS).max() < 0.5  # each other's word is all there is, and it is another
    changed = ANSWERS.copy()
    changed[0, 2] = 1
    assert np.allclose(accuracy.judge(changed, everything, OPEN, found).truth[0], judged.truth[0])


def test_what_is_known_judges_those_who_were_alone() -> None:
    known = np.array([-1, 1, 0])
    judged = accuracy.judge(ANSWERS, np.ones(4, dtype=np.bool_), known, fit(ANSWERS, known, annotators=2))
    assert judged.chance(ANSWERS)[2:].tolist() == [1, 0]


def test_answers_that_do_not_count_are_judged_and_judge_nobody() -> None:
    counted = np.array([True, False, True, True])
    found = fit(ANSWERS[counted], OPEN, annotators=2)
    judged = accuracy.judge(ANSWERS, counted, OPEN, found)
    assert judged.rows.tolist() == [1]
    assert judged.truth[0].argmax() == 0


def said(random: np.random.Generator, right: Floats | float, truth: Ints) -> Ints:
    """What is answered to items of four classes, by those so often right."""
    return np.where(random.random(len(truth)) < right, truth, (truth + random.integers(1, 4, size=len(truth))) % 4)


@pytest.mark.parametrize("sees", [0.7, 0.9])
def test_intervals_hold_of_people_who_were_asked_where_a_model_contradicted_somebody(sees: float) -> None:
    """Second answers alone, without the model, made everybody look .1 to .15 worse: 16 to 27 of 60 intervals held."""
    right, everybody = np.array([0.95, 0.9, 0.85, 0.8, 0.75, 0.9]), range(6)
    held, bias = [], []
    for seed in range(10):
        random = np.random.default_rng(seed)
        truth = random.integers(4, size=1500)
        model = np.full((1500, 4), (1 - sees) / 3)
        model[np.arange(1500), said(random, sees, truth)] = sees
        item, who = np.array([(i, a) for i in range(1500) for a in random.permutation(everybody)[:3]]).T
        answers = np.stack([item, who, said(random, right[who], truth[item])], axis=1)
        recorded = Recorded(answers, truth, annotators=6, classes=4, probabilities=model)
        asked = simulate.adaptive(recorded, Rules(), seed).answers
        assert len(asked) < 2 * 1500
        known = np.full(1500, -1)
        found = posterior.of_people(asked, known, annotators=6, classes=4, model=model)
        every = np.ones(len(asked), np.bool_)
        judged = accuracy.judge(asked, every, known, found, is_told=np.ones(1500, np.bool_))
        assert len(judged.rows) == len(asked)
        estimates = accuracy.estimate(judged.chance(asked), asked[judged.rows, 1], groups=6, classes=4)
        held.append(((estimates.interval[:, 0] <= right) & (right <= estimates.interval[:, 1])).mean())
        bias.append(estimates.accuracy - right)
    assert np.mean(held) > 0.9
    assert abs(np.mean(bias)) < 0.02


@pytest.mark.parametrize(("common", "looks"), [(0.5, 2), (0.9, 2), (0.97, 2), (0.97, 3)])
def test_intervals_hold_where_a_class_is_rare(common: float, looks: int) -> None:
    """As common as it was answered, mistakes included, they held in .53 at nine to one, and .44 where three looked."""
    right = np.array([0.95, 0.9, 0.85, 0.8, 0.75, 0.7])
    held = []
    for seed in range(10):
        random = np.random.default_rng(seed)
        truth = (random.random(1000) > common).astype(np.int64)
        rows = [(item, who) for item in range(1000) for who in random.choice(6, looks, replace=False)]
        item, who = np.array(rows).T
        answers = np.stack([item, who, truth[item] ^ (random.random(len(item)) > right[who])], axis=1)
        known = np.full(1000, -1)
        found = posterior.of_people(answers, known, annotators=6, classes=2)
        judged = accuracy.judge(answers, np.ones(len(answers), np.bool_), known, found)
        of_each = accuracy.estimate(judged.chance(answers), answers[judged.rows, 1], groups=6, classes=2).interval
        held.append(((of_each[:, 0] <= right) & (right <= of_each[:, 1])).mean())
    assert np.mean(held) > 0.8


@pytest.mark.parametrize(("right", "wrong"), [(0, 0), (5, 0), (0, 5), (17, 4), (180, 20)])
def test_where_the_truth_is_known_the_posterior_is_a_beta(right: int, wrong: int) -> None:
    chance = np.repeat([1.0, 0.0], [right, wrong])
    found = accuracy.estimate(chance, np.zeros(len(chance), np.int64), groups=1, classes=3)
    theirs = beta(1 + right, 1 + wrong)
    assert found.accuracy[0] == pytest.approx(theirs.mean(), abs=1e-3)
    assert found.interval[0] == pytest.approx(theirs.ppf([0.025, 0.975]), abs=2e-3)
    assert found.answers[0] == right + wrong


def test_of_nobody_and_of_no_answers_nothing_is_known() -> None:
    nothing, nobody = np.zeros((0, 3), dtype=np.int64), np.zeros(0, dtype=np.int64)
    found = fit(nothing, nobody, annotators=0)
    judged = accuracy.judge(nothing, np.zeros(0, np.bool_), nobody, found)
    assert (judged.rows.shape, judged.truth.shape) == ((0,), (0, 2))
    assert accuracy.confusion(nothing, judged, found).shape == (0, 2, 2)
    assert [each.shape for each in accuracy.credit(nothing, judged, np.zeros(0), classes=2)] == [(0,), (0,)]
    assert accuracy.estimate(np.zeros(0), nobody, groups=0, classes=2).accuracy.shape == (0,)
    silent = accuracy.estimate(np.zeros(0), nobody, groups=1, classes=2)
    assert (silent.accuracy.tolist(), silent.enough.tolist()) == ([0.5], [False])
    assert silent.interval[0] == pytest.approx([0.025, 0.975], abs=1e-3)


def test_where_others_are_unsure_it_is_the_likelihood_by_quadrature() -> None:
    chance, classes = np.array([0.9, 0.6, 0.25, 0.05, 0.8]), 4

    def likelihood(p: float) -> float:
        return float(np.prod(p * chance + (1 - p) * (1 - chance) / (classes - 1)))

    total = quad(likelihood, 0, 1)[0]
    found = accuracy.estimate(chance, np.zeros(5, np.int64), groups=1, classes=classes)
    assert found.accuracy[0] == pytest.approx(quad(lambda p: p * likelihood(p), 0, 1)[0] / total, abs=1e-4)
    assert quad(likelihood, 0, found.interval[0, 0])[0] / total == pytest.approx(0.025, abs=1e-3)


def test_nobody_is_judged_on_fewer_answers_than_the_interval_allows() -> None:
    for answers in range(9):
        for right in range(answers + 1):
            chance = np.repeat([1.0, 0.0], [right, answers - right])
            assert not accuracy.estimate(chance, np.zeros(answers, np.int64), groups=1, classes=2).enough[0]
    forty = np.repeat([1.0, 0.0], [20, 20])
    assert accuracy.estimate(forty, np.zeros(40, np.int64), groups=1, classes=2).enough[0]
    unsure = np.full(40, 0.5)  # forty answers of which others know nothing are no answers
    assert not accuracy.estimate(unsure, np.zeros(40, np.int64), groups=1, classes=2).enough[0]


def test_the_interval_holds_the_accuracy_about_as_often_as_it_says() -> None:
    """Ten crowds of ten: of a hundred 95 % intervals at least 88, although nobody knows the truth."""
    accuracies = [0.95, 0.9, 0.9, 0.85, 0.85, 0.8, 0.8, 0.75, 0.7, 0.6]
    held = 0
    for seed in range(10):
        answers, truth = crowd(seed, coins(accuracies, 4), items=300, overlap=3)
        known = np.full(len(truth), -1)
        judged = accuracy.judge(
            answers, np.ones(len(answers), np.bool_), known, fit(answers, known, annotators=10, classes=4)
        )
        who = answers[judged.rows, 1]
        found = accuracy.estimate(judged.chance(answers), who, groups=10, classes=4)
        low, high = found.interval.T
        held += int(((low <= accuracies) & (accuracies <= high)).sum())
    assert held >= 88


def test_where_all_are_of_one_class_those_who_agree_are_right() -> None:
    """Nobody ever names the other class: that is no reason to think that everybody takes it for this one."""
    answers = np.array([(item, one, 0) for item in range(60) for one in range(2)])
    known = np.full(60, -1)
    judged = accuracy.judge(answers, np.ones(120, np.bool_), known, fit(answers, known, annotators=2))
    found = accuracy.estimate(judged.chance(answers), answers[judged.rows, 1], groups=2, classes=2)
    assert found.enough.all()
    assert found.interval.min() > 0.85


def test_confusions_and_classes_by_hand() -> None:
    answers = np.array([(0, 0, 0), (1, 0, 1), (2, 0, 1), (3, 0, 1)])
    known = np.array([0, 0, 0, 1])
    found_truth = fit(answers, known, annotators=1)
    judged = accuracy.judge(answers, np.ones(4, np.bool_), known, found_truth)
    confusion = accuracy.confusion(answers, judged, found_truth)
    assert confusion.tolist() == [[[1, 2], [0, 1]]]
    found = accuracy.by_class(confusion[0])
    assert found.answers.tolist() == [3, 1]
    assert found.accuracy == pytest.approx([2 / 5, 2 / 3])
    assert found.interval[0] == pytest.approx(beta(2, 3).ppf([0.025, 0.975]))


@pytest.mark.parametrize("seed", range(10))
def test_confusions_of_known_items_are_scikit_learns(seed: int) -> None:
    from sklearn.metrics import confusion_matrix

    answers, truth = crowd(seed, coins([0.9, 0.7, 0.5], 4), items=40, overlap=2)
    found_truth = fit(answers, truth, annotators=3, classes=4)
    judged = accuracy.judge(answers, np.ones(len(answers), np.bool_), truth, found_truth)
    for person, found in enumerate(accuracy.confusion(answers, judged, found_truth)):
        own = answers[answers[:, 1] == person]
        assert found == pytest.approx(confusion_matrix(truth[own[:, 0]], own[:, 2], labels=range(4)))


def test_the_accuracy_on_a_class_is_not_drawn_down_by_the_doubts_of_others() -> None:
    """Four answers an item by ten people who know one class better: the means are within .05 of the truth."""
    confusions = np.tile([[0.95, 0.05], [0.25, 0.75]], (10, 1, 1))
    found = []
    for seed in range(10):
        answers, truth = crowd(seed, confusions, items=200, overlap=4)
        known = np.full(len(truth), -1)
        people = fit(answers, known, annotators=10)
        judged = accuracy.judge(answers, np.ones(len(answers), np.bool_), known, people)
        found.append(accuracy.by_class(accuracy.confusion(answers, judged, people)).accuracy.reshape(10, 2))
    assert np.mean(found, axis=(0, 1)) == pytest.approx([0.95, 0.75], abs=0.05)


def test_credit_is_whether_it_is_right_where_that_is_known() -> None:
    answers = np.array([(0, 0, 0), (1, 0, 1)])
    known = np.array([0, 0])
    judged = accuracy.judge(answers, np.ones(2, np.bool_), known, fit(answers, known, annotators=1))
    credit, weight = accuracy.credit(answers, judged, np.array([0.8]), classes=judged.truth.shape[1])
    assert credit == pytest.approx([1, 0])
    assert weight == pytest.approx([1 / (0.8 * 0.2)] * 2)  # the Fisher information of a coin


def test_credit_averages_to_the_accuracy_where_others_are_unsure() -> None:
    """Whatever accuracy it is reckoned from: of three classes at .6, .3 and .1, somebody right in 70 %."""
    generator = np.random.default_rng(0)
    truth = generator.choice(3, 40_000, p=[0.6, 0.3, 0.1])
    wrong = (truth + generator.integers(1, 3, len(truth))) % 3
    said = np.where(generator.random(len(truth)) < 0.7, truth, wrong)
    answers = np.stack([np.arange(len(truth)), np.zeros(len(truth), np.int64), said], axis=1)
    judged = accuracy.Judged(np.arange(len(truth)), np.tile([0.6, 0.3, 0.1], (len(truth), 1)))
    for supposed in (0.5, 0.9):
        credit, weight = accuracy.credit(answers, judged, np.array([supposed]), classes=judged.truth.shape[1])
        assert np.average(credit, weights=weight) == pytest.approx(0.7, abs=0.02)
