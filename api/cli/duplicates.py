"""`winnow duplicates`: images that are the same picture."""

from dataclasses import asdict
from typing import Annotated

import typer

from api.cli import console
from api.cli.console import AsJson

app = typer.Typer(no_args_is_help=True, help="Images that are the same picture.")


@app.command()
def scan(
    context: typer.Context,
    *,
    max_residual: Annotated[
        float, typer.Option(min=0.0, max=0.5, help="The most structure two aligned pictures may differ by.")
    ] = 0.08,
    as_json: AsJson = False,
) -> None:
    """Find every duplicate among the embedded images."""
    from curation import duplicates

    with console.progress_bar("Sketching") as advance:
        done = duplicates.scan(console.workspace(context), max_residual=max_residual, on_progress=advance)
    kinds = ", ".join(f"{count} {kind}" for kind, count in done.kinds.items()) or "none"
    lines = [
        f"{done.images} images: {done.duplicates} duplicates in {done.groups} groups ({kinds}); "
        f"{done.exact_copies} exact copies share an image already.",
        f"{done.compared_pairs} pairs were compared pixel by pixel.",
    ]
    console.emit(asdict(done), lines + [f"  {reason}" for reason in done.unreadable], as_json=as_json)


@app.command("list")
def list_groups(
    context: typer.Context,
    *,
    after: Annotated[int, typer.Option(help="Continue after this group.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Groups a page.")] = 100,
    as_json: AsJson = False,
) -> None:
    """The newest scan's groups."""
    from api import documents

    with console.workspace(context).database.read() as session:
        document = documents.duplicates(session, after=after, limit=limit)
    rows = [
        (group["id"], group["representative"], member["image"], member["kind"], float(member["distance"]))
        for group in document["groups"]
        for member in group["members"]
        if member["image"] != group["representative"]
    ]
    lines = console.table(("group", "representative", "image", "kind", "distance"), rows)
    console.emit(document, lines, as_json=as_json)


@app.command()
def show(context: typer.Context, group: int, as_json: AsJson = False) -> None:
    """One group with the files of its images."""
    from api import documents
    from curation import originals
    from store.errors import NotFoundError

    with console.workspace(context).database.read() as session:
        page = documents.duplicates(session, after=group - 1, limit=1)["groups"]
        if not page or page[0]["id"] != group:
            raise NotFoundError(f"The newest scan has no group {group}. See: winnow duplicates list.")
        document = page[0]
        uris = {
            one.image_id: list(one.uris)
            for one in originals.find(session, [member["image"] for member in document["members"]])
        }
    members = [{**member, "uris": uris[member["image"]]} for member in document["members"]]
    rows = [
        (member["image"], member["kind"], float(member["distance"]), (member["uris"] or ["–"])[0]) for member in members
    ]
    lines = console.table(("image", "kind", "distance", "uri"), rows)
    console.emit({**document, "members": members}, lines, as_json=as_json)
