"""`winnow campaign`: batches on their way through Label Studio."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli import console
from api.cli.console import AsJson
from store.errors import WinnowError

if TYPE_CHECKING:
    from labeling.campaigns import Status
    from labeling.reconcile import Drift
    from store.workspace import Workspace

app = typer.Typer(no_args_is_help=True, help="Batches being labelled, one Label Studio project each.")

_LEFT_OUT = 10  # tasks a person is told of
_NEIGHBOURS = 3  # campaigns with the same items that a person is told of

ImageBaseUrl = Annotated[
    str | None,
    typer.Option(help="Of the running `winnow serve`, as annotators reach it; by default that of the last push."),
]


@app.command()
def create(
    context: typer.Context,
    name: str,
    *,
    batch: Annotated[int, typer.Option(help="Whose images are labelled.")],
    taxonomy: Annotated[str, typer.Option(help="What is asked about them; its newest revision.")],
    vendor: Annotated[
        list[str],
        typer.Option(
            metavar="VENDOR[=SHARE]",
            help="Who answers; several share the batch, as in a=0.6 and b=0.4, each in a campaign NAME-VENDOR.",
        ),
    ],
    overlap: Annotated[
        str,
        typer.Option(
            metavar="N|adaptive",
            help="Answers wanted per image, from different people; `adaptive`: one, and more as `qa review` finds.",
        ),
    ] = "2",
    target_error: Annotated[
        float | None,
        typer.Option(help="Adaptive: the share of labels, or of their regions, that may be wrong; default 0.06."),
    ] = None,
    most_answers: Annotated[
        int | None, typer.Option(help="Adaptive: to one image, before it goes to an expert; default 3.")
    ] = None,
    adjudication_cost: Annotated[
        float | None,
        typer.Option(help="Adaptive: an expert's price; without, or above that of answers left, experts come last."),
    ] = None,
    where: Annotated[
        str | None, typer.Option(metavar="EXPRESSION", help="Only the batch's images for which it holds.")
    ] = None,
    deadline: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The last day; again with another one moves it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Plan the tasks of a batch; several vendors get the same mix of arms, and gold goes to each."""
    from labeling import campaigns
    from qa import answers
    from store.schema import now

    workspace = console.workspace(context)
    count, adaptive = _overlap(
        overlap, target_error=target_error, most_answers=most_answers, adjudication_cost=adjudication_cost
    )
    campaign_ids = campaigns.create_shared(
        workspace,
        name,
        batch_id=batch,
        taxonomy_name=taxonomy,
        vendor_shares=_shares(vendor),
        overlap=count,
        adaptive=adaptive,
        expression=where,
        deadline=None if deadline is None else deadline.date(),
    )
    documents, lines = [], []
    with workspace.database.read() as session:
        for campaign_name, campaign_id in campaign_ids.items():
            found = campaigns.status(session, campaign_name)
            shared = campaigns.shared_items(session, campaign_id)
            bare = answers.unlabelled_gold(session, campaign_id)
            documents.append(asdict(found) | {"shared_items": shared, "unlabelled_gold": bare})
            lines.append(f"{campaign_name}: {found.items} tasks planned for {found.vendor}{_shared(shared)}")
            if bare:
                lines.append(f"{bare} picked as gold have no label under {taxonomy!r}: they are items like others.")
    if deadline is not None and deadline.date() < now().date():
        late = f"The deadline {deadline:%Y-%m-%d} is past: the same command with a later one moves it."
        print(late, file=sys.stderr)
    if adaptive is None and count == 1 and documents[0]["task_kind"] != answers.UNDECIDED:
        print(_ONE_ANSWER, file=sys.stderr)
    console.emit(documents[0] if len(documents) == 1 else {"campaigns": documents}, lines, as_json=as_json)


_ONE_ANSWER = (
    "One answer alone leaves an item less sure than `winnow qa review` asks for by default: without vectors that let a "
    "probe agree (winnow embed; of one class an image) all items go to an expert. Ask two people (--overlap 2) or as "
    "often as needed (--overlap adaptive), or review with a lower --accept-at."
)


@app.command()
def adopt(
    context: typer.Context,
    name: str,
    *,
    ls_project: Annotated[int, typer.Option(help="The project's number in Label Studio.")],
    vendor: Annotated[str, typer.Option(help="Whose Label Studio it is in.")],
    taxonomy: Annotated[
        str | None, typer.Option(help="What it has to ask; by default its config becomes the taxonomy NAME.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take over a Label Studio project that is there, with all its tasks; again, those that came since."""
    from labeling import adopt

    workspace = console.workspace(context)
    with console.progress_bar("adopt") as on_progress:
        done = adopt.adopt(
            workspace,
            name,
            vendor_name=vendor,
            ls_project_id=ls_project,
            taxonomy_name=taxonomy,
            on_progress=on_progress,
        )
    for sentence in done.unmapped:
        print(f"Left out of the taxonomy: {sentence}", file=sys.stderr)
    for each in done.left_out[:_LEFT_OUT]:
        print(f"Left out: task {each.ls_task_id}: {console.printable(each.why)}.", file=sys.stderr)
    if len(done.left_out) > _LEFT_OUT:
        print(f"Left out: {len(done.left_out) - _LEFT_OUT} more tasks; --json names all.", file=sys.stderr)
    lines = [
        f"{name}: {done.new_tasks} tasks of project {done.ls_project_id} adopted, {done.tasks} in all, which show "
        f"{done.items} images; {done.new_images} images are new",
        f"taxonomy {done.taxonomy} revision {done.taxonomy_revision}, batch {done.batch}; "
        f"{len(done.left_out)} tasks left out",
        f"Its answers come with: winnow campaign pull {name}",
    ]
    console.emit(asdict(done), lines, as_json=as_json)


@app.command()
def push(
    context: typer.Context,
    name: str,
    *,
    image_base_url: ImageBaseUrl = None,
    predictions: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Show this model's newest predictions as pre-annotations; '' for none."),
    ] = None,
    blind_share: Annotated[
        float | None,
        typer.Option(help="Of the tasks, drawn in secret, that show no prediction: what do people owe it?"),
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(help="Of predicted boxes: those that score less are not shown.")
    ] = None,
    webhook: Annotated[
        bool | None, typer.Option("--webhook/--no-webhook", help="Let Label Studio tell `winnow serve` of answers.")
    ] = None,
    link_days: Annotated[
        int | None,
        typer.Option(min=1, help="How long links to images last, a century at most; default 30, or past the deadline."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create the campaign's tasks in Label Studio, as many as its vendor has room for; again, nothing twice."""
    from api import pushing

    workspace = console.workspace(context)
    with workspace.database.read() as session:
        manner = pushing.manner(
            session,
            name,
            image_base_url=image_base_url,
            predictions=predictions,
            blind_share=blind_share,
            min_score=min_score,
            webhook=webhook,
            link_days=link_days,
        )
    with console.progress_bar("push") as on_progress:
        pushed = pushing.start(workspace, name, manner, on_progress=on_progress)
    if pushed.unknown_classes:
        unknown = ", ".join(map(console.printable, pushed.unknown_classes))
        print(f"Boxes of classes that the taxonomy lacks are not shown: {unknown}.", file=sys.stderr)
    found = f", {pushed.found} found from an interrupted push" if pushed.found else ""
    removed = f", {pushed.removed} copies removed" if pushed.removed else ""
    waiting = f"; {pushed.waiting} wait until the vendor has room" if pushed.waiting else ""
    line = f"{name}: {pushed.created} tasks created{found}{removed}; {pushed.tasks} in Label Studio{waiting}"
    console.emit(asdict(pushed), [line], as_json=as_json)


@app.command()
def pull(
    context: typer.Context,
    name: str,
    everything: Annotated[bool, typer.Option(help="List all tasks, not only those that changed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch the answers; edits and deletions become revisions. What `qa review` wants another opinion on is offered."""
    from labeling import opinions, pull

    workspace = console.workspace(context)
    pulled = pull.pull(workspace, name, everything=everything)
    opinions.offer(workspace, name)
    missing = f"; {pulled.missing} tasks are gone from Label Studio" if pulled.missing else ""
    line = f"{name}: {pulled.answers} answers, {pulled.new} new, {pulled.edited} edited, {pulled.deleted} deleted"
    console.emit(asdict(pulled), [line + missing], as_json=as_json)


@app.command()
def status(context: typer.Context, name: str, as_json: AsJson = False) -> None:
    """How far a campaign got, what it costs, when it ends, and where Label Studio differs from what was pushed."""
    from labeling import campaigns

    workspace = console.workspace(context)
    with workspace.database.read() as session:
        found = campaigns.status(session, name)
    drift, trouble = (None, None) if found.ls_project_id is None else _drift(workspace, name)
    document = asdict(found) | {"drift": None if drift is None else asdict(drift), "trouble": trouble}
    console.emit(document, _screen(found, drift, trouble), as_json=as_json)


@app.command()
def reconcile(
    context: typer.Context,
    name: str,
    image_base_url: ImageBaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Make Label Studio hold every task once, and what a server restored from a backup forgot."""
    from api import pushing
    from labeling import campaigns, reconcile

    workspace = console.workspace(context)
    with workspace.database.read() as session:
        terms = campaigns.terms(session, name)
        if terms.adopted:
            image_base_url = image_base_url or terms.ls_url  # no task is made there, so no image is shown
        manner = pushing.manner(session, name, image_base_url=image_base_url)
        image_url = pushing.image_links(session, workspace.key, name, manner)
    done = reconcile.reconcile(
        workspace,
        name,
        image_url=image_url,
        predictions_model=manner.predictions,
        blind_share=manner.blind_share,
        min_score=manner.min_score,
    )
    restored = f", {done.put_back} answers put back after a restore" if done.restored else ""
    if done.not_put_back:
        restored += f", {done.not_put_back} kept here alone as Label Studio has no such author or task"
    waiting = f", {done.waiting} to be made again once there is room" if done.waiting else ""
    line = f"{name}: {done.recreated} tasks made again{waiting}, {done.removed} copies removed{restored}"
    console.emit(asdict(done), [f"{line}; {done.strangers} tasks of others left alone"], as_json=as_json)


@app.command()
def pause(context: typer.Context, name: str, as_json: AsJson = False) -> None:
    """Push nothing more until it is resumed; what is in Label Studio stays as it is."""
    _set_paused(context, name, paused=True, as_json=as_json)


@app.command()
def resume(context: typer.Context, name: str, as_json: AsJson = False) -> None:
    """Let a paused campaign go on."""
    _set_paused(context, name, paused=False, as_json=as_json)


@app.command()
def cancel(context: typer.Context, name: str, as_json: AsJson = False) -> None:
    """Pull once more, remove what nobody answered from Label Studio, and close; answers stay."""
    from labeling import cancel

    done = cancel.cancel(console.workspace(context), name)
    line = f"{name} is cancelled: {done.withdrawn} unanswered tasks withdrawn, {done.kept} with answers kept"
    console.emit(asdict(done), [line], as_json=as_json)


@app.command()
def close(context: typer.Context, name: str, as_json: AsJson = False) -> None:
    """End a campaign; late answers may still be pulled."""
    from labeling import campaigns, webhooks

    workspace = console.workspace(context)
    campaigns.close(workspace, name)
    try:
        webhooks.remove(workspace, name)
    except WinnowError as error:  # what is closed is closed
        print(f"Label Studio was not told to send no more hints. {error}", file=sys.stderr)
    with workspace.database.read() as session:
        found = campaigns.status(session, name)
    console.emit(asdict(found), [f"{name} is {found.state}"], as_json=as_json)


@app.command("list")
def list_all(context: typer.Context, as_json: AsJson = False) -> None:
    """Every campaign, the oldest first."""
    from labeling import campaigns

    with console.workspace(context).database.read() as session:
        found = [campaigns.status(session, name) for name in campaigns.list_names(session)]
    headings = ["campaign", "purpose", "vendor", "state", "items", "waiting", "pushed", "in work", "answered"]
    headings += ["accepted", "cost", "forecast", "outlook"]
    rows = [
        (
            *(each.name, each.purpose, each.vendor, each.state, each.items, each.waiting, each.pushed, each.in_work),
            *(each.answered, each.accepted, _money(each.cost), _money(each.forecast), each.outlook),
        )
        for each in found
    ]
    console.emit({"campaigns": [asdict(each) for each in found]}, console.table(headings, rows), as_json=as_json)


def _overlap(said: str, **rules: float | None) -> tuple[int, dict[str, Any] | None]:
    """How many answers each item gets, and the rules by which it gets more."""
    from qa.overlap import Rules
    from store.errors import InvalidInputError

    given = {name: value for name, value in rules.items() if value is not None}
    if said == "adaptive":
        chosen: dict[str, Any] = given
        told = asdict(Rules(**chosen))
        del told["answer_cost"]  # the vendor's price
        return 1, told
    if given:
        options = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InvalidInputError(f"{options} is of adaptive campaigns: say --overlap adaptive too.")
    try:
        return int(said), None
    except ValueError as error:
        raise InvalidInputError(f"--overlap is a number of answers or the word adaptive, not {said!r}.") from error


def _shares(said: list[str]) -> dict[str, Fraction]:
    """Who gets which share: `a=0.6`, or a name alone for all of it."""
    from store.errors import InvalidInputError

    shares: dict[str, Fraction] = {}
    for each in said:
        name, is_shared, share = each.rpartition("=")
        if not is_shared:
            name, share = each, "1"
        try:
            found = Fraction(share)
        except (ValueError, ZeroDivisionError) as error:
            raise InvalidInputError(f"--vendor {each} is not of the form VENDOR=SHARE: a=0.6.") from error
        if name in shares:
            raise InvalidInputError(f"--vendor names {name!r} twice.")
        shares[name] = found
    return shares


def _shared(items: Mapping[str, int]) -> str:
    named = "".join(f"; {count} of its items are in {name} too" for name, count in list(items.items())[:_NEIGHBOURS])
    more = len(items) - _NEIGHBOURS
    return named + (f"; and some in {more} more campaign{'s' * (more != 1)}" if more > 0 else "")


def _set_paused(context: typer.Context, name: str, *, paused: bool, as_json: bool) -> None:
    from labeling import campaigns

    workspace = console.workspace(context)
    campaigns.set_paused(workspace, name, paused=paused)
    with workspace.database.read() as session:
        found = campaigns.status(session, name)
    console.emit(asdict(found), [f"{name} is {found.state}"], as_json=as_json)


def _drift(workspace: "Workspace", name: str) -> "tuple[Drift | None, str | None]":
    """Where Label Studio differs, or a sentence that says why it cannot be asked."""
    from labeling import reconcile
    from store.errors import InvalidInputError, RemoteError

    try:
        return reconcile.find(workspace, name), None
    except (RemoteError, InvalidInputError) as error:
        return None, str(error)


def _screen(status: "Status", drift: "Drift | None", trouble: str | None) -> Iterator[str]:
    yield (
        f"{status.name}: {status.purpose} of batch {status.batch} by {status.vendor}, {status.taxonomy} revision "
        f"{status.taxonomy_revision}, overlap {_said_overlap(status)}; {'adopted, ' * status.adopted}{status.state}"
    )
    room = f", {status.waiting} waiting for room" if status.waiting else ""
    withdrawn = f", {status.withdrawn} withdrawn" if status.withdrawn else ""
    on_their_way = f", {status.intended} on their way" if status.intended else ""
    yield f"  items     {status.items}: {status.planned} planned{room}{on_their_way}, {status.pushed} pushed{withdrawn}"
    yield (
        f"  work      {status.in_work} in work, {status.answered} answered; "
        f"{status.escalated} escalated, {status.accepted} accepted"
    )
    if status.unreadable:
        yield f"  {status.unreadable} answers name no class of the taxonomy: they cost, and say nothing"
    rate = "" if status.rate_per_hour is None else f"; {status.rate_per_hour:.1f} an hour over the last day of activity"
    yield f"  answers   {status.answers}, {status.skips} of them skips{rate}"
    if status.price is None:
        yield f"  cost      {status.vendor} has no price for {status.task_kind}: winnow vendor add"
    else:
        cost, forecast = _money(status.cost), _money(status.forecast)
        yield f"  cost      {cost} so far, {forecast} at the end; {status.price:g} an answer"
    yield f"  end       {status.outlook}" + ("" if status.deadline is None else f"; deadline {status.deadline}")
    limit = "" if status.capacity is None else f" of {status.capacity}"
    yield f"  vendor    {status.in_flight}{limit} tasks in flight"
    if trouble is not None:
        yield f"  In Label Studio: {trouble}"
    if drift is not None:
        yield (
            f"  In Label Studio: {len(drift.missing)} tasks missing, {drift.copies} copied, "
            f"{drift.strangers} not ours{', restored from a backup' * drift.restored}"
        )
        if drift.config:
            yield console.printable(f"  Its labelling config was changed there: {'; '.join(drift.config)}")


def _said_overlap(status: "Status") -> str:
    if status.adaptive is None:
        return str(status.overlap)
    return f"adaptive to an error of {status.adaptive['target_error']:g}, {status.adaptive['most_answers']} at most"


def _money(sum_of_money: float | None) -> str | None:
    return None if sum_of_money is None else f"{sum_of_money:.2f}"
