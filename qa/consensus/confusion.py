"""What an annotator answers to each class, from few answers: what is not known of them is taken from what is."""

import numpy as np

from qa.consensus.belief import PRIOR_RIGHT, PRIOR_WRONG
from store.arrays import Floats

# How many answers a belief counts as:
_AS_EASY = 10.0  # that a class is as easy as all are, for each class there is,
_AS_GOOD = 20.0  # that someone is as good as all are;
# where one is chosen, the first if nothing speaks for another:
_EVEN = (6400.0, 1600.0, 400.0, 100.0, 20.0, 5.0)  # wrong ones to a class, that they fall evenly on the others,
_ALIKE = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 256.0)  # answers to a class, that someone confuses what everybody does


def shrunk(counts: Floats) -> Floats:
    """Confusions `(A, C, C)`, each row summing to 1, from how often annotator a answered class j to an item of class i.

    A Dirichlet prior three storeys high. All people together are shrunk towards one accuracy, and their wrong answers
    towards an even spread; each person towards all people, bent until they are as often right as this person; then
    their own answers count. So a newcomer is everybody, someone with twenty answers is as careful or careless as these
    show, and someone with hundreds confuses what only they confuse. Neither how evenly mistakes spread nor how much
    alike people are is assumed: of several strengths of either belief that one is taken under which the counts are the
    likeliest. Were the first mistake of a kind taken for a habit, each of the many kinds would prove itself.

    Args:
        counts: `(A, C, C)` float64, expected where the truth is not certain.
    """
    pooled = counts.sum(axis=0)
    accuracy = (np.trace(pooled) + PRIOR_RIGHT) / (pooled.sum() + PRIOR_RIGHT + PRIOR_WRONG)
    everybody = _everybody(pooled, accuracy)
    given = counts.sum(axis=(1, 2)) + _AS_GOOD
    usual = (counts.sum(axis=2) @ everybody.diagonal() + _AS_GOOD * accuracy) / given  # everybody, on what they saw
    own = (np.trace(counts, axis1=1, axis2=2) + _AS_GOOD * accuracy) / given
    belief = _bent(everybody, own / (1 - own) * (1 - usual) / usual)
    return _rows(counts + _likeliest(_ALIKE, counts, belief) * belief)


def _everybody(pooled: Floats, accuracy: float) -> Floats:
    """The confusion `(C, C)` of all people together, from their counts `(C, C)`."""
    as_easy = _AS_EASY * len(pooled)
    right = (pooled.diagonal() + as_easy * accuracy) / (pooled.sum(axis=1) + as_easy)
    is_wrong = ~np.eye(len(pooled), dtype=np.bool_)
    wrong = pooled[is_wrong].reshape(len(pooled), -1)
    even = np.full(wrong.shape, 1 / wrong.shape[1])
    confusion = np.diag(right)
    confusion[is_wrong] = ((1 - right)[:, None] * _rows(wrong + _likeliest(_EVEN, wrong, even) * even)).ravel()
    return confusion


def _likeliest(strengths: tuple[float, ...], counts: Floats, belief: Floats) -> float:
    """The strength of a belief `(…, K)` under which counts `(…, K)` are the likeliest, the first among equals."""
    return max(strengths, key=lambda one: _evidence(counts, one * belief))


def _bent(confusion: Floats, odds: Floats) -> Floats:
    """`(A, C, C)`: a confusion `(C, C)` with the odds of a right answer multiplied by `odds` `(A,)`."""
    factors = np.ones((len(odds), *confusion.shape))
    places = np.arange(len(confusion))
    factors[:, places, places] = odds[:, None]
    return _rows(confusion * factors)


def _evidence(counts: Floats, prior: Floats) -> float:
    """Logarithm of how likely counts `(…, K)` are when each row is drawn from a Dirichlet distribution `prior`."""
    from scipy.special import gammaln

    rows = gammaln(prior.sum(axis=-1)) - gammaln((counts + prior).sum(axis=-1))
    return float(rows.sum() + (gammaln(counts + prior) - gammaln(prior)).sum())


def _rows(values: Floats) -> Floats:
    scaled: Floats = values / values.sum(axis=-1, keepdims=True)
    return scaled
