"""`winnow status` and `winnow verify`: how far the loop is, and whether the workspace is whole."""

from typing import Annotated

import typer

from api.cli import console
from api.cli.console import AsJson

app = typer.Typer()


@app.command()
def status(context: typer.Context, as_json: AsJson = False) -> None:
    """The loop's stages with their counts."""
    from api import documents

    with console.workspace(context).database.read() as session:
        document = documents.status(session)
    rows = [(one["name"], one["count"], one["detail"]) for one in document["stages"]]
    console.emit(document, console.table(("stage", "count", "of these"), rows), as_json=as_json)


@app.command()
def verify(
    context: typer.Context,
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Compute damaged or missing caches again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Whether the workspace agrees with itself; exit code 1 when it does not."""
    from dataclasses import asdict

    from curation import integrity

    checks = integrity.verify(console.workspace(context), repair=repair)
    ok = all(check.ok for check in checks)
    rows = [("ok" if check.ok else "BROKEN", check.name, check.detail) for check in checks]
    console.emit(
        {"ok": ok, "checks": [asdict(check) for check in checks]},
        console.table(("", "what", "found"), rows),
        as_json=as_json,
    )
    if not ok:
        raise typer.Exit(1)
