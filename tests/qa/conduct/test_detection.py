"""What is known of how people find things, where the truth is known because it was made up."""

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta

from qa.conduct import accuracy, detection
from qa.conduct.accuracy import Judged
from qa.consensus.posterior import Posterior, Trust
from store.arrays import Bools, Floats, Ints

SEEDS = range(10)
NOTHING = 2  # beside two classes
RECALL = np.array([0.95, 0.85, 0.7, 0.9, 0.9])
GHOSTS = np.array([0.1, 0.3, 0.1, 1.0, 0.2])  # in an image
NAMING = np.array([0.95, 0.9, 0.97, 0.9, 0.7])
IMAGES, OVERLAP = 120, 3


@dataclass(frozen=True)
class Found:
    """A crowd, and what is made of it."""

    table: Ints
    looks: Ints
    known: Ints
    found: Posterior
    judged: Judged
    weight: Floats
    alone: detection.Alone

    def ghosts(self) -> detection.Rates:
        images = np.bincount(self.looks[:, 1], minlength=len(RECALL))
        return detection.ghosts(self.table, self.judged, self.found, images)


def crowd(seed: int, *, settled: int = 0, recall: Floats = RECALL, ghosts: Floats = GHOSTS) -> Found:
    """Four things in an image on average; an expert settled the first images. No two people draw one ghost."""
    random = np.random.default_rng(seed)
    rows: list[tuple[int, int, int, int]] = []  # thing, person, answer, look
    image: list[int] = []
    known: list[int] = []
    looks: list[tuple[int, int]] = []
    for item in range(IMAGES):
        people = random.choice(len(recall), OVERLAP, replace=False).tolist()
        first = len(looks)
        looks += [(item, one) for one in people]
        is_settled = item < settled
        made: list[tuple[int, list[int]]] = []
        for real in random.integers(0, 2, random.poisson(4)).tolist():
            called = [real if random.random() < NAMING[one] else 1 - real for one in people]
            made.append(
                (real, [c if random.random() < recall[one] else NOTHING for c, one in zip(called, people, strict=True)])
            )
        for place, one in enumerate(people):
            for _ in range(random.poisson(ghosts[one])):
                said = [NOTHING] * OVERLAP
                said[place] = int(random.integers(2))
                made.append((NOTHING, said))
        for real, said in made:
            if is_settled or any(each != NOTHING for each in said):
                rows += [
                    (len(image), one, each, first + i) for i, (one, each) in enumerate(zip(people, said, strict=True))
                ]
                image.append(item)
                known.append(real if is_settled else -1)
    table = np.array(rows, dtype=np.int64)
    answers, everything = table[:, :3], np.ones(len(table), dtype=np.bool_)
    told = np.array(known)
    problem: dict[str, Any] = {"images": IMAGES, "annotators": len(recall), "classes": 3}
    found = detection.believe(answers, np.array(image), np.array(looks), told, **problem)
    judged = accuracy.judge(answers, everything, told, found)
    weight = accuracy.independent_share(judged.chance(answers), answers[judged.rows, 1], table[judged.rows, 3])
    alone = detection.alone(answers, everything, told, judged, found)
    return Found(answers, np.array(looks), told, found, judged, weight, alone)


def held(interval: Floats, truth: Floats) -> Bools:
    return np.asarray((interval[:, 0] <= truth) & (truth <= interval[:, 1]))


@pytest.mark.parametrize("settled", [0, 50])
def test_intervals_hold_what_is_true_of_people_as_often_as_they_say(settled: int) -> None:
    """Five people in ten crowds: of fifty intervals of 95 % five or more miss in one of 26 tests."""
    holding = {"recall": 0, "naming": 0, "ghosts": 0}
    ghosts, recalls = [], []
    for seed in SEEDS:
        made = crowd(seed, settled=settled)
        recall = detection.recall(made.table, made.judged, made.weight, annotators=5)
        naming = detection.naming(made.table, made.judged, made.weight, annotators=5)
        assert naming is not None
        rates = made.ghosts()
        holding["recall"] += held(recall.interval, RECALL).sum()
        holding["naming"] += held(naming.interval, NAMING).sum()
        holding["ghosts"] += held(rates.interval, GHOSTS).sum()
        assert recall.enough.all()
        ghosts.append(rates.rate)
        recalls.append(recall.accuracy)
    assert min(holding.values()) >= 45
    assert np.mean(recalls, axis=0) == pytest.approx(RECALL, abs=0.02)
    assert np.mean(ghosts, axis=0) == pytest.approx(GHOSTS, abs=0.08)


@pytest.mark.parametrize(("settled", "least"), [(0, 0.5), (40, 0.8)])
def test_nobody_is_blamed_for_seeing_more_than_others(settled: int, least: float) -> None:
    """One of three misses next to nothing, the others half: what only that one sees is there, and called rightly by
    most; the more is settled, the surer that is. By the word of the others alone it would be nothing.
    """
    recall = np.array([0.97, 0.5, 0.5])
    for seed in SEEDS:
        made = crowd(seed, settled=settled, recall=recall, ghosts=np.full(3, 0.05))
        mine = made.alone.rows & (made.table[made.judged.rows, 1] == 0)
        assert mine.sum() > 30
        assert made.alone.right[mine].mean() > least
        assert (made.alone.right[mine] > 0.1).all()
        assert made.judged.chance(made.table)[mine].mean() < 0.5


def test_where_everything_is_one_class_there_is_nothing_to_call_it() -> None:
    judged = Judged(np.array([0]), np.array([[0.9, 0.1]]))
    assert detection.naming(np.array([(0, 0, 0)]), judged, np.ones(1), annotators=1) is None


def known(rows: list[tuple[int, int, int]], truth: list[int]) -> tuple[Ints, Judged, Posterior]:
    """Answers to things of which the truth is known."""
    table, there = np.array(rows), np.eye(3)[truth]
    people = np.tile(np.full((3, 3), 1 / 3), (int(table[:, 1].max()) + 1, 1, 1))
    nothing = np.zeros((len(people), 2))
    found = Posterior(there, nothing[:, 0], nothing, np.bincount(table[:, 1]), people, Trust())
    return table, Judged(np.arange(len(table)), there[table[:, 0]]), found


def test_recall_naming_and_ghosts_by_hand() -> None:
    """Of five things one is left out, one miscalled, and two more are made up, in eight images."""
    said = [0, 1, 0, 1, NOTHING, 0, 1]
    answers, judged, found = known(
        [(thing, 0, one) for thing, one in enumerate(said)], [0, 1, 0, 0, 1, NOTHING, NOTHING]
    )
    ones = np.ones(len(said))
    recall = detection.recall(answers, judged, ones, annotators=1)
    naming = detection.naming(answers, judged, ones, annotators=1)
    assert naming is not None
    assert (recall.accuracy[0], naming.accuracy[0]) == pytest.approx((5 / 7, 4 / 6), abs=1e-3)  # one of each beforehand
    assert recall.interval[0] == pytest.approx(beta(5, 2).ppf([0.025, 0.975]), abs=2e-3)
    assert naming.interval[0] == pytest.approx(beta(4, 2).ppf([0.025, 0.975]), abs=2e-3)
    assert detection.ghosts(answers, judged, found, np.array([8])).rate.tolist() == [2 / 8]


@pytest.mark.parametrize("ghosts", [0, 1, 7, 40])
def test_the_interval_of_ghosts_is_statsmodels_of_a_rate(ghosts: int) -> None:
    from statsmodels.stats.rates import confint_poisson

    answers, judged, found = known([(thing, 0, 0) for thing in range(ghosts + 1)], [0] + [NOTHING] * ghosts)
    rates = detection.ghosts(answers, judged, found, np.array([25]))
    assert rates.interval[0] == pytest.approx(confint_poisson(ghosts, 25, method="jeff"))


def test_a_rate_of_ghosts_that_are_nearly_sure_is_in_its_interval() -> None:
    """Each of 3,000 counted as a whole one at the lower end, and .92 was told with an interval from .965 on."""
    answers, judged, found = known([(thing, 0, 0) for thing in range(3000)], [NOTHING] * 3000)
    doubted = np.zeros_like(judged.truth)
    doubted[:, 0], doubted[:, -1] = 0.08, 0.92
    found = replace(found, confusion=np.ones_like(found.confusion))
    rates = detection.ghosts(answers, Judged(judged.rows, doubted), found, np.array([3000]))
    assert rates.rate[0] == pytest.approx(0.92)
    assert rates.interval[0, 0] <= rates.rate[0] <= rates.interval[0, 1]


@pytest.mark.parametrize("seed", SEEDS)
def test_how_near_people_come_is_statsmodels_mean_with_errors_clustered_by_look(seed: int) -> None:
    import statsmodels.api

    random = np.random.default_rng(seed)
    look = np.repeat(np.arange(12), random.integers(1, 6, 12))
    values = 0.7 + random.normal(0, 0.05, 12)[look] + random.normal(0, 0.05, len(look))
    found = detection.nearness(values, look, np.zeros(len(look), dtype=np.int64), annotators=1)
    mean = statsmodels.api.OLS(values, np.ones(len(look)))
    theirs = mean.fit(cov_type="cluster", cov_kwds={"groups": look}, use_t=True)
    assert found.accuracy[0] == pytest.approx(theirs.params[0])
    assert found.interval[0] == pytest.approx(theirs.conf_int()[0])


def test_of_two_people_each_is_as_far_off_and_an_expert_not_at_all() -> None:
    """Squares add up: 1 = 1/2 + 1/2."""
    likeness, who, other = np.array([0.9, 0.9, 0.7, 0.7]), np.array([0, 1, 0, 1]), np.array([1, 0, 1, 0])
    assert detection.own_share(likeness, who, other, annotators=2) == pytest.approx(0.5**0.5)
    assert detection.own_share(likeness, who, np.full(4, 2), annotators=2).tolist() == [1.0] * 4
    assert detection.own_share(np.ones(4), who, other, annotators=2) == pytest.approx(0.5**0.5)


@pytest.mark.parametrize("seed", SEEDS)
def test_who_draws_badly_bears_it_and_who_is_paused_lays_it_on_nobody(seed: int) -> None:
    """Keypoints of three people and of one who is paused, as likenesses."""
    random, spread = np.random.default_rng(seed), np.array([0.02, 0.04, 0.08, 0.2])
    off = random.normal(size=(4, 1000)) * spread[:, None]
    pairs = np.array([(one, other, i) for i in range(1000) for one in range(4) for other in range(3) if one != other])
    who, other, thing = pairs.T
    likeness = 1 - np.abs(off[who, thing] - off[other, thing])
    found = detection.own_share(likeness, who, other, annotators=4)
    borne = np.bincount(who, weights=(1 - likeness) * found) / np.bincount(who)
    assert borne == pytest.approx(np.abs(off).mean(axis=1), abs=0.01)  # the first is .05 off others
    told = who < 3
    alone = detection.own_share(likeness[told], who[told], other[told], annotators=4)
    assert found[told] == pytest.approx(alone, abs=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_answers_of_one_look_count_by_every_two_of_them(seed: int) -> None:
    """The correlation is the mean product of two in a look over the mean square, both over all pairs."""
    random = np.random.default_rng(seed)
    look = np.repeat(np.arange(30), random.integers(1, 5, 30))
    who = look % 4
    right = np.clip(0.7 + random.normal(0, 0.3, 30)[look] + random.normal(0, 0.1, len(look)), 0, 1)
    apart = right - np.array([right[who == one].mean() for one in who])
    pairs = [(i, j) for i, j in combinations(range(len(look)), 2) if look[i] == look[j]]
    product = np.mean([apart[i] * apart[j] for i, j in pairs])
    square = np.mean([(apart[i] ** 2 + apart[j] ** 2) / 2 for i, j in pairs])
    together = np.bincount(look)[look]
    expected = 1 / (1 + (together - 1) * np.clip(product / square, 0, 1))
    assert accuracy.independent_share(right, who, look) == pytest.approx(expected)


def test_how_near_people_come_has_the_interval_of_a_mean_of_looks() -> None:
    random = np.random.default_rng(0)
    misses = 0
    for _ in range(200):
        look = np.repeat(np.arange(12), random.integers(1, 6, 12))
        values = 0.8 + random.normal(0, 0.03, 12)[look] + random.normal(0, 0.03, len(look))
        found = detection.nearness(values, look, np.zeros(len(look), dtype=np.int64), annotators=2)
        misses += not found.interval[0, 0] <= 0.8 <= found.interval[0, 1]
    assert misses <= 25  # 10 are expected; so many in one of 10,000 tests
    assert (found.answers[0], found.answers[1]) == (len(look), 0)
    assert found.interval[1].tolist() == [0, 1]
    single = detection.nearness(
        np.array([0.9, np.nan, 0.7]), np.zeros(3, np.int64), np.zeros(3, np.int64), annotators=1
    )
    assert (single.accuracy[0], single.answers[0], bool(single.enough[0])) == (pytest.approx(0.8), 2, False)


def test_answers_of_one_look_count_once_if_they_are_all_alike_and_each_if_they_are_not() -> None:
    look = np.repeat(np.arange(200), 5)
    who = look % 3
    random = np.random.default_rng(0)
    alike = np.repeat(random.random(200) < 0.8, 5).astype(np.float64)
    assert accuracy.independent_share(alike, who, look) == pytest.approx(0.2, abs=0.01)
    apart = (random.random(1000) < 0.8).astype(np.float64)
    assert accuracy.independent_share(apart, who, look) == pytest.approx(1, abs=0.2)
    assert accuracy.independent_share(apart, who, np.arange(1000)).tolist() == [1.0] * 1000
    assert accuracy.independent_share(np.ones(5), np.zeros(5, np.int64), np.zeros(5, np.int64)).tolist() == [1.0] * 5
    assert len(accuracy.independent_share(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64))) == 0


def test_weights_widen_an_interval_as_fewer_answers_do() -> None:
    chance, group = np.repeat([1.0, 0.0], [80, 20]), np.zeros(100, dtype=np.int64)
    whole = accuracy.estimate(chance, group, groups=1, classes=2, weight=np.full(100, 0.25))
    fewer = accuracy.estimate(chance[::4], group[::4], groups=1, classes=2)
    assert whole.interval == pytest.approx(fewer.interval)
    assert (whole.answers[0], fewer.answers[0]) == (100, 25)
    counts = np.array([[80.0, 20.0], [0.0, 0.0]])
    assert accuracy.by_class(counts, weight=0.25).interval == pytest.approx(accuracy.by_class(counts / 4).interval)
    assert accuracy.by_class(counts, weight=0.25).answers.tolist() == [100, 0]


def test_of_several_classes_what_nobody_named_counts_too() -> None:
    """One of four names classes at random: what two happen to name together is not held against the others."""
    recall, ghosts = np.array([0.93, 0.88, 0.9, 0.4]), np.array([0.1, 0.15, 0.2, 0.6])  # of each class
    holding = 0
    errors = []
    for seed in SEEDS:
        random = np.random.default_rng(seed)
        there = random.random((60, 2)) < 0.5
        chance = np.where(there[:, None], recall[:, None], ghosts[:, None])
        named = random.random((60, 4, 2)) < chance  # (items, people, classes)
        things = [(item, c) for item, c in np.ndindex(60, 2) if named[item, :, c].any()]
        rows = [
            (k, one, c if named[item, one, c] else NOTHING, 4 * item + one)
            for k, (item, c) in enumerate(things)
            for one in range(4)
        ]
        table, known = np.array(rows), np.full(len(things), -1)
        answers, everything = table[:, :3], np.ones(len(table), dtype=np.bool_)
        found = detection.believe_classes(
            answers,
            table[:, 3],
            np.array([item for item, _ in things]),
            np.array(list(np.ndindex(60, 4))),
            known,
            settled=np.zeros(0, dtype=np.int64),
            items=60,
            annotators=4,
            classes=3,
        )
        judged = accuracy.judge(answers, everything, known, found)
        seen = detection.recall(answers, judged, np.ones(len(judged.rows)), annotators=4)
        holding += int(held(seen.interval, recall).sum())
        errors.append(seen.accuracy - recall)
    assert holding >= 35  # of 40 intervals of 95 %
    assert np.abs(np.mean(errors, axis=0)).max() < 0.04
