"""Several classes at once: by hand, by Bayes' rule, crowd-kit's, and beside counting votes."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from qa.consensus import multilabel
from store.arrays import Bools, Ints


def crowd(seed: int, *, items: int = 300) -> tuple[Ints, Bools, Bools]:
    """Who looked at what, what they named, and what is there: a common class and two rare ones, one often missed."""
    generator = np.random.default_rng(seed)
    truth = generator.random((items, 3)) < (0.5, 0.1, 0.1)
    looked = np.stack(np.divmod(np.arange(items * 3), 3), axis=1)
    sees = np.array([[0.9, 0.9, 0.6], [0.8, 0.8, 0.5], [0.7, 0.7, 0.5]])[looked[:, 1]]
    makes_up = np.array([[0.05, 0.02, 0.01], [0.1, 0.05, 0.02], [0.3, 0.2, 0.02]])[looked[:, 1]]
    named = generator.random((len(looked), 3)) < np.where(truth[looked[:, 0]], sees, makes_up)
    return looked, named, truth


def unknown(items: int, classes: int = 3) -> Ints:
    return np.full((items, classes), -1)


def test_each_class_is_a_question_of_its_own() -> None:
    looked = np.array([[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]])
    named = np.array([[1, 0], [1, 0], [1, 1], [0, 1], [0, 1], [0, 1]], dtype=np.bool_)
    found = multilabel.fit(looked, named, unknown(2, 2), annotators=3)
    assert (found.posteriors > 0.5).tolist() == [[True, False], [False, True]]


def test_the_posterior_is_bayes_rule() -> None:
    """With the sensitivities, specificities and shares that it found."""
    looked, named, _ = crowd(0)
    found = multilabel.fit(looked, named, unknown(300), annotators=3)
    common = (found.posteriors.sum(axis=0) + 1) / 302
    for item in range(300):
        there, absent = common.copy(), 1 - common
        for row in np.flatnonzero(looked[:, 0] == item):
            sees, rules_out = found.sensitivity[looked[row, 1]], found.specificity[looked[row, 1]]
            there *= np.where(named[row], sees, 1 - sees)
            absent *= np.where(named[row], 1 - rules_out, rules_out)
        assert found.posteriors[item] == pytest.approx(there / (there + absent), abs=1e-3)


@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
def test_with_many_answers_it_is_crowd_kits_dawid_skene_class_by_class() -> None:
    from crowdkit.aggregation import BinaryRelevance, DawidSkene

    looked, named, _ = crowd(0, items=1500)
    table = pd.DataFrame({"task": looked[:, 0], "worker": looked[:, 1]})
    table["label"] = [np.flatnonzero(row).tolist() for row in named]
    theirs = BinaryRelevance(DawidSkene(n_iter=10)).fit_predict(table)
    held = np.array([[number in theirs[item] for number in range(3)] for item in range(1500)])
    found = multilabel.fit(looked, named, unknown(1500), annotators=3)
    assert np.mean((found.posteriors > 0.5) == held, axis=0).min() > 0.97


def test_it_is_no_worse_than_the_majority_and_knows_who_sees_what() -> None:
    ours, votes = [], []
    for seed in range(10):
        looked, named, truth = crowd(seed)
        found = multilabel.fit(looked, named, unknown(300), annotators=3)
        majority = named.reshape(300, 3, 3).sum(axis=1) >= 2
        ours.append(((found.posteriors > 0.5) == truth).mean(axis=0))
        votes.append((majority == truth).mean(axis=0))
    gain = np.mean(ours, axis=0) - np.mean(votes, axis=0)
    assert gain[1] > 0  # of the rare class that one of the three makes up
    assert gain.min() > -0.005
    assert found.sensitivity[0, 2] < found.sensitivity[0, :2].min() - 0.1  # the class that is often missed
    assert found.specificity[2, 0] < found.specificity[0, 0]


def test_a_rare_class_that_nobody_names_is_not_there() -> None:
    looked, named, _ = crowd(0)
    named[:, 1] = False
    found = multilabel.fit(looked, named, unknown(300), annotators=3)
    assert found.posteriors[:, 1].max() < 0.05


def test_what_is_known_is_certain_and_what_nobody_saw_is_as_common_as_elsewhere() -> None:
    looked, named, truth = crowd(0)
    known = unknown(301)
    known[0] = [1, 0, 1]
    found = multilabel.fit(looked, named, known, annotators=3)
    assert found.posteriors[0].tolist() == [1, 0, 1]
    assert found.posteriors[300] == pytest.approx(truth.mean(axis=0), abs=0.06)


def test_nobody_answered() -> None:
    found = multilabel.fit(np.zeros((0, 2), np.int64), np.zeros((0, 2), np.bool_), unknown(2, 2), annotators=0)
    assert found.posteriors == pytest.approx(np.full((2, 2), 0.5))


@dataclass(frozen=True)
class People:
    """How many there are, what each sees and makes up, how common each of four classes is, and how many look."""

    number: int
    sees: float
    makes_up: float
    share: float
    look: int

    def answers(self, seed: int, *, items: int = 400, gold: int = 0, of_gold: float = 0) -> tuple[Ints, Bools, Bools]:
        """Who looked at what, what they named, and what is there; of the first items, which are gold, as often."""
        random = np.random.default_rng(seed)
        truth = random.random((items, 4)) < np.where(np.arange(items)[:, None] < gold, of_gold, self.share)
        who = [random.choice(self.number, self.look, replace=False) for _ in range(items)]
        looked = np.stack([np.repeat(np.arange(items), self.look), np.concatenate(who)], axis=1)
        return looked, random.random((len(looked), 4)) < np.where(truth[looked[:, 0]], self.sees, self.makes_up), truth


@pytest.mark.parametrize(
    "people",
    [
        People(2, sees=0.7, makes_up=0.01, share=0.05, look=2),
        People(10, sees=0.7, makes_up=0.01, share=0.05, look=2),
        People(2, sees=0.8, makes_up=0.03, share=0.1, look=2),
        People(2, sees=0.9, makes_up=0.05, share=0.3, look=2),
        People(10, sees=0.7, makes_up=0.01, share=0.05, look=3),
    ],
)
def test_what_would_be_accepted_is_right_whether_people_miss_more_or_invent_more(people: People) -> None:
    """Of two looks nothing tells which; a class that one of them named was ruled out at .96, and there in .54."""
    accepted = right = 0
    for seed in range(10):
        looked, named, truth = people.answers(seed)
        found = multilabel.fit(looked, named, unknown(len(truth), 4), annotators=people.number).posteriors
        is_sure = np.maximum(found, 1 - found).prod(axis=1) >= 0.9
        accepted += int(is_sure.sum())
        right += int(((found > 0.5) == truth).all(axis=1)[is_sure].sum())
    assert right / accepted > 0.965
    assert accepted > 10 * 400 * 0.5


def test_three_looks_tell_what_people_miss() -> None:
    people = People(10, sees=0.7, makes_up=0.01, share=0.1, look=3)
    believed, there = np.zeros((2, 10))
    for seed in range(10):
        looked, named, truth = people.answers(seed, items=2000)
        found = multilabel.fit(looked, named, unknown(len(truth), 4), annotators=people.number)
        votes = np.zeros(truth.shape)
        np.add.at(votes, looked[:, 0], named)
        believed[seed], there[seed] = found.posteriors[votes == 1].mean(), truth[votes == 1].mean()
        assert found.sensitivity.mean() == pytest.approx(0.7, abs=0.04)
    assert believed.mean() == pytest.approx(there.mean(), abs=0.05)


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_gold_that_holds_more_than_other_items_makes_nothing_likelier_there(share: float) -> None:
    """What one of two named was believed at .78 and .92, and .92 and .63 of what would be accepted was right."""
    people = People(4, sees=0.7, makes_up=0.02, share=0.05, look=2)
    gold, believed, there, right = np.arange(400) < 40, [], [], []
    for seed in range(10):
        looked, named, truth = people.answers(seed, gold=40, of_gold=share)
        known = np.where(gold[:, None], truth, -1)
        found = multilabel.fit(looked, named, known, annotators=4, gold=gold).posteriors
        votes = np.zeros(truth.shape)
        np.add.at(votes, looked[:, 0], named)
        by_one = (votes == 1) & ~gold[:, None]
        believed.append(found[by_one].mean())
        there.append(truth[by_one].mean())
        is_sure = (np.maximum(found, 1 - found).prod(axis=1) >= 0.9) & ~gold
        right.append(((found > 0.5) == truth).all(axis=1)[is_sure].mean())
    assert np.mean(believed) == pytest.approx(np.mean(there), abs=0.12)
    assert np.mean(right) > 0.965


def test_gold_tells_what_people_miss_where_two_look() -> None:
    people = People(2, sees=0.6, makes_up=0.01, share=0.2, look=2)
    looked, named, truth = people.answers(0, items=1000)
    known = np.where(np.arange(1000)[:, None] < 200, truth, -1)
    assert multilabel.fit(looked, named, known, annotators=2).sensitivity.mean() == pytest.approx(0.6, abs=0.06)
