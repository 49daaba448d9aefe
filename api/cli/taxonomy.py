"""`winnow taxonomy`: what annotators are asked."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli import console
from api.cli.console import AsJson

if TYPE_CHECKING:
    from labeling.taxonomy import TaxonomyRevision

app = typer.Typer(no_args_is_help=True, help="Classes and the guideline that annotators follow.")


@app.command()
def create(
    context: typer.Context,
    name: str,
    classes: Annotated[
        list[str], typer.Option("--class", metavar="NAME[=DESCRIPTION]", help="One for each class, in display order.")
    ],
    guideline: Annotated[str, typer.Option(help="What annotators read above every image.")] = "",
    as_json: AsJson = False,
) -> None:
    """Save a taxonomy; changed content becomes its next revision."""
    from labeling import taxonomy
    from labeling.label_config import ClassDefinition

    parts = [each.partition("=") for each in classes]
    definitions = [ClassDefinition(class_name, description) for class_name, _, description in parts]
    revision = taxonomy.create(console.workspace(context), name, definitions, guideline=guideline)
    console.emit(_document(revision), [f"{name} revision {revision.revision}: {_names(revision)}"], as_json=as_json)


@app.command()
def show(context: typer.Context, name: str, as_json: AsJson = False) -> None:
    """The newest revision of a taxonomy."""
    from labeling import taxonomy

    with console.workspace(context).database.read() as session:
        revision = taxonomy.newest(session, name)
    rows = [(each.name, each.description) for each in revision.classes]
    lines = [f"{name} revision {revision.revision}", revision.guideline, *console.table(["class", "description"], rows)]
    console.emit(_document(revision), filter(None, lines), as_json=as_json)


@app.command("list")
def list_all(context: typer.Context, as_json: AsJson = False) -> None:
    """Every revision of every taxonomy."""
    from labeling import taxonomy

    with console.workspace(context).database.read() as session:
        revisions = taxonomy.list_all(session)
    lines = console.table(
        ["name", "revision", "classes"], [(each.name, each.revision, _names(each)) for each in revisions]
    )
    console.emit({"taxonomies": [_document(each) for each in revisions]}, lines, as_json=as_json)


def _document(revision: "TaxonomyRevision") -> dict[str, Any]:
    return asdict(revision)


def _names(revision: "TaxonomyRevision") -> str:
    return ", ".join(each.name for each in revision.classes)
