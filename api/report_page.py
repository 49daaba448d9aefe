"""The QA report of a campaign as one HTML file that needs nothing else, no network either."""

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api import agreement_words, cost_words, drawings, image_files, pages
from api.drawings import Picture
from curation import labels
from curation.evaluation import wilson
from qa import shapes
from qa.content_report import ContentReport, Disputed
from qa.report import PosteriorCheck, QaReport
from store.errors import InvalidInputError, WinnowError
from store.schema import ImageId, now
from store.workspace import Workspace

_MOST_CLASSES = 16  # that fit into a table of confusions


@dataclass(frozen=True)
class Bin:
    """A bin of posteriors in SVG units."""

    x: float
    y: float
    y_low: float
    y_high: float
    title: str


@dataclass(frozen=True)
class Reliability:
    """Posterior against accuracy, laid out for an SVG of `size` by `size`."""

    size: int
    left: int
    right: int
    top: int
    bottom: int
    bins: list[Bin]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]


def save(path: Path, workspace: Workspace, report: QaReport | ContentReport) -> None:
    """Write the page.

    Raises:
        InvalidInputError: the file is no .html, or cannot be written.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise InvalidInputError(f"{path} is no .html.")
    try:
        path.write_text(render(workspace, report), encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be written: {error.strerror}.") from error


def render(workspace: Workspace, report: QaReport | ContentReport) -> str:
    """The page; whatever a user, a file name or an annotator brought is shown as text."""
    if isinstance(report, QaReport):
        return pages.qa_report(
            report,
            **_everywhere(report),
            notes=list(
                agreement_words.of_answers(
                    report.agreement, adaptive=report.adaptive, level=report.level, classes=report.classes
                )
            ),
            reliability=None if report.check is None else lay_out(report.check),
            pictures={one.image: picture for one in report.disputed if (picture := _picture(workspace, one.image))},
            most_classes=_MOST_CLASSES,
        )
    ghosts = [
        found.ghosts_interval[1] for one in report.annotators if (found := one.detection) and found.ghosts_interval
    ]
    colour_of = drawings.colours(sorted({name for one in report.disputed for name in one.said}))
    return pages.content_report(
        report,
        **_everywhere(report),
        notes=[
            *agreement_words.of_answers(report.agreement, adaptive=report.adaptive),
            *agreement_words.of_drawings(report.drawn),
        ],
        is_drawn=report.kind != labels.MULTILABEL,
        likeness=shapes.likeness_of(report.kind),
        most_ghosts=max(1.0, math.ceil(max(ghosts, default=0.0))),
        pictures={one.image: _drawn(workspace, one, colour_of) for one in report.disputed},
    )


def _drawn(workspace: Workspace, item: Disputed, colour_of: Mapping[str, str]) -> Picture:
    """An item with what people said of it, each of them in the same colour on all pictures."""
    address = _picture(workspace, item.image, size=384)
    return drawings.picture(address, item.width, item.height, item.said, colour_of)


def _everywhere(report: QaReport | ContentReport) -> dict[str, Any]:
    """What both pages need."""
    outcomes = [
        ("pass", "accepted by consensus", report.accepted - report.adjudicated),
        ("diverse", "accepted by an adjudicator", report.adjudicated),
        ("slice", "in adjudication", report.in_adjudication),
        ("uncertain", "wait for another opinion", report.waiting),
        ("fail", "rejected", report.rejected),
        ("test", "not reviewed", report.unreviewed),
        ("gold", "gold", report.gold),
    ]
    return {
        "outcomes": [outcome for outcome in outcomes if outcome[2]],
        "alpha_range": _alpha_range(report),
        "unpriced": cost_words.of_unpriced(report),
        "at": now(),
    }


def lay_out(check: PosteriorCheck, *, size: int = 380) -> Reliability:
    """Place the bins: posterior to the right, accuracy upwards, both from the lowest that is needed to 1."""
    left, right, top, bottom = 44, size - 16, 14, size - 46
    spans = [wilson(round(share * items), items) for share, items in zip(check.accuracy, check.in_bin, strict=True)]
    lowest = int(10 * min([*check.confidence, *(low for low, _ in spans), 0.9])) / 10

    def x(value: float) -> float:
        return left + (right - left) * (value - lowest) / (1 - lowest)

    def y(value: float) -> float:
        return bottom - (bottom - top) * (value - lowest) / (1 - lowest)

    bins = [
        Bin(
            x=x(confidence),
            y=y(share),
            y_low=y(low),
            y_high=y(high),
            title=f"posterior {confidence:.3f}, right in {share:.1%} of {items} items (95 %: {low:.1%} – {high:.1%})",
        )
        for confidence, share, items, (low, high) in zip(
            check.confidence, check.accuracy, check.in_bin, spans, strict=True
        )
    ]
    ticks = [lowest + i * (1 - lowest) / 4 for i in range(5)]
    return Reliability(
        size=size,
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        bins=bins,
        x_ticks=[(x(tick), f"{tick:.2f}") for tick in ticks],
        y_ticks=[(y(tick), f"{tick:.0%}") for tick in ticks],
    )


def _alpha_range(report: QaReport | ContentReport) -> tuple[float, float]:
    """The axis of agreement: from 0, or a tenth under the lowest interval, to 1."""
    lowest = min([0.0, *(row.interval[0] for row in report.agreement if row.interval is not None)])
    return math.floor(lowest * 10) / 10, 1.0


def _picture(workspace: Workspace, image_id: int, *, size: int = 96) -> str | None:
    """A small picture as a data: URL; none where the file is gone."""
    try:
        path = image_files.thumbnail(workspace, ImageId(image_id), size=size)
        return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()
    except (WinnowError, OSError):
        return None
