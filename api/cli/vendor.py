"""`winnow vendor`: who labels, and in which Label Studio."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli import console
from api.cli.console import AsJson

if TYPE_CHECKING:
    from store.schema import Vendor

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
    capacity: Annotated[
        int | None, typer.Option(min=0, help="Tasks they may have in flight, pushed and not wholly answered; 0: any.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add a vendor, or note that one moved."""
    from labeling import vendors

    workspace = console.workspace(context)
    prices = dict(map(_price, price or []))
    vendors.add(workspace, name, url=url, token=token, prices=prices, capacity=capacity)
    with workspace.database.read() as session:
        vendor = vendors.get(session, name)
    room = "" if vendor.capacity is None else f", up to {vendor.capacity} tasks at a time"
    console.emit(_document(vendor), [f"{vendor.name} labels in {vendor.ls_url}{room}"], as_json=as_json)


@app.command("list")
def list_all(context: typer.Context, as_json: AsJson = False) -> None:
    """Every vendor; tokens are named, never shown."""
    from labeling import campaigns, vendors

    with console.workspace(context).database.read() as session:
        found = vendors.list_all(session)
        in_flight = {each.id: campaigns.in_flight(session, each.id) for each in found}
    rows = [
        (
            each.name,
            each.ls_url,
            each.ls_token_reference,
            ", ".join(f"{task} {price:g}" for task, price in each.prices.items()),
            each.capacity,
            in_flight[each.id],
        )
        for each in found
    ]
    document = {"vendors": [_document(each) | {"in_flight": in_flight[each.id]} for each in found]}
    headings = ["name", "url", "token in", "price of an answer", "capacity", "in flight"]
    console.emit(document, console.table(headings, rows), as_json=as_json)


def _document(vendor: "Vendor") -> dict[str, Any]:
    return {
        "name": vendor.name,
        "url": vendor.ls_url,
        "token": vendor.ls_token_reference,
        "prices": vendor.prices,
        "capacity": vendor.capacity,
    }


def _price(text: str) -> tuple[str, float]:
    from store.errors import InvalidInputError

    task, _, price = text.rpartition("=")
    try:
        return task, float(price)
    except ValueError as error:
        raise InvalidInputError(f"--price {text} is not of the form TASK=PRICE: classification=0.05.") from error
