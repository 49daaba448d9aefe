"""`winnow ingest`, `images`: what the catalog holds."""

from pathlib import Path
from typing import Annotated

import typer

from api.cli import console
from api.cli.console import AsJson

app = typer.Typer()
images = typer.Typer(no_args_is_help=True, help="What the catalog holds.")
quarantine = typer.Typer(no_args_is_help=True, help="Files that could not be taken in.")
images.add_typer(quarantine, name="quarantine")
app.add_typer(images, name="images")


@app.command()
def ingest(
    context: typer.Context,
    source: Annotated[list[str], typer.Argument(metavar="SOURCE…", help="Folders, globs, files or manifests.")],
    *,
    name: Annotated[str | None, typer.Option("--source", help="File these sightings under this name.")] = None,
    metadata: Annotated[Path | None, typer.Option(help="CSV, JSONL or Parquet with `uri` and any columns.")] = None,
    scene: Annotated[str | None, typer.Option(help="A regular expression that finds the scene in a path.")] = None,
    as_json: AsJson = False,
) -> None:
    """Bring images into the catalog; again costs a stat per unchanged file."""
    from curation.ingest import ingest as run

    workspace = console.workspace(context)
    with console.progress_bar("Ingesting") as advance:
        done = run(workspace, source, source=name, metadata=metadata, scene=scene, on_progress=advance)
    lines = [
        f"{done.files} files: {done.new_images} new images, {done.new_sightings} new sightings, "
        f"{done.unchanged} unchanged, {len(done.quarantined)} quarantined.",
        *(f"  {uri}: {reason}" for uri, reason in done.quarantined[:20]),
    ]
    if len(done.quarantined) > 20:
        lines.append(f"  … and {len(done.quarantined) - 20} more. See: winnow images quarantine list")
    document = {**vars(done), "quarantined": [{"uri": uri, "reason": reason} for uri, reason in done.quarantined]}
    console.emit(document, lines, as_json=as_json)


@images.command("list")
def list_images(
    context: typer.Context,
    *,
    after: Annotated[int, typer.Option(help="Continue after this id.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Rows a page.")] = 100,
    as_json: AsJson = False,
) -> None:
    """A page of images in the order they came."""
    from api import documents

    with console.workspace(context).database.read() as session:
        page = documents.images(session, after=after, limit=limit)
    rows = [
        (one["id"], f"{one['width']} × {one['height']}", one["source"], (one["uris"] or ["–"])[0])
        for one in page["images"]
    ]
    lines = console.table(("id", "size", "source", "uri"), rows)
    if page["next"] is not None:
        lines.append(f"… more: winnow images list --after {page['next']}")
    console.emit(page, lines, as_json=as_json)


@images.command("show")
def show_image(context: typer.Context, image_id: int, as_json: AsJson = False) -> None:
    """One image and every place it was seen."""
    from api import documents

    with console.workspace(context).database.read() as session:
        document = documents.image(session, image_id)
    lines = [f"{key}: {document[key]}" for key in ("id", "sha256", "width", "height", "format", "status")]
    lines += [f"seen at {one['uri']} ({one['source']}) {one['details'] or ''}" for one in document["sightings"]]
    console.emit(document, lines, as_json=as_json)


@quarantine.command("list")
def list_quarantine(context: typer.Context, as_json: AsJson = False) -> None:
    """Every file that could not be taken in, and why."""
    from api import documents

    with console.workspace(context).database.read() as session:
        document = documents.quarantine(session)
    rows = [(one["uri"], one["reason"]) for one in document["quarantined"]]
    console.emit(document, console.table(("uri", "reason"), rows), as_json=as_json)
