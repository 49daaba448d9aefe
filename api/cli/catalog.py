"""`winnow ingest`, `images`, `encoders`, `embed`, `search`: what the catalog holds and where it is near."""

from pathlib import Path
from typing import Annotated

import typer

from api.cli import console
from api.cli.console import AsJson

app = typer.Typer()
images = typer.Typer(no_args_is_help=True, help="What the catalog holds.")
quarantine = typer.Typer(no_args_is_help=True, help="Files that could not be taken in.")
encoders = typer.Typer(no_args_is_help=True, help="What turns images into vectors.")
embeddings = typer.Typer(no_args_is_help=True, help="Vectors that you computed yourself.")
images.add_typer(quarantine, name="quarantine")
app.add_typer(images, name="images")
app.add_typer(encoders, name="encoders")
app.add_typer(embeddings, name="embeddings")


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


@encoders.command("list")
def list_encoders(context: typer.Context, as_json: AsJson = False) -> None:
    """The encoders that were used, how many images each has seen, and what others may be named."""
    from api import documents
    from curation.encoders import KNOWN

    with console.workspace(context).database.read() as session:
        document = documents.encoders(session, known=KNOWN)
    rows = [(one["name"], one["dimensions"], one["embedded"]) for one in document["encoders"]]
    console.emit(document, console.table(("name", "dimensions", "embedded"), rows), as_json=as_json)


@app.command()
def embed(
    context: typer.Context,
    *,
    encoder: Annotated[str, typer.Option(help="See: winnow encoders list.")] = "efficientnet-lite0",
    half: Annotated[bool, typer.Option("--half", help="Keep them as float16, in half the room.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compute the vectors that are missing."""
    from curation.embed import embed as run

    with console.progress_bar("Embedding") as advance:
        done = run(console.workspace(context), encoder=encoder, dtype="float16" if half else None, on_progress=advance)
    lines = [f"{done.embedded} images embedded with {done.encoder}, {done.already} already were."]
    console.emit(vars(done), lines + [f"  {reason}" for reason in done.unreadable], as_json=as_json)


@embeddings.command("import")
def import_embeddings(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="An .npz with the arrays vectors (N, D) and sha256 or uri (N,).")],
    *,
    encoder: Annotated[str, typer.Option(help="A name for what made them.")],
    as_json: AsJson = False,
) -> None:
    """Bring vectors of your own; the same file again changes nothing."""
    from curation.embeddings import import_file

    done = import_file(console.workspace(context), file, encoder=encoder)
    counts = {
        "were there already": done.already,
        "differ from what is there, which stays": done.kept,
        "belong to no image of the catalog": done.unknown,
        "hold NaN or infinity": done.not_finite,
        "repeat an image of the file": done.repeated,
    }
    lines = [f"{done.imported} vectors of {done.dimensions} dimensions imported as {done.encoder}."]
    lines += [f"  {count} {what}." for what, count in counts.items() if count]
    console.emit(vars(done), lines, as_json=as_json)


@app.command()
def search(
    context: typer.Context,
    *,
    image: Annotated[Path | None, typer.Option(help="Near the picture in this file.")] = None,
    like: Annotated[int | None, typer.Option(metavar="ID", help="Near this image of the catalog.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many.")] = 10,
    as_json: AsJson = False,
) -> None:
    """The nearest images by cosine of the centred embeddings."""
    from curation import index, originals
    from store.errors import InvalidInputError, NotFoundError
    from store.schema import ImageId

    workspace = console.workspace(context)
    if (image is None) == (like is None):
        raise InvalidInputError("Say either --image FILE or --like ID.")
    if like is not None:
        near = index.like(workspace, ImageId(like), k=k)
    elif image is not None:
        try:
            data = image.read_bytes()
        except OSError as error:
            raise NotFoundError(f"{image} cannot be read: {error.strerror}.") from error
        near = index.like_picture(workspace, data, k=k)
    with workspace.database.read() as session:
        uris = {one.image_id: one.uris for one in originals.find(session, [one.image_id for one in near])}
    document = {
        "neighbours": [{"image": one.image_id, "cosine": one.cosine, "uris": list(uris[one.image_id])} for one in near]
    }
    rows = [(one.image_id, one.cosine, (uris[one.image_id] or ("–",))[0]) for one in near]
    console.emit(document, console.table(("image", "cosine", "uri"), rows), as_json=as_json)
