"""Answers weighed by the ability of who gave them and the difficulty of what they are about.

J. Whitehill et al., Whose Vote Should Count More: Optimal Integration of Labels from Labelers of Unknown Expertise
(NIPS 2009).
"""

import numpy as np

from qa.consensus import belief
from qa.consensus.belief import Consensus
from store.arrays import Floats, Ints

_ROUNDS = 60
_STEPS = 15  # of the optimiser in each
_TOLERANCE = 1e-4  # of a posterior
_ABILITY = 1.0  # the mean of its prior; its deviation and that of the logarithm of easiness are 1


def fit(answers: Ints, known: Ints, *, annotators: int, classes: int) -> Consensus:
    """Annotator a is right about item n with the chance σ(αₐ · exp(βₙ)), and wrong answers fall evenly.

    Both have a normal prior. See `qa.consensus` for `answers` and `known`.
    """
    from scipy.optimize import minimize

    parameters = np.concatenate([np.full(annotators, _ABILITY), np.zeros(len(known))])
    posteriors = _e_step(answers, known, parameters, annotators, classes)
    for _ in range(_ROUNDS):
        right = posteriors[answers[:, 0], answers[:, 2]]
        found = minimize(
            _surprise,
            parameters,
            (answers, right, annotators),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _STEPS},
        )
        parameters = found.x
        before, posteriors = posteriors, _e_step(answers, known, parameters, annotators, classes)
        if np.abs(posteriors - before).max(initial=0.0) < _TOLERANCE:
            break
    return belief.of(posteriors, answers, annotators=annotators)


def _e_step(answers: Ints, known: Ints, parameters: Floats, annotators: int, classes: int) -> Floats:
    """Posteriors `(N, C)`; the logarithm of the odds of a right answer is α · exp(β)."""
    odds = parameters[answers[:, 1]] * np.exp(parameters[annotators + answers[:, 0]])
    cells = answers[:, 0] * classes + answers[:, 2]
    evidence = np.bincount(cells, weights=odds + np.log(classes - 1), minlength=len(known) * classes)
    return belief.normalised(np.asarray(evidence, dtype=np.float64).reshape(len(known), classes), known)


def _surprise(parameters: Floats, answers: Ints, right: Floats, annotators: int) -> tuple[float, Floats]:
    """Negative expected log-likelihood with the priors, and its gradient; `right` `(M,)` is each answer's chance."""
    from scipy.special import expit, log_expit

    ability, ease = parameters[:annotators], np.exp(parameters[annotators:])
    of_annotator, of_item = ability[answers[:, 1]], ease[answers[:, 0]]
    odds = of_annotator * of_item
    loss = -(right * log_expit(odds) + (1 - right) * log_expit(-odds)).sum()
    loss += ((ability - _ABILITY) ** 2).sum() / 2 + (parameters[annotators:] ** 2).sum() / 2
    slope = expit(odds) - right
    by_ability = np.bincount(answers[:, 1], weights=slope * of_item, minlength=annotators) + ability - _ABILITY
    by_ease = np.bincount(answers[:, 0], weights=slope * odds, minlength=len(ease)) + parameters[annotators:]
    return float(loss), np.concatenate([by_ability, by_ease])
