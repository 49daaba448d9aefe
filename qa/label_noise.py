"""How probable it is that a label is wrong, by how far a probe tells classes here: pure functions of arrays.

A label is drawn in two steps: the picture shows a class, and with some chance somebody calls it another. What a picture
shows are the probe's probabilities on the curve that fits the labels: their evidence over the frequencies of classes is
stretched or flattened as a whole, as temperature scaling does, and classes may be commoner in truth than among labels.
Where the probe tells nothing the curve is flat, every class as likely as it is frequent, and no label stands out.
C. Guo, G. Pleiss, Y. Sun and K. Weinberger, On Calibration of Modern Neural Networks (2017); G. Patrini, A. Rozza,
A. Menon, R. Nock and L. Qu, Making Deep Neural Networks Robust to Label Noise: a Loss Correction Approach (2017).

What is called what is as confident learning counts it, a quarter of it by accident, as likely between any two classes.
It also counts right labels of what the probe sees badly, and how many these are cannot be told. So the mistakes that
are counted are believed as far as that leaves the probe nearly all that it tells, and of no class more than of all.
"""

from dataclasses import dataclass

import numpy as np

from qa import suspicion
from store.arrays import Floats, Ints

_LEAST = 1e-4  # a probability
_TELLS = 4.0  # nats by which a probe has to beat frequencies: of 180 that knew nothing 3 did
_KEPT = 0.95  # of what the probe tells at the likeliest share of the mistakes
_START = 0.05  # share of the mistakes, or that are not made
_ACCIDENTS = 0.25  # of mistakes are taken to be such, as likely between any two classes
_STRETCH = 10.0  # at most
_RIDGE = 0.25  # on how much commoner a class is in truth, in squared nats
_HALVINGS = 5
_BLOCK = 1 << 20  # numbers held at once beside the arguments


@dataclass(frozen=True)
class _Fit:
    parameters: Floats  # (C + 2,): stretch, nats by which each class is commoner, share of the mistakes that are made
    told: float  # nats beyond frequencies

    @property
    def share(self) -> float:
        return float(self.parameters[-1])


def chance_of_wrong(labels: Ints, probabilities: Floats, estimated: Floats) -> Floats | None:
    """The chance that each label is wrong, `(N,)`; none where the probe tells no more than frequencies do.

    Args:
        labels: `(N,)`, of two classes or more.
        probabilities: `(N, C)` of a probe that did not see the label it speaks of.
        estimated: `(C, C)`, how many labels of class i are of class j at most, see `suspicion.estimated`.
    """
    by_accident = _Problem(labels, probabilities, _by_accident(probabilities.shape[1]))
    if by_accident.fit((0.0, 0.5), _START).told < _TELLS:
        return None
    problem = _Problem(labels, probabilities, _said(estimated))
    best = max((problem.fit((0.0, 1.0), start) for start in (_START, 1 - _START)), key=lambda each: each.told)
    low, beyond = best, 1.0
    high = problem.at(1.0, best)
    if high.told >= _KEPT * best.told:
        low = high
    for _ in range(_HALVINGS if low is best else 0):
        middle = problem.at((low.share + beyond) / 2, low)
        if middle.told >= _KEPT * best.told:
            low = middle
        else:
            beyond = middle.share
    return problem.wrong(low.parameters)


class _Problem:
    """The labels, the evidence about them, and the mistakes that are made at most: `_said`."""

    def __init__(self, labels: Ints, probabilities: Floats, said: Floats) -> None:
        self.labels = labels
        self.count, self.classes = probabilities.shape
        given = np.bincount(labels, minlength=self.classes)
        self.frequency = np.log(given.clip(min=0.5) / self.count)
        self.by_frequency = float(self.frequency[labels].sum())
        self.said = said
        self.step = max(1, _BLOCK // self.classes)
        self.evidence = np.empty(probabilities.shape, dtype=np.float32)
        for rows in self._blocks():
            self.evidence[rows] = np.log(probabilities[rows].clip(min=_LEAST)) - self.frequency

    def fit(self, shares: tuple[float, float], start: float, near: Floats | None = None) -> _Fit:
        """What explains the labels best with a share of those mistakes in a range."""
        from scipy.optimize import minimize

        first = np.array([1.0, *np.zeros(self.classes)]) if near is None else near[:-1]
        bounds = [(0.0, _STRETCH), *[(None, None)] * self.classes, shares]
        found = minimize(self._loss, np.append(first, start), jac=True, method="L-BFGS-B", bounds=bounds)
        commoner = found.x[1:-1]
        return _Fit(found.x, -float(found.fun) + _RIDGE / 2 * float(commoner @ commoner) - self.by_frequency)

    def at(self, share: float, near: _Fit) -> _Fit:
        """What does if that share of those mistakes is made."""
        return self.fit((share, share), share, near.parameters)

    def wrong(self, parameters: Floats) -> Floats:
        """`(N,)`."""
        result = np.empty(self.count)
        for rows in self._blocks():
            chances, weights, said = self._explained(rows, parameters)
            at = np.arange(len(said)), self.labels[rows]
            result[rows] = 1 - weights[at] * chances[at] / said
        return result

    def _loss(self, parameters: Floats) -> tuple[float, Floats]:
        """Nats, and their gradient."""
        commoner = parameters[1:-1]
        value = _RIDGE / 2 * float(commoner @ commoner)
        slope = np.concatenate([[0.0], _RIDGE * commoner, [0.0]])
        for rows in self._blocks():
            chances, weights, said = self._explained(rows, parameters)
            value -= float(np.log(said).sum())
            along = chances * (weights / said[:, None] - 1)
            slope[0] -= float((along * self.evidence[rows]).sum())
            slope[1:-1] -= along.sum(axis=0)
            own = chances[np.arange(len(said)), self.labels[rows]]
            mistaken = (self.said[self.labels[rows]] * chances).sum(axis=1)
            slope[-1] -= float(((mistaken - own) / said).sum())
        return value, slope

    def _explained(self, rows: slice, parameters: Floats) -> tuple[Floats, Floats, Floats]:
        """Chances that a picture shows each class, and that a picture of it gets this label, `(n, C)`; of the label."""
        from scipy.special import softmax

        share, labels = parameters[-1], self.labels[rows]
        chances = softmax(parameters[0] * self.evidence[rows] + self.frequency + parameters[1:-1], axis=1)
        weights = share * self.said[labels]
        weights[np.arange(len(labels)), labels] += 1 - share
        return chances, weights, (chances * weights).sum(axis=1).clip(min=_LEAST**3)

    def _blocks(self) -> list[slice]:
        return [slice(start, start + self.step) for start in range(0, self.count, self.step)]


def _said(estimated: Floats) -> Floats:
    """`(C, C)`: the chance that class j is called i; of no class is more put down to people than of all together."""
    classes = len(estimated)
    shown = estimated.sum(axis=0)
    said = np.divide(estimated, shown, out=np.eye(classes), where=shown > 0)
    wrong = suspicion.expected_wrong(estimated)
    said = _ACCIDENTS * wrong * _by_accident(classes) + (1 - _ACCIDENTS) * said
    np.fill_diagonal(said, 0)
    said *= np.minimum(1, wrong / said.sum(axis=0).clip(min=_LEAST**3))
    np.fill_diagonal(said, 1 - said.sum(axis=0))
    return np.asarray(said)


def _by_accident(classes: int) -> Floats:
    """`(C, C)`: the chance that class j is called i where it is called another."""
    return np.asarray((1 - np.eye(classes)) / (classes - 1))
