"""Vendors: whoever labels, the Label Studio they do it in, and where its token is kept."""

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.orm import Session

from labeling import addresses
from labeling.definitions import TASK_KINDS
from store.errors import InvalidInputError, NotFoundError
from store.schema import Vendor
from store.workspace import Workspace

_VARIABLE = re.compile(r"(?![0-9a-f]{40}$)[A-Za-z_][A-Za-z0-9_]*")  # and not 40 hexadecimal digits, which are a token


def add(
    workspace: Workspace,
    name: str,
    *,
    url: str,
    token: str,
    prices: Mapping[str, float] | None = None,
    capacity: int | None = None,
) -> None:
    """Add a vendor, or note that the one of this name moved to another address or token.

    Args:
        url: of their Label Studio.
        token: a reference, `env:NAME` or `file:PATH`; the token itself is read when it is needed.
        prices: of one answer, by kind of task, see `labeling.definitions.TASK_KINDS`; without, those known stay.
        capacity: tasks they may have in flight; without, the one known stays, and 0 takes it away.

    Raises:
        InvalidInputError: the name, address, reference, a price or the capacity cannot be used.
    """
    if not name.strip():
        raise InvalidInputError("A vendor needs a name.")
    if not addresses.is_server(url):
        raise InvalidInputError(
            f"{addresses.shown(url)} is not the address of a Label Studio, such as http://127.0.0.1:8080."
        )
    if "@" in urlsplit(url).netloc or urlsplit(url).query:
        raise InvalidInputError(
            "The address holds a login or a query. Give it without, and say with --token where the token is."
        )
    if capacity is not None and capacity < 0:
        raise InvalidInputError(f"A vendor can have 1 task in flight or more, or 0 for no limit, not {capacity}.")
    kind, _, place = token.partition(":")
    if kind not in ("env", "file") or not place:
        raise InvalidInputError("Say where the token is kept, not the token: env:NAME or file:PATH.")
    if kind == "env" and not _VARIABLE.fullmatch(place):
        raise InvalidInputError(
            "What follows env: is no name of an environment variable: put the token into one, and say its name."
        )
    for task, price in (prices or {}).items():
        if task not in TASK_KINDS:
            raise InvalidInputError(f"There is no kind of task {task!r} to price: say one of {', '.join(TASK_KINDS)}.")
        if not (math.isfinite(price) and price > 0):
            raise InvalidInputError(f"{price:g} is no price of an answer to {task!r}: say it as classification=0.05.")
    reference = f"file:{Path(place).expanduser().absolute()}" if kind == "file" else token
    with workspace.database.write() as session:
        vendor = session.scalar(select(Vendor).where(Vendor.name == name))
        if vendor is None:
            vendor = Vendor(name=name)
            session.add(vendor)
        vendor.ls_url = url.rstrip("/")
        vendor.ls_token_reference = reference
        vendor.prices = {**(vendor.prices or {}), **(prices or {})}
        if capacity is not None:
            vendor.capacity = capacity or None


def get(session: Session, name: str) -> Vendor:
    """The vendor of this name.

    Raises:
        NotFoundError: there is none.
    """
    vendor = session.scalar(select(Vendor).where(Vendor.name == name))
    if vendor is None:
        raise NotFoundError(f"There is no vendor called {name!r}. See: winnow vendor list.")
    return vendor


def list_all(session: Session) -> list[Vendor]:
    """Every vendor, by name."""
    return list(session.scalars(select(Vendor).order_by(Vendor.name)))


def token(reference: str) -> str:
    """The token behind a reference, read now.

    Raises:
        InvalidInputError: it is not there, or is no token; the message holds the reference alone.
    """
    kind, _, place = reference.partition(":")
    if kind == "env":
        text = os.environ.get(place)
        if text is None:
            raise InvalidInputError(f"The Label Studio token should be in the environment variable {place}: set it.")
    else:
        try:
            text = Path(place).read_text()
        except OSError as error:
            raise InvalidInputError(f"The Label Studio token in {place} cannot be read: {error.strerror}.") from error
    text = text.strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidInputError(f"What {reference} holds is not a Label Studio token.")
    return text
