"""The linear head: what it has not seen it does not know, and it chooses how to look by what it got right."""

import numpy as np
import pytest

from sampling import features, head
from sampling.head import Settings, Views
from store.arrays import Ints, Vectors
from store.errors import InvalidInputError

PLAIN = Settings(smooth=False, inverse_penalty=10.0)


def of(vectors: Vectors) -> Views:
    return Views(vectors, vectors)


def unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def heaps(count: int, each: int, *, spread: float, seed: int = 0) -> tuple[Vectors, Ints]:
    """Unit vectors around `count` axes, and which axis each is of."""
    generator = np.random.default_rng(seed)
    targets = np.repeat(np.arange(count), each)
    noise = generator.normal(scale=spread, size=(count * each, 3 * count))
    return unit(np.eye(count, 3 * count)[targets] + noise), targets


def test_out_of_fold_predictions_have_not_seen_their_image() -> None:
    """Each image is alone in its direction: only a head that has seen it could know its class."""
    targets = np.array([0, 1] * 20)
    views, everything = of(np.eye(40, dtype=np.float32)), np.arange(40)
    unseen = head.out_of_fold(views, everything, targets, everything, classes=2, settings=PLAIN)
    assert unseen is not None
    assert (unseen.argmax(axis=1) == targets).mean() < 0.8
    seen = head.probabilities(views, everything, targets, classes=2, settings=PLAIN)
    assert (seen.argmax(axis=1) == targets).all()
    three = everything[:3]
    assert head.out_of_fold(views, three, targets[:3], three, classes=2, settings=PLAIN) is None


def test_no_fold_learns_a_scene_that_it_judges() -> None:
    """Frames of one scene are alike and mislabelled together: only a head that saw a frame says as they do."""
    scenes = np.repeat(np.arange(10), 4)
    generator = np.random.default_rng(0)
    vectors = np.eye(10, dtype=np.float32)[scenes] + generator.normal(scale=0.01, size=(40, 10)).astype(np.float32)
    targets, everything = scenes % 2, np.arange(40)
    grouped = head.out_of_fold(of(vectors), everything, targets, scenes, classes=2, settings=PLAIN)
    mixed = head.out_of_fold(of(vectors), everything, targets, everything, classes=2, settings=PLAIN)
    assert grouped is not None
    assert mixed is not None
    assert (mixed.argmax(axis=1) == targets).mean() > 0.95
    assert (grouped.argmax(axis=1) == targets).mean() < 0.8


def test_a_class_without_an_image_has_no_chance_and_one_class_is_not_enough() -> None:
    views, few = of(np.eye(4, dtype=np.float32)), np.arange(3)
    found = head.probabilities(views, few, np.array([0, 2, 2]), classes=3, settings=PLAIN)
    assert found.shape == (4, 3)
    assert found[:, 1].tolist() == [0, 0, 0, 0]
    assert found.sum(axis=1) == pytest.approx(1)
    with pytest.raises(InvalidInputError, match="two classes or more; these 3 hold 1"):
        head.probabilities(views, few, np.zeros(3, dtype=np.int64), classes=3, settings=PLAIN)


def test_neighbours_are_averaged_exactly_and_by_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: of three vectors each has the two others for neighbours, weighted by their cosines, if positive."""
    vectors = unit(np.array([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.2]]))
    cosines = vectors @ vectors.T
    by_hand = []
    for i in range(3):
        weights = np.array([max(cosines[i, j], 0) if j != i else 0 for j in range(3)])
        by_hand.append(0.5 * vectors[i] + 0.5 * (weights / max(weights.sum(), 1e-12)) @ vectors)
    assert features.smoothed(vectors) == pytest.approx(unit(np.array(by_hand)), abs=1e-6)
    many, _ = heaps(4, 500, spread=0.1)
    exact = features.smoothed(many)
    monkeypatch.setattr(features, "_EXACT_UP_TO", 100)
    monkeypatch.setattr(features, "_IN_CELL", 500)
    assert np.einsum("ij,ij->i", features.smoothed(many), exact).mean() > 0.97


def test_of_look_alikes_no_more_are_compared_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = unit(np.ones((1000, 8)) + 1e-4 * np.random.default_rng(0).normal(size=(1000, 8))).astype(np.float32)
    monkeypatch.setattr(features, "_EXACT_UP_TO", 100)
    monkeypatch.setattr(features, "_IN_CELL", 500)
    monkeypatch.setattr(features, "_MOST_IN_CELL", 64)
    cells = list(features._cells(vectors, seed=0))
    assert max(map(len, cells)) <= 64
    assert sorted(np.concatenate(cells)) == list(range(1000))
    assert np.einsum("ij,ij->i", features.smoothed(vectors), vectors).min() > 0.9999


def test_principal_components_keep_cosines_and_are_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(300, 20)))
    found = features.principal(lambda rows: vectors[rows], 300)
    assert found @ found.T == pytest.approx(vectors @ vectors.T, abs=2e-3)
    monkeypatch.setattr(features, "COMPONENTS", 3)
    assert features.principal(lambda rows: vectors[rows], 300).shape == (300, 3)


def test_the_same_images_in_another_order_have_the_same_components_to_the_bit() -> None:
    generator = np.random.default_rng(0)
    vectors, order = unit(generator.normal(size=(3000, 64))), generator.permutation(3000)
    found = features.principal(lambda rows: vectors[rows], 3000)
    assert (features.principal(lambda rows: vectors[order][rows], 3000) == found[order]).all()


def test_axes_along_which_nothing_lies_are_left_out() -> None:
    plane = unit(np.random.default_rng(0).normal(size=(50, 2))) @ unit(np.random.default_rng(1).normal(size=(2, 30)))
    assert features.principal(lambda rows: unit(plane)[rows], 50).shape == (50, 2)
    nowhere = np.zeros((3, 5), dtype=np.float32)
    assert features.principal(lambda rows: nowhere[rows], 3).tolist() == [[0], [0], [0]]


@pytest.mark.parametrize("copies", [2, 15])
def test_copies_stay_copies_among_their_neighbours(copies: int) -> None:
    generator = np.random.default_rng(copies)
    which = generator.permutation(np.arange(200).repeat(copies))
    smooth = features.smoothed(unit(generator.normal(size=(200, 8)))[which])
    first = np.unique(which, return_index=True)[1]
    assert (smooth == smooth[first][which]).all()


def test_smoothing_is_chosen_where_neighbours_share_a_class_and_not_where_they_do_not() -> None:
    together, targets = heaps(2, 300, spread=0.35)
    labelled = np.arange(0, 600, 6)
    alike = Views(together, features.smoothed(together))
    assert head.choose_settings(alike, labelled, targets[labelled], labelled, classes=2).smooth
    astray = Views(together, unit(np.random.default_rng(1).normal(size=together.shape)))  # neighbours say nothing
    assert not head.choose_settings(astray, labelled, targets[labelled], labelled, classes=2).smooth
    few = labelled[:10]
    assert head.choose_settings(astray, few, targets[few], few, classes=2) == head.DEFAULT
