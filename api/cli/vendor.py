"""`winnow vendor`: who labels, and in which Label Studio."""

from typing import Annotated

import typer

from api.cli import console
from api.cli.console import AsJson

app = typer.Typer(no_args_is_help=True, help="Who labels, and the Label Studio they do it in.")


@app.command()
def add(
    context: typer.Context,
    name: str,
    url: Annotated[str, typer.Option(help="Of their Label Studio, such as http://127.0.0.1:8080.")],
    token: Annotated[str, typer.Option(help="Where an administrator's token is kept: env:NAME or file:PATH.")],
    as_json: AsJson = False,
) -> None:
    """Add a vendor, or note that one moved."""
    from labeling import vendors

    workspace = console.workspace(context)
    vendors.add(workspace, name, url=url, token=token)
    with workspace.database.read() as session:
        vendor = vendors.get(session, name)
    document = {"name": vendor.name, "url": vendor.ls_url, "token": vendor.ls_token_reference}
    console.emit(document, [f"{vendor.name} labels in {vendor.ls_url}"], as_json=as_json)


@app.command("list")
def list_all(context: typer.Context, as_json: AsJson = False) -> None:
    """Every vendor; tokens are named, never shown."""
    from labeling import vendors

    with console.workspace(context).database.read() as session:
        rows = [(each.name, each.ls_url, each.ls_token_reference) for each in vendors.list_all(session)]
    document = {"vendors": [{"name": name, "url": url, "token": token} for name, url, token in rows]}
    console.emit(document, console.table(["name", "url", "token in"], rows), as_json=as_json)
