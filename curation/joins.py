"""Every two vectors whose cosine is at least so much: a similarity join of millions of vectors on a few cores.

Vectors are projected onto their principal components and dealt into cells (spherical k-means). Two vectors meet when
one of them lies near enough to the cell of the other. All who visit a cell and all who live in it are one product of
small matrices; a pair whose projected product may reach the threshold is computed on the exact vectors, so that no
pair is told that is not one. How near is near enough, and which products may reach it, is read off pairs of this
collection: true ones that a sample finds among all vectors, and made ones at just the threshold. A second sample
measures the share that is found.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from store.arrays import Bools, Floats, Ints, Vectors

Take = Callable[[Ints], Vectors]
"""Gives the unit vectors `(n, D)` float32 at positions `(n,)`."""

_COMPONENTS = 64  # dimensions in which pairs are looked for
_FEWEST_IN_CELLS = 8192  # vectors from which more than one cell is worth while
_CELLS_PER_ROOT = 4  # cells per square root of the vectors
_TRAINING = 16  # vectors per cell that k-means sees, in so many rounds:
_ROUNDS = 6
_WEIGHTS = (0.5, 1.0)  # how much of the similarity to its own cell a vector's visits are measured against
_MISSED = 0.002  # the share of known pairs that each of the two thresholds may lose
_SAMPLED_PAIRS = 16_000  # true ones, after which no more are looked for: those of one crowded place are much alike
_ENOUGH_PAIRS = 1000  # from which on they speak for themselves
_QUERIES = 1000  # compared with all vectors to find them, or
_QUERIED = 50  # one in so many vectors if that is more, but never more than this many multiplications take:
_SAMPLED_WORK = 2e11
_MADE = 1000  # pairs at just the threshold
_VISITORS = 1000  # vectors of which it is counted how many cells they would visit
_MADE_MISSED = 0.004  # the share of them that may be lost
_MOST_PER_VISIT = 1024  # pairs of one vector with one cell that are kept, the nearest
_ROWS = 4096  # vectors that look for the cells they visit at once
_SLAB = 64  # cells between two looks at how many pairs are held,
_MOST_HELD = 1 << 25  # and the most of them, or only the nearest are
_EXACT = 1 << 22  # numbers of projected vectors whose pairs are computed exactly at once
_PRODUCTS = 1 << 18  # of visitors with members at once: they stay in the processor's cache
_CHUNK = 1 << 15  # vectors taken at once


@dataclass(frozen=True)
class Pairs:
    """Pairs of positions, the smaller first, each once, sorted."""

    positions: Ints  # (P, 2)
    cosines: Vectors  # (P,), exact
    truncated: int  # pairs that may have been, left out of the densest places; the nearest of each vector stay


@dataclass(frozen=True)
class Cells:
    """How a collection is divided, and how far to look for pairs of at least `min_cosine`."""

    min_cosine: float
    basis: Vectors  # (D, d), orthonormal columns
    centroids: Vectors  # (C, d) unit
    weight: float  # see _nearness
    nearness: float  # from which a vector visits a cell, where both of a pair may visit the other's
    nearness_alone: float  # the same where only one of them does
    residual_share: float  # how much of two residuals' lengths counts as if they were parallel, see _lift


@dataclass(frozen=True)
class Placed:
    """Where each vector lies."""

    lifted: Vectors  # (N, d + 1), see _lift
    homes: Ints  # (N,), the nearest cell


def find_pairs(take: Take, count: int, *, min_cosine: float, seed: int = 0) -> Pairs:
    """Every pair of the vectors 0 … `count` - 1 with a cosine of at least `min_cosine`.

    Exact in what it tells, almost complete: `recall` measures. The same vectors in the same order give the same.
    """
    cells = fit(take, count, min_cosine=min_cosine, seed=seed)
    return join(take, place(take, np.arange(count), cells), cells)


def fit(take: Take, count: int, *, min_cosine: float, seed: int = 0) -> Cells:
    """Divide a collection of at least one vector, and read off its own pairs how far to look."""
    generator = np.random.default_rng(seed)
    cell_count = max(1, int(_CELLS_PER_ROOT * count**0.5)) if count >= _FEWEST_IN_CELLS else 1
    with _one_thread():  # the same sums on every machine
        sample = take(np.sort(generator.permutation(count)[: _TRAINING * max(cell_count, 512)]))
        basis = _components(sample)
        centroids = _centroids(unit(sample @ basis), cell_count, seed=seed)
        known = _true_pairs(take, count, min_cosine=min_cosine, generator=generator)
        made = _made_pairs(sample, min_cosine=min_cosine, generator=generator)
        first, second = (np.concatenate(side) for side in zip(known, made, strict=True))
        is_made = np.arange(len(first)) >= len(known[0])
        ends = (unit(first @ basis), unit(second @ basis))
        weight, nearness, alone = _how_near(*ends, is_made, unit(sample @ basis), centroids)
        share = _residual_share(first, second, is_made, basis, min_cosine=min_cosine)
    return Cells(min_cosine, basis, centroids, weight, nearness, alone, share)


def place(take: Take, positions: Ints, cells: Cells) -> Placed:
    """Project the vectors at `positions` `(n,)` and find their homes."""

    def placed(chunk: Ints) -> tuple[Vectors, Ints]:
        vectors = take(chunk)
        projections = vectors @ cells.basis
        similarity = unit(projections) @ cells.centroids.T
        return _lift(vectors, projections, cells.residual_share), similarity.argmax(axis=1)

    with _one_thread(), ThreadPoolExecutor() as pool:
        parts = list(pool.map(placed, _chunks(positions, _ROWS)))
    width = cells.basis.shape[1] + 1
    return Placed(
        np.concatenate([np.empty((0, width), dtype=np.float32), *(lifted for lifted, _ in parts)]),
        np.concatenate([np.empty(0, dtype=np.int64), *(homes for _, homes in parts)]),
    )


def join(take: Take, placed: Placed, cells: Cells, *, fresh: Ints | None = None) -> Pairs:
    """The pairs among all placed vectors or, if `fresh` `(F,)` is given, those that one of these is part of.

    The time for fresh ones is in proportion to their number and that of all vectors, not to its square.
    """
    alone = fresh is not None
    visitors = np.arange(len(placed.homes)) if fresh is None else fresh
    nearness = cells.nearness_alone if alone else cells.nearness
    by_home = np.argsort(placed.homes, kind="stable")
    edges = np.searchsorted(placed.homes[by_home], np.arange(len(cells.centroids) + 1))

    def met(cell: int) -> tuple[Ints, Vectors, int]:
        members = by_home[edges[cell] : edges[cell + 1]]
        guests = np.concatenate([np.empty(0, dtype=np.int64), *(visit.of(cell) for visit in visits)])
        return _meet(take, placed.lifted, guests, members, min_cosine=cells.min_cosine)

    with _one_thread(), ThreadPoolExecutor() as pool:
        visits = list(pool.map(lambda rows: _visit(placed, rows, cells, nearness), _chunks(visitors, _ROWS)))
        held = _Held(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32), 0)
        for cell in range(0, len(cells.centroids), _SLAB):
            held = _with(held, list(pool.map(met, range(cell, min(cell + _SLAB, len(cells.centroids))))))
    positions = np.stack([held.keys >> _KEY_BITS, held.keys & _KEY_MASK], axis=1)
    return Pairs(positions, held.cosines, held.truncated)


def recall(take: Take, count: int, pairs: Pairs, *, min_cosine: float, seed: int = 1) -> tuple[int, int]:
    """How many of the true pairs in a sample of queries, compared with every vector, are in `pairs`: (found, all)."""
    first, second = _sampled(take, count, min_cosine=min_cosine, generator=np.random.default_rng(seed))
    true = np.unique(_keys(first, second))
    known = _keys(pairs.positions[:, 0], pairs.positions[:, 1])
    return int(np.isin(true, known).sum()), len(true)


@dataclass(frozen=True)
class _Held:
    """Pairs found so far."""

    keys: Ints  # (P,), ascending, each once
    cosines: Vectors  # (P,)
    truncated: int


def _with(held: _Held, parts: Sequence[tuple[Ints, Vectors, int]]) -> _Held:
    """Pairs joined by those of further cells; of too many, the nearest of each vector."""
    keys = np.concatenate([held.keys, *(part[0] for part in parts)])
    cosines = np.concatenate([held.cosines, *(part[1] for part in parts)])
    truncated = held.truncated + sum(part[2] for part in parts)
    keys, firsts = np.unique(keys, return_index=True)  # most pairs meet in both homes
    cosines = cosines[firsts]
    if len(keys) > _MOST_HELD:
        kept = _fewer(np.stack([keys >> _KEY_BITS, keys & _KEY_MASK], axis=1), cosines)
        truncated += len(keys) - len(kept)
        keys, cosines = keys[kept], cosines[kept]
    return _Held(keys, cosines, truncated)


def _fewer(pairs: Ints, cosines: Vectors) -> Ints:
    """Which of too many sorted pairs to hold: the nearest of each vector, as many as the limit lets each have."""
    ranks = _ranks(pairs, -cosines)
    most = _MOST_PER_VISIT
    while most > 1 and np.count_nonzero(ranks < most) > _MOST_HELD:
        most //= 2
    kept = np.flatnonzero(ranks < most)
    if len(kept) > _MOST_HELD:  # not even one for each
        kept = np.sort(kept[np.argsort(-cosines[kept], kind="stable")[:_MOST_HELD]])
    return kept


def nearest_of_either(pairs: Ints, distances: Floats, *, most: int) -> Ints:
    """Which of `pairs` `(P, 2)` are among the `most` nearest of either side: their numbers, ascending."""
    return np.flatnonzero(_ranks(pairs, distances) < most)


def _ranks(pairs: Ints, distances: Floats) -> Ints:
    """How many pairs of the same vector are nearer than each, for that of its two sides where these are fewer."""
    ranks = np.full(len(pairs), len(pairs))
    for side in (0, 1):
        order = np.lexsort((pairs[:, 1 - side], distances, pairs[:, side]))
        owners = pairs[order, side]
        ranks[order] = np.minimum(ranks[order], np.arange(len(order)) - np.searchsorted(owners, owners))
    return ranks


_KEY_BITS = 31
_KEY_MASK = (1 << _KEY_BITS) - 1


@dataclass(frozen=True)
class _Visit:
    """Which of some rows visit which cell."""

    rows: Ints  # (n,)
    offsets: npt.NDArray[np.uint16]  # into rows, cell by cell
    edges: Ints  # (C + 1,)

    def of(self, cell: int) -> Ints:
        """The rows that visit a cell."""
        return self.rows[self.offsets[self.edges[cell] : self.edges[cell + 1]]]


def _visit(placed: Placed, rows: Ints, cells: Cells, nearness: float) -> _Visit:
    projections = unit(placed.lifted[rows, :-1])
    near = _nearness(cells.centroids @ projections.T, cells.weight) >= nearness
    near[placed.homes[rows], np.arange(len(rows))] = True
    places = np.flatnonzero(near)
    edges = np.searchsorted(places, np.arange(len(near) + 1) * len(rows))
    return _Visit(rows, (places % len(rows)).astype(np.uint16), edges)


def _meet(take: Take, lifted: Vectors, guests: Ints, members: Ints, *, min_cosine: float) -> tuple[Ints, Vectors, int]:
    """The pairs between guests and members: keys, cosines, and how many were left out."""
    keys: list[Ints] = [np.empty(0, dtype=np.int64)]
    cosines: list[Vectors] = [np.empty(0, dtype=np.float32)]
    truncated = 0
    if len(members) == 0 or len(guests) == 0:
        return keys[0], cosines[0], 0
    there = np.ascontiguousarray(lifted[members].T)
    for rows in _chunks(guests, max(1, _PRODUCTS // len(members))):
        products = lifted[rows] @ there
        may_be = np.flatnonzero(products >= min_cosine)
        if len(may_be) == 0:
            continue
        if len(may_be) > _MOST_PER_VISIT * len(rows):
            nearest = _nearest_of_each(products, min_cosine)
            truncated += len(may_be) - len(nearest)
            may_be = nearest
        for part in _chunks(may_be, _EXACT // len(there)):
            i, j = np.divmod(part, len(members))
            a, b = rows[i], members[j]
            exact = np.einsum("ij,ij->i", _taken(take, a), _taken(take, b))
            true = (exact >= min_cosine) & (a != b)
            keys.append(_keys(a[true], b[true]))
            cosines.append(exact[true])
    return np.concatenate(keys), np.concatenate(cosines), truncated


def _taken(take: Take, positions: Ints) -> Vectors:
    """The vectors at positions that repeat, each taken once."""
    distinct, places = np.unique(positions, return_inverse=True)
    return take(distinct)[places]


def _nearest_of_each(products: Vectors, least: float) -> Ints:
    """Flat places of the `_MOST_PER_VISIT` largest products of each row that reach `least`, ascending."""
    columns = products.shape[1]
    kept = np.argpartition(-products, min(_MOST_PER_VISIT, columns) - 1, axis=1)[:, :_MOST_PER_VISIT]
    places = np.sort((np.arange(len(products))[:, None] * columns + kept).ravel())
    return np.asarray(places[products.ravel()[places] >= least])


def _nearness(similarity: Vectors, weight: float) -> Vectors:
    """How near vectors are to cells, of their similarity `(C, n)`, against that to their own home.

    In an empty region all cells are far, and those that are hardly farther than the own one count.
    """
    near: Vectors = similarity - weight * similarity.max(axis=0)
    return near


def _how_near(
    first: Vectors, second: Vectors, is_made: Bools, sample: Vectors, centroids: Vectors
) -> tuple[float, float, float]:
    """Weight and thresholds at which pairs meet and the fewest others visit: (weight, for both, alone)."""
    to_first, to_second, to_others = (centroids @ side.T for side in (first, second, sample[:_VISITORS]))
    columns = np.arange(to_first.shape[1])
    home_of_first, home_of_second = to_first.argmax(axis=0), to_second.argmax(axis=0)
    found = []
    for weight in _WEIGHTS:
        there = _nearness(to_first, weight)[home_of_second, columns]
        back = _nearness(to_second, weight)[home_of_first, columns]
        both = _low_end(np.maximum(there, back), is_made)
        alone = _low_end(np.concatenate([there, back]), np.tile(is_made, 2))
        crowd = float((_nearness(to_others, weight) >= both).mean())
        found.append((crowd, weight, both, alone))
    _, weight, both, alone = min(found)
    return weight, both, alone


def _low_end(values: Vectors, is_made: Bools) -> float:
    """Where nearly all such values of pairs lie above, with some room for a small sample.

    Of a thousand true pairs and more they speak alone. With fewer, pairs made at just the threshold, harder than most,
    have a say.
    """
    true, made = values[~is_made], values[is_made]
    ends = []
    if len(true) > 0:
        low, higher = np.quantile(true, [_MISSED, 10 * _MISSED])
        ends.append(float(low - (higher - low) / 2))
    if len(true) < _ENOUGH_PAIRS:
        ends.append(float(np.quantile(made, _MADE_MISSED)))
    return min(ends)


def _residual_share(first: Vectors, second: Vectors, is_made: Bools, basis: Vectors, *, min_cosine: float) -> float:
    """The least share with which `_lift` keeps known pairs; 1 keeps every pair there could be."""
    projected = [(side @ basis, side) for side in (first, second)]
    lengths = [_residual_lengths(vectors, projections) for projections, vectors in projected]
    inside = np.einsum("ij,ij->i", projected[0][0], projected[1][0])
    needed = (min_cosine - inside) / np.maximum(lengths[0] * lengths[1], 1e-6)
    return float(np.clip(-_low_end(-needed, is_made), 0, 1))


def _lift(vectors: Vectors, projections: Vectors, share: float) -> Vectors:
    """Projections `(n, d + 1)` whose products estimate the cosine from above.

    What the projection leaves out of two vectors adds at most the product of its lengths (Cauchy–Schwarz), in pairs
    of this collection at most `share` of that.
    """
    residual = share**0.5 * _residual_lengths(vectors, projections)
    return np.concatenate([projections, residual[:, None]], axis=1)


def _residual_lengths(vectors: Vectors, projections: Vectors) -> Vectors:
    squares = np.einsum("ij,ij->i", vectors, vectors) - np.einsum("ij,ij->i", projections, projections)
    return np.asarray(np.sqrt(np.maximum(squares, 0)))


def _true_pairs(
    take: Take, count: int, *, min_cosine: float, generator: np.random.Generator
) -> tuple[Vectors, Vectors]:
    first, second = _sampled(take, count, min_cosine=min_cosine, generator=generator)
    chosen = generator.permutation(len(first))[:_SAMPLED_PAIRS]
    return take(first[chosen]), take(second[chosen])


def _sampled(take: Take, count: int, *, min_cosine: float, generator: np.random.Generator) -> tuple[Ints, Ints]:
    """Pairs of a few queries with all vectors, as many queries as the work allows."""
    first, second = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    dimensions = take(np.arange(1)).shape[1]
    affordable = min(max(_QUERIES, count // _QUERIED), int(_SAMPLED_WORK / (count * dimensions)) + 1)
    queries = np.sort(generator.permutation(count)[:affordable])
    found = 0
    for asked in _chunks(queries, 256):
        directions = take(asked)
        for rows in _chunks(np.arange(count), _CHUNK):
            i, j = np.divmod(np.flatnonzero(directions @ take(rows).T >= min_cosine), len(rows))
            other = asked[i] != rows[j]
            first.append(asked[i][other])
            second.append(rows[j][other])
            found += int(other.sum())
        if found >= _SAMPLED_PAIRS:
            break
    return np.concatenate(first), np.concatenate(second)


def _made_pairs(sample: Vectors, *, min_cosine: float, generator: np.random.Generator) -> tuple[Vectors, Vectors]:
    """Vectors and others at just `min_cosine` from them: half in any direction, half in those of the collection."""
    first, one, other = (sample[generator.integers(0, len(sample), _MADE)] for _ in range(3))
    noise = generator.normal(size=first.shape).astype(np.float32)
    noise[::2] = (one - other)[::2]
    noise -= np.einsum("ij,ij->i", noise, first)[:, None] * first
    second = min_cosine * first + (1 - min_cosine**2) ** 0.5 * unit(noise)
    return first, second.astype(np.float32)


def _components(sample: Vectors) -> Vectors:
    """The `(D, d)` first principal components of unit vectors `(n, D)` about the origin."""
    _, vectors = np.linalg.eigh(sample.T @ sample)
    return np.ascontiguousarray(vectors[:, ::-1][:, :_COMPONENTS])


def _centroids(projections: Vectors, cell_count: int, *, seed: int) -> Vectors:
    import faiss

    kmeans = faiss.Kmeans(
        projections.shape[1],
        cell_count,
        niter=_ROUNDS,
        spherical=True,
        seed=seed + 1,
        min_points_per_centroid=1,
        max_points_per_centroid=_TRAINING,
    )
    kmeans.train(projections)
    return np.asarray(kmeans.centroids)


def _one_thread() -> Any:
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1)


def unit(vectors: Vectors) -> Vectors:
    """Vectors `(n, D)` scaled to length 1; zero stays zero."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), dtype=np.float32)


def _keys(first: Ints, second: Ints) -> Ints:
    """One number for each pair, whichever of it comes first."""
    return np.asarray((np.minimum(first, second) << _KEY_BITS) | np.maximum(first, second))


def _chunks(rows: Ints, size: int) -> Iterator[Ints]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
