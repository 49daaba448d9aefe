"""`winnow qa`: verdicts, agreement, annotators, adjudication, and lots beside this file."""

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli import adjudication, annotators, console, lots
from api.cli.console import AsJson

if TYPE_CHECKING:
    from labeling.opinions import Offered
    from qa.agreement import Level
    from qa.agreement_tables import AgreementRow
    from qa.annotators import AnnotatorQuality
    from qa.backtest import Backtest
    from qa.content_report import ContentReport
    from qa.next_answers import NextAnswers
    from qa.report import Progress, QaReport
    from qa.simulate import Outcome
    from store.arrays import Floats

app = typer.Typer(no_args_is_help=True, help="Agreement, verdicts, annotators, adjudication, lots.")
app.add_typer(adjudication.app)
app.add_typer(annotators.app, name="annotators")
app.add_typer(lots.app, name="lots")


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
    if summary.too_unsure is not None:
        lines.append(
            f"  none is accepted by one answer: that makes no item surer than {summary.too_unsure:.3f}, and they are "
            f"accepted from {summary.accept_at:g} on. Ask a second person, or lower --accept-at"
        )
    if summary.replaced:
        lines.append(f"  {summary.replaced} of these are in force in place of another campaign's")
    if summary.conflicts:
        lines.append(
            f"  {summary.conflicts} contradict what another campaign accepted: winnow qa queue {shlex.quote(campaign)}"
        )
    if summary.overruled:
        lines.append(f"  {summary.overruled} are not in force: an expert settled or rejected these images elsewhere")
    if summary.opinions:
        wanted = Counter(each.ask or "somebody new" for each in summary.opinions)
        people = ", ".join(f"{name} {count}" for name, count in wanted.most_common())
        lines.append(f"  another opinion on {len(summary.opinions)}, best of: {people}; {_offered(offered)}")
        if len(summary.opinions) == wanted["somebody new"]:
            lines.append(
                f"  if nobody new comes, winnow campaign close {shlex.quote(campaign)} leaves them to an expert"
            )
    console.emit(asdict(summary) | {"offered": asdict(offered)}, lines, as_json=as_json)


@app.command()
def report(
    context: typer.Context,
    campaign: str,
    *,
    by: Annotated[
        str | None, typer.Option(help="A column of metadata, source or scene: agreement on each value.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write the report with plots as one page, to open in a browser.")
    ] = None,
    minimum: annotators.Minimum = 0.7,
    level: Annotated[
        str,
        typer.Option(
            metavar="nominal|ordinal|interval",
            help="Of agreement: classes are names, ordered as in the taxonomy, or ordered and equally far apart.",
        ),
    ] = "nominal",
    as_json: AsJson = False,
) -> None:
    """How a campaign is doing, how far people agree, and who answers in it."""
    from curation import labels
    from qa import agreement, answers, content_report, report
    from store.errors import InvalidInputError

    workspace = console.workspace(context)
    with workspace.database.read() as session:
        kind = answers.asks_for(session, campaign)
    found: QaReport | ContentReport
    if kind == labels.CLASSIFICATION:
        found = report.report(workspace, campaign, by=by, least_accuracy=minimum, level=agreement.level(level))
        lines = list(_report(found))
    elif level != "nominal":
        raise InvalidInputError(f"--level {level} is of ordered classes, one an image; {campaign!r} asks for {kind}.")
    else:
        found = content_report.read(workspace, campaign, by=by, least_accuracy=minimum)
        lines = list(_content_report(found))
    if html is not None:
        from api import report_page

        report_page.save(html, workspace, found)
        lines += ["", f"The report with plots is in {html}"]
    console.emit(asdict(found), lines, as_json=as_json)


@app.command("next")
def next_answers(
    context: typer.Context,
    campaign: str,
    *,
    answers: Annotated[int, typer.Option(min=1, help="How many there will be.")] = 100,
    most_answers: Annotated[
        int | None, typer.Option(min=1, help="To one item; default as the campaign allows, 3 or its fixed overlap.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="How many items are shown.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Whether the next answers are worth more on items that have some, or on new ones, and on which."""
    from qa import next_answers

    found = next_answers.rank(console.workspace(context), campaign, answers, most_answers=most_answers)
    lines = [f"{campaign}: {_worth(found)}"]
    rows = [
        (f"{item.gain:.3f}", item.image, item.answers, item.likeliest, f"{item.posterior:.3f}", item.ask or "anybody")
        for item in found.items[:limit]
    ]
    if rows and not _is_blank(found):
        lines += ["", *console.table(("gain", "image", "answers", "likeliest", "posterior", "ask"), rows)]
    console.emit(asdict(found), lines, as_json=as_json)


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
    adjudication_cost: Annotated[
        float | None,
        typer.Option(help="An expert's price; above that of the answers left, or without, experts come last."),
    ] = None,
    audited: Annotated[float, typer.Option(help="Share of items that get the most answers in any case.")] = 0.02,
    as_json: AsJson = False,
) -> None:
    """What would each way of asking have cost, and how right would it have been? Replayed on answers there are."""
    from qa.backtest import backtest
    from qa.overlap import Rules

    rules = Rules(target_error, most_answers, answer_cost, adjudication_cost, audited)
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


def _worth(found: "NextAnswers") -> str:
    """What the next answers bring, or why that cannot be told."""
    if not found.items:
        return (
            "nobody is left to ask: it has ended, or its items lie with an expert, have as many answers as "
            "--most-answers allows, or were seen by all its people"
        )
    if _is_blank(found):
        return (
            f"nobody has answered anything under its taxonomy yet, so that no answer is known to be worth more than "
            f"another on the {found.new} items that can be asked about; --json has them in the order wanted"
        )
    rise = f"{found.gain:.1f} more items" if round(found.gain, 1) else "hardly any more items"
    told = "what others are" if found.model is None else found.model
    new = f" (new ones are judged by {told})" if found.new else ""
    return (
        f"of the next {len(found.items)} answers {found.again} are worth most on items that have some, "
        f"{found.new} on new ones; {rise} are expected to be right{new}"
    )


def _is_blank(found: "NextAnswers") -> bool:
    """Whether nothing tells its items apart."""
    return not found.heard and found.model is None


_FIGURES = ("answers_per_item", "accuracy", "ece", "cost", "doubtful", "cost_with_experts")


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
        lines.append(f"Left out: {done.skipped} rows without a label, {done.repeated} replaced by a later answer.")
    for count, what in ((done.repeated_truth, "truth"), (done.repeated_predictions, "predictions")):
        if count:
            lines.append(f"{count} rows of --{what} were replaced by a later one of the same item.")
    rows = []
    for policy in map(_policy, done.outcomes):
        spread = policy["standard_deviation"]
        cells = [
            policy[name] if spread[name] is None else f"{policy[name]:.3f} ± {spread[name]:.3f}" for name in _FIGURES
        ]
        rows.append((policy["policy"], *cells))
    headings = ("policy", "answers/item", "right", "ECE", "cost", "for experts", "with experts")
    return [*lines, *console.table(headings, rows), *_experts(done.outcomes)]


def _experts(outcomes: "Sequence[Outcome]") -> Iterable[str]:
    """What stands behind the costs."""
    for one in outcomes:
        if one.doubtful is not None and one.doubtful.any() and one.cost_with_experts is None:
            yield (
                f"The cost is that of the answers: {one.policy} leaves {one.doubtful.mean():.1%} of the items to an "
                "expert besides, who is in it with --adjudication-cost."
            )


_MOST_CLASSES = 8  # in a terminal: those least agreed on
_MOST_CONFUSIONS = 5


def _progress(found: "Progress") -> Iterable[str]:
    from api import cost_words

    yield (
        f"{found.campaign}: {found.items} items under {found.taxonomy} {found.revision}; {found.accepted} accepted, "
        f"{found.adjudicated} of them by an adjudicator, {found.in_adjudication} in adjudication, "
        f"{found.waiting} wait for another opinion, {found.rejected} rejected, "
        f"{found.unreviewed} not reviewed, {found.gold} gold"
    )
    per_label = "" if found.answers_per_label is None else f", {found.answers_per_label:.2f} answers a label"
    cost = "" if found.cost is None else f"; cost {found.cost:,.2f}"
    each = "" if found.cost_per_label is None else f", {found.cost_per_label:.3f} a label"
    nameless = f", {found.nameless} that name no class of the taxonomy" if found.nameless else ""
    aside = f", {found.set_aside} of people who are paused" if found.set_aside else ""
    yield (
        f"{found.answers} answers and {found.skips} skips{nameless}{aside}, {found.adjudicator_answers} by adjudicators"
        f"{per_label}{cost}{each}"
    )
    if unpriced := cost_words.of_unpriced(found):
        yield unpriced
    yield ""


def _people(found: "Progress", judged: "Iterable[AnnotatorQuality]") -> Iterable[str]:
    yield ""
    yield f"Who answers here, judged over all campaigns under {found.taxonomy} {found.revision}:"
    yield from annotators.lines(judged)


def _agreement(
    rows: "Sequence[AgreementRow]", *, adaptive: bool, level: "Level" = "nominal", classes: Sequence[str] = ()
) -> list[str]:
    from api import agreement_words

    cells = [
        (
            row.of,
            row.name,
            row.items,
            row.alpha,
            "–" if row.interval is None else "{:.3f} to {:.3f}".format(*row.interval),
            row.raw_agreement,
            row.kappa,
            row.kappa_of or "",
        )
        for row in rows
    ]
    lines = console.table(("agreement", "on", "items", "alpha", "95 % interval", "raw", "kappa", ""), cells)
    words = agreement_words.of_answers(rows, adaptive=adaptive, level=level, classes=classes)
    return [*lines, *map(console.printable, words)]


def _content_report(found: "ContentReport") -> Iterable[str]:
    """The report, to fit a screen."""
    from api import agreement_words
    from qa import shapes
    from qa.agreement import REGION_THRESHOLDS

    yield from _progress(found)
    if found.agreement:
        yield from _agreement(found.agreement, adaptive=found.adaptive)
    if found.drawn:
        rows = [
            (row.of, row.name, row.images, row.regions, row.matched, row.mean_likeness, *(row.f1 or [None] * 3))
            for row in found.drawn
        ]
        alike = f"mean {shapes.likeness_of(found.kind)}"
        at = (f"F1 at {threshold:g}" for threshold in REGION_THRESHOLDS)
        yield from console.table(("agreement", "on", "images", "compared", "matched", alike, *at), rows)
        yield from agreement_words.of_drawings(found.drawn)
    yield from _people(found, found.annotators)


def _report(found: "QaReport") -> Iterable[str]:
    """The report, to fit a screen."""
    yield from _progress(found)
    classes = [row for row in found.agreement if row.of == "class"]
    least = sorted(classes, key=lambda row: (row.alpha is None, row.alpha))[:_MOST_CLASSES]
    shown = [row for row in found.agreement if row.of != "class" or row in least]
    yield from _agreement(shown, adaptive=found.adaptive, level=found.level, classes=found.classes)
    if len(classes) > len(least):
        yield f"{len(classes) - len(least)} more classes are agreed on better: see --json"
    if found.check is not None:
        yield f"answers alone are {found.check.ece:.3f} off (ECE) on {found.check.items} items whose truth is known"
    for pair in found.confusions[:_MOST_CONFUSIONS]:
        yield console.printable(
            f"{pair.item} is answered {pair.answer} {pair.answers:.1f} times, {pair.share:.0%} of answers"
        )
    yield from _people(found, found.annotators)
