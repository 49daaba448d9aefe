"""What another answer is expected to bring: against enumeration, by hand, and on simulated crowds."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qa import gains
from qa.consensus import regions
from qa.consensus.attributes import Attributes
from qa.consensus.multilabel import Multilabel
from qa.consensus.places import Boxes, Places
from qa.consensus.posterior import Posterior, Trust
from qa.consensus.regions import Drawn, Regions
from store.arrays import Floats, Ints
from tests.qa.consensus.test_regions import crowd


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.1, 0.6, 1.0]))
def test_of_one_class_it_is_what_all_answers_give_on_average(seed: int, repeat: float) -> None:
    """Item n of four has n answers; what comes after another one is computed from the first anew."""
    generator = np.random.default_rng(seed)
    trust = Trust(model=1, answer=0.9, repeat=repeat)
    prior, confusion = generator.dirichlet([1, 1, 1], 4), generator.dirichlet([2, 2, 2], (5, 3))
    rows = [(item, annotator, int(generator.integers(3))) for item in range(4) for annotator in range(item)]
    answers = np.array(rows, dtype=np.int64)

    def after(item: int, said: list[tuple[int, int]]) -> Floats:
        weight = trust.per_answer(np.array(len(said)))
        terms = [weight * np.log(confusion[annotator, :, answer]) for annotator, answer in said]
        odds = prior[item] * np.exp(np.sum(terms, axis=0)) if said else prior[item]
        return np.asarray(odds / odds.sum())

    heard = [[(annotator, answer) for one, annotator, answer in rows if one == item] for item in range(4)]
    now = [after(item, said) for item, said in enumerate(heard)]
    nothing = np.zeros(5)
    held = Posterior(np.array(now), nothing, np.zeros((5, 2)), nothing.astype(int), confusion, trust)
    pairs = np.array([(item, annotator) for item in range(4) for annotator in (3, 4)])
    for (item, annotator), value in zip(pairs.tolist(), gains.of_class(held, answers, pairs), strict=True):
        expected = sum(
            (now[item] @ confusion[annotator, :, answer]) * after(item, [*heard[item], (annotator, answer)]).max()
            for answer in range(3)
        )
        assert value == pytest.approx(max(0.0, expected - now[item].max()), abs=1e-9)


@given(st.integers(0, 10_000))
def test_of_several_classes_it_is_what_all_answers_give_on_average(seed: int) -> None:
    generator = np.random.default_rng(seed)
    held, sees, rules_out = (generator.random(shape) for shape in ((4, 3), (2, 3), (2, 3)))
    found = Multilabel(held, sees, rules_out)
    pairs = np.array(list(product(range(4), range(2))))
    for (item, annotator), value in zip(pairs.tolist(), gains.of_classes(found, pairs), strict=True):
        expected = 0.0
        for named in product([False, True], repeat=3):
            there = held[item] * np.where(named, sees[annotator], 1 - sees[annotator])
            not_there = (1 - held[item]) * np.where(named, 1 - rules_out[annotator], rules_out[annotator])
            expected += float(np.maximum(there, not_there).prod())
        assert value == pytest.approx(max(0.0, expected - gains.all_right(found)[item]), abs=1e-12)


def test_what_is_in_doubt_about_a_thing_is_in_doubt_of_the_image_and_worth_asking() -> None:
    """Two things are there, and an attribute of one is disputed; the second person is always right of such."""
    generator = np.random.default_rng(0)
    found = replace(things(np.ones(2), np.ones((2, 1)), generator), recall=np.full((2, 1), 0.999999))
    sure, accuracy = np.array([1.0, 0.5]), np.array([0.5, 1.0])
    disputed = Attributes([{}] * 2, [{}] * 2, sure, np.array([1]), np.array([2]), np.array([[0.5, 0.5]]), accuracy)
    found = replace(found, attributes=disputed)
    assert gains.share_right([found], images=1)[0] == pytest.approx(0.75)
    assert gains.of_regions([found], np.array([[0, 0], [0, 1]])) == pytest.approx([0.0, 0.25], abs=1e-4)


def things(
    existence: Floats, classes: Floats, crowd: np.random.Generator, *, images: Ints | None = None, people: int = 2
) -> Regions[Places]:
    """Things that may be in one image, or in several, and people who differ; nothing is missed."""
    count, number = classes.shape
    image = np.zeros(count, dtype=np.int64) if images is None else images
    nobody = np.zeros(people)
    return Regions(
        image=image,
        places=Boxes(np.zeros((count, 4))),
        existence=existence,
        classes=classes,
        thing=np.arange(count),
        undrawn=np.zeros((int(image.max(initial=0)) + 1, number + 1)),
        recall=crowd.uniform(0.5, 0.99, (people, number)),
        false_positive_rate=crowd.uniform(0.01, 0.4, people),
        ghosts=nobody,
        spread=nobody,
        confusion=crowd.dirichlet([2] * number, (people, number)),
        ghost_calls=crowd.dirichlet([2] * number),
    )


def enumerated(found: Regions[Places], annotator: int) -> float:
    """How sure we are of one image on average after a look, over all that can be drawn where something was drawn."""
    outcomes = []  # by thing: chance, existence and classes afterwards
    for existence, classes in zip(found.existence, found.classes, strict=True):
        there, ghost = existence * classes, 1 - existence
        recall, false_positive_rate = found.recall[annotator], found.false_positive_rate[annotator]
        cases = [(there * (1 - recall), ghost * (1 - false_positive_rate))]
        for called in range(classes.size):
            likely = there * recall * found.confusion[annotator, :, called]
            cases.append((likely, ghost * false_positive_rate * found.ghost_calls[called]))
        outcomes.append([(t.sum() + g, t.sum() / (t.sum() + g), t / max(t.sum(), 1e-12)) for t, g in cases])
    expected = 0.0
    for drawn in product(*outcomes):
        chance = float(np.prod([one for one, _, _ in drawn]))
        after = replace(
            found, existence=np.array([one for _, one, _ in drawn]), classes=np.array([one for _, _, one in drawn])
        )
        expected += chance * float(gains.share_right([after], images=1)[0])
    return expected


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_of_regions_it_is_nearly_what_all_drawings_give_on_average(seed: int, count: int) -> None:
    """Within a few hundredths, as the share of what is expected is not quite the share that is expected."""
    generator = np.random.default_rng(seed)
    found = things(generator.random(count), generator.dirichlet([1, 1], count), generator)
    now = gains.share_right([found], images=1)[0]
    for annotator in range(2):
        value = gains.of_regions([found], np.array([[0, annotator]]))[0]
        expected = max(0.0, enumerated(found, annotator) - now)
        assert value == pytest.approx(expected, abs=0.04)


def test_what_lies_in_several_kinds_of_places_is_one_content() -> None:
    generator = np.random.default_rng(0)
    existence, classes = np.array([0.9, 0.4, 0.7]), generator.dirichlet([1, 1], 3)
    whole = things(existence, classes, generator)
    parts = [
        replace(whole, image=whole.image[at], existence=existence[at], classes=classes[at]) for at in ([0, 2], [1])
    ]
    pairs = np.array([[0, 0], [0, 1]])
    assert gains.share_right(parts, images=1) == pytest.approx(gains.share_right([whole], images=1))
    assert gains.of_regions(parts, pairs) == pytest.approx(gains.of_regions([whole], pairs))


def test_a_doubtful_thing_is_a_small_fault_among_many_and_the_whole_alone() -> None:
    images = np.array([0, *[1] * 10])
    existence = np.array([0.6, *[1.0] * 9, 0.6])
    found = things(existence, np.ones((11, 1)), np.random.default_rng(0), images=images)
    assert gains.share_right([found], images=2) == pytest.approx([0.6, 0.96])
    alone, among_many = gains.of_regions([found], np.array([[0, 0], [1, 0]]))
    assert alone > 5 * among_many > 0


def test_whoever_sees_more_is_worth_more_where_things_are_missed() -> None:
    """One thing for sure, another one that nobody drew; the first annotator finds it in half of the cases."""
    found = replace(
        things(np.array([1.0]), np.ones((1, 1)), np.random.default_rng(0)),
        undrawn=np.array([[1.0, 0.0]]),
        recall=np.array([[0.5], [0.9]]),
    )
    assert gains.share_right([found], images=1) == pytest.approx([1 / 2])
    assert gains.of_regions([found], np.array([[0, 0], [0, 1]])) == pytest.approx([1.5 / 2 - 1 / 2, 1.9 / 2 - 1 / 2])
    ghostly = replace(found, undrawn=np.array([[1.0, 50.0]]), false_positive_rate=np.array([0.1, 0.1]))
    assert gains.of_regions([ghostly], np.array([[0, 1]])) == pytest.approx([0])  # theirs would not be believed


def test_that_an_image_is_empty_becomes_surer() -> None:
    found = replace(
        things(np.zeros(0), np.ones((0, 1)), np.random.default_rng(0)),
        undrawn=np.array([[0.1, 0.0]]),
        recall=np.array([[0.8], [0.8]]),
    )
    assert gains.share_right([found], images=1) == pytest.approx([np.exp(-0.1)])
    nothing_drawn = np.exp(-0.08)
    expected = nothing_drawn * np.exp(-0.02) + (1 - nothing_drawn) * 0.08 / (0.1 - nothing_drawn * 0.02)
    assert gains.of_regions([found], np.array([[0, 0]])) == pytest.approx([expected - np.exp(-0.1)])


def test_a_third_look_brings_what_was_expected_of_it() -> None:
    """On ten crowds: a quarter of the images is looked at once more, which tells little more of the people."""
    expected, came = [], []
    for seed in range(10):
        rows, sides, _ = crowd(seed, images=40)
        looks = np.random.default_rng(seed).permuted(np.tile(np.arange(4), (40, 1)), axis=1)
        twice = np.stack([np.repeat(np.arange(40), 2), looks[:, :2].ravel()], axis=1)
        once_more = np.stack([np.arange(10), looks[:10, 2]], axis=1)
        before, after = (fit(rows, sides, seen) for seen in (twice, np.concatenate([twice, once_more])))
        expected.append(gains.of_regions([before], once_more).mean())
        rise = gains.share_right([after], images=40) - gains.share_right([before], images=40)
        came.append(rise[:10].mean())
    assert np.mean(expected) > 0.03
    assert np.mean(came) == pytest.approx(np.mean(expected), abs=0.03)


def fit(rows: Drawn, sides: Floats, seen: Ints) -> Regions[Boxes]:
    """From what four people drew in the images they look at."""
    mine = np.isin(rows.image * 4 + rows.annotator, seen @ [4, 1])
    drawn = Drawn(rows.image[mine], rows.annotator[mine], rows.classes[mine])
    return regions.fit(drawn, Boxes(sides[mine]), seen, images=40, annotators=4, classes=2)


def test_nothing_to_ask_about() -> None:
    assert gains.of_regions([], np.array([[0, 0]])).tolist() == [0]
    assert gains.share_right([], images=2).tolist() == [1, 1]
    found = things(np.array([0.5]), np.ones((1, 1)), np.random.default_rng(0))
    assert gains.of_regions([found], np.zeros((0, 2), dtype=np.int64)).shape == (0,)
