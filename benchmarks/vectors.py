"""Vectors for benchmarks, with planted near copies: isotropic ones, and ones as real collections have them.

Isotropic vectors flatter a method: all that is near was planted. The realistic ones stand between real embeddings of
photos and their neighbours, thicker in some places than in others, and spread as the photos are.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.copies import cifar_photos, solar_cells
from curation import encoders
from store.arrays import Floats, Ints, Vectors

COPIES = 0.1  # of a collection, unless told otherwise
LEAST_COSINE = 0.7  # of a planted copy; they are even between this and 1
_CACHE = Path.home() / ".cache" / "winnow"
_BLOCK = 1 << 15  # rows made at once
_SEEDS = 10_000  # real embeddings that realistic vectors stand between


@dataclass(frozen=True)
class Collection:
    """Unit vectors and the pairs that were planted among them; others may be as near."""

    vectors: Vectors  # (N, D)
    pairs: Ints  # (P, 2), the smaller row first, ascending
    cosines: Vectors  # (P,)


def isotropic(count: int, dimensions: int, *, copies: float = COPIES, seed: int = 0) -> Collection:
    """`count` vectors, a share of `copies` of them planted beside one of the others, the rest anywhere."""
    generator = np.random.default_rng(seed)

    def spread(rows: int) -> Vectors:
        return generator.standard_normal((rows, dimensions), dtype=np.float32)

    return _planted(
        count, dimensions, lambda start, stop: spread(stop - start), spread, copies=copies, generator=generator
    )


def realistic(
    count: int, dimensions: int = 256, *, copies: float = COPIES, jitter: float = 0.5, seed: int = 0
) -> Collection:
    """`count` vectors between real ones on their principal components; their mean is small, not nothing.

    A vector lies between a photo and one of its ten nearest, `jitter` standard deviations of the collection away.
    Photos are chosen by weights of a Pareto distribution: some places are crowded, most are not.
    """
    generator = np.random.default_rng(seed)
    photos = _principal(embeddings()[:_SEEDS], dimensions)
    spread_of = photos.std(axis=0)
    neighbours = _neighbours(photos, 10)
    weights = generator.pareto(1.5, len(photos)) + 0.2
    chosen = generator.choice(len(photos), count, p=weights / weights.sum())
    other = neighbours[chosen, generator.integers(0, neighbours.shape[1], count)]
    share = 0.9 * generator.random((count, 1), dtype=np.float32)

    def spread(rows: int) -> Vectors:
        return generator.standard_normal((rows, dimensions), dtype=np.float32) * spread_of

    def between(start: int, stop: int) -> Vectors:
        part = slice(start, stop)
        mixed: Vectors = (1 - share[part]) * photos[chosen[part]] + share[part] * photos[other[part]]
        return mixed + jitter * spread(stop - start)

    return _planted(count, dimensions, between, spread, copies=copies, generator=generator)


def encoded(name: str, pictures: list[Image.Image]) -> Vectors:
    """Vectors `(N, D)` of the default encoder for pictures that `name` stands for; cached."""
    encoder = encoders.get(encoders.DEFAULT, _CACHE / "benchmark-models")
    path = _CACHE / f"benchmark-vectors-{name.replace(' ', '-')}-{len(pictures)}-{encoder.digest[:16]}.npy"
    if not path.exists():
        _save(path, _encode(encoder, pictures))
    return np.asarray(np.load(path), dtype=np.float32)


def embeddings() -> Vectors:
    """Real embeddings `(N, D)` of the default encoder: CIFAR photos where they are, solar cells elsewhere; cached."""
    encoder = encoders.get(encoders.DEFAULT, _CACHE / "benchmark-models")
    for name, photos in (("cifar", cifar_photos), ("solar", solar_cells)):
        path = _CACHE / f"benchmark-embeddings-{name}-{encoder.digest[:16]}.npy"
        if not path.exists() and (pictures := photos(_SEEDS)):
            _save(path, _encode(encoder, pictures))
        if path.exists():
            return np.asarray(np.load(path), dtype=np.float32)
    raise FileNotFoundError("There are neither CIFAR photos nor solar cells to embed.")


def _planted(
    count: int,
    dimensions: int,
    place: Callable[[int, int], Vectors],
    spread: Callable[[int], Vectors],
    *,
    copies: float,
    generator: np.random.Generator,
) -> Collection:
    """Rows from `place`, then copies of them displaced along `spread`; in a random order."""
    originals = count - round(copies * count)
    vectors = np.empty((count, dimensions), dtype=np.float32)
    mean = np.zeros(dimensions)
    for start, stop in _blocks(0, originals):
        vectors[start:stop] = place(start, stop)
        mean += vectors[start:stop].sum(axis=0, dtype=np.float64)
    for start, stop in _blocks(0, originals):
        vectors[start:stop] = _unit(vectors[start:stop] - (mean / originals).astype(np.float32))
    of = generator.integers(0, originals, count - originals)
    cosines = generator.uniform(LEAST_COSINE, 1, count - originals).astype(np.float32)
    for start, stop in _blocks(originals, count):
        part = slice(start - originals, stop - originals)
        source, cosine = vectors[of[part]], cosines[part, None]
        away = spread(stop - start)
        away = _unit(away - (away * source).sum(axis=1, keepdims=True) * source)
        vectors[start:stop] = cosine * source + np.sqrt(1 - cosine**2) * away
    place_of = generator.permutation(count)
    _permute(vectors, place_of)
    pairs = np.sort(np.stack([place_of[of], place_of[originals:]], axis=1), axis=1)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return Collection(vectors, pairs[order], cosines[order])


def _permute(vectors: Vectors, place_of: Ints) -> None:
    """Move row i to `place_of[i]`, a few columns at a time: a second copy of everything would not fit."""
    for column in range(0, vectors.shape[1], 32):
        part = vectors[:, column : column + 32].copy()
        vectors[place_of, column : column + 32] = part


def _principal(values: Vectors, dimensions: int) -> Vectors:
    centred = values - values.mean(axis=0)
    _, axes = np.linalg.eigh(np.asarray(centred.T @ centred, dtype=np.float64))
    axes = axes[:, ::-1][:, :dimensions]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])  # the same on any machine
    return np.asarray(centred @ axes, dtype=np.float32)


def _neighbours(values: Vectors, count: int) -> Ints:
    import faiss

    unit = _unit(values)
    found: Ints = faiss.knn(unit, unit, count + 1, metric=faiss.METRIC_INNER_PRODUCT)[1]
    return found[:, 1:]


def _encode(encoder: encoders.ImageEncoder, pictures: list[Image.Image]) -> Vectors:
    batches = [pictures[start : start + 32] for start in range(0, len(pictures), 32)]
    return np.concatenate([encoder.encode(np.stack([encoder.prepare(one) for one in batch])) for batch in batches])


def _save(path: Path, values: Vectors) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(f".{os.getpid()}.npy")
    np.save(scratch, values)
    os.replace(scratch, path)


def _unit(vectors: Floats) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def _blocks(start: int, stop: int) -> list[tuple[int, int]]:
    return [(first, min(first + _BLOCK, stop)) for first in range(start, stop, _BLOCK)]
