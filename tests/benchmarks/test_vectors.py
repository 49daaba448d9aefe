"""Planted copies lie where they are said to."""

import numpy as np
import pytest

from benchmarks import vectors


@pytest.mark.parametrize("kind", ["isotropic", "realistic"])
def test_planted_pairs_have_the_cosines_told(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = np.random.default_rng(7).normal(size=(300, 40)).astype(np.float32) + 3
    monkeypatch.setattr(vectors, "embeddings", lambda: real)
    made = getattr(vectors, kind)(1000, 24, seed=1)
    assert (made.vectors.shape, made.vectors.dtype, made.pairs.shape) == ((1000, 24), np.float32, (100, 2))
    assert np.allclose(np.linalg.norm(made.vectors, axis=1), 1, atol=1e-5)
    first, second = made.pairs.T
    assert (first < second).all()
    assert np.allclose((made.vectors[first] * made.vectors[second]).sum(axis=1), made.cosines, atol=1e-5)
    assert made.cosines.min() >= vectors.LEAST_COSINE
    assert made.cosines.max() <= 1
    assert np.ptp(made.cosines) > 0.25
    again = getattr(vectors, kind)(1000, 24, seed=1)
    assert (again.vectors == made.vectors).all()
    assert (getattr(vectors, kind)(1000, 24, seed=2).vectors != made.vectors).any()
