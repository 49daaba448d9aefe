"""What an annotator answers to each class, from few answers: what is not known of them is taken from what is."""

import numpy as np

from qa.consensus.belief import PRIOR_RIGHT, PRIOR_WRONG
from store.arrays import Floats

_STRENGTH = 20.0  # how many answers a belief counts as: of how everybody confuses, of how often someone is right
_OWN = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 256.0)  # the same, to each class, of what someone confuses; one is chosen


def shrunk(counts: Floats) -> Floats:
    """Confusions `(A, C, C)`, each row summing to 1, from how often annotator a answered class j to an item of class i.

    A Dirichlet prior three storeys high. All people together are shrunk towards one accuracy with wrong answers evenly
    spread; each person towards all people, bent until they are as often right as this person; then their own answers
    count. So a newcomer is everybody, someone with twenty answers is as careful or careless as these show, and someone
    with hundreds confuses what only they confuse. How much alike people are is not assumed: of several strengths of the
    last storey that one is taken under which these counts are the likeliest.

    Args:
        counts: `(A, C, C)` float64, expected where the truth is not certain.
    """
    classes = counts.shape[-1]
    pooled = counts.sum(axis=0)
    accuracy = (np.trace(pooled) + PRIOR_RIGHT) / (pooled.sum() + PRIOR_RIGHT + PRIOR_WRONG)
    even = np.full((classes, classes), (1 - accuracy) / (classes - 1))
    np.fill_diagonal(even, accuracy)
    everybody = _rows(pooled + _STRENGTH * even)
    given = counts.sum(axis=(1, 2)) + _STRENGTH
    usual = (counts.sum(axis=2) @ everybody.diagonal() + _STRENGTH * accuracy) / given  # everybody, on what they saw
    own = (np.trace(counts, axis1=1, axis2=2) + _STRENGTH * accuracy) / given
    belief = _bent(everybody, own / (1 - own) * (1 - usual) / usual)
    strength = max(_OWN, key=lambda one: _evidence(counts, one * belief))
    return _rows(counts + strength * belief)


def _bent(confusion: Floats, odds: Floats) -> Floats:
    """`(A, C, C)`: a confusion `(C, C)` with the odds of a right answer multiplied by `odds` `(A,)`."""
    factors = np.ones((len(odds), *confusion.shape))
    places = np.arange(len(confusion))
    factors[:, places, places] = odds[:, None]
    return _rows(confusion * factors)


def _evidence(counts: Floats, prior: Floats) -> float:
    """Logarithm of how likely counts `(A, C, C)` are when each row is drawn from a Dirichlet distribution `prior`."""
    from scipy.special import gammaln

    rows = gammaln(prior.sum(axis=-1)) - gammaln((counts + prior).sum(axis=-1))
    return float(rows.sum() + (gammaln(counts + prior) - gammaln(prior)).sum())


def _rows(values: Floats) -> Floats:
    scaled: Floats = values / values.sum(axis=-1, keepdims=True)
    return scaled
