"""Attributes of things, against Bayes' rule by hand and by enumeration."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.content import Choices, Number, Text, Value
from qa.consensus import attributes
from qa.consensus.attributes import Attributes


def fitted(*rows: tuple[int, int, Mapping[str, Value]], things: int = 1, annotators: int = 3) -> Attributes:
    thing, annotator, said = zip(*rows, strict=True)
    return attributes.fit(list(said), np.array(thing), np.array(annotator), things=things, annotators=annotators)


def colour(name: str) -> dict[str, Value]:
    return {"colour": Choices((name,))}


def test_two_who_contradict_each_other_leave_an_even_chance_and_the_first_said() -> None:
    for pair in (("red", "blue"), ("blue", "red")):
        found = fitted((0, 0, colour(pair[0])), (0, 1, colour(pair[1])))
        assert found.likeliest == [colour(pair[0])]
        assert found.sure.tolist() == [pytest.approx(0.5)]


def test_an_expert_settles_it_and_tells_who_is_right() -> None:
    rows = [(i, who, colour("red" if who == 0 else "blue")) for i in range(40) for who in (0, 1)]
    rows += [(i, 3, colour("blue")) for i in range(39)]
    found = fitted(*rows, things=40)
    assert found.likeliest[39] == colour("blue")
    assert found.sure[39] > 0.95
    assert found.accuracy[0] < 0.3
    assert found.accuracy[1] > 0.9
    assert found.accuracy[2] == pytest.approx(0.8)


def test_several_choices_are_the_same_in_any_order_and_words_of_ones_own_are_no_dispute() -> None:
    first: dict[str, Value] = {"worn": Choices(("hat", "coat")), "size": Number(3.0), "note": Text(("a",))}
    second: dict[str, Value] = {"worn": Choices(("coat", "hat")), "size": Number(3.0), "note": Text(("b",))}
    found = fitted((0, 0, first), (0, 1, second))
    assert found.likeliest == [first]
    assert set(found.chances[0]) == {"worn", "size"}
    assert found.sure[0] > 0.85


def test_who_says_nothing_of_an_attribute_counts_neither_way() -> None:
    silent = fitted((0, 0, colour("red")), (0, 1, {}), (1, 2, {}), things=2)
    assert silent.sure.tolist() == fitted((0, 0, colour("red")), things=2).sure.tolist()
    assert silent.sure[1] == 1
    assert silent.likeliest[1] == {}


@given(st.integers(0, 10_000))
def test_another_answer_is_expected_to_make_it_as_sure_as_all_answers_do_on_average(seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = generator.integers(2, 4, 4)
    posteriors = np.stack([np.pad(generator.dirichlet(np.ones(count)), (0, 3 - count)) for count in values])
    thing = np.array([0, 1, 1, 3])
    sure = np.ones(4)
    np.multiply.at(sure, thing, posteriors.max(axis=1))
    accuracy = generator.uniform(0.2, 0.99, 2)
    found = Attributes([{}] * 4, [{}] * 4, sure, thing, values, posteriors, accuracy)
    for who in range(2):
        for one in range(4):
            expected = 1.0
            for row, count in zip(posteriors[thing == one], values[thing == one], strict=True):
                likely = np.where(np.eye(count, dtype=np.bool_), accuracy[who], (1 - accuracy[who]) / (count - 1))
                expected *= (row[:count, None] * likely).max(axis=0).sum()
            assert found.after(np.array([one]), np.array([who]))[0] == pytest.approx(expected)


def test_how_sure_a_question_of_yes_and_no_is_does_not_hang_on_other_attributes() -> None:
    """A colour of which five were said somewhere made two who are right in .75 surer of what is there: .93 to .98."""
    said, right = [], []
    for seed in range(10):
        random = np.random.default_rng(seed)
        truth = random.random(200) < 0.5
        rows = [
            (item, who, {"open": Choices(("yes" if truth[item] == (random.random() < 0.75) else "no",))})
            for item in range(200)
            for who in random.choice(3, 2, replace=False).tolist()
        ]
        colours = [(200, who, colour(name)) for who, name in ((0, "red"), (1, "blue"), (2, "green"))]
        alone, beside = fitted(*rows, things=201), fitted(*rows, *colours, things=201)
        assert beside.sure[:200] == pytest.approx(alone.sure[:200], abs=0.03)
        said.append(alone.sure[:200].mean())
        values = ["yes" if each else "no" for each in truth]
        right.append(np.mean([alone.likeliest[i] == {"open": Choices((one,))} for i, one in enumerate(values)]))
    assert np.mean(said) == pytest.approx(np.mean(right), abs=0.05)


def test_what_others_call_other_things_is_nothing_to_it_as_long_as_there_are_as_many_values() -> None:
    for seed in range(10):
        random = np.random.default_rng(seed)
        names = [f"colour {number}" for number in range(40)]
        mine = [(item, who, colour(names[random.integers(0, 3)])) for item in range(10) for who in (0, 1)]
        theirs = [(10 + item, who, item) for item in range(40) for who in (2, 3)]
        found = []
        for order in (np.arange(40), random.permutation(40)):
            others = [(item, who, colour(names[order[number]])) for item, who, number in theirs]
            found.append(fitted(*mine, *others, things=50, annotators=4))
        one, other = found
        assert one.likeliest[10:] != other.likeliest[10:]
        assert (one.likeliest[:10], one.chances[:10]) == (other.likeliest[:10], other.chances[:10])
        assert one.sure.tolist() == other.sure.tolist()
        rows = np.arange(10), np.arange(10) % 4
        assert one.after(*rows).tolist() == other.after(*rows).tolist()


@pytest.mark.parametrize("seed", range(10))
def test_values_that_nobody_said_of_a_thing_are_believed_like_each_of_them_was_reckoned(seed: int) -> None:
    """Against all values of every thing: Bayes' rule, and the mean over all that somebody else may say."""
    random = np.random.default_rng(seed)
    things, people, values = 12, 3, 9
    said: dict[tuple[int, int], int] = {}
    for item, who in np.argwhere(random.random((things, people)) < 0.7).tolist():
        said[item, who] = int(random.integers(0, values))
    said |= {(item, 3): int(random.integers(0, values)) for item in range(4)}  # an expert
    rows = [(item, who, colour(str(value))) for (item, who), value in said.items()]
    found = fitted(*rows, things=things, annotators=people)
    count = len(set(said.values()))
    assert found.posteriors.shape[1] < count
    for number, item in enumerate(found.thing.tolist()):
        belief = {str(value): 1.0 for value in sorted(set(said.values()))}
        for (of, who), value in said.items():
            right = 1.0 if who == 3 else found.accuracy[who]
            if of == item:
                belief = {n: p * (right if n == str(value) else (1 - right) / (count - 1)) for n, p in belief.items()}
        belief = {n: p / sum(belief.values()) for n, p in belief.items()}
        named = {str(value) for (of, _), value in said.items() if of == item}
        assert found.chances[item]["colour"] == pytest.approx(max(belief[name] for name in named), abs=1e-9)
        others = 1 - found.posteriors[number, : len(named)].sum()
        assert others == pytest.approx(sum(p for n, p in belief.items() if n not in named), abs=1e-9)
        for who in range(people):
            right = found.accuracy[who]
            expected = sum(
                max(p * (right if n == answer else (1 - right) / (count - 1)) for n, p in belief.items())
                for answer in belief
            )
            assert found.after(np.array([item]), np.array([who]))[0] == pytest.approx(expected, abs=1e-9)
