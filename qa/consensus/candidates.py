"""Whether what some annotators drew is there and what it is, from who drew it, who did not, and what they called it.

A candidate is what one or more annotators drew at one place. Either it is there and of some class: then each annotator
who saw the image drew it with their recall for that class, and called it what they call that class. Or it is a false
object: then each drew it with their false-positive rate, and called it anything. What nobody drew is no candidate,
which the likelihood allows for: the latent class model of capture and recapture, A. Chao et al., The Applications of
Capture-Recapture Models to Epidemiological Data (2001), with the confusions of Dawid and Skene (1979). All is found by
expectation and maximisation, with priors that leave two annotators and a few images to the majority. If what is hard to
see is missed by everybody alike, more is missed than is said here.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from qa.consensus import belief, confusion, rates
from qa.consensus.belief import PRIOR_RIGHT, PRIOR_WRONG
from qa.consensus.posterior import USUAL
from store.arrays import Bools, Floats, Ints

_DRAWN, _NOT_DRAWN = 16.0, 4.0  # as if so many things that are there had been drawn, and so many not,
_GHOST_DRAWN, _GHOST_NOT_DRAWN = 2.0, 18.0  # and so many false objects
_SETTLED = 20  # images of which what is there is known: so many tell what somebody sees, whoever else looked
_STEPS = 300
_TOLERANCE = 1e-5  # of a posterior
_RANGE = (0.005, 0.995)  # of recalls and chances
_SMALLEST = 1e-9


@dataclass(frozen=True)
class Candidates:
    """What is there, and how good annotators are at saying so."""

    existence: Floats  # (K,) float64, the chance that a candidate is there
    classes: Floats  # (K, C) float64, what it is if it is there; rows sum to 1
    undrawn: Floats  # (N, C + 1) float64, things of a class that nobody drew yet, at last false objects
    recall: Floats  # (A, C) float64, the chance that an annotator draws a thing of a class,
    false_positive_rate: Floats  # (A,) float64, and a false object
    ghosts: Floats  # (A,) float64, how many things that are not there an annotator draws in an image; 0 without images
    confusion: Floats  # (A, C, C) float64, what an annotator calls a thing of each class; rows sum to 1
    ghost_calls: Floats  # (C,) float64, what people call a false object

    @property
    def missed(self) -> Floats:
        """`(N,)`: how many things in an image are expected that nobody drew."""
        return np.asarray(self.undrawn[:, :-1].sum(axis=1))


def fit(
    answers: Ints,
    image: Ints,
    seen: Ints,
    *,
    images: int,
    annotators: int,
    classes: int,
    known: Ints | None = None,
    gold: Bools | None = None,
) -> Candidates:
    """Weigh who drew a candidate, and what they called it, against who saw the image and drew nothing there.

    Args:
        answers: `(M, 3)` int64 rows of candidate, annotator and class, see `qa.consensus`; every candidate has one,
            or is known.
        image: `(K,)` int64, the image of each candidate.
        seen: `(S, 2)` int64 rows of image and annotator, once each: who looked, whatever they drew.
        images: N.
        annotators: A.
        classes: C, at least 1.
        known: `(K,)` int64: the class of a candidate, C where it is known not to be there, -1 where nothing is known.
        gold: `(N,)` which images were chosen to test people, and tell nothing of how much there is in others.

    Returns:
        Someone who saw nothing is everybody. Of an image that nobody saw as much is expected as of others.
    """
    drew = _ones(answers[:, :2], (len(image), annotators))
    called = belief.incidence(answers, items=len(image), annotators=annotators, classes=classes)
    given = np.bincount(answers[:, 0], minlength=len(image))
    power, is_drawn = USUAL.per_answer(given)[:, None], given > 0  # others are known to be there, or not
    looked = _ones(seen, (images, annotators))
    place = _ones(np.stack([image, np.arange(len(image))], axis=1), (images, len(image)))  # sums candidates by image
    usual = PRIOR_RIGHT / (PRIOR_RIGHT + PRIOR_WRONG)
    recall: Floats = np.full((annotators, classes), _DRAWN / (_DRAWN + _NOT_DRAWN))
    false_positive_rate: Floats = np.full(annotators, _GHOST_DRAWN / (_GHOST_DRAWN + _GHOST_NOT_DRAWN))
    calls = _confusions(np.zeros((annotators, classes, classes)))
    ghost_calls = np.full(classes, 1 / classes)
    shares = np.append(np.full(classes, usual / classes), 1 - usual)  # of the candidates; at last of what is not there
    posteriors: Floats = np.zeros((len(image), classes + 1))
    known = np.full(len(image), -1) if known is None else known
    is_usual = np.ones(images, dtype=np.bool_) if gold is None else ~gold
    tells, is_heard = is_usual[image], is_usual[image] & is_drawn  # how common things, and false objects, are
    alike = _alike(seen, looked.T @ (place @ (known >= 0) > 0), images=images)
    for _ in range(_STEPS):
        before = posteriors
        draws = np.column_stack([recall, false_positive_rate])
        unseen: Floats = np.exp(looked @ np.log1p(-draws))  # (N, C + 1): that nobody draws one in an image
        evidence = np.log(shares) + drew @ (np.log(draws) - np.log1p(-draws))
        evidence += np.log(unseen / np.maximum(1 - unseen, _SMALLEST))[image]
        by_class = np.concatenate([calls, np.tile(ghost_calls, (annotators, 1, 1))], axis=1)
        evidence += power * (called @ np.log(by_class).swapaxes(1, 2).reshape(-1, classes + 1))
        posteriors = belief.normalised(evidence, known)
        if np.abs(posteriors - before).max(initial=0.0) < _TOLERANCE:
            break
        there, ghost = posteriors[:, :-1], posteriors[:, -1]
        certain = np.where((known >= 0)[:, None], posteriors, 0.0)
        certain[:, -1] = 0  # nobody knows how many false objects there are
        opened = (place @ (posteriors - certain)) / np.maximum(1 - unseen, _SMALLEST)  # with those that nobody drew
        opened += place @ certain
        hits, chances = alike @ (drew.T @ there), alike @ (looked.T @ opened[:, :-1])
        recall = rates.shrunk(hits, chances, prior=(_DRAWN, _NOT_DRAWN), within=_RANGE)
        false_positive_rate = _false_positive_rates(alike @ (drew.T @ ghost), alike @ (looked.T @ opened[:, -1]))
        counts = (called.T @ there).reshape(annotators, classes, classes).swapaxes(1, 2)
        calls = _confusions(counts)
        of_ghosts = (called.T @ ghost).reshape(annotators, classes).sum(axis=0) + 1
        ghost_calls = of_ghosts / of_ghosts.sum()
        prior = np.append(np.full(classes, PRIOR_RIGHT / classes), PRIOR_WRONG)
        held = posteriors[tells, :-1].sum(axis=0)  # also what is known and nobody drew tells how common classes are
        held *= posteriors[is_heard, :-1].sum() / max(held.sum(), _SMALLEST)
        shares = (np.append(held, posteriors[is_heard, -1].sum()) + prior) / (is_heard.sum() + prior.sum())
    there = posteriors[:, :-1]
    existence = there.sum(axis=1)
    return Candidates(
        existence=existence,
        classes=there / np.maximum(existence, _SMALLEST)[:, None],
        undrawn=np.column_stack(
            [
                _missed(place @ (there * is_drawn[:, None]), unseen[:, :-1], is_usual),
                _false_objects_left(posteriors[:, -1], unseen[:, -1]),
            ]
        ),
        recall=recall,
        false_positive_rate=false_positive_rate,
        ghosts=np.asarray(drew.T @ posteriors[:, -1]) / np.maximum(looked.sum(axis=0), 1),
        confusion=calls,
        ghost_calls=ghost_calls,
    )


def _alike(seen: Ints, settled: Ints, *, images: int) -> Floats:
    """`(A, A)`: whose counts are whose, summed by a product: people whom nothing tells apart have theirs in common.

    Args:
        seen: see `fit`.
        settled: `(A,)` how many images in which something is known each looked at.
        images: N.
    """
    told = belief.told_by_others(seen, items=images, annotators=len(settled)) | (settled >= _SETTLED)
    return np.where(told[:, None] | told, np.eye(len(settled)), 1.0)


def _ones(rows: Ints, shape: tuple[int, int]) -> Any:
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(rows)), (rows[:, 0], rows[:, 1])), shape=shape)


def _confusions(counts: Floats) -> Floats:
    return np.ones_like(counts) if counts.shape[-1] == 1 else confusion.shrunk(counts)


def _false_positive_rates(drawn: Floats, chances: Floats) -> Floats:
    """`(A,)`: the chance of drawing a false object, each one's shrunk towards everybody's."""
    usual = (drawn.sum() + _GHOST_DRAWN) / (chances.sum() + _GHOST_DRAWN + _GHOST_NOT_DRAWN)
    shrunk: Floats = np.clip((drawn + rates.ALIKE * usual) / (chances + rates.ALIKE), *_RANGE)
    return shrunk


def _missed(there: Floats, unseen: Floats, is_usual: Bools) -> Floats:
    """`(N, C)`, from what was drawn and is there `(N, C)`, and the chance `(N, C)` that a thing is drawn by nobody.

    Images hold as many things as a Poisson process with a rate of their own gives; the rates have a Gamma distribution
    with the mean and the variance that the usual images `(N,)` together show. So an empty image is thought to hide few
    things where others hold many, and none where others hold none.
    """
    looked = (unseen.min(axis=1, initial=1.0) < 1) & is_usual
    held = (there / np.maximum(1 - unseen, _SMALLEST))[looked]
    if held.sum() <= 0:
        return np.zeros_like(there)
    hidden = unseen * (held.sum(axis=0) / held.sum())
    seen = 1 - hidden.sum(axis=1)
    found = there.sum(axis=1)
    counts = (found / np.maximum(seen, _SMALLEST))[looked]
    mean = counts.mean()
    beyond_poisson = counts.var() - mean * (1 / seen[looked]).mean()
    shape = min(mean**2 / max(beyond_poisson, _SMALLEST), 1e6)
    rate = (shape + found) / (shape / mean + seen)
    return np.asarray(rate[:, None] * hidden)


def _false_objects_left(ghosts: Floats, unseen: Floats) -> Floats:
    """`(N,)`: how many false objects are expected in each image that nobody drew, as many in one as in another.

    Args:
        ghosts: `(K,)`, the chances that candidates are false objects.
        unseen: `(N,)`, the chance that a false object is drawn by nobody.
    """
    return np.asarray(unseen * (ghosts.sum() / max(float((1 - unseen).sum()), _SMALLEST)))
