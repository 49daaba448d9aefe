"""How much each class of a label of several classes is to be doubted: for each class whether an image holds it.

Everything is `(N, C)`: N images, C classes. Where nothing tells who holds a rare class, everybody's chance of it is
small, which is no evidence against those who hold it. So what the probe and the neighbours say is first put on the
curve that fits the labels, which is flat where they tell nothing.

The curve says how the labels are, wrong ones among them, and not how they should be: where three in ten are wrong no
image is surer than seven in ten. So what confident learning flags is a candidate by its chance of being wrong, which
takes the curve and the share of wrong labels. That share cannot be told from one class: a probe also contradicts right
labels of what it sees badly. People are about as often wrong about one class as about another, so of each class no more
is put down to them than the probe contradicts of the usual one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from qa import suspicion
from qa.suspicion import Confident, Doubt
from sampling import head
from sampling.head import Settings, Views
from store.arrays import Bools, Floats, Ints

_LINE = Settings(smooth=False, inverse_penalty=10.0)  # of a curve over one number
_LEAST = 1e-9  # a probability
_WORTH_A_LOOK = 0.4  # chance that a label is wrong


@dataclass(frozen=True)
class Doubts:
    """What is said against each class of each label."""

    score: Floats  # (N, C) 0 to 1
    model: Floats  # (N, C) the chance, by a probe that saw neither, that the image holds the class; NaN without a probe
    near: Floats  # (N, C) the share of the nearest neighbours, by their cosines, that hold it; NaN without any
    copies: Floats  # (N, C) the share of the other copies of the picture that differ in it
    doubted: dict[str, Bools]  # (N, C) by witness: model, neighbours, copies
    is_candidate: Bools  # (N, C): the model or copies doubt it; neighbours weigh in its score alone
    expected_wrong: float | None  # share of what is wrong of the usual class, rather too much; none without a probe


@dataclass(frozen=True)
class _Told:
    """What a probe tells of one class to the n labels that could name it."""

    number: int  # of the class
    rows: Ints  # (n,)
    bits: Ints  # (n,) 1 where the label has the class
    chance: Floats  # (n,) that a label has it, by those of images like it
    found: Confident

    def estimated(self) -> Floats:
        """See `suspicion.estimated`."""
        return suspicion.estimated(self.found.joint, np.bincount(self.bits, minlength=2))

    def share_wrong(self) -> float:
        """The share of the labels that are wrong here, by confident learning."""
        return suspicion.expected_wrong(self.estimated())


def doubt(
    held: Bools,
    asked: Bools,
    views: Views,
    *,
    tied: Ints,
    groups: Ints,
    on_progress: Callable[[int, int], None] | None = None,
) -> Doubts:
    """Hear a probe, the neighbours and copies about each class of each label.

    Args:
        held: `(N, C)`, what the labels say.
        asked: `(N, C)`, whether who labelled an image could name the class; else it is neither doubted nor a witness.
        views: of the images.
        tied: `(N,)` int64; what has the same number is no witness of a probe or as a neighbour.
        groups: `(N,)` int64; what has the same number is one picture.
        on_progress: called with how many classes are done and how many there are.
    """
    shape = held.shape
    model, copies, score = np.full(shape, np.nan), np.zeros(shape), np.zeros(shape)
    near = _shares(held, asked, views, tied)
    doubted: dict[str, Bools] = {name: np.zeros(shape, dtype=np.bool_) for name in ("model", "neighbours", "copies")}
    told: list[_Told] = []
    for number in range(shape[1]):
        if on_progress is not None:
            on_progress(number, shape[1])
        heard = asked[:, number]
        rows = np.flatnonzero(heard)
        bits = held[:, number].astype(np.int64)
        if len(np.unique(bits[rows])) < 2:
            continue
        probabilities = suspicion.out_of_fold(views, bits, tied, classes=2, heard=heard)
        by_model = None
        if probabilities is not None:
            model[rows, number] = probabilities[rows, 1]
            by_model = suspicion.confident_learning(bits[rows], probabilities[rows])
            odds = np.log(probabilities[rows].clip(min=_LEAST)) @ (-1.0, 1.0)
            told.append(_Told(number, rows, bits[rows], _curve(odds, bits[rows]), by_model))
        by_near = Doubt(_by_share(bits[rows], near[rows, number]), bits[rows])
        doubted["neighbours"][rows, number] = by_near.score >= suspicion.AGAINST
        by_copies = suspicion.of_copies(bits[rows], groups[rows], classes=2)
        copies[rows, number] = by_copies.score
        doubted["copies"][rows, number] = by_copies.score > 0
        score[rows, number] = suspicion.combined(by_model, by_near, by_copies)
    if on_progress is not None:
        on_progress(shape[1], shape[1])
    doubted["model"], usual = _by_model(told, shape)
    return Doubts(score, model, near, copies, doubted, doubted["model"] | doubted["copies"], usual)


def _by_model(told: Sequence[_Told], shape: tuple[int, ...]) -> tuple[Bools, float | None]:
    """What a probe doubts, `(N, C)`, and the share that is wrong of the usual class."""
    doubted = np.zeros(shape, dtype=np.bool_)
    if not told:
        return doubted, None
    usual = float(np.median([one.share_wrong() for one in told]))
    for one in told:
        is_worth_a_look = _chance_of_wrong(one, most=usual) > _WORTH_A_LOOK
        doubted[one.rows, one.number] = one.found.flagged & is_worth_a_look
    return doubted, usual


def _chance_of_wrong(told: _Told, *, most: float) -> Floats:
    """`(n,)`: that a label is wrong about the class, if of all no more than a share `most` are.

    Labels are taken to be wrong as often where an image is plain as where it is not: then the chance that a label has
    the class is `invented` where the image does not, one less `missed` where it does, and between the two elsewhere.
    """
    labels = told.estimated()
    few = min(1.0, most / max(told.share_wrong(), _LEAST))
    lacking, having = labels.sum(axis=0).clip(min=_LEAST)
    invented, missed = few * labels[1, 0] / lacking, few * labels[0, 1] / having
    if invented + missed >= 1:  # what is said to have the class has it no oftener than the rest
        return np.zeros(len(told.bits))
    there = ((told.chance - invented) / (1 - invented - missed)).clip(0, 1)
    wrong = np.where(told.bits == 1, invented * (1 - there), missed * there)
    right = np.where(told.bits == 1, (1 - missed) * there, (1 - invented) * (1 - there))
    return np.asarray(wrong / np.maximum(wrong + right, _LEAST))


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


def _by_share(bits: Ints, share: Floats) -> Floats:
    """`(n,)`: what neighbours say against each, by how far such shares tell here who holds the class."""
    result = np.zeros(len(bits))
    rows = np.flatnonzero(~np.isnan(share))
    if len(np.unique(bits[rows])) < 2:
        return result
    result[rows] = _against(bits[rows] == 1, _curve(share[rows], bits[rows]))
    return result


def _curve(evidence: Floats, bits: Ints) -> Floats:
    """`(n,)`: the chance that images hold a class of which they have so much evidence, by those that do and do not."""
    fitted = head.fit(evidence[:, None], bits, _LINE)
    if fitted.coef_[0, 0] <= 0:
        return np.full(len(bits), bits.mean())
    return head.predict(fitted, evidence[:, None], classes=2)[:, 1]


def _against(held: Bools, chance: Floats) -> Floats:
    """The doubt of what is held or not, by the chance that it is, if the class were as common as not."""
    own = np.where(held, chance, 1 - chance)
    usual = np.where(held, held.mean(), 1 - held.mean())
    return np.asarray((1 - own) * usual / (own * (1 - usual) + (1 - own) * usual))
