"""Learning curves as a picture."""

from collections.abc import Sequence
from pathlib import Path

from sampling.simulate import Curve


def plot(curves: Sequence[Curve], path: Path, *, title: str) -> None:
    """Write a PNG: mean accuracy against labels, with a band of two standard errors."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for curve in curves:
        (line,) = axes.plot(curve.budgets, curve.accuracy, marker="o", markersize=3, label=curve.strategy, alpha=0.8)
        band = 2 * curve.standard_error
        axes.fill_between(
            curve.budgets, curve.accuracy - band, curve.accuracy + band, alpha=0.15, color=line.get_color(), linewidth=0
        )
    axes.set(xlabel="labels", ylabel="accuracy on images never chosen from", title=title)
    axes.set_ylim(top=min(axes.get_ylim()[1], 1.005))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120, format="png", metadata={"Software": None})
