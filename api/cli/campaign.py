"""`winnow campaign`: batches on their way through Label Studio."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli import console
from api.cli.console import AsJson

if TYPE_CHECKING:
    from labeling.campaigns import Status

app = typer.Typer(no_args_is_help=True, help="Batches being labelled, one Label Studio project each.")


@app.command()
def create(
    context: typer.Context,
    name: str,
    *,
    batch: Annotated[int, typer.Option(help="Whose images are labelled.")],
    taxonomy: Annotated[str, typer.Option(help="What is asked about them; its newest revision.")],
    vendor: Annotated[str, typer.Option(help="Who answers.")],
    overlap: Annotated[int, typer.Option(help="Answers wanted per image, from different people.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Plan the tasks of a batch."""
    from labeling import campaigns

    workspace = console.workspace(context)
    campaigns.create(workspace, name, batch_id=batch, taxonomy_name=taxonomy, vendor_name=vendor, overlap=overlap)
    with workspace.database.read() as session:
        status = campaigns.status(session, name)
    console.emit(asdict(status), [f"{name}: {status.items} tasks planned for {vendor}"], as_json=as_json)


@app.command()
def push(
    context: typer.Context,
    name: str,
    *,
    image_base_url: Annotated[str, typer.Option(help="Of the running `winnow serve`, as annotators reach it.")],
    predictions: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Show this model's newest predictions as pre-annotations.")
    ] = None,
    webhook: Annotated[bool, typer.Option(help="Let Label Studio tell `winnow serve` of answers.")] = True,
    as_json: AsJson = False,
) -> None:
    """Create the campaign's tasks in Label Studio; again, nothing twice."""
    from api import image_urls
    from labeling import campaigns, push, webhooks

    workspace = console.workspace(context)
    with workspace.database.read() as session:
        campaign_id = campaigns.get(session, name).id
    image_url = image_urls.signer(workspace.key, image_base_url)
    with console.progress_bar("push") as on_progress:
        pushed = push.push(
            workspace,
            name,
            image_url=image_url,
            predictions_model=predictions,
            webhook=webhooks.of_campaign(workspace.key, image_base_url, campaign_id) if webhook else None,
            on_progress=on_progress,
        )
    found = f", {pushed.found} found from an interrupted push" if pushed.found else ""
    removed = f", {pushed.removed} copies removed" if pushed.removed else ""
    line = f"{name}: {pushed.created} tasks created{found}{removed}; {pushed.tasks} in Label Studio"
    console.emit(asdict(pushed), [line], as_json=as_json)


@app.command()
def pull(
    context: typer.Context,
    name: str,
    everything: Annotated[bool, typer.Option(help="List all tasks, not only those that changed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch the answers; edits and deletions become revisions."""
    from labeling import pull

    pulled = pull.pull(console.workspace(context), name, everything=everything)
    missing = f"; {pulled.missing} tasks are gone from Label Studio" if pulled.missing else ""
    line = f"{name}: {pulled.answers} answers, {pulled.new} new, {pulled.edited} edited, {pulled.deleted} deleted"
    console.emit(asdict(pulled), [line + missing], as_json=as_json)


@app.command()
def status(context: typer.Context, name: str, as_json: AsJson = False) -> None:
    """How far a campaign got, and where Label Studio differs from what was pushed."""
    from labeling import campaigns, reconcile

    workspace = console.workspace(context)
    with workspace.database.read() as session:
        found = campaigns.status(session, name)
    lines = console.table(_HEADINGS, [_row(found)])
    if found.ls_project_id is None:
        console.emit(asdict(found) | {"drift": None}, lines, as_json=as_json)
        return
    difference = reconcile.find(workspace, name)
    lines.append(
        f"In Label Studio: {len(difference.missing)} tasks missing, {difference.copies} copied, "
        f"{difference.strangers} not ours{', restored from a backup' * difference.restored}"
    )
    console.emit(asdict(found) | {"drift": asdict(difference)}, lines, as_json=as_json)


@app.command()
def reconcile(
    context: typer.Context,
    name: str,
    image_base_url: Annotated[str, typer.Option(help="Of the running `winnow serve`, as annotators reach it.")],
    as_json: AsJson = False,
) -> None:
    """Make Label Studio hold every task once, and what a server restored from a backup forgot."""
    from api import image_urls
    from labeling import reconcile

    workspace = console.workspace(context)
    done = reconcile.reconcile(workspace, name, image_url=image_urls.signer(workspace.key, image_base_url))
    restored = f", {done.put_back} answers put back after a restore" if done.restored else ""
    line = f"{name}: {done.recreated} tasks made again, {done.removed} copies removed{restored}"
    console.emit(asdict(done), [f"{line}; {done.strangers} tasks of others left alone"], as_json=as_json)


@app.command()
def close(context: typer.Context, name: str, as_json: AsJson = False) -> None:
    """End a campaign; late answers may still be pulled."""
    from labeling import campaigns

    workspace = console.workspace(context)
    campaigns.close(workspace, name)
    with workspace.database.read() as session:
        found = campaigns.status(session, name)
    console.emit(asdict(found), [f"{name} is closed"], as_json=as_json)


@app.command("list")
def list_all(context: typer.Context, as_json: AsJson = False) -> None:
    """Every campaign, the oldest first."""
    from labeling import campaigns

    with console.workspace(context).database.read() as session:
        found = [campaigns.status(session, name) for name in campaigns.list_names(session)]
    document = {"campaigns": [asdict(each) for each in found]}
    console.emit(document, console.table(_HEADINGS, map(_row, found)), as_json=as_json)


_HEADINGS = ["campaign", "purpose", "vendor", "items", "planned", "intended", "pushed", "answers", "answered", "closed"]


def _row(status: "Status") -> list[object]:
    counts = [status.items, status.planned, status.intended, status.pushed, status.answers, status.answered]
    return [status.name, status.purpose, status.vendor, *counts, "yes" if status.closed else "no"]
