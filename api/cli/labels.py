"""`winnow labels`: the accepted values."""

from dataclasses import asdict
from typing import Annotated

import typer

from api.cli import console
from api.cli.console import AsJson

app = typer.Typer(no_args_is_help=True, help="Accepted values, each through a verdict.")


@app.callback()
def labels() -> None:
    """Keep `list` a command of its own, although it is the only one."""


@app.command("list")
def list_labels(
    context: typer.Context,
    *,
    taxonomy: Annotated[str | None, typer.Option(help="Needed when several have labels.")] = None,
    as_json: AsJson = False,
) -> None:
    """The labels in force, by sha256."""
    from curation import labels

    with console.workspace(context).database.read() as session:
        name = labels.the_taxonomy(session, taxonomy).name
        found = labels.in_force(session, name)
    rows = [(label.image_id, label.sha256[:12], label.value, label.posterior) for label in found]
    console.emit(
        {"taxonomy": name, "labels": [asdict(label) for label in found]},
        console.table(("image", "sha256", "label", "posterior"), rows),
        as_json=as_json,
    )
