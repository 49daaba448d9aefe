"""Confident learning, neighbours and copies: by hand, by the plain definition, cleanlab's and scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa import suspicion
from store.arrays import Floats, Ints


def problem(seed: int, *, items: int = 400, classes: int = 5) -> tuple[Ints, Floats]:
    """Labels of which a fifth are wrong, and probabilities that lean to the truth."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, classes, items)
    labels = np.where(generator.random(items) < 0.2, generator.integers(0, classes, items), truth)
    logits = generator.normal(size=(items, classes)) + 2.0 * np.eye(classes)[truth]
    return labels, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_by_hand() -> None:
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6]])
    found = suspicion.confident_learning(labels, probabilities)
    assert found.thresholds == pytest.approx([0.55, 0.65])
    assert found.joint.tolist() == [[1, 1], [0, 1]]  # the last item reaches no threshold
    assert found.flagged.tolist() == [False, True, False, False]
    assert found.suggestion.tolist() == [1, 1, 0, 0]
    assert found.score == pytest.approx([0.1, 0.8, 0.3, 0.4])


@pytest.mark.parametrize("seed", range(10))
def test_it_is_the_papers_definition(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspicion, "_BLOCK", 64)  # many blocks
    labels, probabilities = problem(seed)
    classes = probabilities.shape[1]
    thresholds = [probabilities[labels == j, j].mean() for j in range(classes)]
    joint = np.zeros((classes, classes), dtype=int)
    flagged = []
    for label, row in zip(labels, probabilities, strict=True):
        reached = [j for j in range(classes) if row[j] >= thresholds[j]]
        best = max(reached, key=lambda j: row[j], default=None)
        if best is not None:
            joint[label, best] += 1
        flagged.append(best not in (None, label) and row.argmax() != label)
    found = suspicion.confident_learning(labels, probabilities)
    assert found.thresholds == pytest.approx(thresholds)
    assert (found.joint == joint).all()
    assert found.flagged.tolist() == flagged
    assert 0 < found.flagged.sum() < len(labels) / 2


@pytest.mark.parametrize("seed", range(10))
def test_it_finds_what_cleanlab_finds(seed: int) -> None:
    from cleanlab.count import compute_confident_joint, estimate_joint, get_confident_thresholds
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    labels, probabilities = problem(seed)
    ours = suspicion.confident_learning(labels, probabilities)
    assert ours.thresholds == pytest.approx(get_confident_thresholds(labels, probabilities))
    assert ours.score == pytest.approx(1 - get_label_quality_scores(labels, probabilities, method="self_confidence"))
    flagged = find_label_issues(labels, probabilities, filter_by="confident_learning", n_jobs=1)
    assert (ours.flagged == flagged).all()
    joint = compute_confident_joint(labels, probabilities, calibrate=False)
    assert (ours.joint == joint).all()
    wrong = 1 - np.trace(estimate_joint(labels, probabilities, confident_joint=joint))  # they round it to whole labels
    assert suspicion.expected_wrong(suspicion.estimated(ours.joint, np.bincount(labels))) == pytest.approx(
        wrong, abs=5 / 400
    )


def test_expected_wrong_by_hand() -> None:
    """A third of ten labels that count as anything count as another class, and of twenty a quarter; of five nothing."""
    joint = np.array([[2, 1, 0], [2, 6, 0], [0, 0, 0]])
    estimated = suspicion.estimated(joint, np.array([10, 20, 5]))
    assert estimated == pytest.approx(np.array([[20 / 3, 10 / 3, 0], [5, 15, 0], [0, 0, 5]]))
    assert suspicion.expected_wrong(estimated) == pytest.approx((10 / 3 + 20 / 4) / 35)


def test_a_class_without_labels_is_never_what_an_item_is_counted_as() -> None:
    labels = np.zeros(4, dtype=np.int64)
    probabilities = np.array([[0.1, 0.9], [0.6, 0.4], [0.7, 0.3], [1.0, 0.0]])
    found = suspicion.confident_learning(labels, probabilities)
    assert found.joint.tolist() == [[3, 0], [0, 0]]
    assert not found.flagged.any()


def circle(degrees: list[float]) -> Floats:
    turn = np.radians(degrees)
    return np.stack([np.cos(turn), np.sin(turn)], axis=1).astype(np.float32)


def test_neighbours_speak_by_their_cosine_and_none_for_its_own_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspicion, "_NEIGHBOURS", 2)
    vectors = circle([0, 10, 30, 31, 180])
    labels = np.array([0, 1, 0, 0, 1])
    found = suspicion.of_neighbours(vectors, labels, np.arange(5), classes=2)
    near, far = np.cos(np.radians(10)), np.cos(np.radians(30))
    assert found.score == pytest.approx([near / (near + far), 1, 0.5, 0.5, 0], abs=0.02)
    assert (found.score[4], found.suggestion[4]) == (0, 1)  # all others are on the other side
    assert found.suggestion[:2].tolist() == [1, 0]
    tied = suspicion.of_neighbours(vectors, labels, np.array([0, 0, 1, 2, 3]), classes=2)
    assert (tied.score[0], tied.suggestion[0]) == (0, 0)


@pytest.mark.parametrize("seed", range(10))
def test_neighbours_vote_as_scikit_learns(seed: int) -> None:
    """Where nothing is tied, which leaves an image itself out of its own neighbours."""
    from sklearn.neighbors import NearestNeighbors

    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(80, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = generator.integers(0, 3, 80)
    distances, near = NearestNeighbors(n_neighbors=25, metric="cosine").fit(vectors).kneighbors()
    weights = np.maximum(1 - distances, 0)
    against = (weights * (labels[near] != labels[:, None])).sum(axis=1) / weights.sum(axis=1)
    found = suspicion.of_neighbours(vectors, labels, np.arange(80), classes=3)
    assert found.score == pytest.approx(against, abs=1e-5)


@pytest.mark.parametrize("seed", range(10))
def test_many_neighbours_are_nearly_those_of_all(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, 4000)
    vectors = (np.eye(4, 8)[labels] + generator.normal(scale=0.3, size=(4000, 8))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    wrong = generator.random(4000) < 0.1
    labels = np.where(wrong, (labels + 1) % 4, labels)
    exact = suspicion.of_neighbours(vectors, labels, np.arange(4000), classes=4)
    monkeypatch.setattr(suspicion, "_EXACT_UP_TO", 1000)
    monkeypatch.setattr(suspicion, "_PROBES", 40)
    quick = suspicion.of_neighbours(vectors, labels, np.arange(4000), classes=4)
    assert np.abs(exact.score - quick.score).mean() < 0.02
    assert exact.score[wrong].mean() > exact.score[~wrong].mean() + 0.5


def test_copies_of_one_picture_contradict_each_other() -> None:
    labels = np.array([0, 1, 0, 0, 2, 1, 1])
    groups = np.array([7, 7, 8, 8, 8, 9, 10])
    found = suspicion.of_copies(labels, groups, classes=3)
    assert found.score.tolist() == [1, 1, 0.5, 0.5, 1, 0, 0]
    assert found.suggestion.tolist() == [1, 0, 2, 2, 0, 1, 1]
    nothing = suspicion.of_copies(np.array([0, 1]), np.array([0, 1]), classes=2)
    assert (nothing.score.tolist(), nothing.suggestion.tolist()) == ([0, 0], [0, 1])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=12))
def test_copies_are_asked_one_by_one(rows: list[tuple[int, int]]) -> None:
    groups, labels = np.array(rows).T
    found = suspicion.of_copies(labels, groups, classes=3)
    for i, (group, label) in enumerate(rows):
        others = [said for j, (other, said) in enumerate(rows) if other == group and j != i]
        against = [said for said in others if said != label]
        assert found.score[i] == pytest.approx(len(against) / len(others) if others else 0)
        most = max(map(against.count, against), default=0)
        assert found.suggestion[i] == min((said for said in against if against.count(said) == most), default=label)


def test_witnesses_together_by_hand() -> None:
    def doubt(score: float) -> suspicion.Doubt:
        return suspicion.Doubt(np.array([score]), np.array([0]))

    assert suspicion.combined(doubt(0.9), doubt(0.6), doubt(0)) == pytest.approx((2 * 0.9 + 0.6) / 3)
    assert suspicion.combined(None, doubt(0.6), doubt(1)) == pytest.approx(1 - 0.4 * 0.5)


@pytest.mark.parametrize("items", [0, 1])
def test_of_nothing_and_of_one_label_nothing_is_said(items: int) -> None:
    labels, alone = np.zeros(items, dtype=np.int64), np.arange(items)
    model = suspicion.confident_learning(labels, np.tile([0.3, 0.7], (items, 1)))
    near = suspicion.of_neighbours(np.ones((items, 3), dtype=np.float32), labels, alone, classes=2)
    copies = suspicion.of_copies(labels, alone, classes=2)
    assert not model.flagged.any()
    assert (near.score.tolist(), copies.score.tolist()) == ([0] * items, [0] * items)
    assert suspicion.combined(model, near, copies).shape == (items,)
