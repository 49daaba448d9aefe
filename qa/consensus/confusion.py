"""What an annotator answers to each class, from few answers: what is not known of them is taken from what is."""

import numpy as np

from qa.consensus.belief import PRIOR_RIGHT, PRIOR_WRONG
from store.arrays import Floats

_STRENGTH = PRIOR_RIGHT + PRIOR_WRONG  # how many answers a belief about an accuracy, or about everybody, counts as
_OWN = 4.0  # how many answers to each class the belief counts as that someone confuses what everybody does


def shrunk(counts: Floats) -> Floats:
    """Confusions `(A, C, C)`, each row summing to 1, from how often annotator a answered class j to an item of class i.

    A Dirichlet prior three storeys high. All people together are shrunk towards one accuracy with wrong answers evenly
    spread; each person towards all people, bent until they are as often right as this person; then their own answers
    count. So a newcomer is everybody, someone with twenty answers is as careful or careless as these show, and someone
    with hundreds confuses what only they confuse.

    Args:
        counts: `(A, C, C)` float64, expected where the truth is not certain.
    """
    classes = counts.shape[-1]
    pooled = counts.sum(axis=0)
    right, total = np.trace(pooled), pooled.sum()
    accuracy = (right + PRIOR_RIGHT) / (total + _STRENGTH)
    even = np.full((classes, classes), (1 - accuracy) / (classes - 1))
    np.fill_diagonal(even, accuracy)
    everybody = _rows(pooled + _STRENGTH * even)
    own_right, own_total = np.trace(counts, axis1=1, axis2=2), counts.sum(axis=(1, 2))
    # how often everybody would have been right on the classes that this person saw
    of_class = counts.sum(axis=2) @ everybody.diagonal()
    expected = (of_class + _STRENGTH * accuracy) / (own_total + _STRENGTH)
    own = (own_right + _STRENGTH * accuracy) / (own_total + _STRENGTH)
    return _rows(counts + _OWN * _bent(everybody, own / (1 - own) * (1 - expected) / expected))


def _bent(confusion: Floats, odds: Floats) -> Floats:
    """`(A, C, C)`: a confusion `(C, C)` with the odds of a right answer multiplied by `odds` `(A,)`."""
    factors = np.ones((len(odds), *confusion.shape))
    places = np.arange(len(confusion))
    factors[:, places, places] = odds[:, None]
    return _rows(confusion * factors)


def _rows(values: Floats) -> Floats:
    scaled: Floats = values / values.sum(axis=-1, keepdims=True)
    return scaled
