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
    source: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE…", help="Folders, globs, files, URLs, zip or tar archives, videos, manifests."),
    ],
    *,
    name: Annotated[str | None, typer.Option("--source", help="File these sightings under this name.")] = None,
    metadata: Annotated[Path | None, typer.Option(help="CSV, JSONL or Parquet with `uri` and any columns.")] = None,
    scene: Annotated[
        str | None,
        typer.Option(
            help="What makes images one scene: `folder`, `column:NAME` of a manifest, or a regular expression that "
            "finds the scene in a path. The frames of a video always are one."
        ),
    ] = None,
    every: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Take a frame of a video this often; default 1.")
    ] = None,
    on_scene_change: Annotated[
        bool, typer.Option("--on-scene-change", help="Take the frames of a video at which a scene begins instead.")
    ] = False,
    max_megapixels: Annotated[
        float | None,
        typer.Option(help="The largest picture to decode; default 200. When given, quarantined files are tried again."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring images into the catalog; again costs a stat per unchanged file, and marks what is gone as missing."""
    from curation.ingest import ingest as run

    workspace = console.workspace(context)
    with console.progress_bar("Ingesting") as advance:
        done = run(
            workspace,
            source,
            source=name,
            metadata=metadata,
            scene=scene,
            every_s=every,
            on_scene_change=on_scene_change,
            max_megapixels=max_megapixels,
            on_progress=advance,
        )
    returned = f", {done.returned} there again" if done.returned else ""
    lines = [
        f"{done.files} files: {done.new_images} new images, {done.new_sightings} new sightings, "
        f"{done.unchanged} unchanged, {done.missing} now missing{returned}, {len(done.quarantined)} quarantined.",
        *(f"  {console.printable(uri)}: {reason}" for uri, reason in done.quarantined[:20]),
    ]
    if len(done.quarantined) > 20:
        lines.append(f"  … and {len(done.quarantined) - 20} more. See: winnow images quarantine list")
    document = {**vars(done), "quarantined": [{"uri": uri, "reason": reason} for uri, reason in done.quarantined]}
    console.emit(document, [*lines, *done.notes], as_json=as_json)


@images.command("list")
def list_images(
    context: typer.Context,
    *,
    where: Annotated[
        str | None,
        typer.Option(metavar="EXPR", help="Only these, such as: sharpness < quantile(0.05) and not duplicate"),
    ] = None,
    sort: Annotated[
        str | None, typer.Option(metavar="FIELD", help="By this field of theirs, such as sharpness; -FIELD: downwards.")
    ] = None,
    after: Annotated[int, typer.Option(help="Continue after this id.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Rows a page.")] = 100,
    as_json: AsJson = False,
) -> None:
    """A page of images in the order they came, or in that of a field."""
    from api import documents

    with console.workspace(context).database.read() as session:
        page = documents.images(session, after=after, limit=limit, where=where, sort=sort)
    headings = ("id", "size", "sharpness", "exposure", "entropy", "captured at", "status", "source", "uri")
    rows = [
        (
            *(one["id"], f"{one['width']} × {one['height']}", one["sharpness"], one["exposure"], one["entropy"]),
            *(one["captured_at"], one["status"], one["source"], (one["uris"] or ["–"])[0]),
        )
        for one in page["images"]
    ]
    lines = console.table(headings, rows)
    if page["next"] is not None:
        lines.append(f"… more: the same with --after {page['next']}")
    console.emit(page, lines, as_json=as_json)


@images.command("show")
def show_image(context: typer.Context, image_id: int, as_json: AsJson = False) -> None:
    """One image, its quality and capture data, and every place it was seen."""
    from api import documents

    with console.workspace(context).database.read() as session:
        document = documents.image(session, image_id)
    hidden = ("uris", "source", "sightings")
    lines = [f"{key}: {value}" for key, value in document.items() if key not in hidden and value is not None]
    for one in document["sightings"]:
        state = "" if one["current"] and not one["missing"] else ", missing" if one["current"] else ", replaced since"
        scene = f", scene {one['scene']}" if one["scene"] else ""
        lines.append(
            f"seen at {console.printable(one['uri'])} ({one['source']}{scene}{state}) {one['details'] or ''}".rstrip()
        )
    console.emit(document, lines, as_json=as_json)


@quarantine.command("list")
def list_quarantine(context: typer.Context, as_json: AsJson = False) -> None:
    """Every file that could not be taken in, and why."""
    from api import documents

    with console.workspace(context).database.read() as session:
        document = documents.quarantine(session)
    rows = [(one["uri"], one["reason"]) for one in document["quarantined"]]
    console.emit(document, console.table(("uri", "reason"), rows), as_json=as_json)
