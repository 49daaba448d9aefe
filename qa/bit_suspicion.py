"""How much each class of a label of several classes is to be doubted: for each class whether an image holds it.

Everything is `(N, C)`: N images, C classes. Where nothing tells who holds a rare class, everybody's chance of it is
small, which is no evidence against those who hold it. So what the probe and the neighbours say is first put on the
curve that fits the labels, which is flat where they tell nothing. And it makes a candidate only as far as it also would
if the class were as common as not.
"""

from dataclasses import dataclass

import numpy as np

from qa import suspicion
from qa.suspicion import Doubt
from sampling import head
from sampling.head import Settings, Views
from store.arrays import Bools, Floats, Ints

_LINE = Settings(smooth=False, inverse_penalty=10.0)  # of a curve over one number
_LEAST = 1e-9  # a probability


@dataclass(frozen=True)
class Doubts:
    """What is said against each class of each label."""

    score: Floats  # (N, C) 0 to 1
    model: Floats  # (N, C) the chance, by a probe that saw neither, that the image holds the class; NaN without a probe
    near: Floats  # (N, C) the share of the nearest neighbours, by their cosines, that hold it; NaN without any
    copies: Floats  # (N, C) the share of the other copies of the picture that differ in it
    doubted: dict[str, Bools]  # (N, C) by witness: model, neighbours, copies
    is_candidate: Bools  # (N, C): the model or copies doubt it; neighbours weigh in its score alone


def doubt(held: Bools, asked: Bools, views: Views, *, tied: Ints, groups: Ints) -> Doubts:
    """Hear a probe, the neighbours and copies about each class of each label.

    Args:
        held: `(N, C)`, what the labels say.
        asked: `(N, C)`, whether who labelled an image could name the class; else it is neither doubted nor a witness.
        views: of the images.
        tied: `(N,)` int64; what has the same number is no witness of a probe or as a neighbour.
        groups: `(N,)` int64; what has the same number is one picture.
    """
    shape = held.shape
    model, copies, score = np.full(shape, np.nan), np.zeros(shape), np.zeros(shape)
    near = _shares(held, asked, views, tied)
    doubted: dict[str, Bools] = {name: np.zeros(shape, dtype=np.bool_) for name in ("model", "neighbours", "copies")}
    for number in range(shape[1]):
        heard = asked[:, number]
        rows = np.flatnonzero(heard)
        bits = held[:, number].astype(np.int64)
        if len(np.unique(bits[rows])) < 2:
            continue
        common = float(bits[rows].mean())
        probabilities = suspicion.out_of_fold(views, bits, tied, classes=2, heard=heard)
        by_model = None
        if probabilities is not None:
            model[rows, number] = probabilities[rows, 1]
            found = suspicion.confident_learning(bits[rows], probabilities[rows])
            odds = np.log(probabilities[rows].clip(min=_LEAST)) @ (-1.0, 1.0)
            against = _against(bits[rows] == 1, _curve(odds, bits[rows]), common)
            doubted["model"][rows, number] = found.flagged & (against >= suspicion.AGAINST)
            by_model = found
        by_near = Doubt(_by_share(bits[rows], near[rows, number], common), bits[rows])
        doubted["neighbours"][rows, number] = by_near.score >= suspicion.AGAINST
        by_copies = suspicion.of_copies(bits[rows], groups[rows], classes=2)
        copies[rows, number] = by_copies.score
        doubted["copies"][rows, number] = by_copies.score > 0
        score[rows, number] = suspicion.combined(by_model, by_near, by_copies)
    return Doubts(score, model, near, copies, doubted, doubted["model"] | doubted["copies"])


def _shares(held: Bools, asked: Bools, views: Views, tied: Ints) -> Floats:
    """See `Doubts.near`."""
    shares = np.full(held.shape, np.nan)
    for rows, near, weights in suspicion.neighbours(views.plain, tied, width=held.shape[1]):
        for number in range(held.shape[1]):
            counted = weights * asked[near, number]
            total = counted.sum(axis=1)
            of_class = (counted * held[near, number]).sum(axis=1)
            shares[rows, number] = np.where(total > 0, of_class / np.where(total > 0, total, 1), np.nan)
    return shares


def _by_share(bits: Ints, share: Floats, common: float) -> Floats:
    """`(n,)`: what neighbours say against each, by how far such shares tell here who holds the class."""
    result = np.zeros(len(bits))
    rows = np.flatnonzero(~np.isnan(share))
    if len(np.unique(bits[rows])) < 2:
        return result
    result[rows] = _against(bits[rows] == 1, _curve(share[rows], bits[rows]), common)
    return result


def _curve(evidence: Floats, bits: Ints) -> Floats:
    """`(n,)`: the chance that images hold a class of which they have so much evidence, by those that do and do not."""
    fitted = head.fit(evidence[:, None], bits, _LINE)
    if fitted.coef_[0, 0] <= 0:
        return np.full(len(bits), bits.mean())
    return head.predict(fitted, evidence[:, None], classes=2)[:, 1]


def _against(held: Bools, chance: Floats, common: float) -> Floats:
    """The doubt of what is held or not, by the chance that it is; `common` is the share of the images that hold it."""
    own = np.where(held, chance, 1 - chance)
    usual = np.where(held, common, 1 - common)
    even = own * (1 - usual) / (own * (1 - usual) + (1 - own) * usual)
    return np.asarray(1 - np.maximum(own, even))
