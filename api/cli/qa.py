"""`winnow qa`: verdicts, agreement, annotators, adjudication."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli import console
from api.cli.console import AsJson

if TYPE_CHECKING:
    from labeling.opinions import Offered
    from qa.backtest import Backtest
    from qa.report import AnnotatorQuality
    from qa.simulate import Outcome
    from store.arrays import Floats

app = typer.Typer(no_args_is_help=True, help="Agreement, verdicts, annotators, adjudication.")


@app.command()
def review(
    context: typer.Context,
    campaign: str,
    *,
    accept_at: Annotated[
        float | None,
        typer.Option(help="The posterior from which an answer is accepted; by default as last time, at first 0.9."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Decide every item from the answers so far, label what is accepted, and ask on where the campaign is adaptive."""
    from labeling import opinions
    from qa import verdicts

    workspace = console.workspace(context)
    summary = verdicts.review(workspace, campaign, accept_at=accept_at)
    offered = opinions.offer(workspace, campaign)
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in summary.outcomes.items())
    heard = f"people and {summary.model}" if summary.model else "people alone"
    lines = [f"{campaign}: {summary.items} items, {outcomes}; {summary.new_labels} new labels; heard {heard}"]
    if summary.opinions:
        wanted = Counter(each.ask or "somebody new" for each in summary.opinions)
        people = ", ".join(f"{name} {count}" for name, count in wanted.most_common())
        lines.append(f"  another opinion on {len(summary.opinions)}, best of: {people}; {_offered(offered)}")
    console.emit(asdict(summary) | {"offered": asdict(offered)}, lines, as_json=as_json)


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


@app.command()
def simulate(
    context: typer.Context,
    *,
    answers: Annotated[Path, typer.Option(help="CSV, JSONL or Parquet with item, annotator, label, maybe uri.")],
    truth: Annotated[Path | None, typer.Option(help="The same with item and truth.")] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="JSONL or Parquet with item and a model's probabilities; it saw no answer.")
    ] = None,
    encoder: Annotated[str | None, typer.Option(help="Whose vectors the probe sees, when there are uris.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions, each with people in another order.")] = 10,
    target_error: Annotated[float, typer.Option(help="The share of labels that may be wrong.")] = 0.06,
    most_answers: Annotated[int, typer.Option(help="To one item, before it would go to an expert.")] = 3,
    answer_cost: Annotated[float, typer.Option(help="What an answer costs.")] = 1.0,
    audited: Annotated[float, typer.Option(help="Share of items that get the most answers in any case.")] = 0.02,
    as_json: AsJson = False,
) -> None:
    """What would each way of asking have cost, and how right would it have been? Replayed on answers there are."""
    from qa.backtest import backtest
    from qa.overlap import Rules

    rules = Rules(target_error, most_answers, answer_cost=answer_cost, audited=audited)
    with console.progress_bar("policies") as advance:
        done = backtest(
            console.workspace(context),
            answers,
            rules=rules,
            seeds=seeds,
            truth=truth,
            probabilities=predictions,
            encoder=encoder,
            on_progress=advance,
        )
    figures = {name: value for name, value in vars(done).items() if name != "outcomes"}
    document = figures | {"seeds": seeds, "rules": asdict(rules), "policies": [_policy(one) for one in done.outcomes]}
    console.emit(document, _told(done), as_json=as_json)


def _offered(offered: "Offered") -> str:
    if not offered.more and not offered.fewer:
        return "nothing to change in Label Studio"
    return f"in Label Studio {offered.more} more offered, {offered.fewer} no longer"


_FIGURES = ("answers_per_item", "accuracy", "ece", "cost", "doubtful")


def _policy(outcome: "Outcome") -> dict[str, Any]:
    """Means over seeds, and how far these are apart."""
    figures: dict[str, Floats | None] = {name: getattr(outcome, name) for name in _FIGURES}
    means = {name: None if runs is None else float(runs.mean()) for name, runs in figures.items()}
    spread = {
        name: None if runs is None or len(runs) < 2 else float(runs.std(ddof=1)) for name, runs in figures.items()
    }
    return {"policy": outcome.policy, **means, "standard_deviation": spread}


def _told(done: "Backtest") -> list[str]:
    people = f"{done.answers} answers by {done.annotators} people to {done.items} items of {len(done.classes)} classes"
    lines = [f"{people}; the truth of {done.known} is known; beside the people: {done.model or 'no model'}."]
    if done.skipped or done.repeated:
        lines.append(f"{done.skipped} rows without a label were left out, {done.repeated} replaced by a later answer.")
    rows = []
    for policy in map(_policy, done.outcomes):
        spread = policy["standard_deviation"]
        cells = [
            policy[name] if spread[name] is None else f"{policy[name]:.3f} ± {spread[name]:.3f}" for name in _FIGURES
        ]
        rows.append((policy["policy"], *cells))
    return [*lines, *console.table(("policy", "answers/item", "right", "ECE", "cost", "in doubt"), rows)]


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
