"""The dashboard as HTML."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api import learning_plot, lot_words, operating_curve
from api.adjudication_page import AdjudicationPage, QuestionsPage
from api.batch_page import BatchPage
from api.dashboard import Dashboard
from api.jobs import Job

if TYPE_CHECKING:
    from jinja2 import Environment

    from qa.content_report import ContentReport
    from qa.report import QaReport


def dashboard(model: Dashboard, jobs: list[Job], *, home: Path) -> str:
    """The page; whatever a user, a file name or an annotator brought is shown as text."""
    plot = learning_plot.lay_out(model.curve) if model.curve else None
    lot = model.lots[0] if model.lots else None
    lot_plot = None if lot is None else operating_curve.lay_out(lot.plan, lot.terms.levels, lot_size=lot.size)
    name = "empty.html" if model.is_empty else "dashboard.html"
    return _templates().get_template(name).render(model=model, plot=plot, lot_plot=lot_plot, jobs=jobs, home=home)


def batch(model: BatchPage, *, home: Path) -> str:
    """The page of one batch."""
    return _templates().get_template("batch.html").render(model=model, home=home)


def qa_report(report: "QaReport", **parts: Any) -> str:
    """The QA report of a campaign, with its style inside; `parts` are what api.report_page laid out."""
    return _templates().get_template("report.html").render(report=report, css=_css(), **parts)


def content_report(report: "ContentReport", **parts: Any) -> str:
    """The same of a campaign that asks for several classes, or for regions."""
    return _templates().get_template("content_report.html").render(report=report, css=_css(), **parts)


def adjudication(model: AdjudicationPage, *, home: Path) -> str:
    """The page on which an expert decides."""
    return _templates().get_template("adjudication.html").render(model=model, home=home)


def questions(model: QuestionsPage, *, home: Path) -> str:
    """What to ask whoever writes the guideline."""
    return _templates().get_template("questions.html").render(model=model, home=home)


def _css() -> str:
    return (Path(__file__).parent / "static" / "dashboard.css").read_text()


@cache
def _templates() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(
        number="{:,}".format, percent="{:.1%}".format, moment=_moment, duration=_duration, plan=lot_words.short
    )
    return templates


def _moment(value: datetime) -> str:
    return f"{value.astimezone(UTC):%-d %b %H:%M:%S}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.1f} min"
