"""How much a label would tell: scores of class probabilities, from 0 (nothing) to 1 unless said otherwise.

Everything is computed a few thousand rows at a time; the pool is never copied. `C` is the number of classes, `M` that
of models or of passes of one. Probabilities sum to 1.
"""

from collections.abc import Callable, Iterator

import numpy as np

from store.arrays import Floats

_ROWS = 2048  # they stay in the processor's cache


def least_confidence(probabilities: Floats) -> Floats:
    """One minus the likeliest class's probability, scaled to 1 where all are alike: `(N, C)` to `(N,)`.

    Lewis & Gale 1994.
    """
    classes = probabilities.shape[1]
    if classes < 2:
        return np.zeros(len(probabilities))
    return _blocked(lambda rows: (1 - rows.max(axis=1)) * (classes / (classes - 1)), probabilities)


def margin(probabilities: Floats) -> Floats:
    """One minus the gap between the two likeliest classes: `(N, C)` to `(N,)`, 1 where they tie.

    Scheffer, Decomain & Wrobel 2001.
    """
    if probabilities.shape[1] < 2:
        return np.zeros(len(probabilities))
    return _blocked(_margin, probabilities)


def entropy(probabilities: Floats) -> Floats:
    """Entropy as a share of the greatest possible, log C: `(N, C)` to `(N,)`.

    Shannon 1948.
    """
    if probabilities.shape[1] < 2:
        return np.zeros(len(probabilities))
    most = np.log(probabilities.shape[1])
    return _blocked(lambda rows: np.asarray(_entropy(rows) / most), probabilities)


def bald(probabilities: Floats) -> Floats:
    """What a label would tell about the model: `(M, N, C)` to `(N,)`, in nats from 0 to log C.

    The entropy of the mean less the mean entropy. Houlsby et al. 2011 (BALD, arXiv 1112.5745).
    """
    return _of_passes(
        lambda passes: np.maximum(_entropy(passes.mean(axis=0)) - _entropy(passes).mean(axis=0), 0), probabilities
    )


def vote_disagreement(probabilities: Floats) -> Floats:
    """Entropy of the models' votes as a share of the greatest possible, log min(M, C): `(M, N, C)` to `(N,)`.

    Dagan & Engelson 1995.
    """
    models, _, classes = probabilities.shape
    if min(models, classes) < 2:
        return np.zeros(probabilities.shape[1])

    most = np.log(min(models, classes))

    def of(passes: Floats) -> Floats:
        votes = passes.argmax(axis=2)
        rows = np.arange(votes.shape[1])
        counts = np.zeros((len(rows), classes))
        for vote in votes:
            counts[rows, vote] += 1
        shares: Floats = _entropy(counts / models) / most
        return shares

    return _of_passes(of, probabilities)


def kl_disagreement(probabilities: Floats) -> Floats:
    """Mean Kullback-Leibler divergence of the models from their mean: `(M, N, C)` to `(N,)`, in nats from 0 to log M.

    McCallum & Nigam 1998.
    """

    def of(passes: Floats) -> Floats:
        mean = passes.mean(axis=0)
        ratio = np.divide(passes, mean, out=np.ones_like(passes), where=passes > 0)
        result: Floats = np.maximum((passes * np.log(ratio)).sum(axis=2).mean(axis=0), 0)
        return result

    return _of_passes(of, probabilities)


def dropout_consistency(clean: Floats, passes: Floats) -> Floats:
    """Share of passes whose likeliest class is not that of the clean one: `(N, C)` and `(M, N, C)` to `(N,)`.

    Gupte et al. 2024 (DropQuery, arXiv 2401.14555).
    """
    parts = [
        (passes[:, part].argmax(axis=2) != clean[part].argmax(axis=1)).mean(axis=0) for part in _blocks(len(clean))
    ]
    return np.concatenate([np.empty(0), *parts])


def answer_value(posterior: Floats, accuracy: float | Floats) -> Floats:
    """How much one more answer is expected to raise the likeliest class's probability: `(N, C)` to `(N,)`.

    Σ over answers a of max over classes c of p(c) q(a | c), less max p(c); from 0, where no single answer would change
    the likeliest class, to 1 - 1 / C. It ranks what to label again; ActiveLab (Goh & Mueller 2023, arXiv 2301.11856)
    asks the same question with another score.

    Args:
        posterior: Of each item's classes, given what is known of it.
        accuracy: How likely who answers is right, from 0 to 1; the other classes are wrong alike. One, or of each item
            `(N,)`.
    """
    if posterior.shape[1] < 2:
        return np.zeros(len(posterior))
    right = np.broadcast_to(np.asarray(accuracy, dtype=posterior.dtype), len(posterior))
    parts = [_answer_value(posterior[part], right[part, None]) for part in _blocks(len(posterior))]
    return np.concatenate([np.empty(0, dtype=posterior.dtype), *parts])


def _answer_value(rows: Floats, right: Floats) -> Floats:
    each, first = np.arange(len(rows)), rows.argmax(axis=1)
    top = rows[each, first]
    rivals = np.repeat(top[:, None], rows.shape[1], axis=1)  # the likeliest class but each one itself
    rivals[each, first] = np.partition(rows, -2, axis=1)[:, -2]
    wrong = (1 - right) / (rows.shape[1] - 1)
    gain: Floats = np.maximum(np.maximum(right * rows, wrong * rivals).sum(axis=1) - top, 0)
    return gain


def _margin(rows: Floats) -> Floats:
    rows, each = rows.copy(), np.arange(len(rows))
    first = rows.argmax(axis=1)
    top = rows[each, first]
    rows[each, first] = -np.inf
    gap: Floats = 1 - (top - rows[each, rows.argmax(axis=1)])
    return gap


def _entropy(probabilities: Floats) -> Floats:
    logs = np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
    result: Floats = -np.einsum("...c,...c->...", probabilities, logs)
    return result


def _blocked(score: Callable[[Floats], Floats], values: Floats) -> Floats:
    return np.concatenate([np.empty(0, dtype=values.dtype), *(score(values[part]) for part in _blocks(len(values)))])


def _of_passes(score: Callable[[Floats], Floats], values: Floats) -> Floats:
    parts = (score(values[:, part]) for part in _blocks(values.shape[1]))
    return np.concatenate([np.empty(0, dtype=values.dtype), *parts])


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, start + _ROWS) for start in range(0, count, _ROWS))
