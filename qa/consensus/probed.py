"""The posterior with the built-in probe as its model: each learns from the other, in turn."""

import numpy as np

from qa.consensus import posterior
from qa.consensus.posterior import Posterior
from sampling import head
from sampling.head import Settings, Views
from store.arrays import Bools, Floats, Ints

_FOLDS = 5
_ROUNDS = 2  # more change little
_VIEWS = (Settings(smooth=True, inverse_penalty=10.0), Settings(smooth=False, inverse_penalty=10.0))
_TOLERANCE = 1e-3  # of a probe's training: four times as fast as scikit-learn's default, as good a posterior
_LEAST_WEIGHT = 0.02  # of a class in a posterior, below which the probe need not hear of it


def fit(
    answers: Ints,
    known: Ints,
    views: Views,
    tied: Ints,
    *,
    annotators: int,
    classes: int,
    seed: int = 0,
    believed: Floats | None = None,
) -> Posterior:
    """Train the probe on what the answers say, weigh the answers with what it says, and once more.

    What is said of an item comes from a probe trained on folds that hold neither it nor anything tied to it.

    Args:
        answers: `(M, 3)` int64, see `qa.consensus`, those to one item in the order in which they were given.
        known: `(N,)` int64, see there.
        views: Of all N items.
        tied: `(N,)` int64, the component of each item, such as `sampling.head` takes.
        annotators: A, how many there are.
        classes: C, how many there are, at least 2.
        seed: Deals the folds.
        believed: `(N, C)` posteriors from before the newest answers, which spare a round.

    Returns:
        Where the answers name a single class, or no fold could learn two, the posterior without a model.
    """

    def weigh(probabilities: Floats | None = None) -> Posterior:
        return posterior.fit(answers, known, annotators=annotators, classes=classes, probabilities=probabilities)

    if len(np.union1d(answers[:, 2], known[known >= 0])) < 2:
        return weigh()
    heard = (np.bincount(answers[:, 0], minlength=len(known)) > 0) | (known >= 0)
    folds = folds_of(tied, seed=seed)
    found = None
    for _ in range(_ROUNDS if believed is None else 1):
        if believed is None:
            believed = weigh().posteriors
        probabilities = out_of_fold(views, believed, heard, folds)
        if probabilities is None:
            break
        found = weigh(probabilities)
        believed = found.posteriors
    return found or weigh()


def out_of_fold(views: Views, posteriors: Floats, heard: Bools, folds: Ints) -> Floats | None:
    """What probes say that did not see an item's fold, `(N, C)`: the mean of one on each view.

    Args:
        views: Of N items.
        posteriors: `(N, C)`, which the probes learn from, each class by its weight.
        heard: `(N,)`, of which there is anything to learn.
        folds: `(N,)` int64.

    Returns:
        None where the items outside a fold hold fewer than two classes.
    """
    result = np.zeros(posteriors.shape)
    for fold in np.unique(folds):
        item, target = np.nonzero((posteriors > _LEAST_WEIGHT) & (heard & (folds != fold))[:, None])
        if len(np.unique(target)) < 2:
            return None
        weights = posteriors[item, target]
        unseen = np.flatnonzero(folds == fold)
        for settings in _VIEWS:
            seen = views.seen(settings)
            trained = head.fit(seen[item], target, settings, weights=weights, tolerance=_TOLERANCE)
            result[unseen] += head.predict(trained, seen[unseen], classes=posteriors.shape[1]) / len(_VIEWS)
    return result


def folds_of(tied: Ints, *, seed: int = 0) -> Ints:
    """`(N,)` int64: a fold for each item, the same for what is `tied` `(N,)`; of about equally many components."""
    _, component = np.unique(tied, return_inverse=True)
    count = int(component.max(initial=-1)) + 1
    dealt: Ints = (np.random.default_rng(seed).permutation(count) % _FOLDS)[component]
    return dealt
