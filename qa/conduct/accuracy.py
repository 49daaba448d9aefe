"""How often people are right, judged by others and by what is known."""

from dataclasses import dataclass

import numpy as np

from qa.consensus import belief, posterior
from qa.consensus.posterior import Posterior
from store.arrays import Bools, Floats, Ints

WIDEST = 0.3  # of a 95 % interval: somebody whose interval is wider is not judged

_TAILS = (0.025, 0.975)
_BINS = 400  # of the chance that an answer is right
_GRID = (np.arange(1000) + 0.5) / 1000  # of accuracies
_EXTREME = 0.02  # an accuracy nearer to 0 or 1 is taken for this far from it, where one divides by it


@dataclass(frozen=True)
class Judged:
    """What others and known classes say of the items of J answers, those where they say anything."""

    rows: Ints  # (J,) which answers, as positions in the table
    truth: Floats  # (J, C) float64: the probability of each class, the answer itself left out

    def chance(self, answers: Ints) -> Floats:
        """`(J,)`: the probability that each answer is right."""
        said: Floats = self.truth[np.arange(len(self.rows)), answers[self.rows, 2]]
        return said


@dataclass(frozen=True)
class Estimates:
    """How often each of G groups of answers is right."""

    accuracy: Floats  # (G,) float64, the posterior mean under a uniform prior
    interval: Floats  # (G, 2) float64, its 95 % credible interval
    answers: Ints  # (G,) int64, how many there are to judge

    @property
    def enough(self) -> Bools:
        """`(G,)`: whether the interval is narrow enough to judge anyone by."""
        return np.asarray(self.interval[:, 1] - self.interval[:, 0] <= WIDEST)


def judge(answers: Ints, counted: Bools, known: Ints, found: Posterior, *, is_told: Bools | None = None) -> Judged:
    """Who would be believed, were it not for the answer itself.

    Args:
        answers: `(M, 3)`.
        counted: `(M,)` whether an answer counts in the consensus; others are judged by it all the same.
        known: `(N,)` int64, the class of an item that is settled, -1 of all others.
        found: of `qa.consensus.posterior.fit`; what it was told of items beforehand is believed, else a class is as
            likely as others answer it.
        is_told: `(N,)` whether something else than answers tells of an item, so that also its only one can be judged.
    """
    classes = found.posteriors.shape[1]
    word = np.log(found.confusion[answers[:, 1], :, answers[:, 2]])
    word[~counted] = 0
    evidence = np.zeros((len(known), classes))
    np.add.at(evidence, answers[:, 0], word)
    heard = np.bincount(answers[counted, 0], minlength=len(known))[answers[:, 0]] - counted
    can_be_judged = (heard > 0) | (known[answers[:, 0]] >= 0)
    if is_told is not None:
        can_be_judged |= is_told[answers[:, 0]]
    rows = np.flatnonzero(can_be_judged)
    items = answers[rows, 0]
    left = (evidence[items] - word[rows]) * found.trust.per_answer(heard[rows])[:, None]
    if found.probabilities is None:
        named = np.bincount(answers[counted, 2], minlength=classes) + posterior.NAMED
        others = named - np.eye(classes)[answers[rows, 2]] * counted[rows, None]
        left += found.trust.model * np.log(others / others.sum(axis=1, keepdims=True))
    else:
        left += found.trust.model * np.log(found.probabilities[items])
    return Judged(rows, belief.normalised(left, known[items]))


def estimate(chance: Floats, group: Ints, *, groups: int, classes: int, weight: Floats | None = None) -> Estimates:
    """How often the answers of each group are right, when others are not certain what is right.

    Someone who is right with probability p gives an answer that is right with probability q, as far as others tell,
    with probability p q + (1 - p)(1 - q) / (C - 1). Where the truth is known this is a Beta posterior.

    Args:
        chance: `(J,)` q, rounded to a four-hundredth.
        group: `(J,)` int64, which group each answer belongs to.
        groups: G.
        classes: C, at least 2.
        weight: `(J,)` what each answer counts beside one that repeats no other; by default 1.
    """
    bins = group * (_BINS + 1) + np.rint(chance * _BINS).astype(np.int64)
    counts = np.bincount(bins, weights=weight, minlength=groups * (_BINS + 1)).reshape(groups, _BINS + 1)
    q = np.arange(_BINS + 1)[:, None] / _BINS
    likelihood = counts @ np.log(_GRID * q + (1 - _GRID) * (1 - q) / (classes - 1))
    density = np.exp(likelihood - likelihood.max(axis=1, keepdims=True))
    density /= density.sum(axis=1, keepdims=True)
    return Estimates(density @ _GRID, _quantiles(density), np.bincount(group, minlength=groups))


def confusion(answers: Ints, judged: Judged, found: Posterior) -> Floats:
    """`(A, C, C)`: how many answers j each gave to items of class i, expected where others are not certain.

    The expectation is over what others say times how the person confuses, as in Dawid and Skene's; without the latter
    the doubts of others would count as mistakes.
    """
    who, said = answers[judged.rows, 1], answers[judged.rows, 2]
    expected = judged.truth * found.confusion[who, :, said]
    expected /= expected.sum(axis=1, keepdims=True)
    counts = np.zeros(found.confusion.shape)
    np.add.at(counts.swapaxes(1, 2), (who, said), expected)
    return counts


def by_class(confusions: Floats, *, weight: float = 1.0) -> Estimates:
    """How often people are right on items of each class, from confusions `(…, C, C)`; groups run through all of them.

    Expected counts are taken for counted ones, so the interval is a little too narrow where others are unsure. Each
    answer counts `weight`, see `estimate`.
    """
    from scipy.special import betaincinv

    right = weight * np.diagonal(confusions, axis1=-2, axis2=-1).ravel()
    given = weight * confusions.sum(axis=-1).ravel()
    wrong = np.maximum(given - right, 0)
    interval = np.stack([betaincinv(right + 1, wrong + 1, tail) for tail in _TAILS], axis=1)
    return Estimates((right + 1) / (given + 2), interval, np.rint(given / weight).astype(np.int64))


def credit(answers: Ints, judged: Judged, accuracy: Floats, *, classes: int) -> tuple[Floats, Floats]:
    """For each judged answer a number whose mean is how often its author is right, and how much it weighs; `(J,)` both.

    Where the truth is known it is 1 or 0. Where others are unsure it lies further out and weighs less: it is the
    author's accuracy `(A,)` plus the score of the answer's likelihood (see `estimate`) over its Fisher information,
    which is the weight. A thing has `classes` possible answers.
    """
    usual = np.clip(accuracy, _EXTREME, 1 - _EXTREME)[answers[judged.rows, 1]]
    wrong = (1 - judged.truth) / (classes - 1)
    steep = judged.truth - wrong
    likely = wrong + usual[:, None] * steep
    information = np.maximum((steep**2 / likely).sum(axis=1), np.finfo(np.float64).tiny)
    given = (np.arange(len(usual)), answers[judged.rows, 2])
    return usual + steep[given] / likely[given] / information, information


def independent_share(right: Floats, group: Ints, look: Ints) -> Floats:
    """`(J,)`: what each answer counts beside one that repeats no other, as those given in one look are alike.

    Somebody who is inattentive misses many things of an image at once. With m answers in a look and the correlation ρ
    of two of them each counts 1 / (1 + (m - 1) ρ): L. Kish, Survey Sampling (1965). One ρ is measured on everybody, by
    moments.

    Args:
        right: `(J,)` how right each answer is, 0 to 1, as far as others tell.
        group: `(J,)` int64, whose it is.
        look: `(J,)` int64, in which look it was given.
    """
    apart = right - (np.bincount(group, weights=right) / np.maximum(np.bincount(group), 1))[group]
    size, total = np.bincount(look), np.bincount(look, weights=apart)
    squares = np.bincount(look, weights=apart**2)
    pairs = float(((size - 1) * squares)[size > 1].sum())
    alike = float((total**2 - squares).sum())
    correlation = min(max(alike / pairs, 0.0), 1.0) if pairs > 0 else 0.0
    return np.asarray(1 / (1 + (size[look] - 1) * correlation))


def _quantiles(density: Floats) -> Floats:
    """`(G, 2)`: the ends of the middle 95 % of densities `(G, P)` over the grid."""
    below = density.cumsum(axis=1)
    width = _GRID[1] - _GRID[0]
    ends = []
    for tail in _TAILS:
        place = np.minimum((below < tail).sum(axis=1), len(_GRID) - 1)
        mass = np.take_along_axis(density, place[:, None], axis=1)[:, 0]
        over = np.take_along_axis(below, place[:, None], axis=1)[:, 0] - tail
        ends.append(_GRID[place] + width / 2 - width * over / mass)
    return np.clip(np.stack(ends, axis=1), 0, 1)
