"""Confidence against accuracy as a picture."""

from pathlib import Path

from curation.evaluation import wilson
from sampling.calibration import Calibration, Reliability
from store.errors import InvalidInputError

_SIZE_INCHES = (5.6, 5.6)
_DPI = 120


def save(path: Path, calibration: Calibration, *, title: str) -> None:
    """Write a PNG of what a model says before and, where something was fitted, after calibration.

    Raises:
        InvalidInputError: there is no label to draw, or the file is no .png that can be written.
    """
    if calibration.before is None:
        raise InvalidInputError("There is nothing to draw: no label can be compared with a prediction.")
    if path.suffix.lower() != ".png":
        raise InvalidInputError(f"{path} is no .png.")
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="as it should be")
    curves = [(calibration.before, "as predicted", "tab:orange")]
    if calibration.after is not None:
        curves.append((calibration.after, f"{calibration.calibrator.method}, out of fold", "tab:blue"))
    for curve, name, colour in curves:
        axes.errorbar(
            curve.confidence,
            curve.accuracy,
            yerr=_whiskers(curve),
            color=colour,
            marker="o",
            markersize=4,
            linewidth=1.2,
            elinewidth=0.7,
            label=f"{name}: ECE {curve.ece:.3f}",
        )
    axes.set_title(title, parse_math=False)
    axes.set_xlabel("confidence: probability of the likeliest class")
    axes.set_ylabel("accuracy, with 95 % intervals")
    axes.set_xlim(0, 1.01)
    axes.set_ylim(0, 1.01)
    axes.set_aspect("equal")
    axes.legend(loc="upper left")
    try:
        figure.savefig(path, dpi=_DPI)
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be written: {error.strerror}.") from error


def _whiskers(curve: Reliability) -> tuple[list[float], list[float]]:
    """How far Wilson's interval reaches below and above each accuracy."""
    below, above = [], []
    for accuracy, images in zip(curve.accuracy.tolist(), curve.images.tolist(), strict=True):
        low, high = wilson(round(accuracy * images), images)
        below.append(max(0.0, accuracy - low))
        above.append(max(0.0, high - accuracy))
    return below, above
