"""`winnow qa`: verdicts, agreement, annotators, adjudication."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli import console
from api.cli.console import AsJson

if TYPE_CHECKING:
    from qa.report import AnnotatorQuality

app = typer.Typer(no_args_is_help=True, help="Agreement, verdicts, annotators, adjudication.")


@app.command()
def review(
    context: typer.Context,
    campaign: str,
    *,
    accept_at: Annotated[float, typer.Option(help="The posterior from which an answer is accepted.")] = 0.9,
    as_json: AsJson = False,
) -> None:
    """Decide every item from the answers so far, and label what is accepted."""
    from qa import verdicts

    summary = verdicts.review(console.workspace(context), campaign, accept_at=accept_at)
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in summary.outcomes.items())
    line = f"{campaign}: {summary.items} items, {outcomes}; {summary.new_labels} new labels"
    console.emit(asdict(summary), [line], as_json=as_json)


@app.command()
def adjudicate(
    context: typer.Context,
    campaign: str,
    vendor: Annotated[str | None, typer.Option(help="The experts; by default the campaign's own vendor.")] = None,
    as_json: AsJson = False,
) -> None:
    """Plan a campaign for an expert over the disputed items that are in none yet."""
    from qa import adjudication

    summary = adjudication.open_campaign(console.workspace(context), campaign, vendor_name=vendor)
    if summary.opened:
        line = f"{summary.opened}: {summary.items} items planned. Next: winnow campaign push {summary.opened}"
    else:
        line = f"{campaign}: no new dispute; {summary.already} items are in adjudication already"
    console.emit(asdict(summary), [line], as_json=as_json)


@app.command()
def report(context: typer.Context, campaign: str, as_json: AsJson = False) -> None:
    """How a campaign is doing, and who answers in it."""
    from qa import report

    found = report.report(console.workspace(context), campaign)
    figures = {name.replace("_", " "): value for name, value in asdict(found).items() if name != "annotators"}
    lines = [*console.table(("", campaign), list(figures.items())[1:]), "", *_people(found.annotators)]
    console.emit(asdict(found), lines, as_json=as_json)


@app.command()
def annotators(context: typer.Context, as_json: AsJson = False) -> None:
    """How often each person is right, as far as all their answers tell."""
    from qa import report

    found = report.annotators(console.workspace(context))
    console.emit({"annotators": [asdict(each) for each in found]}, _people(found), as_json=as_json)


def _people(qualities: "Iterable[AnnotatorQuality]") -> list[str]:
    rows = [
        (
            each.annotator,
            each.vendor,
            each.taxonomy,
            each.answers,
            each.accuracy,
            "{:.3f}–{:.3f}".format(*each.interval),
        )
        for each in qualities
    ]
    return console.table(("annotator", "vendor", "taxonomy", "answers", "accuracy", "95 % interval"), rows)
