"""How people find things: what share of what is there, what is not there, what they call it, and how near they come.

Answers are to things, see `qa.things`: the last class is that nothing is there. What is there is what is likelier than
not as far as others tell, the answer itself left out.
"""

from dataclasses import dataclass

import numpy as np

from qa.conduct import accuracy
from qa.conduct.accuracy import Estimates, Judged
from qa.consensus import belief, candidates, multilabel
from qa.consensus.posterior import AS_THEY_ARE, Posterior
from qa.gains import LIKELIER
from store.arrays import Bools, Floats, Ints

_SMALLEST = 1e-9
_SURE = 0.9  # what is so likely can be told
_TAILS = (0.025, 0.975)
_ALIKE = 4.0  # how many pairs of drawings the belief that somebody is off like everybody counts as
_FINEST = 1e-4  # nobody is off by less
_STEPS = 500  # half way to what the others leave for each, until nobody changes by more than
_TOLERANCE = 1e-6
_BEFOREHAND = 0.5  # of a ghost, that Jeffreys' prior of a rate counts as


def believe(
    answers: Ints,
    image: Ints,
    seen: Ints,
    known: Ints,
    *,
    gold: Bools | None = None,
    images: int,
    annotators: int,
    classes: int,
) -> Posterior:
    """What the answers say of all things, and what each annotator confuses, `qa.consensus.candidates` says.

    What is there and drawn by nobody is no question, and a false object even less: both are reckoned with in how
    likely a thing is to be nothing beforehand.

    Args:
        answers: `(M, 3)`.
        image: `(N,)` int64, where each thing is.
        seen: `(S, 2)` int64 rows of image and annotator.
        known: `(N,)` int64, see `accuracy.judge`.
        gold: see `candidates.fit`.
        images: how many there are.
        annotators: A.
        classes: C, that nothing is there among them.
    """
    nothing = classes - 1
    drawn = answers[answers[:, 2] != nothing]
    asked = np.union1d(drawn[:, 0], np.flatnonzero(known >= 0))  # else only somebody who does not count drew it
    found = candidates.fit(
        np.column_stack([np.searchsorted(asked, drawn[:, 0]), drawn[:, 1:]]),
        image[asked],
        seen,
        images=images,
        annotators=annotators,
        classes=nothing,
        known=known[asked],
        gold=gold,
    )
    there = np.column_stack([found.existence[:, None] * found.classes, 1 - found.existence])
    chances = np.column_stack([found.recall, found.false_positive_rate])
    calls = np.concatenate([found.confusion, np.tile(found.ghost_calls, (annotators, 1, 1))], axis=1)
    confusion = np.concatenate([chances[:, :, None] * calls, 1 - chances[:, :, None]], axis=2)
    unseen = np.zeros((images, classes))
    np.add.at(unseen, seen[:, 0], np.log1p(-chances[seen[:, 1]]))
    # gold that nobody has answered yet tells nothing of how much is missed
    was_seen = np.isin(image[asked], seen[:, 0])
    held = (there / np.maximum(1 - np.exp(unseen[image[asked]]), _SMALLEST))[was_seen].sum(axis=0) + _SMALLEST
    usual = np.tile(held / held.sum(), (len(image), 1))
    posteriors = usual.copy()
    posteriors[asked] = there
    fitted = belief.of(posteriors, answers, annotators=annotators)
    return Posterior(
        posteriors, fitted.accuracy, fitted.interval, fitted.answers, confusion, AS_THEY_ARE, probabilities=usual
    )


def believe_classes(
    answers: Ints,
    look: Ints,
    item: Ints,
    seen: Ints,
    known: Ints,
    *,
    settled: Ints,
    gold: Bools | None = None,
    items: int,
    annotators: int,
    classes: int,
) -> Posterior:
    """The same where each thing is a class of an item, by `qa.consensus.multilabel`: what nobody named counts there.

    Args:
        answers: `(M, 3)`.
        look: `(M,)` int64, in which each was given.
        item: `(N,)` int64, of which each thing is.
        seen: `(S, 2)` int64 rows of item and annotator, of each look.
        known: `(N,)` int64, see `accuracy.judge`.
        settled: the items of which all is known.
        gold: see `multilabel.fit`.
        items: how many there are.
        annotators: A.
        classes: C, that nothing is there among them.
    """
    nothing = classes - 1
    is_named = answers[:, 2] != nothing
    named = np.zeros((len(seen), nothing), dtype=np.bool_)
    named[look[is_named], answers[is_named, 2]] = True
    of = np.where(known < nothing, known, -1)
    of[answers[is_named, 0]] = answers[is_named, 2]
    truth = np.full((items, nothing), -1)
    truth[settled] = 0
    is_there = (known >= 0) & (known < nothing)
    truth[item[is_there], known[is_there]] = 1
    found = multilabel.fit(seen, named, truth, annotators=annotators, gold=gold)
    things = np.flatnonzero(of >= 0)
    posteriors, usual = np.full((2, len(item), classes), _SMALLEST)
    share = found.posteriors.mean(axis=0)
    for table, chance in ((posteriors, found.posteriors[item[things], of[things]]), (usual, share[of[things]])):
        table[things, of[things]] = np.maximum(chance, _SMALLEST)
        table[things, nothing] = np.maximum(1 - chance, _SMALLEST)
    confusion = np.full((annotators, classes, classes), _SMALLEST)
    number = np.arange(nothing)
    confusion[:, number, number], confusion[:, number, nothing] = found.sensitivity, 1 - found.sensitivity
    confusion[:, nothing, number], confusion[:, nothing, nothing] = (
        1 - found.specificity,
        found.specificity.mean(axis=1),
    )
    fitted = belief.of(posteriors, answers, annotators=annotators)
    return Posterior(
        posteriors, fitted.accuracy, fitted.interval, fitted.answers, confusion, AS_THEY_ARE, probabilities=usual
    )


@dataclass(frozen=True)
class Alone:
    """Which judged answers name what nobody else drew and nobody settled, and how likely those are right."""

    rows: Bools  # (J,)
    right: Floats  # (J,) by all that was said, the answer itself included; 1 of others

    @property
    def doubtful(self) -> Bools:
        """`(J,)`: those of which nobody can tell."""
        return np.asarray(self.rows & (self.right > 1 - _SURE) & (self.right < _SURE))


def alone(answers: Ints, counted: Bools, known: Ints, judged: Judged, found: Posterior) -> Alone:
    """What only one person drew.

    That others did not draw it would be held against whoever sees more than they; how much is there of what each alone
    draws is part of `found`.

    Args:
        answers, counted, known: see `accuracy.judge`.
        judged: what that gives.
        found: of `believe`.
    """
    nothing = judged.truth.shape[1] - 1
    is_drawn = answers[:, 2] != nothing
    heard = counted & is_drawn
    others = np.bincount(answers[heard, 0], minlength=len(known))[answers[:, 0]] - heard
    rows = np.asarray((is_drawn & (others == 0) & (known[answers[:, 0]] < 0))[judged.rows])
    mine = answers[judged.rows[rows]]
    told = judged.truth[rows] * found.confusion[mine[:, 1], :, mine[:, 2]]
    right = np.ones(len(rows))
    right[rows] = told[np.arange(len(mine)), mine[:, 2]] / told.sum(axis=1)
    return Alone(rows, right)


@dataclass(frozen=True)
class Rates:
    """How much there is of something in an image, for each of A people."""

    rate: Floats  # (A,) float64, NaN without images
    interval: Floats  # (A, 2) float64, 95 % credible
    images: Ints  # (A,)


def recall(answers: Ints, judged: Judged, weight: Floats, *, annotators: int) -> Estimates:
    """The share of what is there that each draws or names, whatever they call it: A groups of J judged answers.

    Args:
        answers: `(M, 3)`.
        judged: J of them.
        weight: `(J,)` what each counts, see `accuracy.estimate`.
        annotators: A.
    """
    there, said = _there(judged), answers[judged.rows]
    drew = said[:, 2] != judged.truth.shape[1] - 1
    kept = there > LIKELIER
    chance = np.where(drew, there, 1 - there)[kept]
    return accuracy.estimate(chance, said[kept, 1], groups=annotators, classes=2, weight=weight[kept])


def naming(answers: Ints, judged: Judged, weight: Floats, *, annotators: int) -> Estimates | None:
    """How often what each found is of the class they gave it; none where there is one class. See `recall`."""
    classes = judged.truth.shape[1] - 1
    if classes < 2:
        return None
    there, said = _there(judged), answers[judged.rows]
    kept = (there > LIKELIER) & (said[:, 2] < classes)
    chance = (judged.chance(answers)[kept] / there[kept]).clip(max=1)
    return accuracy.estimate(chance, said[kept, 1], groups=annotators, classes=classes, weight=weight[kept])


def ghosts(answers: Ints, judged: Judged, found: Posterior, images: Ints) -> Rates:
    """How many things that are not there each draws in an image.

    The interval is that of a Poisson rate with H. Jeffreys' prior; from where nothing that is in doubt is a ghost to
    where all of it is.

    Args:
        answers: `(M, 3)`.
        judged: J of them.
        found: of `believe`.
        images: `(A,)` how many that others saw too, or of which the truth is known.
    """
    from scipy.special import gammaincinv

    nothing = judged.truth.shape[1] - 1
    is_drawn = answers[judged.rows, 2] != nothing
    mine = answers[judged.rows[is_drawn]]
    told = judged.truth[is_drawn] * found.confusion[mine[:, 1], :, mine[:, 2]]
    chance = told[:, nothing] / told.sum(axis=1)
    count, fewest, most = (
        np.bincount(mine[:, 1], weights=each, minlength=len(images))
        for each in (chance, chance >= _SURE, chance > 1 - _SURE)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        low = gammaincinv(np.minimum(fewest, count) + _BEFOREHAND, _TAILS[0]) / images
        high = gammaincinv(np.maximum(most, count) + _BEFOREHAND, _TAILS[1]) / images
        return Rates(count / images, np.stack([low, high], axis=1), images)


def own_share(likeness: Floats, who: Ints, other: Ints, *, annotators: int) -> Floats:
    """`(P,)`: by which part of how far two drawings of a thing are apart `who` is off, so that they bear their own.

    The squares of how far two people are off add up, so one who is usually off by `a` beside another by `b` bears
    a / √(a² + b²). What is usual of each is what their mean squares beside others leave for them, drawn to everybody's.
    Where only two people draw, nothing tells them apart.

    Args:
        likeness: `(P,)` of the two drawings, 0 to 1.
        who: `(P,)` int64, whose the one is.
        other: `(P,)` int64, whose the other is; number A is an expert, who is right.
        annotators: A.
    """
    shape = annotators, annotators + 1
    cells = who * (annotators + 1) + other
    pairs = np.bincount(cells, minlength=annotators * (annotators + 1)).reshape(shape)
    squares = np.bincount(cells, weights=(1 - likeness) ** 2, minlength=pairs.size).reshape(shape)
    judging = np.unique(other[other < annotators])
    usual = max(squares[judging].sum() / max(2 * pairs[judging].sum(), 1), _FINEST**2)
    mean = squares / np.maximum(pairs, 1)
    variance = np.append(np.full(annotators, usual), 0.0)
    for _ in range(_STEPS):
        weight = pairs / (variance[:-1, None] + variance) ** 2  # of a mean square: how precise it is
        belief = _ALIKE / (2 * usual) ** 2
        own = ((weight * (mean - variance)).sum(axis=1) + belief * usual) / (weight.sum(axis=1) + belief)
        before, variance = variance, np.append(np.maximum((variance[:-1] + own) / 2, _FINEST**2), 0.0)
        if np.abs(np.sqrt(variance) - np.sqrt(before)).max() < _TOLERANCE:
            break
    return np.asarray(np.sqrt(variance[who] / (variance[who] + variance[other])))


def nearness(values: Floats, look: Ints, who: Ints, *, annotators: int) -> Estimates:
    """How near each draws to what is there: a mean over what they drew, and its 95 % confidence interval.

    How wrongly `own_share` tells people apart is not in it. What is drawn in one look is alike, so the error is that of
    a ratio of totals over looks, of which there are two or more: W. G. Cochran, Sampling Techniques (1977), sec. 6.3.

    Args:
        values: `(M,)` see `qa.things`; NaN is left out.
        look: `(M,)` int64, in which each was drawn.
        who: `(M,)` int64, by whom.
        annotators: A.
    """
    from scipy.stats import t

    mean, interval = np.zeros(annotators), np.tile([0.0, 1.0], (annotators, 1))
    count = np.zeros(annotators, dtype=np.int64)
    for one in range(annotators):
        mine: Bools = (who == one) & ~np.isnan(values)
        if not mine.any():
            continue
        _, place = np.unique(look[mine], return_inverse=True)
        size, looks = int(mine.sum()), int(place.max()) + 1
        count[one], mean[one] = size, values[mine].mean()
        if looks > 1:
            residual = np.bincount(place, weights=values[mine] - mean[one])
            error = float(np.sqrt((residual**2).sum() * looks / (looks - 1))) / size
            reach = t.ppf(_TAILS[1], looks - 1) * error
            interval[one] = np.clip([mean[one] - reach, mean[one] + reach], 0, 1)
    return Estimates(mean, interval, count)


def _there(judged: Judged) -> Floats:
    """`(J,)`: the chance that anything is there."""
    return np.asarray(1 - judged.truth[:, -1])
