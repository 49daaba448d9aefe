"""The operating characteristic curve of a sampling plan: its points, laid out for an SVG, and as a PNG."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qa import acceptance
from qa.acceptance import Curve, Levels, Plan
from store.arrays import Ints
from store.errors import InvalidInputError

_SIZE_INCHES = (7.2, 4.6)
_DPI = 120
_NEGLIGIBLE = 0.005  # a chance of passing that is not worth drawing
_FINE = 200  # points that look like a curve


@dataclass(frozen=True)
class Mark:
    """A quality level on the curve, in SVG units."""

    name: str
    fraction: float
    accepted: float
    x: float
    y: float


@dataclass(frozen=True)
class Plot:
    """The curve laid out for an SVG of `width` by `height`."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    line: list[tuple[float, float]]
    marks: list[Mark]
    x_ticks: list[tuple[float, float]]  # place, share of defectives
    y_ticks: list[tuple[float, float]]  # place, chance of being accepted


def over_range(
    plan: Plan, *, lot_size: int, process: bool = False, points: int = _FINE, also: Sequence[float] = ()
) -> Curve:
    """The curve from no defective to where hardly a lot passes any more.

    Args:
        plan: Which plan.
        lot_size: Items in a lot.
        process: Of a process, not of one lot.
        points: About so many.
        also: Shares of defectives to include, each as near as such a lot can have it.
    """
    coarse = acceptance.grid(lot_size, _FINE)
    passing = np.flatnonzero(_at(plan, coarse, lot_size=lot_size, process=process).accepted >= _NEGLIGIBLE)
    most = int(coarse[min(passing[-1] + 1, len(coarse) - 1)])
    included = np.array([round(fraction * lot_size) for fraction in also], dtype=np.int64)
    wanted = np.union1d(acceptance.grid(most, points), included)
    return _at(plan, wanted, lot_size=lot_size, process=process)


def lay_out(plan: Plan, levels: Levels | None, *, lot_size: int, width: int = 560, height: int = 260) -> Plot:
    """Place the curve of a plan for lots of one size: defectives to the right, the chance of acceptance upwards."""
    left, right, top, bottom = 44, width - 24, 16, height - 40
    curve = over_range(plan, lot_size=lot_size)
    widest = max(float(curve.fractions[-1]), 0 if levels is None else 1.2 * levels.ltpd)

    def x(fraction: float) -> float:
        return round(left + (right - left) * fraction / widest, 1)

    def y(accepted: float) -> float:
        return round(bottom - (bottom - top) * accepted, 1)

    step = next(each for each in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if widest / each <= 8)
    return Plot(
        width,
        height,
        left,
        right,
        top,
        bottom,
        line=[(x(fraction), y(accepted)) for fraction, accepted in zip(curve.fractions, curve.accepted, strict=True)],
        marks=[
            Mark(name, fraction, accepted, x(fraction), y(accepted))
            for name, fraction, accepted in marks(plan, levels, lot_size=lot_size)
        ],
        x_ticks=[(x(i * step), i * step) for i in range(int(widest / step + 1e-9) + 1)],
        y_ticks=[(y(i / 4), i / 4) for i in range(5)],
    )


def marks(plan: Plan, levels: Levels | None, *, lot_size: int, process: bool = False) -> list[tuple[str, float, float]]:
    """Name, share of defectives and chance of being accepted at the AQL and at the LTPD."""
    if levels is None:
        return []
    fractions = [levels.aql, levels.ltpd]
    if not process:
        fractions = [defectives / lot_size for defectives in levels.defectives(lot_size)]
    producers, consumers = acceptance.risks(plan, levels, lot_size=lot_size, process=process)
    return [("AQL", fractions[0], 1 - producers), ("LTPD", fractions[1], consumers)]


def save(path: Path, plan: Plan, levels: Levels | None, *, lot_size: int, process: bool, title: str) -> None:
    """Write the curve as a PNG.

    Raises:
        InvalidInputError: the file is no .png that can be written.
    """
    if path.suffix.lower() != ".png":
        raise InvalidInputError(f"{path} is no .png.")
    from matplotlib.figure import Figure

    curve = over_range(plan, lot_size=lot_size, process=process)
    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(100 * curve.fractions, curve.accepted, color="tab:blue", linewidth=1.6, label="accepted")
    for name, fraction, accepted in marks(plan, levels, lot_size=lot_size, process=process):
        risk = f"{1 - accepted:.1%} rejected" if name == "AQL" else f"{accepted:.1%} accepted"
        axes.plot([100 * fraction], [accepted], "o", color="tab:green" if name == "AQL" else "tab:red")
        axes.axvline(100 * fraction, color="0.8", linewidth=0.8, zorder=0)
        axes.annotate(f"{name} {fraction:.3g}: {risk}", (100 * fraction, accepted), (8, 4), textcoords="offset points")
    axes.set_title(title, parse_math=False)
    axes.set_xlabel("defectives in the lot, %" if not process else "defectives the process makes, %")
    axes.set_ylabel("probability of acceptance")
    axes.set_xlim(0, max(100 * float(curve.fractions[-1]), 0.1))
    axes.set_ylim(0, 1.03)
    axes.grid(color="0.93")
    try:
        figure.savefig(path, dpi=_DPI)
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be written: {error.strerror}.") from error


def _at(plan: Plan, defectives: Ints, *, lot_size: int, process: bool) -> Curve:
    if process:
        return acceptance.of_process(plan, defectives / lot_size, lot_size=lot_size)
    return acceptance.of_lots(plan, defectives, lot_size=lot_size)
