"""How much a label is to be doubted, from what others like it are called: pure functions of arrays.

Labels are `(N,)` int64 in `range(C)`. Probabilities are `(N, C)` of a model that did not see the label it speaks of.
Suspicion is 0 to 1 and orders labels; it is no probability.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from qa.consensus import probed
from sampling.head import Views
from store.arrays import Bools, Floats, Ints, Vectors, positions_of_each

AGAINST = 0.8  # doubt from which one witness alone makes a label a candidate
_NEVER = 2.0  # a threshold that no probability reaches
ROUNDING = 1e-6
_BLOCK = 1 << 22  # numbers held at once beside the arguments
_NEIGHBOURS = 25
_SPARE = 16  # further neighbours looked at, in place of those that are tied to the image
_EXACT_UP_TO = 50_000  # vectors; beyond, neighbours are looked for in some of the cells of an inverted file
_PROBES = 16  # of these cells


@dataclass(frozen=True)
class Doubt:
    """What one source says against each label."""

    score: Floats  # (N,) 0 to 1
    suggestion: Ints  # (N,) the class it would rather have; the label itself where it has nothing against it


@dataclass(frozen=True)
class Confident(Doubt):
    """Confident learning's findings."""

    thresholds: Floats  # (C,)
    joint: Ints  # (C, C): labels of class i that are confidently of class j
    flagged: Bools  # (N,) off the joint's diagonal


def confident_learning(labels: Ints, probabilities: Floats) -> Confident:
    """Labels that contradict what the model is surer of than it usually is where that class is the label.

    An item is counted as the likeliest of the classes whose threshold its probability reaches; a class's threshold is
    the mean probability of its own labels. The score is one minus the probability of the label. C. Northcutt,
    L. Jiang and I. Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels (2021).

    Returns:
        Flagged is what is counted as another class than its label, unless the label is the likeliest class of all.
    """
    count, classes = probabilities.shape
    given = np.bincount(labels, minlength=classes)
    own = probabilities[np.arange(count), labels]
    thresholds = np.full(classes, _NEVER)
    np.divide(np.bincount(labels, weights=own, minlength=classes), given, out=thresholds, where=given > 0)
    confident = np.full(count, -1, dtype=np.int64)
    likeliest = np.empty(count, dtype=np.int64)
    rival = np.empty(count, dtype=np.int64)
    step = max(1, _BLOCK // classes)
    for start in range(0, count, step):
        rows = slice(start, start + step)
        block = np.array(probabilities[rows], dtype=np.float64)
        likeliest[rows] = block.argmax(axis=1)
        reached = block >= thresholds - ROUNDING
        best = np.where(reached, block, -1.0).argmax(axis=1)
        confident[rows] = np.where(reached.any(axis=1), best, -1)
        block[np.arange(len(block)), labels[rows]] = -1.0
        rival[rows] = block.argmax(axis=1)
    counted = confident >= 0
    joint = np.bincount(labels[counted] * classes + confident[counted], minlength=classes**2).reshape(classes, classes)
    flagged = counted & (confident != labels) & (likeliest != labels)
    return Confident(1 - own, np.where(flagged, confident, rival), thresholds, joint, flagged)


def out_of_fold(views: Views, targets: Ints, tied: Ints, *, classes: int, heard: Bools | None = None) -> Floats | None:
    """Probabilities `(N, C)` by probes that saw neither an item nor what it is tied to; none where none can learn.

    Args:
        views: of N items.
        targets: `(N,)`.
        tied: `(N,)` int64.
        classes: C.
        heard: `(N,)`, whose targets are learnt from; by default all.
    """
    if heard is None:
        heard = np.ones(len(targets), dtype=np.bool_)
    return probed.out_of_fold(views, np.eye(classes)[targets], heard, probed.folds_of(tied))


def of_neighbours(vectors: Vectors, labels: Ints, tied: Ints, *, classes: int) -> Doubt:
    """The share of an image's nearest neighbours, by their cosines, that are called something else.

    Args:
        vectors: `(N, D)` float32, unit vectors.
        labels: `(N,)`.
        tied: `(N,)` int64; what has the same number is no witness: copies and frames of one scene share mistakes.
        classes: C.

    Returns:
        0 where an image has no neighbour.
    """
    score, suggestion = np.zeros(len(labels)), labels.copy()
    for rows, near, weights in neighbours(vectors, tied, width=classes):
        votes = np.zeros((len(rows), classes))
        np.add.at(votes, (np.arange(len(rows))[:, None], labels[near]), weights)
        total = votes.sum(axis=1)
        heard = total > 0
        others = 1 - votes[np.arange(len(rows)), labels[rows]] / np.where(heard, total, 1)
        score[rows] = np.where(heard, others, 0)
        suggestion[rows] = np.where(heard, votes.argmax(axis=1), labels[rows])
    return Doubt(score, suggestion)


def neighbours(vectors: Vectors, tied: Ints, *, width: int) -> Iterator[tuple[Ints, Ints, Floats]]:
    """The nearest of each image that are not tied to it, some images at a time: `(n,)`, `(n, K)` and weights `(n, K)`.

    Args:
        vectors: `(N, D)` float32, unit vectors.
        tied: `(N,)` int64.
        width: how many numbers the caller holds for each image.
    """
    positions, cosines = _nearest(vectors, min(_NEIGHBOURS + _SPARE + 1, len(vectors)))
    step = max(1, _BLOCK // max(width, positions.shape[1]))
    for start in range(0, len(vectors), step):
        rows = np.arange(start, min(start + step, len(vectors)))
        near = positions[rows]
        weights = np.where((near >= 0) & (tied[near] != tied[rows][:, None]), cosines[rows].clip(min=0), 0)
        weights[(weights > 0).cumsum(axis=1) > _NEIGHBOURS] = 0
        yield rows, near, weights


def of_copies(labels: Ints, groups: Ints, *, classes: int) -> Doubt:
    """The share of the other copies of one picture that are called something else.

    Args:
        labels: `(N,)`.
        groups: `(N,)` int64: images with the same number are one picture.
        classes: C.

    Returns:
        The suggestion is the class that most of the others have, the first of equals.
    """
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    score, suggestion = np.zeros(len(labels)), labels.copy()
    members = np.flatnonzero(sizes[group] > 1)
    for copies in (members[places] for places in positions_of_each(group[members])):
        votes = np.bincount(labels[copies], minlength=classes)
        for copy in copies:
            others = votes.copy()
            others[labels[copy]] -= 1
            score[copy] = 1 - others[labels[copy]] / others.sum()
            suggestion[copy] = labels[copy] if score[copy] == 0 else _most(others, but=labels[copy])
    return Doubt(score, suggestion)


def combined(model: Doubt | None, near: Doubt, copies: Doubt) -> Floats:
    """One score `(N,)`: the model counts twice as much as neighbours; of copies that differ one is wrong: that is half.

    Neighbours add little where there is a model (`make bench NAME=label-errors`), and are all there is without one.
    """
    mean = near.score if model is None else (2 * model.score + near.score) / 3
    return np.asarray(1 - (1 - mean) * (1 - copies.score / 2))


def estimated(joint: Ints, given: Ints) -> Floats:
    """`(C, C)`: how many labels of class i are of class j, by a confident joint and how many were given `(C,)`.

    The joint's rows are scaled to what was given: what reached no threshold is taken to be as the rest of its class. A
    class of which nothing reached one is taken to be right.
    """
    counted = joint.sum(axis=1, keepdims=True)
    shares = np.divide(joint, counted, out=np.eye(len(given)), where=counted > 0)
    return np.asarray(shares * given[:, None])


def expected_wrong(labels: Floats) -> float:
    """The share of wrong labels among `(C, C)`, see `estimated`."""
    return float(1 - np.trace(labels) / labels.sum())


def _most(votes: Ints, *, but: int) -> int:
    """The class with most votes, `but` left out."""
    rivals = votes.copy()
    rivals[but] = -1
    return int(rivals.argmax())


def _nearest(vectors: Vectors, count: int) -> tuple[Ints, Floats]:
    """The nearest of each, itself among them: positions `(N, count)`, -1 where there are fewer, and cosines."""
    import faiss

    if len(vectors) <= _EXACT_UP_TO:
        cosines, positions = faiss.knn(vectors, vectors, count, metric=faiss.METRIC_INNER_PRODUCT)
        return positions, cosines
    cells = int(4 * len(vectors) ** 0.5)
    index: Any = faiss.index_factory(vectors.shape[1], f"IVF{cells},Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors[np.sort(np.random.default_rng(0).permutation(len(vectors))[: 40 * cells])])
    index.add(vectors)
    index.nprobe = _PROBES
    cosines, positions = index.search(vectors, count)
    return positions, cosines
