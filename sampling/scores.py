"""How much a label would tell: scores of class probabilities, from 0 (nothing) to 1."""

import numpy as np

from store.arrays import Floats


def margin(probabilities: Floats) -> Floats:
    """One minus the gap between the two likeliest classes: `(N, C)` to `(N,)`, 1 where they tie.

    Scheffer, Decomain & Wrobel 2001.
    """
    if probabilities.shape[1] < 2:
        return np.zeros(len(probabilities))
    top = np.partition(probabilities, -2, axis=1)[:, -2:]
    return 1 - (top[:, 1] - top[:, 0])
