"""Files behind URLs: S3, Google, Azure and HTTP through obstore, any other scheme through fsspec.

Endpoint and keys come from the usual variables (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID …), which the
libraries read for themselves. What their errors say is never passed on: it may quote a signed request.
"""

import errno
import hashlib
import io
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, BinaryIO, TypeAlias, TypeVar, cast

from store.errors import InvalidInputError, NotFoundError, RemoteError

Stamp: TypeAlias = tuple[int, int]  # size in bytes, and a modification time in ns: a file counts as unchanged by both

_OBSTORE_SCHEMES = frozenset({"s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl", "http", "https"})
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.IGNORECASE | re.DOTALL)
_SECRET = re.compile(r"[?&;][^=&]*(sig|token|credential|password|secret|key)[^=&]*=", re.IGNORECASE)
_REASONS = {
    "NotFoundError": "it does not exist",
    "FileNotFoundError": "it does not exist",
    "PermissionDeniedError": "access is denied",
    "PermissionError": "access is denied",
    "UnauthenticatedError": "the credentials are refused",
    "InvalidPathError": "a name in it has an empty part, . or .., which object stores do not take",
    "ImportError": "its scheme needs a package that is not installed",
    "ModuleNotFoundError": "its scheme needs a package that is not installed",
}
_MOMENTS = ("last_modified", "LastModified", "mtime", "modified", "created")  # WebHDFS: modificationTime, in ms
_TAGS = ("e_tag", "ETag", "etag", "md5", "sha", "modify")  # `modify` is FTP's moment, in letters
_PAGE = 1000  # objects a request lists
_LONGEST_TRY = timedelta(seconds=60)

T = TypeVar("T")


def is_url(text: str) -> bool:
    """Whether this is a URL other than `file://…`."""
    match = _URL.match(text)
    return match is not None and match[1].lower() != "file"


def check(url: str) -> str:
    """The URL with its scheme in small letters; refused where it holds a secret: uris are stored and shown.

    Raises:
        InvalidInputError: the URL has a user, password or signature in it, or a scheme nobody knows.
    """
    scheme, rest = _parts(url)
    host = rest.partition("/")[0]
    is_web = scheme in ("http", "https")
    port = host.rpartition("]")[2].partition(":")[2]  # after an IPv6 address, if there is one
    has_login = "@" in host or (":" in host and not (port == "" or port.isdigit()))
    if (
        has_login
        or "::" in rest.partition("]")[2 if "[" in host else 0]
        or _SECRET.search(rest)
        or (is_web and ("?" in rest or "#" in rest))
    ):
        shown = f"{scheme}://…"
        raise InvalidInputError(
            f"The URL {shown} carries a password, signature or query. Uris are stored and shown, so give it without "
            "and put keys into the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY …)."
        )
    if scheme not in _OBSTORE_SCHEMES:
        import fsspec

        if scheme not in fsspec.available_protocols():
            raise InvalidInputError(f"Nothing here reads {scheme}:// URLs. Known are s3, gs, az, https and fsspec's.")
    return f"{scheme}://{rest}"


def find(url: str) -> Iterator[tuple[str, Stamp]]:
    """Every file behind a prefix, a glob or the URL of one file, with its stamp; by name, where the store sorts.

    A `*` of a glob also crosses `/`. From S3, Google and Azure a page at a time is in memory.

    Raises:
        NotFoundError: there is nothing.
        RemoteError: the store does not answer, or refuses.
    """
    scheme, rest = _parts(url)
    magic = re.search(r"[*?[]", rest)
    base = rest[: magic.start()].rpartition("/")[0] if magic else rest.rstrip("/")
    if scheme in ("http", "https"):  # the web lists nothing
        listed: Iterator[tuple[str, Stamp]] = iter(())
    else:
        listed = _list_store(scheme, base) if scheme in _OBSTORE_SCHEMES else _list_fsspec(scheme, base)
    is_empty = True
    for uri, one in _each_told(url, listed):
        if fnmatchcase(uri, url) if magic else uri != url.rstrip("/"):  # itself: the mark of an empty folder
            is_empty = False
            yield uri, one
    if is_empty and not magic:
        yield url, _told(url, lambda: stamp(url))  # the URL of one object


def is_glob(url: str) -> bool:
    """Whether the URL has wildcards."""
    return any(sign in url for sign in "*?[")


def stamp(url: str) -> Stamp:
    """Size and modification time.

    Raises:
        OSError: it is not there or cannot be asked; `strerror` says why.
    """
    scheme, rest = _parts(url)
    if scheme in _OBSTORE_SCHEMES:
        import obstore

        return _stamp_of(_or_os_error(lambda: cast(Mapping[str, Any], obstore.head(*_store(scheme, rest)))))
    return _stamp_of(_or_os_error(lambda: _filesystem(scheme).info(url)))


def read(url: str, *, limit: int) -> tuple[bytes, Stamp]:
    """The bytes, and the stamp of what was read.

    Raises:
        OSError: see `stamp`; or there are more than `limit` bytes.
    """
    scheme, rest = _parts(url)

    def load() -> tuple[bytes, Stamp]:
        if scheme not in _OBSTORE_SCHEMES:
            found = _stamp_of(_filesystem(scheme).info(url))
            return b"" if found[0] > limit else _filesystem(scheme).cat_file(url), found
        import obstore

        store, path = _store(scheme, rest)
        got = obstore.get(store, path)
        found = _stamp_of(cast(Mapping[str, Any], got.meta))
        return b"" if found[0] > limit else bytes(got.bytes()), found

    data, found = _or_os_error(load)
    if found[0] > limit:
        raise OSError(errno.EFBIG, f"it is over {limit // 1_000_000} MB")
    return data, found


def open_file(url: str) -> BinaryIO:
    """The file, to read and seek in.

    Raises:
        OSError: see `stamp`.
    """
    scheme, rest = _parts(url)
    if scheme not in _OBSTORE_SCHEMES:
        return _or_os_error(lambda: cast(BinaryIO, _filesystem(scheme).open(url, "rb")))
    import obstore

    return _or_os_error(lambda: cast(BinaryIO, io.BufferedReader(_Object(obstore.open_reader(*_store(scheme, rest))))))


def forget_connections() -> None:
    """Drop the open connections, so that the next use reads the environment again."""
    _store_at.cache_clear()


class _Object(io.RawIOBase):
    """An object of a store as Python's own kind of file."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._reader.read(len(buffer))
        buffer[: len(data)] = bytes(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._reader.seek(offset, whence))

    def tell(self) -> int:
        return int(self._reader.tell())


def _list_store(scheme: str, base: str) -> Iterator[tuple[str, Stamp]]:
    import obstore

    store, prefix = _store(scheme, base)
    root = f"{scheme}://{base.partition('/')[0]}/"
    for page in obstore.list(store, prefix or None, chunk_size=_PAGE):
        for entry in page:
            yield root + entry["path"], _stamp_of(cast(Mapping[str, Any], entry))


def _list_fsspec(scheme: str, base: str) -> Iterator[tuple[str, Stamp]]:
    filesystem = _filesystem(scheme)
    for path, entry in sorted(filesystem.find(f"{scheme}://{base}", detail=True).items()):
        yield str(filesystem.unstrip_protocol(path)).replace(":///", "://"), _stamp_of(entry)


def _stamp_of(entry: Mapping[str, Any]) -> Stamp:
    """From what a listing says; a digest or a moment in letters stands in for the parts of a second."""
    moment = next((entry[key] for key in _MOMENTS if entry.get(key)), entry.get("modificationTime", 0) / 1000)
    tag = next((entry[key] for key in _TAGS if entry.get(key)), None)
    if isinstance(moment, str):
        moment, tag = 0, tag or moment
    seconds = moment.timestamp() if isinstance(moment, datetime) else float(moment)
    if tag is None:
        return int(entry["size"] or 0), int(seconds * 1e9)
    fraction = int.from_bytes(hashlib.sha256(str(tag).encode()).digest()[:8], "big") % 10**9
    return int(entry["size"] or 0), int(seconds) * 10**9 + fraction


def _store(scheme: str, rest: str) -> tuple[Any, str]:
    """The bucket or host, and the path in it."""
    root, _, path = rest.partition("/")
    return _store_at(f"{scheme}://{root}"), path


@lru_cache(maxsize=16)
def _store_at(root: str) -> Any:
    from obstore.store import from_url

    return from_url(
        root,
        client_options={"allow_http": True},  # a local endpoint often has no TLS
        retry_config={"max_retries": 3, "retry_timeout": _LONGEST_TRY},
    )


def _filesystem(scheme: str) -> Any:
    import fsspec

    return fsspec.filesystem(scheme)


def _parts(url: str) -> tuple[str, str]:
    match = _URL.match(url)
    if match is None:
        raise InvalidInputError(f"{url!r} is no URL.")
    return match[1].lower(), match[2]


def _or_os_error(call: Callable[[], T]) -> T:
    """What `call` returns; any of its errors as an OSError whose `strerror` quotes nothing."""
    try:
        return call()
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, _reason(error)) from None
    except Exception as error:  # whatever a store's client raises
        raise OSError(errno.EIO, _reason(error)) from None


def _reason(error: Exception) -> str:
    return next((_REASONS[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in _REASONS), "no answer")


def _told(url: str, call: Callable[[], T]) -> T:
    try:
        return _or_os_error(call)
    except FileNotFoundError:
        raise NotFoundError(f"There is nothing at {url}. Nothing was ingested.") from None
    except OSError as error:
        raise RemoteError(f"{url} cannot be read: {error.strerror}. Nothing was ingested.") from None


def _each_told(url: str, listed: Iterator[tuple[str, Stamp]]) -> Iterator[tuple[str, Stamp]]:
    end = object()
    while True:
        entry = _told(url, lambda: next(listed, end))
        if entry is end:
            return
        yield cast(tuple[str, Stamp], entry)
