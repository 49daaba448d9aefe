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
    *,
    url: Annotated[str, typer.Option(help="Of their Label Studio, such as http://127.0.0.1:8080.")],
    token: Annotated[str, typer.Option(help="Where an administrator's token is kept: env:NAME or file:PATH.")],
    price: Annotated[
        list[str] | None, typer.Option(metavar="TASK=PRICE", help="Of one answer, such as classification=0.05.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add a vendor, or note that one moved."""
    from labeling import vendors

    workspace = console.workspace(context)
    vendors.add(workspace, name, url=url, token=token, prices=dict(map(_price, price or [])))
    with workspace.database.read() as session:
        vendor = vendors.get(session, name)
    document = {"name": vendor.name, "url": vendor.ls_url, "token": vendor.ls_token_reference, "prices": vendor.prices}
    console.emit(document, [f"{vendor.name} labels in {vendor.ls_url}"], as_json=as_json)


@app.command("list")
def list_all(context: typer.Context, as_json: AsJson = False) -> None:
    """Every vendor; tokens are named, never shown."""
    from labeling import vendors

    with console.workspace(context).database.read() as session:
        found = vendors.list_all(session)
    rows = [
        (
            each.name,
            each.ls_url,
            each.ls_token_reference,
            ", ".join(f"{task} {price:g}" for task, price in each.prices.items()),
        )
        for each in found
    ]
    document = {
        "vendors": [
            {"name": each.name, "url": each.ls_url, "token": each.ls_token_reference, "prices": each.prices}
            for each in found
        ]
    }
    console.emit(document, console.table(["name", "url", "token in", "price of an answer"], rows), as_json=as_json)


def _price(text: str) -> tuple[str, float]:
    from store.errors import InvalidInputError

    task, _, price = text.rpartition("=")
    try:
        return task, float(price)
    except ValueError as error:
        raise InvalidInputError(f"--price {text} is not of the form TASK=PRICE: classification=0.05.") from error
