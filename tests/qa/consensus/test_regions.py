"""Regions of several annotators made one: by hand, whoever is who, and on simulated crowds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.geometry import Polygon
from qa.consensus import regions
from qa.consensus.areas import Areas
from qa.consensus.places import Boxes, Keypoints, RotatedBoxes
from qa.consensus.regions import Drawn, Regions
from store.arrays import Floats, Ints

CAR, BUS = 0, 1


def drawn(*rows: tuple[int, int, int]) -> Drawn:
    """Of image, annotator and class."""
    table = np.array(rows, dtype=np.int64).reshape(-1, 3)
    return Drawn(table[:, 0], table[:, 1], table[:, 2])


def everybody(images: int, people: int) -> Ints:
    return np.stack(np.divmod(np.arange(images * people), people), axis=1)


def box(x: float, y: float = 0.0, side: float = 20.0) -> list[float]:
    return [x, y, x + side, y + side]


def fit(rows: Drawn, sides: list[list[float]], *, images: int = 1, people: int = 3) -> Regions[Boxes]:
    places = Boxes(np.array(sides, dtype=np.float64).reshape(-1, 4))
    return regions.fit(rows, places, everybody(images, people), images=images, annotators=people, classes=2)


def test_two_people_one_box() -> None:
    found = fit(drawn((0, 0, CAR), (0, 1, CAR)), [box(10), box(12)], people=2)
    assert found.thing.tolist() == [0, 0]
    assert found.places.sides[0] == pytest.approx(box(11))
    assert found.existence[0] > 0.9
    assert found.classes[0, CAR] > 0.9
    assert found.scores[0] == found.existence[0] * found.classes[0, CAR]


def test_a_flip_is_a_flip_and_not_another_thing() -> None:
    found = fit(drawn((0, 0, CAR), (0, 1, BUS), (0, 2, CAR)), [box(10), box(10), box(11)])
    assert found.thing.tolist() == [0, 0, 0]
    assert found.classes[0].argmax() == CAR
    assert found.existence[0] > 0.95


def test_a_ghost_is_doubted_and_empty_images_hide_little() -> None:
    rows = [(image, who, CAR) for image in range(10) for who in range(3)]
    sides = [box(10.0 + who) for _ in range(10) for who in range(3)]
    found = fit(drawn(*rows, (3, 1, BUS)), [*sides, box(300)], images=12)
    ghost = found.thing[-1]
    assert found.existence[ghost] < 0.3
    assert np.delete(found.existence, ghost).min() > 0.95
    assert found.missed[10:] == pytest.approx(found.missed[:1].repeat(2), abs=0.05)
    assert found.missed.max() < 0.1


def test_an_empty_image_and_nobody_who_draws() -> None:
    found = fit(drawn(), [], images=2)
    assert len(found.existence) == len(found.places.sides) == 0
    assert found.missed.tolist() == [0, 0]
    assert found.classes.shape == (0, 2)
    assert found.scores.tolist() == []


def test_one_annotator_is_taken_at_their_word() -> None:
    found = fit(drawn((0, 0, CAR), (0, 0, BUS), (1, 0, BUS)), [box(10), box(60), box(5)], images=2, people=1)
    assert found.places.sides.tolist() == [box(10), box(60), box(5)]
    assert found.classes.argmax(axis=1).tolist() == [CAR, BUS, BUS]
    assert found.existence.min() > 0.5


def test_nobody_agrees() -> None:
    found = fit(drawn((0, 0, CAR), (0, 1, BUS), (0, 2, CAR)), [box(0), box(100), box(200)])
    assert found.thing.tolist() == [0, 1, 2]
    assert found.existence.max() < 0.5


def test_every_kind_of_place() -> None:
    rows, seen = drawn((0, 0, CAR), (0, 1, CAR), (0, 1, BUS)), everybody(1, 2)
    size = {"images": 1, "annotators": 2, "classes": 2}
    kinds = [
        RotatedBoxes(np.array([[50, 50, 40, 20, 30], [51, 50, 20, 40, 120], [300, 50, 40, 20, 0.0]])),
        Keypoints(np.array([[50, 50], [53, 54], [300, 50.0]]), np.full(3, 10.0)),
        Areas([Polygon(((x, 0), (x + 20, 0), (x + 20, 20), (x, 20))) for x in (0, 2, 100)]),
    ]
    for places in kinds:
        found = regions.fit(rows, places, seen, **size)
        assert found.thing.tolist() == [0, 0, 1], places
        assert found.existence[0] > found.existence[1]
    assert regions.fit(rows, kinds[1], seen, least=0.9, **size).thing.max() == 2


def test_a_taxonomy_of_one_class() -> None:
    places = Boxes(np.array([box(0), box(1)]))
    found = regions.fit(drawn((0, 0, 0), (0, 1, 0)), places, everybody(1, 2), images=1, annotators=2, classes=1)
    assert found.classes.tolist() == [[1.0]]


def crowd(seed: int, images: int = 20) -> tuple[Drawn, Floats, Ints]:
    """Four people of differing care, four things an image of two classes; and the truth `(T, 6)`."""
    generator = np.random.default_rng(seed)
    truth = np.array(
        [
            (image, *box(40.0 * i + generator.random() * 15, generator.random() * 50), generator.integers(0, 2))
            for image in range(images)
            for i in range(4)
        ]
    )
    rows, sides = [], []
    for who, skill in enumerate((0.5, 1, 1.5, 2)):
        for image, *place, number in truth.tolist():
            if generator.random() > 0.1 * skill:
                flipped = generator.random() < 0.1 * skill
                rows.append((int(image), who, int(1 - number if flipped else number)))
                sides.append((np.array(place) + generator.normal(size=4) * skill).tolist())
        for image in np.flatnonzero(generator.random(images) < 0.3 * skill):
            rows.append((int(image), who, int(generator.integers(0, 2))))
            sides.append(box(generator.random() * 150, 100 + generator.random() * 100))
    return drawn(*rows), np.array(sides), truth


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000), st.permutations(range(4)), st.permutations(range(6)), st.randoms(use_true_random=False))
def test_the_order_of_annotators_images_and_regions_changes_nothing(
    seed: int, names: list[int], pictures: list[int], random: np.random.Generator
) -> None:
    rows, sides, _ = crowd(seed, images=6)
    size = {"images": 6, "annotators": 4, "classes": 2}
    first = regions.fit(rows, Boxes(sides), everybody(6, 4), **size)
    order = list(range(len(sides)))
    random.shuffle(order)
    other = Drawn(np.array(pictures)[rows.image][order], np.array(names)[rows.annotator][order], rows.classes[order])
    second = regions.fit(other, Boxes(sides[order]), everybody(6, 4), **size)
    by_region = (second.thing, first.thing[order])
    assert second.existence[by_region[0]] == pytest.approx(first.existence[by_region[1]], abs=1e-3)
    assert second.classes[by_region[0]] == pytest.approx(first.classes[by_region[1]], abs=1e-3)
    assert second.places.sides[by_region[0]] == pytest.approx(first.places.sides[by_region[1]], abs=1e-6)
    assert second.missed[pictures] == pytest.approx(first.missed, abs=1e-3)
    assert second.recall[names] == pytest.approx(first.recall, abs=1e-3)


def test_it_beats_the_majority_over_ten_seeds() -> None:
    ours, votes = [], []
    for seed in range(10):
        rows, sides, truth = crowd(seed)
        found = fit_all(rows, sides)
        kept = found.existence > 0.5
        ours.append(right(found.image, found.places.sides, found.classes.argmax(axis=1), kept, truth))
        count = np.bincount(found.thing)
        named = np.array([np.bincount(rows.classes[found.thing == each]).argmax() for each in range(len(count))])
        mean = np.stack([np.bincount(found.thing, column) / count for column in sides.T], axis=1)
        votes.append(right(found.image, mean, named, count >= 2, truth))
    assert np.mean(ours) > np.mean(votes) + 0.03
    assert (np.diff(found.recall.mean(axis=1)) < 0).all()
    assert (np.diff(found.spread) > 0).all()


def fit_all(rows: Drawn, sides: Floats) -> Regions[Boxes]:
    return regions.fit(rows, Boxes(sides), everybody(20, 4), images=20, annotators=4, classes=2)


def right(image: Ints, sides: Floats, named: Ints, kept: Ints, truth: Floats) -> float:
    """F1 of what is kept, at an IoU of .9."""
    from benchmarks import average_precision

    found = average_precision.Boxes(image[kept], sides[kept], named[kept])
    there = average_precision.Boxes(truth[:, 0].astype(int), truth[:, 1:5], truth[:, 5].astype(int))
    hits = average_precision.hits(found, np.ones(int(kept.sum())), there, thresholds=[0.9]).sum()
    return float(2 * hits / (kept.sum() + len(truth)))
