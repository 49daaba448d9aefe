"""Addresses of servers, and where the picture of a Label Studio task is, from the address in its data."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from curation import objects, sources, uris
from store.errors import InvalidInputError

_LONGEST = 80  # characters of an address that a message quotes


@dataclass(frozen=True)
class Place:
    """Where the catalog finds a picture."""

    uri: str
    fetch_from: str | None = None  # where it has to be fetched from first, into the file that is its uri
    with_token: bool = False  # whether that is the Label Studio itself


def is_server(url: str) -> bool:
    """Whether this is an address at which a web server may be."""
    try:
        parts = urlsplit(url)
        has_port = parts.port is None or parts.port > 0  # beyond 65535 there is none, which reading it says
    except ValueError:
        return False
    is_one_word = not any(letter.isspace() for letter in url)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and has_port and is_one_word


def place(address: Any, *, ls_url: str, folder: Path) -> Place:
    """Where the picture at `address` is, or will be.

    What anyone can read by its address again stays where it is. What Label Studio hands out to its users, and what
    has a query, which may be a signature and is not to be stored, is copied to `folder`, under a digest of its address.

    Args:
        address: as the task's data holds it.
        ls_url: of the Label Studio.
        folder: for copies.

    Raises:
        InvalidInputError: it is no address of a picture that can be read from here.
    """
    if not isinstance(address, str) or not address.strip():
        raise InvalidInputError("its data holds no address of an image")
    address = address.strip()
    if address.startswith("/") and not address.startswith("//"):
        server = urlsplit(ls_url)
        is_whole = server.path and address.startswith(f"{server.path}/")  # of a server that is not at its host's root
        address = f"{server.scheme}://{server.netloc}{address}" if is_whole else ls_url + address
    if not objects.is_url(address):
        raise InvalidInputError(f"{shown(address)} is no address that can be read from here")
    try:
        parts = urlsplit(address)
        is_login = parts.username is not None or parts.password is not None
    except ValueError as error:
        raise InvalidInputError(f"{shown(address)} is no address that can be read from here") from error
    is_own = (parts.scheme, parts.netloc) == urlsplit(ls_url)[:2]
    if parts.scheme in ("http", "https") and not is_login and (is_own or parts.query or parts.fragment):
        name = next((each for each in (parts.query, parts.path) if sources.may_be_image(each)), "")
        digest = hashlib.sha256(address.encode("utf-8", "backslashreplace")).hexdigest()[:40]
        return Place(os.path.normpath(folder / f"{digest}{PurePosixPath(name).suffix.lower()}"), address, is_own)
    if uris.kind(address) != "file":
        raise InvalidInputError(f"{shown(address)} is an archive or a video")
    return Place(objects.check(address))


def shown(address: str) -> str:
    """An address without what may be a secret, and not longer than can be read."""
    start, *rest = re.split("[?#]", address, maxsplit=1)
    if any("@" in each for each in rest):  # all before it may be a login
        scheme, separator, _ = start.partition("://")
        return repr(f"{scheme if separator else ''}{separator}…")
    start = start.rpartition("@")[2]
    return repr(start if len(start) <= _LONGEST else f"{start[:_LONGEST]}…")
