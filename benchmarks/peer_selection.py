"""Choosing and scoring by us and by others, for benchmarks.selection: run by benchmarks.peers.

Each is a generator as benchmarks.peers asks for. Choosers read unit vectors from an .npy file, of which the first
`labelled` are labelled, and yield the picks, numbered from the first that is not.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np


def winnow(vectors: str, labelled: int, k: int) -> Iterator[Any]:
    """Winnow's k-center."""
    from sampling.strategies import k_center

    values = np.load(vectors)
    yield
    yield k_center.choose(values[labelled:], k, labelled=values[:labelled]).tolist()


def gemv(vectors: str, labelled: int, k: int) -> Iterator[Any]:
    """NumPy, everything compared with each pick."""
    values = np.load(vectors)
    yield
    yield _by_gemv(values, labelled, k)


def brute(vectors: str, labelled: int, k: int) -> Iterator[Any]:
    """The same in double precision: what the picks should be."""
    values = np.load(vectors).astype(np.float64)
    yield
    yield _by_gemv(values, labelled, k)


def _by_gemv(values: Any, labelled: int, k: int) -> list[int]:
    pool = values[labelled:]
    nearest = (pool @ values[:labelled].T).max(axis=1)
    picks: list[int] = []
    for _ in range(k):
        picks.append(int(nearest.argmin()))
        np.maximum(nearest, pool @ pool[picks[-1]], out=nearest)
        nearest[picks[-1]] = np.inf
    return picks


def scikit_activeml(vectors: str, labelled: int, k: int) -> Iterator[Any]:
    """scikit-activeml's CoreSet, which is greedy k-center."""
    from skactiveml.pool import CoreSet

    values = np.load(vectors)
    classes = np.full(len(values), np.nan)
    classes[:labelled] = 0
    yield
    chosen = CoreSet(random_state=0).query(values, classes, batch_size=k)
    yield (np.asarray(chosen) - labelled).tolist()


def modal(vectors: str, labelled: int, k: int) -> Iterator[Any]:
    """modAL's ranked batch with equal uncertainties, which leaves the least similar first."""
    from modAL.batch import ranked_batch
    from modAL.models import ActiveLearner
    from sklearn.naive_bayes import GaussianNB

    values = np.load(vectors)
    classes = np.arange(labelled) % 2
    learner = ActiveLearner(GaussianNB(), X_training=values[:labelled], y_training=classes)
    pool = values[labelled:]
    yield
    chosen, _ = ranked_batch(learner, pool, np.zeros(len(pool)), n_instances=k, metric="euclidean", n_jobs=1)
    yield chosen.tolist()


def margin(probabilities: str) -> Iterator[Any]:
    """Winnow's margin."""
    from sampling import scores

    values = np.load(probabilities)
    yield
    yield float(scores.margin(values).sum(dtype=np.float64))


def sorted_margin(probabilities: str) -> Iterator[Any]:
    """NumPy's sort of each row."""
    values = np.load(probabilities)
    yield
    ordered = np.sort(values, axis=1)
    yield float((1 - (ordered[:, -1] - ordered[:, -2])).sum(dtype=np.float64))


def planned(vectors: str, labelled: int, k: int, classes: int) -> Iterator[Any]:
    """Winnow's planner with `auto`: a tenth at random from a reserve; with `classes` 0 nothing is predicted yet."""
    from sampling import planner, recipes
    from sampling.head import DEFAULT
    from sampling.pool import Pool

    values = np.load(vectors, mmap_mode="r")
    count = len(values)
    probabilities = None
    if classes:
        heads = np.random.default_rng(1).normal(size=(values.shape[1], classes)).astype(np.float32)
        logits = np.concatenate([8 * (values[i : i + 65536] @ heads) for i in range(0, count, 65536)])
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, out=logits)
        probabilities = logits / logits.sum(axis=1, keepdims=True)
    reserve = np.arange(labelled, labelled + (count - labelled) * 3 // 10)
    pool = Pool(
        sha256s=[""] * count,
        image_ids=list(range(count)),
        take=lambda positions: np.asarray(values[positions]),
        eligible=np.arange(reserve[-1] + 1, count),
        reserve=reserve,
        labelled=np.arange(labelled),
        probabilities=probabilities,
        classes=[str(i) for i in range(classes)],
        settings=DEFAULT,
    )
    yield
    choices = planner.choose(pool, recipes.parse({"budget": k}))
    yield {"picks": len({choice.position for choice in choices})}
