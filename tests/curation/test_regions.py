import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation import regions


def _directions(generator: np.random.Generator, count: int, *, towards: np.ndarray | None = None) -> np.ndarray:
    values = generator.normal(size=(count, 8))
    if towards is not None:
        values = 8 * towards + values
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def _planted() -> tuple[np.ndarray, np.ndarray]:
    """200 images, of which the last 20 look alike and fail; so do four others here and there."""
    generator = np.random.default_rng(0)
    directions = np.vstack([_directions(generator, 180), _directions(generator, 20, towards=np.eye(8)[0])])
    failed = np.zeros(200, dtype=bool)
    failed[180:] = True
    failed[[3, 50, 99, 140]] = True
    return directions, failed


def test_what_fails_and_looks_alike_is_a_region() -> None:
    directions, failed = _planted()
    first, *_ = regions.find(directions, failed)
    assert set(range(180, 200)) <= set(first.members.tolist())
    assert failed[first.members].mean() > 0.8
    assert first.chance == 0.01
    assert first.members[0] == first.centre
    cosines = directions[first.members] @ directions[first.centre]
    assert (np.diff(cosines) <= 1e-6).all()
    assert first.cosine == pytest.approx(cosines[-1])


def test_failures_without_a_pattern_are_seldom_taken_for_one() -> None:
    generator = np.random.default_rng(1)
    alarms = 0
    for _ in range(40):
        found = regions.find(_directions(generator, 60), generator.random(60) < 0.2)
        alarms += bool(found) and found[0].chance <= 0.05
    assert alarms <= 6  # two expected; more than six happen once in 500 times


def test_strength_by_hand() -> None:
    """Four of ten fail, three of them among the first three: the binomial likelihoods, and 0 below three failures."""
    failed = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 1], dtype=bool)
    strength = regions._strength(np.array([[0, 1, 2, 3, 4]]), failed, np.ones(10, dtype=bool))
    together = 4 * np.log(0.4) + 6 * np.log(0.6)
    apart = 1 * np.log(1 / 7) + 6 * np.log(6 / 7)
    assert strength[0, :3].tolist() == pytest.approx([0, 0, apart - together])
    four = 3 * np.log(3 / 4) + np.log(1 / 4) + np.log(1 / 6) + 5 * np.log(5 / 6)
    assert strength[0, 3] == pytest.approx(four - together)


@pytest.mark.parametrize(("count", "failures"), [(0, 0), (2, 2), (5, 5), (30, 2), (30, 0), (30, 30)])
def test_too_few_or_all_failures_have_no_region(count: int, failures: int) -> None:
    failed = np.arange(count) < failures
    assert regions.find(_directions(np.random.default_rng(0), count), failed) == []


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(6, 60), st.floats(0.1, 0.6))
def test_regions_are_disjoint_and_fail_more_than_the_rest(seed: int, count: int, share: float) -> None:
    generator = np.random.default_rng(seed)
    failed = generator.random(count) < share
    found = regions.find(_directions(generator, count), failed)
    members = [position for region in found for position in region.members.tolist()]
    assert len(members) == len(set(members))
    for region in found:
        assert failed[region.members].sum() >= regions.LEAST_FAILURES
        assert failed[region.members].mean() > failed.mean()
        assert 0 < region.chance <= (1 if region is found[0] else 0.5)


def test_the_same_input_gives_the_same_regions() -> None:
    one, other = regions.find(*_planted()), regions.find(*_planted())
    assert [(r.centre, r.members.tolist(), r.chance) for r in one] == [
        (r.centre, r.members.tolist(), r.chance) for r in other
    ]
