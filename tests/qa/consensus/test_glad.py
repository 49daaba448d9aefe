"""Ability and difficulty: by hand, by plain integration, beside crowd-kit's, and which doubt is greater."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.optimize import approx_fprime, minimize_scalar
from scipy.special import expit
from scipy.stats import norm

from benchmarks.consensus import simulated
from qa.consensus import glad, majority
from store.arrays import Floats, Ints
from tests.qa.consensus.crowds import as_crowd_kit, right, sorted_values, ten_crowds


def unknown(items: int) -> Ints:
    return np.full(items, -1)


def over_ease(chance: Callable[[Floats], Floats]) -> float:
    """The mean of a function of eases `(K,)`, the logarithm of which is standard normal, by the trapezoid rule."""
    beta = np.linspace(-8, 8, 4001)
    return float(trapezoid(chance(np.exp(beta)) * norm.pdf(beta), beta))


@pytest.mark.parametrize("classes", [2, 3])
def test_one_answer_by_hand(classes: int) -> None:
    """Nothing argues with what is believed beforehand."""
    found = glad.fit(np.array([(0, 0, 1)]), unknown(1), annotators=1, classes=classes)
    assert found.posteriors[0, 1] == pytest.approx(over_ease(lambda ease: expit(1.6 * ease)), abs=2e-3)


def test_two_who_agree_and_one_who_does_not_by_integration() -> None:
    """The abilities that are likeliest given all eases, found by a search, and the posterior under them."""
    answers = np.array([(0, 0, 1), (0, 1, 1), (0, 2, 0)])

    def likelihoods(ability: Floats) -> tuple[float, float]:
        """Of class 1 and of class 0."""
        pair, alone = ability
        one = over_ease(lambda ease: expit(pair * ease) ** 2 * expit(-alone * ease))
        return one, over_ease(lambda ease: expit(-pair * ease) ** 2 * expit(alone * ease))

    def loss(ability: Floats) -> float:
        return -np.log(sum(likelihoods(ability)) / 2) + ((ability - 1.6) ** 2 @ [2, 1]) / 0.5

    ability = np.array([1.6, 1.6])
    for _ in range(20):  # one by one, until both stand
        for place in (0, 1):

            def of_one(value: float, place: int = place) -> float:
                return loss(np.where(np.arange(2) == place, value, ability))

            ability[place] = minimize_scalar(of_one, bounds=(0, 4), method="bounded").x
    one, other = likelihoods(ability)
    found = glad.fit(answers, unknown(1), annotators=3, classes=2)
    assert found.posteriors[0, 1] == pytest.approx(one / (one + other), abs=3e-3)


def test_the_slope_of_glad_is_that_of_its_loss() -> None:
    generator = np.random.default_rng(0)
    ability = generator.normal(size=3)
    sums = 10 * generator.random((2, 3, len(glad._eases()[0])))

    def loss(at: Floats) -> float:
        return glad._surprise(at, *sums)[0]

    _, slope = glad._surprise(ability, *sums)
    assert slope == pytest.approx(approx_fprime(ability, loss, 1e-7), abs=1e-4)


def test_an_item_that_is_known_is_certain_and_tells_of_people() -> None:
    answers = np.array([(item, person, person) for item in range(20) for person in (0, 1)])
    found = glad.fit(answers, np.array([0] * 19 + [-1]), annotators=2, classes=2)
    assert (found.posteriors[:19] == [1, 0]).all()
    assert found.posteriors[19, 0] > 0.8


@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
def test_beside_crowd_kits_it_says_the_same_where_there_are_many_answers() -> None:
    """Theirs takes the best ease of each item, which many answers tell; of 200 items of ten crowds."""
    from crowdkit.aggregation import GLAD

    answers = ten_crowds([0.95, 0.9, 0.85, 0.8, 0.75], 3, items=20, overlap=5)
    theirs = sorted_values(GLAD(n_iter=8).fit(as_crowd_kit(answers)).probas_)
    found = glad.fit(answers, unknown(200), annotators=50, classes=3).posteriors
    assert np.mean(found.argmax(axis=1) == theirs.argmax(axis=1)) > 0.97
    assert np.corrcoef(found.ravel(), theirs.ravel())[0, 1] > 0.98


@pytest.mark.parametrize(
    ("items", "annotators", "classes", "overlap"),
    [(100, 30, 2, 3), (100, 50, 5, 3), (50, 25, 2, 3), (300, 20, 4, 2), (80, 40, 2, 5)],
)
def test_where_answers_are_few_it_is_no_worse_than_the_majority(
    items: int, annotators: int, classes: int, overlap: int
) -> None:
    gains = []
    for seed in range(10):
        drawn = simulated(items, annotators=annotators, classes=classes, overlap=overlap, seed=seed)
        fits = [
            fit(drawn.answers, unknown(items), annotators=annotators, classes=classes).posteriors
            for fit in (glad.fit, majority.fit)
        ]
        gains.append(right(fits[0], drawn.truth) - right(fits[1], drawn.truth))
    assert np.mean(gains) >= -np.std(gains, ddof=1) / len(gains) ** 0.5


def test_glad_is_less_sure_of_an_item_that_divides_the_able_than_of_one_that_divides_the_unable() -> None:
    """Two able people and two who guess; one item divides the able, another the guessers, who stand by one each."""
    rows = [(item, person, item % 2) for item in range(60) for person in (0, 1)]
    rows += [(item, person, (item * (person + 3)) // 3 % 2) for item in range(60) for person in (2, 3)]
    rows += [(60, 0, 0), (60, 1, 1), (61, 0, 0), (61, 1, 0), (61, 2, 1), (61, 3, 1)]
    found = glad.fit(np.array(rows, dtype=np.int64), unknown(62), annotators=4, classes=2)
    assert found.posteriors[60].max() < 0.6
    assert found.posteriors[61, 0] > 0.8
