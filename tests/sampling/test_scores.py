"""Scores by hand; blocks change nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampling import scores

SURE_TORN_FLAT = np.array([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25, 0.25, 0.25, 0.25]])
PASSES = np.array([[[1, 0], [1, 0], [0.5, 0.5]], [[1, 0], [0, 1], [0.5, 0.5]]], dtype=np.float64)


def test_of_one_model_by_hand() -> None:
    assert scores.least_confidence(SURE_TORN_FLAT) == pytest.approx([0, 2 / 3, 1])
    assert scores.margin(SURE_TORN_FLAT) == pytest.approx([0, 1, 1])
    assert scores.entropy(SURE_TORN_FLAT) == pytest.approx([0, 0.5, 1])


def test_of_several_models_by_hand() -> None:
    assert scores.bald(PASSES) == pytest.approx([0, np.log(2), 0])
    assert scores.vote_disagreement(PASSES) == pytest.approx([0, 1, 0])
    assert scores.kl_disagreement(PASSES) == pytest.approx([0, np.log(2), 0])
    assert scores.dropout_consistency(PASSES[0], PASSES).tolist() == [0, 0.5, 0]


def test_the_value_of_an_answer_by_hand() -> None:
    even, sure = [0.5, 0.5], [0.9, 0.1]
    assert scores.answer_value(np.array([even, sure]), 0.8) == pytest.approx([0.3, 0])  # .8 x .1 cannot beat .2 x .9
    assert scores.answer_value(np.array([even, sure]), 1.0) == pytest.approx([0.5, 0.1])
    assert scores.answer_value(np.array([even, sure]), np.array([0.5, 0.95])) == pytest.approx([0, 0.05])
    assert scores.answer_value(np.full((1, 4), 0.25), 1.0) == pytest.approx([0.75])
    assert scores.answer_value(np.ones((2, 1)), 0.9).tolist() == [0, 0]
    assert scores.answer_value(np.ones((0, 3)), 0.9).tolist() == []


@settings(max_examples=100)
@given(st.integers(2, 6), st.floats(0, 1), st.integers(0, 1000))
def test_the_value_of_an_answer_is_that_of_trying_every_answer(classes: int, accuracy: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    posterior = np.concatenate([generator.dirichlet(np.full(classes, 0.3), size=5), np.eye(classes)])
    accuracies = np.append(np.full(len(posterior) - 1, accuracy), generator.random())
    expected = []
    for row, right in zip(posterior, accuracies, strict=True):
        after = 0.0
        for answer in range(classes):
            joint = [p * (right if c == answer else (1 - right) / (classes - 1)) for c, p in enumerate(row)]
            after += sum(joint) * max(joint) / sum(joint) if sum(joint) > 0 else 0  # how likely x how sure then
        expected.append(after - max(row))
    assert scores.answer_value(posterior, accuracies) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("score", [scores.least_confidence, scores.margin, scores.entropy])
def test_one_class_is_never_uncertain_and_no_image_has_no_score(score: object) -> None:
    assert callable(score)
    assert score(np.ones((2, 1))).tolist() == [0, 0]
    assert score(np.ones((0, 3))).tolist() == []


def test_blocks_change_nothing() -> None:
    generator = np.random.default_rng(0)
    values = generator.dirichlet(np.ones(7), size=(3, 5000)).astype(np.float32)
    before = values.copy()
    ordered = np.sort(values[0], axis=1)
    assert scores.margin(values[0]) == pytest.approx(1 - (ordered[:, -1] - ordered[:, -2]))
    assert scores.bald(values)[4000:] == pytest.approx(scores.bald(values[:, 4000:]))
    assert scores.dropout_consistency(values[0], values)[4000:] == pytest.approx(
        (values[:, 4000:].argmax(axis=2) != values[0, 4000:].argmax(axis=1)).mean(axis=0)
    )
    for score in (scores.bald, scores.vote_disagreement, scores.kl_disagreement):
        assert (score(values) >= 0).all()
    accuracies = generator.random(5000)
    assert scores.answer_value(values[0], accuracies)[4000:] == pytest.approx(
        scores.answer_value(values[0, 4000:], accuracies[4000:])
    )
    assert (values == before).all()
