"""Calibration: thresholds from what was measured, on evidence made by hand."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from curation import calibration
from curation.calibration import LEAST_RESIDUAL, MOST_RESIDUAL, Calibration, Evidence


def evidence(**changes: Any) -> Evidence:
    """Four copies, all near and alike, and neighbours that are far and different."""
    values: dict[str, Any] = {
        "kinds": ["cropped", "cropped", "framed", "framed"],
        "cosines": np.array([0.9, 0.9, 0.9, 0.9]),
        "bits": np.array([2, 2, 20, 20]),
        "residuals": np.array([0.01, 0.02, 0.03, 0.5]),
        "neighbour_cosines": np.full(10, 0.3),
        "neighbour_residuals": np.full(10, 0.6),
        "crowd_cosine": 0.2,
    }
    return Evidence(**{**values, **changes})


def calibrate(**changes: Any) -> Calibration:
    return calibration.calibrate(evidence(**changes), max_bits=8)


@pytest.mark.parametrize(
    ("residuals", "expected"),
    [
        ([], MOST_RESIDUAL),
        ([0.01, 0.05], MOST_RESIDUAL),  # copies only
        ([0.01, 0.30], MOST_RESIDUAL),  # the next is twice as far
        ([0.01, 0.25], 0.125),  # twice 0.125 is 0.25
        ([0.09, 0.17], LEAST_RESIDUAL),  # no gap anywhere
    ],
)
def test_the_limit_lies_below_a_gap(residuals: list[float], expected: float) -> None:
    measured = calibrate(neighbour_residuals=np.array(residuals), neighbour_cosines=np.full(len(residuals), 0.3))
    assert measured.max_residual == pytest.approx(expected)


def test_copies_within_the_limit_are_counted_by_kind() -> None:
    measured = calibrate()
    assert (measured.copies, measured.recall) == (4, {"cropped": 1.0, "framed": 0.5})
    assert (measured.min_cosine, measured.reach) == (pytest.approx(0.8), 1.0)  # room of 0.1 below the copies
    assert not measured.needs_features


def test_a_crowd_raises_the_cosine_and_features_help() -> None:
    """Above 0.95 lies no copy; of the three that count, the two cropped ones have near hashes."""
    measured = calibrate(crowd_cosine=0.95)
    assert measured.min_cosine == 0.95
    assert measured.reach == pytest.approx(2 / 3)
    assert measured.needs_features


def test_vectors_alone_are_trusted_where_copies_are_nearer_than_others() -> None:
    measured = calibrate()
    assert (measured.trusted_cosine, measured.trusted_recall) == (pytest.approx(0.3), 1.0)
    assert "a cosine of 0.300 would find 100% of copies" in measured.advice
    overlapping = calibrate(neighbour_cosines=np.full(10, 0.95))
    assert (overlapping.trusted_cosine, overlapping.trusted_recall) == (None, None)
    assert "cannot be told from other pictures here" in overlapping.advice


def test_without_the_encoder_the_crowd_and_features_decide() -> None:
    measured = calibrate(cosines=np.full(4, np.nan))
    assert (measured.min_cosine, measured.reach, measured.needs_features) == (0.2, None, True)
    assert measured.trusted_cosine is None


def test_the_share_of_others_taken_for_copies() -> None:
    """Both halves of [0.1, 0.6, 0.6, 0.6]: the limit of one, 0.15, takes in the 0.1 of the other."""
    measured = calibrate(neighbour_residuals=np.array([0.1, 0.6, 0.6, 0.6]), neighbour_cosines=np.full(4, 0.3))
    assert measured.false_share == pytest.approx(1.5 / 5)
    many = calibrate(neighbour_residuals=np.full(100, 0.6), neighbour_cosines=np.full(100, 0.3))
    assert 0 < many.false_share < 0.01
    assert calibrate().false_share == pytest.approx(0.5 / 11)


def test_copies_are_the_same_for_the_same_seed() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)

    def made(seed: int) -> dict[str, bytes]:
        copies = calibration.changed(picture, np.random.default_rng(seed))
        return {kind: copy.tobytes() for kind, copy in copies.items()}

    assert len(made(1)) == 7
    assert made(1) == made(1)
    assert made(1) != made(2)
    assert np.array_equal(np.asarray(picture), pixels)
