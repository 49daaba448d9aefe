"""`winnow qa`: what an expert should look at, what they decide, label errors, and questions to the guideline."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli import console
from api.cli.console import AsJson
from store.errors import InvalidInputError

if TYPE_CHECKING:
    from qa import label_errors as errors
    from qa.adjudication import AdjudicationSummary, QueueItem

app = typer.Typer(no_args_is_help=True)

_MANY = 0.1  # of a model's surest predictions

_Vendor = Annotated[str | None, typer.Option(help="The experts; by default each campaign's own vendor.")]


@app.command()
def adjudicate(
    context: typer.Context,
    campaign: str,
    *,
    vendor: Annotated[str | None, typer.Option(help="The experts; by default the campaign's own vendor.")] = None,
    label_errors: Annotated[int, typer.Option(help="Take so many of the most suspect labels too.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Plan a campaign for an expert over the items of the queue that are in none yet, the most valuable first."""
    from qa import adjudication

    workspace = console.workspace(context)
    summary = adjudication.open_campaign(workspace, campaign, vendor_name=vendor, label_errors_too=label_errors)
    items: list[QueueItem] = []
    if summary.already:
        with workspace.database.read() as session:
            items = adjudication.queue(workspace, session, campaign).items
    skipped = [item.image for item in items if item.skipped]
    console.emit(asdict(summary) | {"skipped": skipped}, [_opened(summary), *_stuck(items)], as_json=as_json)


@app.command()
def queue(
    context: typer.Context,
    campaign: Annotated[str | None, typer.Argument(help="By default all campaigns.")] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, help="How many are shown.")] = 20,
    as_json: AsJson = False,
) -> None:
    """What an expert should look at, the most doubtful first."""
    from qa import adjudication

    workspace = console.workspace(context)
    with workspace.database.read() as session:
        found = adjudication.queue(workspace, session, campaign)
    shown = found.items[:limit]
    lines = [*_queued(shown), f"{len(shown)} of {len(found.items)} items."] if shown else ["The queue is empty."]
    lines += _stuck(found.items)
    if found.decided:
        lines.append(f"{found.decided} more are decided and await: winnow qa review.")
    document = {"items": [asdict(item) for item in shown], "total": len(found.items), "decided": found.decided}
    console.emit(document, lines, as_json=as_json)


@app.command()
def decide(
    context: typer.Context,
    item: Annotated[str, typer.Argument(help="The image's id, or task:ID.")],
    *,
    campaign: Annotated[str, typer.Option(help="Whose item it is.")],
    reason: Annotated[
        str,
        typer.Option(
            help="annotator-mistake, agreed-with-majority, guideline-unclear, ambiguous-image, bad-image "
            "or taxonomy-gap."
        ),
    ],
    answer: Annotated[
        str | None,
        typer.Option(
            help="The class; of another kind one of the suggestions of qa queue --json. Without one the item is "
            "rejected, for one of the last three reasons."
        ),
    ] = None,
    comment: Annotated[str, typer.Option(help="Anything to add.")] = "",
    by: Annotated[str | None, typer.Option(help="Who decides; by default your login.")] = None,
    as_json: AsJson = False,
) -> None:
    """Settle an item as an expert: the next review makes it the verdict. A later decision replaces it."""
    from qa import decisions

    author = console.login() if by is None else by
    if author is None:
        raise InvalidInputError("A decision needs to know whose it is, and this login has no name: say --by.")
    made = decisions.decide(
        console.workspace(context),
        campaign,
        item,
        answer=answer,
        reason=reason,
        comment=comment,
        author=author,
    )
    what = f"image {made.image} is {made.words}" if made.words else f"image {made.image} gets no label"
    replaced = f", in place of {made.replaced} earlier" if made.replaced else ""
    line = f"{campaign}: {what} ({made.reason}){replaced}. Next: winnow qa review {campaign}"
    console.emit(asdict(made), [line], as_json=as_json)


@app.command("label-errors")
def label_errors(
    context: typer.Context,
    *,
    taxonomy: Annotated[str | None, typer.Option(help="Needed when several have labels.")] = None,
    encoder: Annotated[str | None, typer.Option(help="Whose vectors are looked at, of classes.")] = None,
    predictions: Annotated[
        str | None, typer.Option(help="Of boxes: whose newest predictions; the model must not have seen the labels.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many are shown.")] = 20,
    adjudicate: Annotated[
        int | None, typer.Option(min=1, help="Plan adjudications of so many of the most suspect.")
    ] = None,
    vendor: _Vendor = None,
    as_json: AsJson = False,
) -> None:
    """Which accepted labels are probably wrong, the most suspect first. No label changes by it.

    Of one class or several an image, a probe, the nearest neighbours and copies are heard. Boxes are compared with
    those of a model of yours, brought by winnow predictions import. It must not have learnt from these labels, or it
    repeats their mistakes: predict out of fold, each part by a model trained on the others, or train on other data.
    """
    from curation import labels
    from qa import adjudication
    from qa import label_errors as errors

    workspace = console.workspace(context)
    with console.progress_bar("classes") as advance:
        summary = errors.scan(workspace, taxonomy, encoder=encoder, model=predictions, on_progress=advance)
    with workspace.database.read() as session:
        found = [one for one in errors.standing(session) if one.taxonomy == summary.taxonomy]
    opened = (
        []
        if adjudicate is None
        else adjudication.open_suspects(workspace, adjudicate, taxonomy=summary.taxonomy, vendor_name=vendor)
    )
    rows = [
        (
            f"{one.score:.3f}",
            one.image,
            one.campaign,
            labels.in_words(one.label, one.kind),
            labels.in_words(one.suggestion, one.kind),
            one.why,
        )
        for one in found[:limit]
    ]
    by = "" if summary.model else "by "
    doubted = ", ".join(f"{count} {by}{name}" for name, count in summary.sources.items())
    lines = [f"{summary.taxonomy}: {summary.labels} labels, {summary.candidates} candidates ({doubted})"]
    if summary.expected_wrong is not None:
        lines[0] += f"; {_expected(summary)}"
    if summary.adjudicated:
        lines.append(f"{summary.adjudicated} of these labels are an adjudicator's and no candidates.")
    if summary.surest_denied is not None and summary.surest_denied > _MANY:
        lines.append(
            f"{summary.surest_denied:.0%} of the quarter of its predictions that {summary.model} is surest of are in "
            "no label, or called otherwise there: either the labels are that wrong or the model is not to be trusted."
        )
    if summary.without_vectors:
        lines.append(f"{summary.without_vectors} labelled images have no vector and were left out: winnow embed.")
    if summary.without_predictions:
        lines.append(
            f"{summary.without_predictions} labelled images have no prediction of {summary.model} and were left out."
        )
    if rows:
        lines += ["", *console.table(("score", "image", "campaign", "label", "rather", "why"), rows)]
    lines += [_opened(one) for one in opened]
    if adjudicate is not None and not opened:
        lines.append("Nothing new to adjudicate.")
    document = asdict(summary) | {
        "suspects": [asdict(one) for one in found[:limit]],
        "adjudications": [asdict(one) for one in opened],
    }
    console.emit(document, lines, as_json=as_json)


@app.command()
def questions(
    context: typer.Context,
    campaign: Annotated[str | None, typer.Argument(help="By default all campaigns.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Classes that people confuse more than their mistakes explain: what the guideline should answer."""
    from qa import questions

    found = questions.ask(console.workspace(context), campaign)
    lines = []
    for one in found:
        lines.append(one.text)
        lines.append(f"  Examples: {', '.join(f'image {image}' for image in one.images)}")
        lines += [
            f"  {name}: {text or 'the taxonomy says nothing about it'}" for name, text in one.descriptions.items()
        ]
    console.emit(
        {"questions": [asdict(one) for one in found]},
        lines or ["No two classes are confused more than mistakes explain."],
        as_json=as_json,
    )


def _queued(items: "list[QueueItem]") -> list[str]:
    rows = [
        (
            f"{item.value:.3f}",
            item.image,
            item.campaign,
            item.reason,
            "; ".join(f"{name} ×{count}" for name, count in item.answers.items()),
            item.label,
            item.held_by,
            item.why,
        )
        for item in items
    ]
    return console.table(("value", "image", "campaign", "reason", "answers", "label", "held by", "why"), rows)


def _stuck(items: "Sequence[QueueItem]") -> Iterator[str]:
    """What is to be done about items that an expert skipped without a reason, by campaign."""
    from api import skip_words

    images: dict[str, list[int]] = {}
    for item in items:
        if item.skipped:
            images.setdefault(item.campaign, []).append(item.image)
    for campaign, skipped in images.items():
        yield skip_words.settle(skipped, campaign, of="the items in adjudication")


def _expected(summary: "errors.Summary") -> str:
    if summary.kind == "multilabel":
        return f"at most about {summary.expected_wrong:.1%} of what they say of a class is expected to be wrong"
    return f"at most about {summary.expected_wrong:.1%} of the labels are expected to be wrong"


def _opened(summary: "AdjudicationSummary") -> str:
    if summary.opened:
        return f"{summary.opened}: {summary.items} items planned. Next: winnow campaign push {summary.opened}"
    return f"{summary.campaign}: no new dispute; {summary.already} items are in adjudication already"
