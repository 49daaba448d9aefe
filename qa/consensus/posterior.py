"""Answers, what each annotator confuses, and what a model says, as one posterior that means what it says.

Bayes' rule multiplies the evidence as if it were independent. It is not: what is hard for one person is hard for the
next, and for the model, so the product is too sure of itself. How far each source can be trusted is measured without
knowing any truth: every answer after the first is a prediction to check. The powers to which the evidence is raised are
those under which each later answer, and each class that is known, was least of a surprise given what came before it.
"""

from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from qa.consensus import belief, confusion
from qa.consensus.belief import Consensus
from store.arrays import Floats, Ints

NAMED = 5.0  # how often each class counts as named beforehand: a dozen answers of one kind are not yet a rule

_MOST_STEPS = 200  # of expectation and maximisation
_TOLERANCE = 1e-5  # mean change of a posterior in the last of them
_EVERY = 5  # steps after which trust is measured anew,
_MEASURED = 8  # so many times
_MOST_CHECKED = 40_000  # answers that trust is measured on,
_ENOUGH = 50  # and how many checks it takes to measure it
_BOUNDS = ((0.0, 3.0), (0.1, 1.0), (0.0, 1.0))  # of the three powers; an answer tells what its confusion says at most
_SMALLEST = 1e-9  # what a model's probability of zero counts as
_CAUTION = 10.0  # how strongly trust is drawn to what is usual


@dataclass(frozen=True)
class Trust:
    """The powers of the evidence: n answers to an item count as `answer` · n / (1 + (n - 1) · `repeat`) independent."""

    model: float = 0.8  # of the model's probabilities
    answer: float = 1.0  # of a single answer
    repeat: float = 0.1  # how much the answers to one item repeat each other, 0 to 1

    def per_answer(self, count: Floats | Ints) -> Floats:
        """The power of each of `count` answers to an item."""
        power: Floats = self.answer / (1 + np.maximum(count - 1, 0) * self.repeat)
        return power


USUAL = Trust()
AS_THEY_ARE = Trust(model=1, answer=1, repeat=0)  # of counts, and of answers one by one


@dataclass(frozen=True)
class Posterior(Consensus):
    """A consensus with the confusions it rests on."""

    confusion: Floats  # (A, C, C) float64: what an annotator answers to an item of each class, rows sum to 1
    trust: Trust
    probabilities: Floats | None = None  # (N, C) float64: what the model said, if there was one


def fit(
    answers: Ints,
    known: Ints,
    *,
    annotators: int,
    classes: int,
    probabilities: Floats | None = None,
    trust: Trust | None = None,
) -> Posterior:
    """Weigh each answer by what its annotator confuses, and the model by how well it foretells the answers.

    Args:
        answers: `(M, 3)` int64, see `qa.consensus`; the answers to one item in the order in which they were given. Who
            was asked next may depend on the answers before, never on the truth.
        known: `(N,)` int64, see there.
        annotators: A, how many there are.
        classes: C, how many there are, at least 2.
        probabilities: `(N, C)` of a model that has not seen the answers to the item it speaks of; without, each class
            is beforehand as likely as it is an answer, and who was the only one to see an item is not judged by it.
            Were all equally likely, a class that nobody ever names could be what everybody takes for another.
        trust: Taken as given; without, it is measured where there are 50 later answers, else the usual.

    Returns:
        An annotator without answers confuses what everybody confuses.
    """
    from scipy.sparse import diags_array

    said = belief.incidence(answers, items=len(known), annotators=annotators, classes=classes)
    given = np.bincount(answers[:, 0], minlength=len(known))
    if probabilities is None:
        prior = np.log(frequencies(answers, classes=classes))[None, :]
        judged = np.flatnonzero((given > 1) | (known >= 0))
    else:
        prior, judged = np.log(np.maximum(probabilities, _SMALLEST)), np.arange(len(known))
    of_each = np.broadcast_to(prior, (len(known), classes))
    is_all = len(judged) == len(known)
    said_of = (said if is_all else said[judged]).T
    checks = None if trust is not None else _Checks.of(answers, known, first_answers=probabilities is not None)
    weights = trust or USUAL
    matrices = confusion.shrunk(np.zeros((annotators, classes, classes)))  # everybody is a newcomer
    if checks is not None:
        weights = checks.trust(matrices, of_each, start=USUAL)  # before a model that knows nothing has misled anyone
    posteriors: Floats = np.full((len(known), classes), 1 / classes)

    def trusted(weights: Trust) -> tuple[Any, Floats]:
        """The answers and the prior, raised to their powers."""
        return diags_array(weights.per_answer(given)) @ said, weights.model * prior

    weighed, offset = trusted(weights)
    for step in range(1, _MOST_STEPS + 1):
        before = posteriors
        posteriors = belief.normalised(_evidence(weighed, matrices) + offset, known)
        matrices = _confusions(said_of, posteriors if is_all else posteriors[judged])
        if checks is not None and step % _EVERY == 0 and step <= _MEASURED * _EVERY:
            weights = checks.trust(matrices, of_each, start=weights)
            weighed, offset = trusted(weights)
        elif step > _EVERY:
            np.subtract(posteriors, before, out=before)
            if np.abs(before, out=before).sum() <= _TOLERANCE * posteriors.size:
                break
    found = belief.of(posteriors, answers, annotators=annotators)
    return Posterior(posteriors, found.accuracy, found.interval, found.answers, matrices, weights, probabilities)


def of_people(answers: Ints, known: Ints, *, annotators: int, classes: int, model: Floats | None = None) -> Posterior:
    """The posterior by which people are judged: how common classes are is learnt too, and answers are heard one by one.

    Mistakes make a rare class look common, and then those who are right about it look wrong. Labels are believed more
    cautiously, by `fit`: where two look, people who miss a rare class answer as if it were rarer and they right.
    As often as wrong answers repeat each other because items are hard, everybody looks better than they are.

    Where a model's word decides who is asked again, it has to be heard here too. Second answers are then to items whose
    first one it contradicts, and those alone make everybody look worse.

    Args:
        answers, known, annotators, classes: see `fit`.
        model: `(N, C)` how likely a model that has not seen the answers holds each class, as far as it is trusted; rows
            of NaN where it said nothing.
    """
    said = belief.incidence(answers, items=len(known), annotators=annotators, classes=classes)
    is_silent = np.ones(len(known), dtype=np.bool_) if model is None else np.isnan(model).any(axis=1)
    tells = is_silent & (np.bincount(answers[:, 0], minlength=len(known)) > 0)  # how common classes are
    shares = frequencies(answers, classes=classes)
    beforehand: Floats = np.ones((len(known), classes)) if model is None else np.maximum(model, _SMALLEST)
    matrices = confusion.shrunk(np.zeros((annotators, classes, classes)))
    posteriors: Floats = np.full((len(known), classes), 1 / classes)
    for _ in range(_MOST_STEPS):
        before = posteriors
        beforehand[is_silent] = shares
        posteriors = belief.normalised(_evidence(said, matrices) + np.log(beforehand), known)
        matrices = _confusions(said.T, posteriors)
        shares = (posteriors[tells].sum(axis=0) + 1) / (tells.sum() + classes)
        if np.abs(posteriors - before).sum() <= _TOLERANCE * posteriors.size:
            break
    found = belief.of(posteriors, answers, annotators=annotators)
    return Posterior(posteriors, found.accuracy, found.interval, found.answers, matrices, AS_THEY_ARE, beforehand)


def _evidence(said: Any, matrices: Floats) -> Floats:
    """`(N, C)`: logarithms of how likely the answers to each item are, see `belief.incidence`."""
    return np.asarray(said @ np.log(matrices).swapaxes(1, 2).reshape(-1, matrices.shape[-1]))


def _confusions(said_of: Any, posteriors: Floats) -> Floats:
    """`(A, C, C)`, from the answers, transposed, and what is believed of their items."""
    classes = posteriors.shape[1]
    counts = (said_of @ posteriors).reshape(-1, classes, classes)
    return confusion.shrunk(counts.swapaxes(1, 2))


def frequencies(answers: Ints, *, classes: int) -> Floats:
    """`(C,)`: the share of each class among answers `(M, 3)` and `NAMED` more of each."""
    counts = np.bincount(answers[:, 2], minlength=classes) + NAMED
    return np.asarray(counts / counts.sum())


@dataclass(frozen=True)
class _Checks:
    """Rows of answers that can be foretold from those before them, and items whose class is known."""

    rows: Ints  # (R, 3) answers, those to one item together
    first: Ints  # (R,) where those to the same item begin
    foretold: Ints  # positions in rows: answers to check against what came before them
    settled: Ints  # positions in rows: the last answers to items whose class is known,
    classes: Ints  # and these classes

    @classmethod
    def of(cls, answers: Ints, known: Ints, *, first_answers: bool) -> "_Checks | None":
        """None where there are too few; `first_answers`, foretold by the model alone, stand in for later ones."""
        rows = answers[np.argsort(answers[:, 0], kind="stable")]
        if len(rows) > _MOST_CHECKED:
            rows = rows[np.isin(rows[:, 0], _some_items(rows[:, 0]))]
        _, first, lengths = np.unique(rows[:, 0], return_index=True, return_counts=True)
        begins = np.repeat(first, lengths)
        open_ = known[rows[:, 0]] < 0
        later = np.flatnonzero(open_ & (np.arange(len(rows)) > begins))
        last = first + lengths - 1
        settled = last[known[rows[last, 0]] >= 0]
        if first_answers and len(later) + len(settled) < _ENOUGH:
            later = np.flatnonzero(open_)
        if len(later) + len(settled) < _ENOUGH:
            return None
        return cls(rows, begins, later, settled, known[rows[settled, 0]])

    def trust(self, matrices: Floats, prior: Floats, *, start: Trust) -> Trust:
        """The powers under which what is checked surprises least, drawn to what is usual where there is little."""
        from scipy.optimize import minimize

        likelihood = matrices[self.rows[:, 1], :, self.rows[:, 2]]  # (R, C): how likely each answer is under each class
        after = np.log(likelihood).cumsum(axis=0)
        before = after - np.log(likelihood)
        earlier = before - before[self.first]
        count = np.arange(len(self.rows)) - self.first
        seen = np.concatenate([self.foretold, self.settled])
        facts = _Facts(
            prior=prior[self.rows[seen, 0]],
            answers=np.concatenate([earlier[self.foretold], (after - before[self.first])[self.settled]]),
            count=np.concatenate([count[self.foretold], count[self.settled] + 1]),
            came=np.concatenate([likelihood[self.foretold], np.eye(prior.shape[1])[self.classes]]),
        )
        found = minimize(facts.surprise, astuple(start), jac=True, method="L-BFGS-B", bounds=_BOUNDS)
        return Trust(*found.x.tolist())


@dataclass(frozen=True)
class _Facts:
    """What was known before each check, and what came; S checks."""

    prior: Floats  # (S, C) logarithms
    answers: Floats  # (S, C) logarithms of the likelihood of the answers before
    count: Ints  # (S,) how many they are
    came: Floats  # (S, C) how likely what came is under each class

    def surprise(self, powers: Floats) -> tuple[float, Floats]:
        """Negative log-likelihood of all that came, plus a caution; and its gradient."""
        model, answer, repeat = powers
        shared = 1 / (1 + np.maximum(self.count - 1, 0) * repeat)
        evidence = model * self.prior + (answer * shared)[:, None] * self.answers
        joint = np.exp(evidence - evidence.max(axis=1, keepdims=True))
        expected = joint / joint.sum(axis=1, keepdims=True)
        chance = (expected * self.came).sum(axis=1)
        shift = expected * (self.came / chance[:, None] - 1)  # of the logarithm of the chance, by evidence
        by_power = shared * (shift * self.answers).sum(axis=1)
        by_repeat = -answer * shared * np.maximum(self.count - 1, 0) * by_power
        gradient = np.array([(shift * self.prior).sum(), by_power.sum(), by_repeat.sum()])
        away = powers - astuple(USUAL)
        return float(-np.log(chance).sum() + _CAUTION * (away**2).sum()), 2 * _CAUTION * away - gradient


def _some_items(items: Ints) -> Ints:
    """Of ascending items with answers, so many that about as many answers remain as are checked at most."""
    distinct = np.unique(items)
    share = _MOST_CHECKED / len(items)
    return np.random.default_rng(0).permutation(distinct)[: max(1, int(share * len(distinct)))]
