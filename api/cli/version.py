"""`winnow version`: immutable training sets."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli import console
from api.cli.console import AsJson

if TYPE_CHECKING:
    from curation.versions import VersionSummary

app = typer.Typer(no_args_is_help=True, help="Immutable training sets, named by the digest of their content.")

Reference = Annotated[str, typer.Argument(metavar="VERSION", help="An id, its beginning, or a name (its newest).")]


@app.command()
def cut(
    context: typer.Context,
    name: str,
    *,
    taxonomy: Annotated[str | None, typer.Option(help="Needed when several have labels.")] = None,
    as_json: AsJson = False,
) -> None:
    """Freeze the labels in force; without a change since the last cut, that version again."""
    from curation import versions

    _emit(versions.cut(console.workspace(context), name, taxonomy=taxonomy), as_json=as_json)


@app.command("list")
def list_versions(context: typer.Context, as_json: AsJson = False) -> None:
    """Every version, the newest first."""
    from curation import versions

    found = versions.list_all(console.workspace(context))
    rows = [(version.id[:12], version.name, version.number, *version.counts.values()) for version in found]
    console.emit(
        {"versions": [asdict(version) for version in found]},
        console.table(("id", "name", "number", "train", "val", "test"), rows),
        as_json=as_json,
    )


@app.command()
def show(context: typer.Context, version: Reference, as_json: AsJson = False) -> None:
    """One version: its splits and the gates of its cut."""
    from curation import versions

    _emit(versions.show(console.workspace(context), version), as_json=as_json)


@app.command()
def diff(
    context: typer.Context,
    before: Annotated[str, typer.Argument(help="An id, its beginning, or a name.")],
    after: Annotated[str, typer.Argument(help="An id, its beginning, or a name.")],
    as_json: AsJson = False,
) -> None:
    """What was added, removed or relabelled from one version to another."""
    from curation import versions

    found = versions.diff(console.workspace(context), before, after)
    rows = [
        *((item.image_id, item.split, "added", item.value) for item in found.added),
        *((item.image_id, item.split, "removed", item.value) for item in found.removed),
        *((new.image_id, new.split, "relabelled", f"{old.value} → {new.value}") for old, new in found.relabelled),
        *((new.image_id, f"{old.split} → {new.split}", "moved", new.value) for old, new in found.moved),
    ]
    total = (
        f"{len(found.added)} added, {len(found.removed)} removed, "
        f"{len(found.relabelled)} relabelled, {len(found.moved)} moved"
    )
    lines = [*console.table(("image", "split", "change", "label"), rows), total]
    console.emit(asdict(found), lines, as_json=as_json)


@app.command()
def verify(context: typer.Context, version: Reference, as_json: AsJson = False) -> None:
    """Recompute a version's id from the rows behind it."""
    from curation import versions

    found = versions.verify(console.workspace(context), version)
    line = f"{found.id} is what was cut: {sum(found.counts.values())} images"
    console.emit({"id": found.id, "verified": True}, [line], as_json=as_json)


@app.command()
def lineage(context: typer.Context, version: Reference, as_json: AsJson = False) -> None:
    """What a version was made from."""
    from curation import versions

    found = versions.lineage(console.workspace(context), version)
    lines = [
        f"id              {found.id}",
        f"parents         {_listed(found.parents)}",
        f"encoder         {found.encoder or '–'}",
        f"duplicate scan  {found.duplicate_scan or '–'}",
        f"batches         {_listed(found.batches)}",
        f"campaigns       {_listed(found.campaigns)}",
        f"decided by      {_listed([f'{who} {count}' for who, count in found.verdicts.items()])}",
        f"answers by      {_listed([f'{who} {count}' for who, count in found.annotators.items()])}",
    ]
    console.emit(asdict(found), lines, as_json=as_json)


@app.command()
def export(
    context: typer.Context,
    version: Reference,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    *,
    format: Annotated[str, typer.Option(help="parquet or image-folder.")] = "parquet",
    as_json: AsJson = False,
) -> None:
    """Write a version for a trainer: all of it or nothing."""
    from curation import exports

    summary = exports.export(console.workspace(context), version, format=format, folder=folder)
    line = f"{summary.images} images of {summary.version[:12]} in {summary.folder}"
    console.emit(asdict(summary), [line], as_json=as_json)


def _emit(version: "VersionSummary", *, as_json: bool) -> None:
    lines = [
        f"{version.name} {version.number}  {version.id}",
        ", ".join(f"{count} {split}" for split, count in version.counts.items()),
        *console.table(
            ("gate", "outcome", "detail"), [(each.gate, each.outcome, each.detail) for each in version.gates]
        ),
    ]
    console.emit(asdict(version), lines, as_json=as_json)


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words) or "–"
