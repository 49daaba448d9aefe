"""What is there, from who drew it and who did not: by hand, against brute force, on simulated crowds."""

import numpy as np
import pytest

from qa.consensus import belief, candidates
from store.arrays import Floats, Ints


def everybody(images: int, people: int) -> Ints:
    return np.stack(np.divmod(np.arange(images * people), people), axis=1)


def fit(rows: list[tuple[int, int, int]], image: list[int], *, images: int, people: int, classes: int = 1):  # type: ignore[no-untyped-def]
    return candidates.fit(
        np.array(rows, dtype=np.int64).reshape(-1, 3),
        np.array(image, dtype=np.int64),
        everybody(images, people),
        images=images,
        annotators=people,
        classes=classes,
    )


def simulated(
    seed: int, *, images: int, recall: list[float], ghosts: list[float], rate: float = 5
) -> tuple[Ints, Ints, Floats, Ints]:
    """Answers, the image of each candidate, whether it is there, and things that nobody drew by image."""
    generator = np.random.default_rng(seed)
    rows, image, there = [], [], []
    missed = np.zeros(images, dtype=np.int64)
    for each in range(images):
        for _ in range(generator.poisson(rate)):
            who = np.flatnonzero(generator.random(len(recall)) < recall)
            missed[each] += len(who) == 0
            if len(who):
                rows += [(len(image), one, 0) for one in who]
                image.append(each)
                there.append(1.0)
        for one, count in enumerate(generator.poisson(ghosts)):
            for _ in range(count):
                rows.append((len(image), one, 0))
                image.append(each)
                there.append(0.0)
    return np.array(rows), np.array(image), np.array(there), missed


def test_two_people_are_surer_together() -> None:
    """Alone in one image: what both drew is there, what one drew perhaps; with a third who did not, rather not."""
    found = fit([(0, 0, 0), (0, 1, 0), (1, 0, 0)], [0, 0], images=1, people=2)
    assert found.existence[0] > 0.95
    assert 0.3 < found.existence[1] < 0.8
    three = fit([(0, 0, 0), (0, 1, 0), (0, 2, 0), (1, 0, 0)], [0, 0], images=1, people=3)
    assert three.existence[1] < found.existence[1]
    assert three.existence[1] < 0.5


def looks_of(*groups: tuple[tuple[int, ...], int]) -> Ints:
    """Who looked at what: people who share so many items, and then those of the next group."""
    shared = [who for who, count in groups for _ in range(count)]
    return np.array([(item, person) for item, who in enumerate(shared) for person in who])


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        ([((0, 1), 40), ((1, 2), 40), ((0, 2), 40), ((3, 4), 40)], [True, True, True, False, False, False]),
        # who is good may be 0 and 2, or 1 and 3
        ([((0, 1), 10), ((1, 2), 10), ((2, 3), 10), ((3, 0), 10)], [False] * 6),
        ([((0, 1), 10), ((1, 2), 10), ((2, 3), 10), ((3, 0), 10), ((0, 2), 10)], [True] * 4 + [False] * 2),
        # of five in a circle everybody hangs on two whom they do not share anything with
        ([((who, (who + 1) % 5), 40) for who in range(5)], [False] * 6),
        # a third who shares one item, or a tenth, tells nothing of the two, but they of one who shares all with them
        ([((0, 1, 2), 1), ((0, 1), 399)], [False] * 6),
        ([((0, 1, 2), 40), ((0, 1), 360)], [False] * 6),
        ([((0, 1, 2), 100), ((0, 1), 300)], [True] * 3 + [False] * 3),
        # a newcomer is told by those who are, and does not tell two others apart with whom they share less
        ([((0, 1, 2), 100), ((0, 3), 5), ((3, 4), 5), ((4, 5), 400)], [True] * 4 + [False] * 2),
        ([], [False] * 6),
    ],
)
def test_two_people_are_not_judged_by_each_other_but_by_a_third(
    groups: list[tuple[tuple[int, ...], int]], told: list[bool]
) -> None:
    looks = looks_of(*groups).reshape(-1, 2)
    assert belief.told_by_others(looks, items=len(looks), annotators=6).tolist() == told


def test_of_two_people_what_one_alone_drew_is_in_doubt_whoever_it_was() -> None:
    """One finds much and makes up much, the other little of both: from the two alone nobody can tell which is which."""
    believed, true = [], []
    for seed in range(10):
        answers, image, there, _ = simulated(seed, images=200, recall=[0.7, 0.95], ghosts=[0.1, 0.6], rate=4)
        seen = everybody(200, 2)
        found = candidates.fit(answers, image, seen, images=200, annotators=2, classes=1)
        drew = np.zeros((len(image), 2), dtype=np.bool_)
        drew[answers[:, 0], answers[:, 1]] = True
        alone = [drew[:, who] & ~drew[:, 1 - who] for who in (0, 1)]
        believed.append([found.existence[one].mean() for one in alone])
        true.append([there[one].mean() for one in alone])
    assert np.abs(np.mean(believed, axis=0) - np.mean(true, axis=0)).max() < 0.2


@pytest.mark.parametrize("settled", [1, 3, 10])
def test_few_settled_images_do_not_tell_two_people_apart(settled: int) -> None:
    """Believed at .21 on average, where .64 is there: what was settled said that they are not alike, and no more."""
    believed, true = np.zeros((2, 10))
    for seed in range(10):
        answers, image, there, _ = simulated(seed, images=60, recall=[0.7, 0.95], ghosts=[0.1, 0.6], rate=5)
        known = np.where(image < settled, np.where(there > 0, 0, 1), -1)
        found = candidates.fit(answers, image, everybody(60, 2), images=60, annotators=2, classes=1, known=known)
        drew = np.zeros((len(image), 2), dtype=np.bool_)
        drew[answers[:, 0], answers[:, 1]] = True
        alone = drew[:, 0] & ~drew[:, 1] & (image >= settled)
        believed[seed], true[seed] = found.existence[alone].mean(), there[alone].mean()
    assert believed.mean() == pytest.approx(true.mean(), abs=0.15)


def test_gold_that_holds_more_than_other_images_makes_nothing_likelier_there() -> None:
    """What one of two drew was believed at .7 where half of it is there, and ghosts were a third too few."""
    believed, true, ghosts = [], [], []
    gold = np.arange(150) < 30
    for seed in range(10):
        people = {"recall": [0.8, 0.85], "ghosts": [0.3, 0.3]}
        rich, usual = (simulated(seed, images=count, rate=rate, **people) for count, rate in ((30, 6), (120, 2)))
        answers = np.concatenate([rich[0], usual[0] + (len(rich[1]), 0, 0)])
        image, there = np.concatenate([rich[1], usual[1] + 30]), np.concatenate([rich[2], usual[2]])
        known = np.where(gold[image], np.where(there > 0, 0, 1), -1)
        found = candidates.fit(
            answers, image, everybody(150, 2), images=150, annotators=2, classes=1, known=known, gold=gold
        )
        by_one = (np.bincount(answers[:, 0]) == 1) & ~gold[image]
        believed.append(found.existence[by_one].mean())
        true.append(there[by_one].mean())
        ghosts.append(found.ghosts)
    assert np.mean(believed) == pytest.approx(np.mean(true), abs=0.1)
    assert np.mean(ghosts) == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("settled", [0.25, 0.5])
def test_what_is_known_and_nobody_drew_makes_what_one_drew_no_likelier(settled: float) -> None:
    """One person sees half of what is there and makes up as much: .67 of it was believed where half is known."""
    believed = []
    for seed in range(10):
        random = np.random.default_rng(seed)
        image = np.repeat(np.arange(400), random.poisson(1.5, 400))
        drawn = random.random(len(image)) < 0.5
        made_up = np.repeat(np.arange(400), random.poisson(0.75, 400))
        is_settled = random.random(400) < settled
        kept = drawn | is_settled[image]
        places = np.concatenate([image[kept], made_up])
        there = np.arange(len(places)) < kept.sum()
        drew = np.concatenate([drawn[kept], np.ones(len(made_up), dtype=np.bool_)])
        answers = np.stack([np.flatnonzero(drew), *np.zeros((2, drew.sum()), dtype=np.int64)], axis=1)
        known = np.where(is_settled[places], np.where(there, 0, 1), -1)
        found = candidates.fit(answers, places, everybody(400, 1), images=400, annotators=1, classes=1, known=known)
        believed.append(found.existence[known < 0].mean() - there[known < 0].mean())
    assert np.mean(believed) == pytest.approx(0, abs=0.05)


def test_gold_tells_two_people_apart() -> None:
    answers, image, there, _ = simulated(0, images=300, recall=[0.7, 0.95], ghosts=[0.1, 0.6], rate=4)
    known = np.where(image < 100, np.where(there > 0, 0, 1), -1)
    found = candidates.fit(answers, image, everybody(300, 2), images=300, annotators=2, classes=1, known=known)
    assert found.recall[:, 0] == pytest.approx([0.7, 0.95], abs=0.06)


def test_few_images_keep_to_the_majority() -> None:
    for people in (3, 4, 5):
        for drew in range(1, people + 1):
            found = fit([(0, who, 0) for who in range(drew)], [0], images=1, people=people)
            if drew > people / 2:
                assert found.existence[0] > 0.5, (people, drew)
            if drew == 1:
                assert found.existence[0] < 0.5, people


def test_edges() -> None:
    nothing = fit([], [], images=3, people=2, classes=2)
    assert nothing.existence.shape == (0,)
    assert nothing.missed.tolist() == [0, 0, 0]
    assert nothing.recall == pytest.approx(np.full((2, 2), 0.8))
    assert nothing.ghosts.tolist() == [0, 0]
    alone = fit([(0, 0, 1), (1, 0, 0)], [0, 1], images=2, people=1, classes=2)
    assert alone.existence == pytest.approx([0.8, 0.8], abs=0.01)  # what is believed of an answer that stands alone
    assert alone.classes.argmax(axis=1).tolist() == [1, 0]
    assert alone.missed.min() > 0
    nobody = candidates.fit(
        np.zeros((0, 3), np.int64), np.zeros(0, np.int64), np.zeros((0, 2), np.int64), images=2, annotators=0, classes=1
    )
    assert nobody.missed.tolist() == [0, 0]


def test_the_posterior_is_bayes_rule() -> None:
    """With what it found of people and shares, every candidate again, one factor at a time."""
    answers, image, _, _ = simulated(3, images=60, recall=[0.9, 0.7, 0.5], ghosts=[0.2, 1, 1])
    found = candidates.fit(answers, image, everybody(60, 3), images=60, annotators=3, classes=1)
    share = (found.existence.sum() + 8) / (len(image) + 10)
    ghost = candidates._false_positive_rates(
        np.bincount(answers[:, 1], weights=(1 - found.existence)[answers[:, 0]], minlength=3),
        np.full(3, (1 - found.existence).sum() / lure_seen(found, answers)),
    )
    for candidate in range(len(image)):
        drew = np.isin(np.arange(3), answers[answers[:, 0] == candidate, 1])
        likely = [
            np.where(drew, chance, 1 - chance).prod() / (1 - (1 - chance).prod())
            for chance in (found.recall[:, 0], ghost)
        ]
        odds = share * likely[0] / ((1 - share) * likely[1])
        assert found.existence[candidate] == pytest.approx(odds / (1 + odds), abs=0.02)


def lure_seen(found: candidates.Candidates, answers: Ints) -> float:
    """The chance that a false object is drawn by anybody, by iteration from its definition."""
    drawn = np.bincount(answers[:, 1], weights=(1 - found.existence)[answers[:, 0]], minlength=3)
    seen = 0.3
    for _ in range(2000):
        rates = candidates._false_positive_rates(drawn, np.full(3, (1 - found.existence).sum() / seen))
        seen = 1 - (1 - rates).prod()
    return float(seen)


def test_recalls_ghosts_and_what_nobody_drew_are_found() -> None:
    errors = []
    for seed in range(10):
        recall, ghosts = [0.7, 0.6, 0.5, 0.4, 0.6], [0.1, 0.2, 0.3, 0.1, 0.2]
        answers, image, there, missed = simulated(seed, images=150, recall=recall, ghosts=ghosts)
        found = candidates.fit(answers, image, everybody(150, 5), images=150, annotators=5, classes=1)
        assert found.recall[:, 0] == pytest.approx(recall, abs=0.1)
        assert found.ghosts == pytest.approx(ghosts, abs=0.2)
        assert np.mean((found.existence > 0.5) == there) > 0.9
        errors.append(found.missed.sum() / missed.sum())
    assert 0.4 < np.mean(errors) < 1.1  # 2 % of the things; it is known to say too little


def test_of_more_people_less_is_missed_and_who_saw_nothing_is_everybody() -> None:
    answers, image, _, _ = simulated(0, images=100, recall=[0.9, 0.9], ghosts=[0.1, 0.1])
    seen = np.concatenate([everybody(100, 2)[1:], [[100, 0]]])  # image 0 was seen by one, 100 by one, 101 by nobody
    answers = answers[~((image[answers[:, 0]] == 0) & (answers[:, 1] == 0))]
    kept = np.unique(answers[:, 0])
    answers[:, 0] = np.searchsorted(kept, answers[:, 0])
    found = candidates.fit(answers, image[kept], seen, images=102, annotators=3, classes=1)
    assert 0 < found.missed[1:100].mean() < found.missed[100] < found.missed[101]
    assert found.missed[101] == pytest.approx(5, abs=1)  # as much as in any image
    assert found.recall[2] == pytest.approx(found.recall[:2].mean(axis=0), abs=0.03)
    assert found.ghosts[2] == 0


def test_a_rare_class_is_not_made_common_by_those_who_confuse() -> None:
    """Nine of ten things are of one class: equally likely classes would make the rare ones a home for all doubts."""
    ours, majority = [], []
    for seed in range(10):
        generator = np.random.default_rng(seed)
        truth = (generator.random(400) < 0.1).astype(np.int64)
        rows = [
            (item, who, truth[item] if generator.random() < right else 1 - truth[item])
            for item in range(400)
            for who, right in enumerate((0.9, 0.8, 0.8))
        ]
        answers = np.array(rows)
        found = candidates.fit(answers, np.arange(400) // 4, everybody(100, 3), images=100, annotators=3, classes=2)
        votes = belief.counts(answers, items=400, classes=2).argmax(axis=1)
        ours.append(np.mean(found.classes.argmax(axis=1) == truth))
        majority.append(np.mean(votes == truth))
        assert found.classes.sum(axis=1) == pytest.approx(np.ones(400))
        assert found.existence.min() > 0.98
    assert np.mean(ours) > np.mean(majority) + 0.01


def test_a_class_that_is_often_missed_needs_fewer_people() -> None:
    """Two of four drew it: rather a ghost if it is of a class that everybody sees than of one that most miss."""
    generator = np.random.default_rng(0)
    rows, image = [], []
    for item in range(600):
        number = item % 2
        who = np.flatnonzero(generator.random(4) < (0.98, 0.5)[number])
        if len(who):
            rows += [(len(image), one, number) for one in who]
            image.append(item // 6)
    for ghost in range(300):
        rows.append((len(image), ghost % 4, ghost // 4 % 2))
        image.append(ghost // 3)
    for number in (0, 1):
        rows += [(len(image), one, number) for one in (0, 1)]
        image.append(0)
    found = fit(rows, image, images=100, people=4, classes=2)
    assert found.recall.mean(axis=0) == pytest.approx([0.98, 0.5], abs=0.06)
    assert found.existence[-1] > found.existence[-2] + 0.05
