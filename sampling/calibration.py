"""Whether a model that says 0.8 is right in 80 of 100 cases, and how to read its probabilities so that it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from store.arrays import Bools, Floats, Ints

Method: TypeAlias = Literal["identity", "temperature", "isotonic"]

LEAST_LABELS = 50
_FOLDS = 5
_MOST_BINS = 15
_LEAST_IN_BIN = 20  # images; in smaller bins chance alone parts confidence from accuracy
_SMALLEST = 1e-12  # what a probability of zero counts as in a logarithm
_TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True)
class Calibrator:
    """How to read a model's probabilities. Its fields are plain, so that a batch can record them."""

    method: Method = "identity"
    temperature: float = 1.0
    curves: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = ()  # of each class: what is said, what is true

    def apply(self, probabilities: Floats) -> Floats:
        """Class probabilities `(N, C)` as they should have been, `(N, C)` float64, each row summing to one."""
        values = probabilities.astype(np.float64)
        if self.method == "temperature":
            return _soften(values, self.temperature)
        if self.method == "isotonic":
            columns = zip(values.T, self.curves, strict=True)
            mapped = np.stack([np.interp(column, said, true) for column, (said, true) in columns], axis=1)
            total = mapped.sum(axis=1, keepdims=True)
            return np.where(total > 0, mapped / np.where(total > 0, total, 1), values)
        return values


@dataclass(frozen=True)
class Reliability:
    """Bins of equally many images by confidence, the least confident first; all `(B,)`."""

    confidence: Floats  # the mean probability of the likeliest class
    accuracy: Floats  # the share in which it is the label
    images: Ints

    @property
    def ece(self) -> float:
        """Expected calibration error: how far confidence is from accuracy, on average over the images."""
        return float((abs(self.confidence - self.accuracy) * self.images).sum() / self.images.sum())


@dataclass(frozen=True)
class Calibration:
    """A calibrator, and what it gained on labels it was not fitted on."""

    calibrator: Calibrator
    labels: int
    before: Reliability | None  # as the model says it; none without labels
    after: Reliability | None  # out of fold; none where nothing was fitted
    nll: dict[Method, float]  # mean negative log-likelihood out of fold of all that were tried
    note: str | None  # why nothing was fitted


def nll(probabilities: Floats, targets: Ints) -> float:
    """Mean negative log-likelihood of targets `(N,)` under `(N, C)`."""
    chances = probabilities[np.arange(len(targets)), targets]
    return float(-np.log(np.maximum(chances, _SMALLEST)).mean())


def reliability(probabilities: Floats, targets: Ints) -> Reliability:
    """Confidence against accuracy over equal-mass bins: 15, or fewer so that each holds 20 images.

    Images of one confidence share their mean accuracy, so that which bin they fall into does not matter.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = (probabilities.argmax(axis=1) == targets).astype(np.float64)
    _, group, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    right = (np.bincount(group, weights=right) / counts)[group]
    order = np.argsort(confidence, kind="stable")
    bins = np.array_split(order, max(1, min(_MOST_BINS, len(order) // _LEAST_IN_BIN)))
    return Reliability(
        confidence=np.array([confidence[one].mean() for one in bins]),
        accuracy=np.array([right[one].mean() for one in bins]),
        images=np.array([len(one) for one in bins], dtype=np.int64),
    )


def fit_temperature(probabilities: Floats, targets: Ints) -> Calibrator:
    """The temperature T that makes targets `(N,)` likeliest under `softmax(log p / T)`, 0.05 to 20.

    Guo, Pleiss, Sun & Weinberger, ICML 2017.
    """
    from scipy.optimize import minimize_scalar

    values = probabilities.astype(np.float64)
    low, high = np.log(_TEMPERATURES)
    found = minimize_scalar(lambda x: nll(_soften(values, np.exp(x)), targets), bounds=(low, high), method="bounded")
    return Calibrator("temperature", temperature=float(np.exp(found.x)))


def fit_isotonic(probabilities: Floats, targets: Ints) -> Calibrator:
    """For each class the increasing curve nearest to whether it is the label; the rows are scaled to sum to one.

    Zadrozny & Elkan, KDD 2002.
    """
    from sklearn.isotonic import IsotonicRegression

    curves = []
    for i, column in enumerate(probabilities.astype(np.float64).T):
        fitted = IsotonicRegression(y_min=0, y_max=1).fit(column, targets == i)
        curves.append((tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist())))
    return Calibrator("isotonic", curves=tuple(curves))


_FITS: dict[Method, Callable[[Floats, Ints], Calibrator]] = {
    "identity": lambda probabilities, targets: Calibrator(),
    "temperature": fit_temperature,
    "isotonic": fit_isotonic,
}  # the simplest first: it stays unless another is better


def calibrate(probabilities: Floats, targets: Ints, components: Ints) -> Calibration:
    """Fit what has the smallest negative log-likelihood in cross-validation: nothing, a temperature, or curves.

    Args:
        probabilities: `(N, C)`.
        targets: `(N,)`, in `range(C)`.
        components: `(N,)`: images that are tied are never on both sides of a fold.
    """
    labels = len(targets)
    before = reliability(probabilities, targets) if labels else None
    note = _obstacle(targets, components, classes=probabilities.shape[1])
    if note is not None:
        return Calibration(Calibrator(), labels, before, None, {}, note)
    folds = _folds(targets, components)
    unseen = {method: np.empty(probabilities.shape) for method in _FITS}
    for method, fit in _FITS.items():
        for held_out in folds:
            fitted = fit(probabilities[~held_out], targets[~held_out])
            unseen[method][held_out] = fitted.apply(probabilities[held_out])
    losses = {method: nll(values, targets) for method, values in unseen.items()}
    best = min(losses, key=losses.__getitem__)
    return Calibration(
        calibrator=_FITS[best](probabilities, targets),
        labels=labels,
        before=before,
        after=reliability(unseen[best], targets),
        nll=losses,
        note=None,
    )


def _obstacle(targets: Ints, components: Ints, *, classes: int) -> str | None:
    """Why nothing can be fitted."""
    if len(targets) < LEAST_LABELS:
        return f"{len(targets)} labels are too few to calibrate on: {LEAST_LABELS} are needed."
    apart = [len(np.unique(components[targets == i])) for i in range(classes)]
    missing = apart.count(0)
    if missing:
        return f"{missing} of {classes} classes have no label to calibrate on."
    if min(apart) < 2:
        return f"{apart.count(1)} of {classes} classes have a single label, or only labels of images that are tied."
    return None


def _folds(targets: Ints, components: Ints) -> list[Bools]:
    """Which images each fold holds out, stratified; five, or as many as the rarest class has components."""
    from sklearn.model_selection import StratifiedGroupKFold

    rarest = min(len(np.unique(components[targets == target])) for target in np.unique(targets))
    splitter = StratifiedGroupKFold(min(_FOLDS, rarest), shuffle=True, random_state=0)
    folds: list[Bools] = []
    for _, held_out in splitter.split(targets, targets, components):
        mask = np.zeros(len(targets), dtype=np.bool_)
        mask[held_out] = True
        folds.append(mask)
    return folds


def _soften(probabilities: Floats, temperature: float) -> Floats:
    scaled = np.log(np.maximum(probabilities, _SMALLEST)) / temperature
    values = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    softened: Floats = values / values.sum(axis=1, keepdims=True)
    return softened
