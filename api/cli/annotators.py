"""`winnow qa annotators`: how good everybody is, and whose answers count."""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli import console
from api.cli.console import AsJson

if TYPE_CHECKING:
    from qa.annotators import AnnotatorQuality, InFull, Part
    from qa.conduct.trends import Difference, Slope
    from qa.standing import State

app = typer.Typer(invoke_without_command=True)

Minimum = Annotated[
    float,
    typer.Option(
        help="The accuracy wanted; who is certainly under it, by an interval at most 0.3 wide, is suggested for a "
        "pause."
    ),
]
OfVendor = Annotated[str | None, typer.Option("--vendor", help="Whose, where several vendors have one of that name.")]
Reason = Annotated[str, typer.Option(help="Why, for whoever reads it later.")]
By = Annotated[str | None, typer.Option(help="Who decides; by default whoever is logged in here.")]


@app.callback()
def everybody(context: typer.Context, *, minimum: Minimum = 0.7, as_json: AsJson = False) -> None:
    """Everybody's accuracy, as far as others' answers and gold tell, their speed, and what to look into."""
    if context.invoked_subcommand is not None:
        return
    from qa import annotators

    found = annotators.list_all(console.workspace(context), least_accuracy=minimum)
    console.emit({"annotators": [asdict(each) for each in found]}, list(lines(found)), as_json=as_json)


@app.command()
def show(
    context: typer.Context,
    name: str,
    *,
    vendor: OfVendor = None,
    by: Annotated[
        str | None, typer.Option(help="A column of metadata, source or scene: a slice for each value.")
    ] = None,
    minimum: Minimum = 0.7,
    as_json: AsJson = False,
) -> None:
    """One person in full: what they confuse, on which classes and when they are right, what was decided."""
    from qa import annotators

    found = annotators.show(console.workspace(context), name, vendor_name=vendor, by=by, least_accuracy=minimum)
    told = [line for each in found for line in (*_in_full(each), "")]
    console.emit({"annotators": [asdict(each) for each in found]}, told[:-1], as_json=as_json)


@app.command()
def pause(
    context: typer.Context,
    name: str,
    *,
    reason: Reason,
    since: Annotated[
        str | None, typer.Option(help="From when their answers do not count, such as 2026-05-01 (UTC); by default now.")
    ] = None,
    vendor: OfVendor = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Let somebody's answers from now on count for nothing; Label Studio goes on accepting them."""
    moment = None if since is None else _moment(since)
    _decide(context, name, "paused", reason=reason, since=moment, vendor=vendor, by=by, as_json=as_json)


@app.command()
def probation(
    context: typer.Context,
    name: str,
    *,
    reason: Reason,
    vendor: OfVendor = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Let somebody's answers count only beside those of others: what they alone answered wants another opinion."""
    _decide(context, name, "probation", reason=reason, vendor=vendor, by=by, as_json=as_json)


@app.command()
def reinstate(
    context: typer.Context,
    name: str,
    *,
    reason: Reason,
    vendor: OfVendor = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """End a pause or a probation: everything they answered counts again."""
    _decide(context, name, "good", reason=reason, vendor=vendor, by=by, as_json=as_json)


def lines(found: "Iterable[AnnotatorQuality]") -> Iterable[str]:
    """A table of people, and a sentence for whatever is to be looked into."""
    people = list(found)
    rows = [
        (
            each.annotator,
            each.vendor,
            f"{each.taxonomy} {each.revision}",
            each.answers,
            each.judged,
            each.accuracy,
            _range(each.interval),
            _gold(each.gold),
            None if each.median_lead_time_s is None else f"{each.median_lead_time_s:.1f}",
            None if each.pace is None else f"{each.pace.ratio:.2f}",
            each.standing,
        )
        for each in people
    ]
    headings = ("annotator", "vendor", "taxonomy", "answers", "judged", "accuracy", "95 % interval")
    yield from console.table((*headings, "gold", "median s", "× others", "standing"), rows)
    yield from _detections(people)
    for each in people:
        for sign in each.signs:
            yield console.printable(f"{each.annotator} {sign.sentence} ({_p(sign.p_value)})")
        if each.suggestion:
            yield console.printable(f"{each.annotator} {each.suggestion}")
    alone = sum(bool(each.answers) and not each.judged for each in people)
    few = sum(each.accuracy is None for each in people) - alone
    if few:
        yield f"{few} of {len(people)} are not judged: their answers leave an interval wider than 0.3"
    if alone:
        yield f"{alone} of {len(people)} are not judged: only gold, experts or a third person tell who of two is right"


def _detections(people: "Iterable[AnnotatorQuality]") -> Iterable[str]:
    """How they find things, of those who were asked for any."""
    asked = [(each, each.detection) for each in people if each.detection is not None]
    names = sorted({found.likeness.name for _, found in asked if found.likeness is not None})
    rows = [
        (
            *(each.annotator, f"{each.taxonomy} {each.revision}", found.images),
            *(found.recall.accuracy, _range(found.recall.interval)),
            None if found.ghosts_per_image is None else f"{found.ghosts_per_image:.2f}",
            None if found.ghosts_interval is None else _range(found.ghosts_interval),
            *((_judged(found.naming), _mean(found.likeness)) if names else ()),
        )
        for each, found in asked
    ]
    if rows:
        headings = ("annotator", "taxonomy", "images", "recall", "95 % interval", "ghosts an image", "95 % interval")
        yield ""
        yield from console.table(
            (*headings, *(("called rightly", f"mean {' or '.join(names)}") if names else ())), rows
        )


def _in_full(found: "InFull") -> Iterable[str]:
    yield from lines([found.quality])
    yield ""
    cells = [[f"{value:.1f}" for value in row] for row in found.confusion]
    yield from console.table(
        ("is (say others) \\ answered", *found.classes),
        [(name, *row) for name, row in zip(found.classes, cells, strict=True)],
    )
    for title, parts in (("class", found.by_class), ("slice", found.by_slice), ("time", found.over_time)):
        if parts:
            yield ""
            yield from _parts(title, parts)
    yield ""
    yield f"within a session: {_change(found.per_hour, 'an hour')}"
    yield f"over the weeks: {_change(found.per_week, 'a week')}"
    if found.quality.detection is None:
        yield f"where a prediction is shown: {_anchoring(found.anchoring)}"
    for one in found.decisions:
        yield console.printable(f"{one['at'][:16]} {one['state']} by {one['by']}: {one['reason']}")


def _parts(title: str, parts: "Iterable[Part]") -> list[str]:
    rows = [(each.name, each.answers, each.accuracy, _range(each.interval)) for each in parts]
    return console.table((title, "judged", "accuracy", "95 % interval"), rows)


def _change(slope: "Slope | None", unit: str) -> str:
    if slope is None:
        return "too few answers to tell"
    low, high = slope.interval
    return f"accuracy changes by {slope.value:+.3f} {unit} ({low:+.3f} to {high:+.3f})"


def _anchoring(found: "Difference | None") -> str:
    if found is None:
        return "nobody can tell: no answers both with and without one"
    low, high = found.interval
    return f"agreement with it is {found.value:+.3f} ({low:+.3f} to {high:+.3f}) against tasks where it is hidden"


def _range(interval: tuple[float, float]) -> str:
    return "{:.2f}–{:.2f}".format(*interval)


def _judged(part: "Part | None") -> str | None:
    """A share with its interval; nothing where that is too wide to judge by."""
    return None if part is None or part.accuracy is None else f"{part.accuracy:.2f} ({_range(part.interval)})"


def _mean(part: "Part | None") -> str | None:
    """Without its interval, which knows nothing of how sure others are."""
    return None if part is None or part.accuracy is None else f"{part.accuracy:.2f}"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _gold(gold: "Part | None") -> str:
    return "–" if gold is None else f"{_range(gold.interval)} of {gold.answers}"


def _moment(text: str) -> datetime:
    from store.errors import InvalidInputError

    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError(f"{text!r} is no moment, such as 2026-05-01 or 2026-05-01T14:30.") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _decide(
    context: typer.Context,
    name: str,
    state: "State",
    *,
    reason: str,
    vendor: str | None,
    by: str | None,
    as_json: bool,
    since: datetime | None = None,
) -> None:
    from qa import standing

    row = standing.decide(
        console.workspace(context),
        name,
        state,
        reason=reason,
        by=by or console.login() or "somebody",
        vendor_name=vendor,
        since=since,
    )
    document: dict[str, Any] = {
        "annotator": name,
        "state": row.state,
        "since": row.since.isoformat(),
        "reason": row.reason,
        "by": row.decided_by,
    }
    told = {
        "paused": f"answers given from {row.since:%Y-%m-%d %H:%M} UTC on count for nothing. Label Studio cannot keep "
        "them out: take them off the project there.",
        "probation": "an item that only people on probation answered wants another opinion.",
        "good": "all their answers count.",
    }[row.state]
    next_step = "Items are decided anew by: winnow qa review CAMPAIGN"
    console.emit(document, [console.printable(f"{name} is {_STATES[row.state]}: {told}"), next_step], as_json=as_json)


_STATES = {"paused": "paused", "probation": "on probation", "good": "reinstated"}
