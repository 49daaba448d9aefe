"""Answers weighed by the ability of who gave them and the difficulty of what they are about.

J. Whitehill et al., Whose Vote Should Count More: Optimal Integration of Labels from Labelers of Unknown Expertise
(NIPS 2009). How easy each item is is integrated over, not set to what fits best: with a few answers to an item the best
ease is that which makes the class ahead a certainty, and where overlap is sparse that loses to the majority.
"""

import numpy as np

from qa.consensus import belief
from qa.consensus.belief import Consensus
from store.arrays import Floats, Ints

_ROUNDS = 60
_STEPS = 15  # of the optimiser in each
_TOLERANCE = 1e-4  # of a posterior
_ABILITY = 1.6  # the mean of its prior: most are right about eight of ten items that are as easy as usual,
_SPREAD = 0.5  # and its deviation; that of the logarithm of ease is 1
_NODES = 9  # of the quadrature over ease


def fit(answers: Ints, known: Ints, *, annotators: int, classes: int) -> Consensus:
    """Annotator a is right about item n with the chance σ(αₐ · exp(βₙ)), and wrong answers fall evenly.

    Both have a normal prior. See `qa.consensus` for `answers` and `known`.
    """
    from scipy.optimize import minimize

    ability = np.full(annotators, _ABILITY)
    posteriors: Floats = np.full((len(known), classes), 1 / classes)
    for _ in range(_ROUNDS):
        before = posteriors
        joint = _e_step(answers, known, ability, classes)
        posteriors = joint.sum(axis=2)
        if np.abs(posteriors - before).max(initial=0.0) < _TOLERANCE:
            break
        item, who, said = answers.T
        right, either = joint[item, said], joint.sum(axis=1)[item]
        found = minimize(
            _surprise,
            ability,
            (_by_annotator(who, right, annotators), _by_annotator(who, either - right, annotators)),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _STEPS},
        )
        ability = found.x
    settled = known >= 0
    posteriors[settled] = np.eye(classes)[known[settled]]  # to the last digit
    return belief.of(posteriors, answers, annotators=annotators)


def _eases() -> tuple[Floats, Floats]:
    """`(K,)` both: eases exp(β), and how likely each is, so that sums over them are integrals over a normal β."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    return np.exp(nodes), weights / weights.sum()


def _e_step(answers: Ints, known: Ints, ability: Floats, classes: int) -> Floats:
    """`(N, C, K)`: how likely each class of each item is together with each ease."""
    from scipy.special import log_expit

    ease, weight = _eases()
    item, who, said = answers.T
    odds = ability[who, None] * ease
    wrong = log_expit(-odds) - np.log(classes - 1)
    evidence = np.zeros((len(known), classes, len(ease)))
    evidence += np.log(weight)
    np.add.at(evidence, item, wrong[:, None, :])
    np.add.at(evidence, (item, said), log_expit(odds) - wrong)
    evidence[(known[:, None] >= 0) & (known[:, None] != np.arange(classes))] = -np.inf
    unknown = np.full(len(known), -1)
    return belief.normalised(evidence.reshape(len(known), classes * len(ease)), unknown).reshape(evidence.shape)


def _by_annotator(who: Ints, chance: Floats, annotators: int) -> Floats:
    """`(A, K)`: the sums over each annotator's answers `(M, K)`."""
    columns = [np.bincount(who, weights=column, minlength=annotators) for column in chance.T]
    return np.stack(columns, axis=1)


def _surprise(ability: Floats, right: Floats, wrong: Floats) -> tuple[float, Floats]:
    """Negative expected log-likelihood of the answers with the prior, and its gradient.

    Args:
        ability: `(A,)`.
        right: `(A, K)`, how many right answers each gave to items of each ease, as far as is known;
        wrong: `(A, K)`, and how many wrong ones.
    """
    from scipy.special import expit, log_expit

    ease, _ = _eases()
    odds = ability[:, None] * ease
    away = (ability - _ABILITY) / _SPREAD**2
    loss = -(right * log_expit(odds) + wrong * log_expit(-odds)).sum() + (away * (ability - _ABILITY)).sum() / 2
    slope = (((right + wrong) * expit(odds) - right) * ease).sum(axis=1)
    return float(loss), slope + away
