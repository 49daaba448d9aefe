"""Near what is labelled, in a crowd, or apart."""

import numpy as np
import pytest

from sampling import geometry
from store.arrays import Vectors


def at(*degrees: float) -> Vectors:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_by_hand() -> None:
    x = at(0, 60, 180)
    assert geometry.novelty(x, at(0, 120)) == pytest.approx([0, 0.5, 0.5], abs=1e-6)
    assert geometry.novelty(x, x[:0]).tolist() == [2, 2, 2]
    assert geometry.density(x, neighbours=1) == pytest.approx([0.5, 0.5, -0.5], abs=1e-6)
    assert geometry.density(x[:1]).tolist() == [0]
    assert geometry.outlierness(at(0, 1, 2, 90), neighbours=1)[3] == 1


def test_blocks_and_samples_give_nearly_what_comparing_everything_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(size=(900, 5))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    cosines = x @ x.T - 3 * np.eye(900)
    monkeypatch.setattr(geometry, "_ROWS", 100)
    exact = np.sort(cosines, axis=1)[:, -20:].mean(axis=1)
    assert geometry.density(x) == pytest.approx(exact, abs=1e-5)
    assert geometry.nearest_cosines(x[:300], x[300:]) == pytest.approx(cosines[:300, 300:].max(axis=1), abs=1e-5)
    monkeypatch.setattr(geometry, "_MOST_COMPARED", 450)
    assert np.corrcoef(geometry.density(x), exact)[0, 1] > 0.6
