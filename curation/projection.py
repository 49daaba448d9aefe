"""Where each image lies on a plane, so that what looks alike lies together.

UMAP (McInnes, Healy, Melville, arXiv 1802.03426) in NumPy. umap-learn gives the same picture but
compiles for 38 CPU-seconds before its first one; 2,700 images take 3 here, the first time too.
"""

import hashlib
import os
from pathlib import Path

import numpy as np
from sqlalchemy import select

from store import vectors
from store.arrays import Floats, Ints, Vectors
from store.errors import NotFoundError
from store.schema import Encoder, Image
from store.workspace import Workspace

_DIMENSIONS = 50  # principal components in which neighbours are sought
_NEIGHBOURS = 15
_EPOCHS = 200
_REPULSIONS = 5  # random images that each drawn edge pushes away from
_A, _B = 1.577, 0.895  # 1 / (1 + A d^2B): UMAP's curve of closeness for a minimal distance of 0.1
_EXTENT = 10.0


def load_or_compute(workspace: Workspace, encoder_name: str) -> tuple[Ints, Vectors]:
    """The layout of all images the newest encoder of this name has seen, kept until there are others.

    Returns:
        Image ids `(N,)` int64, ordered by sha256, and points `(N, 2)` float32, aligned.

    Raises:
        NotFoundError: no encoder has this name.
    """
    with workspace.database.read() as session:
        encoder = session.scalar(select(Encoder).where(Encoder.name == encoder_name).order_by(Encoder.id.desc()))
        if encoder is None:
            raise NotFoundError(f"There is no encoder called {encoder_name!r}. See: winnow encoders list.")
        image_ids, values = vectors.load(workspace.vectors_dir, session, encoder)
        sha256_of = dict(session.execute(select(Image.id, Image.sha256)).all())
    seen = hashlib.sha256("".join(sha256_of[image_id] for image_id in image_ids.tolist()).encode()).hexdigest()
    path = workspace.projections_dir / f"{encoder.digest[:16]}-{seen[:16]}.npy"
    if not path.exists():
        _save(path, lay_out(values))
    return image_ids, np.load(path)


def lay_out(values: Vectors, *, seed: int = 0) -> Vectors:
    """UMAP of `values` `(N, D)` float32: points `(N, 2)` float32, neighbours close to each other.

    Few images, or none, are laid out too; the same values and seed give the same points.
    """
    components = _principal_components(values)
    neighbours, distances = _nearest(components)
    start = np.zeros((len(values), 2))
    start[:, : components.shape[1]] = components[:, :2]
    heads, tails, weights = _edges(neighbours, _memberships(distances))
    return _optimise(start, heads, tails, weights, np.random.default_rng(seed)).astype(np.float32)


def _principal_components(values: Vectors) -> Vectors:
    """`(N, ≤ 50)` float32, the widest first; each axis points to where its largest loading is positive."""
    centred = np.asarray(values, dtype=np.float32) - values.mean(axis=0) if len(values) else values
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :_DIMENSIONS]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0)
    return np.ascontiguousarray(centred @ (axes * np.sign(largest)))


def _nearest(points: Vectors) -> tuple[Ints, Floats]:
    """The others nearest to each point and their distances `(N, k)`, exact, ascending; k ≤ 15."""
    import faiss

    count = min(_NEIGHBOURS, max(len(points) - 1, 0))
    index = faiss.IndexFlatL2(points.shape[1])
    index.add(points)
    squares, neighbours = index.search(points, count + 1)
    squares[neighbours == np.arange(len(points))[:, None]] = -1  # itself comes first, whatever copies it has
    order = squares.argsort(axis=1, kind="stable")[:, 1:]
    nearest = np.take_along_axis(squares, order, axis=1)
    return np.take_along_axis(neighbours, order, axis=1), np.sqrt(np.maximum(nearest, 0))


def _memberships(distances: Floats) -> Floats:
    """How much each neighbour belongs, `(N, k)` in [0, 1]: 1 for the nearest, exp(−excess / scale) for others.

    Each row's scale is found by bisection, so that its memberships sum to log2(k + 1).
    """
    excess = distances - distances[:, :1]
    scale: Floats = np.ones((len(distances), 1))
    low, high = 0 * scale, np.inf * scale
    for _ in range(64):
        too_wide = np.exp(-excess / scale).sum(axis=1, keepdims=True) > np.log2(distances.shape[1] + 1)
        high = np.where(too_wide, scale, high)
        low = np.where(too_wide, low, scale)
        scale = np.where(np.isinf(high), low * 2, (low + high) / 2)
    return np.exp(-excess / scale)


def _edges(neighbours: Ints, memberships: Floats) -> tuple[Ints, Ints, Floats]:
    """Pairs that belong together from either side, in both directions: heads, tails, weights `(E,)`.

    Those too weak to be drawn in any epoch are left out.
    """
    import scipy.sparse

    count, width = neighbours.shape
    heads = np.repeat(np.arange(count), width)
    directed = scipy.sparse.csr_array((memberships.ravel(), (heads, neighbours.ravel())), shape=(count, count))
    union = (directed + directed.T - directed * directed.T).tocoo()
    drawn = union.data >= union.data.max(initial=0) / _EPOCHS
    return union.row[drawn].astype(np.int64), union.col[drawn].astype(np.int64), union.data[drawn]


def _optimise(start: Floats, heads: Ints, tails: Ints, weights: Floats, generator: np.random.Generator) -> Floats:
    """Pull along edges, as often as they weigh, and push away from random points; steps shrink to nothing."""
    points: Floats = start * (_EXTENT / max(np.abs(start).max(initial=0), 1e-9)) + generator.normal(
        0, 1e-4, start.shape
    )
    period = weights.max(initial=0) / weights
    due = period.copy()
    for epoch in range(_EPOCHS):
        drawn = np.flatnonzero(due <= epoch + 1)
        due[drawn] += period[drawn]
        head, tail = heads[drawn], tails[drawn]
        apart = points[head] - points[tail]
        squared = np.maximum((apart**2).sum(axis=1, keepdims=True), 1e-12)
        pull = np.clip(-2 * _A * _B * squared ** (_B - 1) / (1 + _A * squared**_B) * apart, -4, 4)
        away = points[head, None] - points[generator.integers(len(points), size=(len(head), _REPULSIONS))]
        squared = (away**2).sum(axis=2, keepdims=True)
        push = np.clip(2 * _B / ((0.001 + squared) * (1 + _A * squared**_B)) * away, -4, 4).sum(axis=1)
        rate = 1 - epoch / _EPOCHS
        for axis in (0, 1):
            moved = np.bincount(head, (pull + push)[:, axis], len(points))
            points[:, axis] += rate * (moved - np.bincount(tail, pull[:, axis], len(points)))
    return points


def _save(path: Path, points: Vectors) -> None:
    """Whole or not at all, whoever else saves the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    with scratch.open("wb") as file:
        np.save(file, points)
    scratch.replace(path)
