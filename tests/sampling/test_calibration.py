"""Calibration: by hand, against scikit-learn, and on models that are over- or underconfident by construction."""

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.frozen import FrozenEstimator
from sklearn.naive_bayes import GaussianNB

from sampling import calibration
from sampling.calibration import Calibrator, calibrate, fit_isotonic, fit_temperature, nll, reliability


def model(count: int, *, sharpness: float, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Targets drawn from honest probabilities, and those probabilities with their logits multiplied."""
    generator = np.random.default_rng(seed)
    logits = 2 * generator.normal(size=(count, classes))
    honest = softmax(logits, axis=1)
    targets = (generator.random((count, 1)) > honest.cumsum(axis=1)).sum(axis=1)
    return softmax(sharpness * logits, axis=1), targets


def test_reliability_by_hand() -> None:
    """Forty images in two bins: 0.6 said and 0.5 true, 0.9 said and 0.8 true."""
    confidence = np.repeat([0.9, 0.6], 20)
    targets = np.array([0] * 16 + [1] * 4 + [0, 1] * 10)
    found = reliability(np.stack([confidence, 1 - confidence], axis=1), targets)
    assert found.confidence == pytest.approx([0.6, 0.9])
    assert found.accuracy == pytest.approx([0.5, 0.8])
    assert found.images.tolist() == [20, 20]
    assert found.ece == pytest.approx(0.1)


def test_nll_by_hand() -> None:
    assert nll(np.array([[0.5, 0.5], [0.1, 0.9]]), np.array([0, 1])) == pytest.approx(-np.log([0.5, 0.9]).mean())
    assert nll(np.array([[0.0, 1.0]]), np.array([0])) == pytest.approx(-np.log(1e-12))


@pytest.mark.parametrize("count", [1, 19, 45, 1000])
def test_reliability_is_what_a_loop_says(count: int) -> None:
    probabilities, targets = model(count, sharpness=2)
    found = reliability(probabilities, targets)
    rows = sorted((row.max(), row.argmax() == target) for row, target in zip(probabilities, targets, strict=True))
    start, ece = 0, 0.0
    for images in found.images.tolist():
        bin_ = rows[start : start + images]
        said, true = (sum(values) / images for values in zip(*bin_, strict=True))
        ece += abs(said - true) * images / count
        start += images
    assert start == count
    assert found.ece == pytest.approx(ece)
    assert found.images.max() - found.images.min() <= 1
    assert len(found.images) == {1: 1, 19: 1, 45: 2, 1000: 15}[count]


def test_reliability_is_scikit_learns_where_bins_are_alike() -> None:
    """With two classes and a likeliest class that is always 1, both look at the same numbers."""
    generator = np.random.default_rng(0)
    chance = generator.uniform(0.5001, 1, size=1500)
    targets = (generator.random(1500) < chance**2).astype(np.int64)
    found = reliability(np.stack([1 - chance, chance], axis=1), targets)
    true, said = calibration_curve(targets, chance, n_bins=15, strategy="quantile")
    np.testing.assert_allclose(found.accuracy, true, atol=0.011)  # an image on an edge may change its bin
    np.testing.assert_allclose(found.confidence, said, atol=0.001)


@given(st.permutations(range(60)))
def test_the_order_of_images_does_not_matter(order: list[int]) -> None:
    probabilities, targets = model(60, sharpness=2)
    probabilities = probabilities.round(1)  # many ties
    plain, shuffled = reliability(probabilities, targets), reliability(probabilities[order], targets[order])
    np.testing.assert_allclose(shuffled.accuracy, plain.accuracy)
    assert shuffled.ece == pytest.approx(plain.ece)


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
def test_the_temperature_is_found(sharpness: float) -> None:
    probabilities, targets = model(4000, sharpness=sharpness)
    fitted = fit_temperature(probabilities, targets)
    assert fitted.temperature == pytest.approx(sharpness, rel=0.08)
    grid = np.geomspace(0.05, 20, 3000)
    losses = [nll(Calibrator("temperature", temperature=t).apply(probabilities), targets) for t in grid]
    assert fitted.temperature == pytest.approx(grid[np.argmin(losses)], rel=0.01)


@pytest.mark.parametrize(("method", "fit"), [("temperature", fit_temperature), ("isotonic", fit_isotonic)])
def test_fits_are_scikit_learns(method: str, fit: Callable[[np.ndarray, np.ndarray], Calibrator]) -> None:
    generator = np.random.default_rng(1)
    centres = generator.normal(size=(3, 4))
    targets = generator.integers(0, 3, size=600)
    points = centres[targets] + generator.normal(size=(600, 4))
    head = GaussianNB().fit(points[:40], targets[:40])
    points, targets = points[40:], targets[40:]
    said = head.predict_proba(points)
    theirs = CalibratedClassifierCV(FrozenEstimator(head), method=method, ensemble=False, cv=2).fit(points, targets)
    np.testing.assert_allclose(fit(said, targets).apply(said), theirs.predict_proba(points), atol=1e-5)


def test_curves_pool_what_is_out_of_order() -> None:
    """Said 0.1, 0.2, 0.3, 0.4 and true 0, 1, 0, 1: the two in the middle share 0.5."""
    said = np.array([0.1, 0.2, 0.3, 0.4])
    fitted = fit_isotonic(np.stack([said, 1 - said], axis=1), np.array([1, 0, 1, 0]))
    assert fitted.apply(np.stack([said, 1 - said], axis=1))[:, 0].tolist() == [0, 0.5, 0.5, 1]
    assert fitted.apply(np.array([[0.0, 1.0], [1.0, 0.0]]))[:, 0].tolist() == [0, 1]  # beyond what it saw


def test_where_all_curves_say_nothing_the_model_is_believed() -> None:
    nothing = Calibrator("isotonic", curves=(((0.0, 1.0), (0.0, 0.0)),) * 2)
    assert nothing.apply(np.array([[0.3, 0.7]])).tolist() == [[0.3, 0.7]]


def test_an_overconfident_model_is_softened() -> None:
    probabilities, targets = model(600, sharpness=3)
    found = calibrate(probabilities, targets, np.arange(600))
    assert found.calibrator.method == "temperature"
    assert found.before is not None
    assert found.after is not None
    assert found.before.ece > 0.1
    assert found.after.ece < found.before.ece / 2
    assert found.nll["temperature"] == min(found.nll.values())
    assert (found.calibrator.apply(probabilities).argmax(axis=1) == probabilities.argmax(axis=1)).all()


def test_curves_win_where_no_temperature_can() -> None:
    """Whatever the model is sure of is right in 6 of 10 cases; only where it doubts it is honest."""
    generator = np.random.default_rng(0)
    chance = generator.uniform(0.02, 0.98, size=4000)
    truth = np.select([chance > 0.7, chance < 0.1], [0.6, 0.35], chance * 0.5)
    targets = (generator.random(4000) > truth).astype(np.int64)
    found = calibrate(np.stack([chance, 1 - chance], axis=1), targets, np.arange(4000))
    assert found.calibrator.method == "isotonic"
    assert found.before is not None
    assert found.after is not None
    assert found.after.ece < found.before.ece / 2


def test_an_honest_model_is_left_about_as_it_is() -> None:
    probabilities, targets = model(2000, sharpness=1)
    values = calibrate(probabilities, targets, np.arange(2000)).calibrator.apply(probabilities)
    np.testing.assert_allclose(values, probabilities, atol=0.03)


def test_what_cannot_be_calibrated_is_said() -> None:
    probabilities, targets = model(200, sharpness=2)
    alone = np.arange(200)
    few = calibrate(probabilities[:49], targets[:49], alone[:49])
    assert (few.calibrator, few.after, few.nll) == (Calibrator(), None, {})
    assert few.before is not None
    assert few.note == "49 labels are too few to calibrate on: 50 are needed."
    assert calibrate(probabilities[:0], targets[:0], alone[:0]).before is None
    lacking = targets != 2
    assert calibrate(probabilities[lacking], targets[lacking], alone[lacking]).note == (
        "1 of 3 classes have no label to calibrate on."
    )
    tied = calibrate(probabilities, targets, np.where(targets == 1, 0, alone))
    assert tied.note == "1 of 3 classes have a single label, or only labels of images that are tied."


def test_what_is_tied_is_never_in_two_folds() -> None:
    components = np.repeat(np.arange(30), 4)
    targets = components % 3
    folds = calibration._folds(targets, components)
    assert np.sum(folds, axis=0).tolist() == [1] * 120
    for held_out in folds:
        assert not set(components[held_out]) & set(components[~held_out])


@given(
    values=st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda row: sum(row) > 0), min_size=1),
    temperature=st.floats(0.05, 20),
)
def test_calibrated_values_are_probabilities(values: list[list[float]], temperature: float) -> None:
    probabilities = np.array(values) / np.sum(values, axis=1, keepdims=True)
    for method in (
        Calibrator(),
        Calibrator("temperature", temperature=temperature),
        Calibrator("isotonic", curves=(((0.1, 0.5, 0.9), (0.0, 0.4, 1.0)),) * 3),
    ):
        found = method.apply(probabilities)
        assert np.isfinite(found).all()
        assert (found >= 0).all()
        np.testing.assert_allclose(found.sum(axis=1), 1)
        assert Calibrator(**asdict(method)) == method
