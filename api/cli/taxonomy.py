"""`winnow taxonomy`: what annotators are asked."""

import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli import console
from api.cli.console import AsJson
from store import parsing
from store.errors import InvalidInputError

if TYPE_CHECKING:
    from labeling.definitions import Definition
    from labeling.taxonomy import TaxonomyRevision

app = typer.Typer(no_args_is_help=True, help="Classes, attributes and the guideline that annotators follow.")

_CLASS = re.compile(r"(?P<name>[^=]*?)(:(?P<colour>#[0-9a-fA-F]{6}))?(=(?P<description>.*))?", re.DOTALL)


@app.command()
def create(
    context: typer.Context,
    name: str,
    *,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="NAME[:#RRGGBB][=DESCRIPTION]", help="One for each class, in display order."),
    ] = None,
    kind: Annotated[
        str,
        typer.Option(help="classification, multilabel, boxes, rotated-boxes, polygons, masks, keypoints or questions."),
    ] = "classification",
    guideline: Annotated[str, typer.Option(help="What annotators read above every image.")] = "",
    from_file: Annotated[
        Path | None, typer.Option(help="A YAML file that says all of it: kind, classes, attributes, guideline.")
    ] = None,
    from_config: Annotated[
        Path | None, typer.Option(help="A Label Studio config (XML); its tags keep their names.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Save a taxonomy; changed content becomes its next revision."""
    from labeling import definitions, taxonomy

    ways = [way for way in (classes, from_file, from_config) if way]
    if len(ways) != 1:
        raise InvalidInputError(f"Say --class, --from-file or --from-config: one of the three, not {len(ways)}.")
    unmapped: list[str] = []
    if from_file is not None:
        definition = definitions.read(from_file)
    elif from_config is not None:
        definition, unmapped = _adopted(from_config)
    else:
        described = [_class(each) for each in classes or []]
        definition = definitions.parse({"kind": kind, "classes": described, "guideline": guideline})
    revision = taxonomy.create(console.workspace(context), name, definition)
    for sentence in unmapped:
        print(f"Left out: {sentence}", file=sys.stderr)
    document = _document(revision) | ({"unmapped": unmapped} if from_config else {})
    console.emit(document, [f"{name} revision {revision.revision}: {_names(revision)}"], as_json=as_json)


@app.command()
def migrate(
    context: typer.Context,
    name: str,
    *,
    rename: Annotated[list[str] | None, typer.Option(metavar="OLD=NEW", help="A class gets another name.")] = None,
    merge: Annotated[list[str] | None, typer.Option(metavar="A,B=NEW", help="Classes become one.")] = None,
    split: Annotated[
        list[str] | None, typer.Option(metavar="OLD=A,B", help="A class becomes several: its images need new labels.")
    ] = None,
    add: Annotated[list[str] | None, typer.Option(metavar="NEW", help="A class that was not there.")] = None,
    retire: Annotated[
        list[str] | None, typer.Option(metavar="OLD", help="A class goes: its images need new labels.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make the next revision by rules, and carry over the labels of which it is certain what they are now."""
    from labeling import evolution
    from qa import migrations

    migration = evolution.plan(
        rename=[_sides(rule) for rule in rename or []],
        merge=[(_names_in(olds), new) for olds, new in map(_sides, merge or [])],
        split=[(old, _names_in(news)) for old, news in map(_sides, split or [])],
        add=add or [],
        retire=retire or [],
    )
    revision, labels = migrations.migrate(console.workspace(context), name, migration)
    lines = [
        f"{name} revision {revision.revision}: {_names(revision)}",
        f"labels: {labels.carried} carried over, {labels.unchanged} unchanged, {len(labels.rejected)} rejected",
    ]
    if labels.rejected:
        lines.append("The rejected images need another label: find them with --where rejected.")
    console.emit(_document(revision) | {"labels": asdict(labels)}, lines, as_json=as_json)


@app.command()
def show(
    context: typer.Context,
    name: str,
    config: Annotated[bool, typer.Option("--config", help="As Label Studio gets it.")] = False,
    as_json: AsJson = False,
) -> None:
    """The newest revision of a taxonomy."""
    from labeling import label_config, taxonomy

    with console.workspace(context).database.read() as session:
        revision = taxonomy.newest(session, name)
    document = _document(revision)
    lines = list(_lines(revision))
    if config:
        rendered = label_config.render(revision.definition)
        document, lines = document | {"config": rendered}, [rendered]
    console.emit(document, lines, as_json=as_json)


@app.command("list")
def list_all(context: typer.Context, as_json: AsJson = False) -> None:
    """Every revision of every taxonomy."""
    from labeling import taxonomy

    with console.workspace(context).database.read() as session:
        revisions = taxonomy.list_all(session)
    rows = [(each.name, each.revision, each.definition.kind, _names(each)) for each in revisions]
    lines = console.table(["name", "revision", "kind", "classes"], rows)
    console.emit({"taxonomies": [_document(each) for each in revisions]}, lines, as_json=as_json)


def _sides(rule: str) -> tuple[str, str]:
    """What stands before and after the = of a rule."""
    old, sign, new = rule.partition("=")
    if not sign or not old or not new:
        raise InvalidInputError(f"The rule {rule!r} is not of the form old=new.")
    return old, new


def _names_in(text: str) -> list[str]:
    return text.split(",")


def _class(text: str) -> dict[str, str]:
    parts = _CLASS.fullmatch(text)
    said = parts.groupdict() if parts else {"name": text}
    if colour := said.get("colour"):
        said["colour"] = colour.lower()
    return {key: value for key, value in said.items() if value}


def _adopted(path: Path) -> tuple["Definition", list[str]]:
    from labeling import label_config

    adopted = label_config.adopt(parsing.read_text(path, kind="config"))
    return adopted.definition, adopted.unmapped


def _document(revision: "TaxonomyRevision") -> dict[str, Any]:
    from labeling import definitions

    names = {"id": revision.id, "name": revision.name, "revision": revision.revision}
    return names | definitions.document(revision.definition)


def _lines(revision: "TaxonomyRevision") -> list[str]:
    definition = revision.definition
    lines = [f"{revision.name} revision {revision.revision}: {definition.kind}", definition.guideline]
    if definition.classes:
        lines += console.table(["class", "description"], [(each.name, each.description) for each in definition.classes])
    if definition.attributes:
        rows = [
            (each.name, each.about, each.kind, "yes" if each.required else "no", ", ".join(each.options))
            for each in definition.attributes
        ]
        lines += ["", *console.table(["attribute", "about", "kind", "required", "options"], rows)]
    return lines


def _names(revision: "TaxonomyRevision") -> str:
    return ", ".join(each.name for each in revision.classes or revision.definition.attributes)
