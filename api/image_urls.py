"""Opaque, expiring names for images, so that Label Studio may show them without knowing anything about them."""

import base64
import binascii
import hashlib
import hmac
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from labeling import addresses
from store.errors import InvalidInputError
from store.schema import ImageId

_BODY = struct.Struct(">QQ")  # image id, seconds since 1970 at which the token ends
MOST_DAYS = 36_525  # that a link lasts
_MAC_BYTES = hashlib.sha256().digest_size


def sign(key: bytes, image_id: ImageId, *, expires: datetime) -> str:
    """A URL-safe token that shows one image until `expires`; the same arguments give the same token.

    It holds an HMAC-SHA256 of the image's id and the moment, and both of them masked by another HMAC of that: without
    the key nobody reads the id, which would tell images that came long ago, such as gold, from new ones.
    """
    body = _BODY.pack(image_id, int(expires.timestamp()))
    mac = _mac(key, body)
    return base64.urlsafe_b64encode(_masked(key, body, mac) + mac).rstrip(b"=").decode()


def signer(key: bytes, base_url: str, *, days: int = 30) -> Callable[[ImageId], str]:
    """Makes the address at which a `winnow serve` reached at `base_url` shows an image for the next `days`.

    A century is as long as any link lasts.

    Raises:
        InvalidInputError: `base_url` is not an HTTP address, or holds a login or a query.
    """
    if not addresses.is_server(base_url):
        raise InvalidInputError(
            f"{addresses.shown(base_url)} is not the address of a winnow serve, such as http://127.0.0.1:8765."
        )
    if "@" in urlsplit(base_url).netloc or urlsplit(base_url).query:
        raise InvalidInputError(
            "The address at which images are shown holds a login or a query, which everyone would see."
        )
    expires = datetime.now(UTC) + timedelta(days=min(days, MOST_DAYS))
    return lambda image_id: f"{base_url.rstrip('/')}/images/{sign(key, image_id, expires=expires)}"


def verify(key: bytes, token: str, *, now: datetime) -> ImageId:
    """The image a token shows.

    Raises:
        InvalidInputError: the token was not signed with `key`, or `now` is not before its end.
    """
    masked, mac = _split(token)
    body = _masked(key, masked, mac)
    if not hmac.compare_digest(mac, _mac(key, body)):
        raise InvalidInputError("This image link was not made by this workspace.")
    image_id, expires_s = _BODY.unpack(body)
    if now.timestamp() >= expires_s:
        moment = datetime.fromtimestamp(expires_s, UTC)
        raise InvalidInputError(
            f"This image link ended at {moment:%Y-%m-%d %H:%M} UTC. Ask whoever runs Winnow for a new campaign."
        )
    return ImageId(image_id)


def _mac(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, b"image\0" + body, hashlib.sha256)


def _masked(key: bytes, body: bytes, mac: bytes) -> bytes:
    """The body of this MAC hidden, or seen again."""
    mask = hmac.digest(key, b"mask\0" + mac, hashlib.sha256)
    return bytes(one ^ other for one, other in zip(body, mask[: len(body)], strict=True))


def _split(token: str) -> tuple[bytes, bytes]:
    """Masked body and MAC; zeros for what is no token, which no key has signed."""
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != _BODY.size + _MAC_BYTES or base64.urlsafe_b64encode(data).rstrip(b"=") != token.encode():
        return bytes(_BODY.size), bytes(_MAC_BYTES)
    return data[: _BODY.size], data[_BODY.size :]
