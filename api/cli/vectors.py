"""`winnow encoders`, `embed`, `embeddings`, `index`, `search`: images as vectors, and which are near which."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli import console
from api.cli.console import AsJson

if TYPE_CHECKING:
    from curation.ivf import Status

app = typer.Typer()
encoders = typer.Typer(no_args_is_help=True, help="What turns images into vectors.")
embeddings = typer.Typer(no_args_is_help=True, help="Vectors that you computed yourself.")
index = typer.Typer(no_args_is_help=True, help="What makes searching many vectors fast.")
app.add_typer(encoders, name="encoders")
app.add_typer(embeddings, name="embeddings")
app.add_typer(index, name="index")

Encoder = Annotated[str | None, typer.Option(help="Whose vectors; by default of the encoder that saw most images.")]


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
    lines += [f"  {reason}" for reason in done.unreadable[:20]]
    if len(done.unreadable) > 20:
        lines.append(f"  … and {len(done.unreadable) - 20} more. --json tells all of them.")
    console.emit(vars(done), lines, as_json=as_json)


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
    lines = [f"{done.imported} vectors of {done.dimensions} dimensions imported as {done.encoder}."]
    console.emit(vars(done), lines + [f"  {remark}." for remark in done.remarks], as_json=as_json)


@index.command("build")
def build_index(
    context: typer.Context,
    *,
    encoder: Encoder = None,
    anew: Annotated[bool, typer.Option("--anew", help="Train it again, even if its recall is good.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take new vectors into the index, train it where it must be, and measure its recall. Searches go on meanwhile."""
    from curation import ivf
    from curation.embed import find_encoder

    workspace = console.workspace(context)
    with workspace.database.read() as session:
        row = find_encoder(session, encoder)
        session.expunge(row)
    ivf.build(workspace, row, anew=anew)
    found = ivf.status(workspace, row)
    console.emit(_described(found), _said(found), as_json=as_json)


@index.command("status")
def show_index(context: typer.Context, *, encoder: Encoder = None, as_json: AsJson = False) -> None:
    """How vectors are searched, and the recall that was measured when the index was built."""
    from curation import ivf
    from curation.embed import find_encoder

    workspace = console.workspace(context)
    with workspace.database.read() as session:
        row = find_encoder(session, encoder)
        session.expunge(row)
    found = ivf.status(workspace, row)
    console.emit(_described(found), _said(found), as_json=as_json)


@app.command()
def search(
    context: typer.Context,
    *,
    like: Annotated[list[int] | None, typer.Option(metavar="ID", help="Near this image of the catalog.")] = None,
    unlike: Annotated[list[int] | None, typer.Option(metavar="ID", help="Far from this image of the catalog.")] = None,
    image: Annotated[list[Path] | None, typer.Option(help="Near the picture in this file.")] = None,
    text: Annotated[list[str] | None, typer.Option(help="Near this text, where the encoder reads text.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many.")] = 10,
    where: Annotated[str | None, typer.Option(help="Only images of which this is true; see images list.")] = None,
    encoder: Encoder = None,
    as_json: AsJson = False,
) -> None:
    """The nearest images by cosine of the centred embeddings. Options repeat: their mean is searched for."""
    from curation import originals
    from curation import search as searching
    from curation import where as conditions
    from store.schema import ImageId

    workspace = console.workspace(context)
    query = searching.Query(
        like=[ImageId(one) for one in like or ()],
        unlike=[ImageId(one) for one in unlike or ()],
        pictures=[_read(path) for path in image or ()],
        texts=text or (),
    )
    among = None
    if where is not None:
        with workspace.database.read() as session:
            among = conditions.image_ids(session, where)
    near = searching.search(workspace, query, k=k, encoder=encoder, among=among)
    with workspace.database.read() as session:
        uris = {one.image_id: one.uris for one in originals.find(session, [one.image_id for one in near])}
    document = {
        "neighbours": [{"image": one.image_id, "cosine": one.cosine, "uris": list(uris[one.image_id])} for one in near]
    }
    rows = [(one.image_id, one.cosine, (uris[one.image_id] or ("–",))[0]) for one in near]
    console.emit(document, console.table(("image", "cosine", "uri"), rows), as_json=as_json)


def _read(path: Path) -> bytes:
    """The bytes of a plain file; a pipe might never end."""
    from store.errors import InvalidInputError, NotFoundError

    if not path.exists():
        raise NotFoundError(f"There is no file {path}.")
    if not path.is_file():
        raise InvalidInputError(f"{path} is not a plain file. Save the picture to one first.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror}.") from error


def _described(found: "Status") -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(found)


def _said(found: "Status") -> list[str]:
    lines = [f"{found.rows} vectors of {found.dimensions} dimensions under {found.encoder}."]
    report = found.report
    if report is None:
        lines.append("All of them are compared with each query: exact.")
    else:
        lines.append(
            f"{report.rows} are in {report.lists} lists of 8-bit codes, {report.probes} of which a query looks into; "
            f"recall of the ten nearest on held-out images: {report.recall:.3f} ({report.built_at[:16]})."
        )
        lines.append(f"{found.tail} newer ones are compared with each query: exact.")
    if found.due:
        lines.append("It would be faster after: winnow index build.")
    if found.failure is not None:
        lines.append(f"The last build failed ({found.failure.began_at[:16]}): {found.failure.reason}")
    return lines
