"""Images inside zip and tar archives. Nothing is unpacked to disk: the names inside are only names."""

import contextlib
import io
import os
import shutil
import stat
import tarfile
import tempfile
import threading
import weakref
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import IO, Any, BinaryIO, Protocol, Self, cast

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
BEGINNING = 32  # bytes a member is known by
_BLOCK = 1 << 16  # bytes decompressed at once
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")  # how gzip, bzip2 and xz begin
_MOST_HEADER = 1 << 20  # bytes of a member's header in a tar, with what belongs to it
_LEAST_KEPT = 4  # archives, however large
_MOST_KEPT = 64
_MOST_SPOOLED = 1 << 33  # bytes of disk, of all that are kept
_MOST_LISTED = 1_000_000  # members, of all that are kept
_MOST_GROWTH = 100  # times its size that a tar may decompress to: images hardly compress, plain masks a hundredfold
_SMALLEST_LIMIT = 1 << 28  # bytes that any tar may decompress to


class UnreadableError(Exception):
    """This archive, or this member of one, cannot be read; the message is the reason."""


@dataclass(frozen=True)
class Member:
    """One file in an archive, to be read before the next one is asked for."""

    name: str
    size: int  # bytes, as the archive declares; there are no more to be read
    open: Callable[[], IO[bytes]]

    def read(self, limit: int, is_wanted: Callable[[bytes], bool]) -> bytes | None:
        """All of it; none where `is_wanted` says no to how it begins.

        Raises:
            UnreadableError: it is over `limit` bytes, encrypted or damaged.
        """
        return _read(self, limit, is_wanted)


def members(file: BinaryIO) -> Iterator[Member]:
    """The regular files of an archive in its order, links and folders left out.

    A name may come again: as with every unpacker, the last one counts.

    Raises:
        UnreadableError: this is no archive, or it is damaged from here on.
        OSError: the file cannot be read.
    """
    try:
        if _is_zip(file):
            with zipfile.ZipFile(file) as archive:
                for info in archive.infolist():
                    if not info.is_dir():
                        yield _zipped(archive, info)
        else:
            with tarfile.open(fileobj=_plain(file), mode="r|", errors="backslashreplace", tarinfo=_Header) as tar:
                while (entry := tar.next()) is not None:
                    tar.members.clear()  # type: ignore[attr-defined] # it would keep them all
                    if entry.isreg():
                        yield _tarred(tar, entry)
    except Exception as error:  # a parser fed with hostile bytes may raise anything
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UnreadableError(f"the archive is damaged or none: {_said(error)}") from error


class Reader(Protocol):
    """Reads members by name, in any order and from several threads."""

    spooled: int  # bytes of disk it takes

    def __len__(self) -> int: ...

    def __contains__(self, name: object) -> bool: ...

    def read(self, name: str, limit: int) -> bytes:
        """All of it; raises KeyError, or UnreadableError where it is over `limit` bytes, encrypted or damaged."""


def reader(key: Hashable, open_file: Callable[[], BinaryIO]) -> Reader:
    """A reader of the archive that `open_file` opens; those used last are kept, each under its `key`.

    A compressed tar cannot be read from the middle: it is decompressed once, into a file without a name.

    Raises:
        UnreadableError: this is no archive, or one that decompresses to far more than images can.
        OSError: the file cannot be opened.
    """
    with _lock:
        if key not in _readers:
            _readers[key] = _open_reader(open_file())
            while len(_readers) > _LEAST_KEPT and not _fit(_readers.values()):
                _readers.popitem(last=False)
        _readers.move_to_end(key)
        return _readers[key]


_readers: OrderedDict[Hashable, Reader] = OrderedDict()
_lock = threading.Lock()


def _fit(readers: Collection[Reader]) -> bool:
    return (
        len(readers) <= _MOST_KEPT
        and sum(one.spooled for one in readers) <= _MOST_SPOOLED
        and sum(map(len, readers)) <= _MOST_LISTED
    )


def _open_reader(file: BinaryIO) -> Reader:
    try:
        return _ZipReader(file) if _is_zip(file) else _TarReader(file)
    except Exception as error:
        file.close()
        if isinstance(error, UnreadableError):
            raise
        raise UnreadableError(f"the archive is damaged or none: {_said(error)}") from error


def _is_zip(file: BinaryIO) -> bool:
    """Whether it is a zip; a tar that ends in one is not."""
    file.seek(0)
    start = file.read(512)
    return not start.startswith(_COMPRESSED) and start[257:262] != b"ustar" and zipfile.is_zipfile(file)


class _ZipReader:
    def __init__(self, file: BinaryIO) -> None:
        self._archive = zipfile.ZipFile(file)
        self._lock = threading.Lock()  # it counts its open members, not minding threads
        self.spooled = 0
        weakref.finalize(self, file.close)

    def __len__(self) -> int:
        return len(self._archive.NameToInfo)

    def __contains__(self, name: object) -> bool:
        return name in self._archive.NameToInfo

    def read(self, name: str, limit: int) -> bytes:
        with self._lock:
            return _read(_zipped(self._archive, self._archive.getinfo(name)), limit) or b""


class _Header(tarfile.TarInfo):
    """What a tar says of one member, of which no more is read than `_MOST_HEADER` bytes."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        file = tar.fileobj
        if isinstance(file, _HeaderFile):  # a header on the header that is read already
            return super().fromtarfile(tar)
        try:
            tar.fileobj = cast(Any, _HeaderFile(file))
            info = super().fromtarfile(tar)
        finally:
            tar.fileobj = file
        if sum(len(key) + len(value) for key, value in tar.pax_headers.items()) > _MOST_HEADER:
            raise _header_too_large()
        info.pax_headers = {}  # tarfile has done what they say
        return info


class _HeaderFile:
    """A tar at the place where a header begins."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._left = _MOST_HEADER

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self._left:
            raise _header_too_large()
        self._left -= size
        return bytes(self._file.read(size))

    def tell(self) -> int:
        return int(self._file.tell())


def _header_too_large() -> tarfile.ReadError:
    return tarfile.ReadError(f"a header is over {_MOST_HEADER // 1_000_000} MB")


class _TarReader:
    def __init__(self, file: BinaryIO) -> None:
        self.spooled = 0
        if _opener(file) is not None:
            file = _decompressed(file)
            self.spooled = file.tell()
        file.seek(0)
        self._file = file
        self._lock = threading.Lock()
        weakref.finalize(self, file.close)
        self._archive = tarfile.TarFile(fileobj=file, errors="backslashreplace", tarinfo=_Header)
        self._infos: dict[str, tarfile.TarInfo] = {}
        with contextlib.suppress(tarfile.TarError):  # an archive that was cut short has what is before the cut
            for info in self._archive:
                if info.isreg():
                    self._infos[info.name] = info

    def __len__(self) -> int:
        return len(self._infos)

    def __contains__(self, name: object) -> bool:
        return name in self._infos

    def read(self, name: str, limit: int) -> bytes:
        with self._lock:
            return _read(_tarred(self._archive, self._infos[name]), limit) or b""


def _opener(file: BinaryIO) -> Callable[[BinaryIO], Any] | None:
    """What decompresses a file, in bounded steps; none where it is not compressed."""
    import bz2
    import gzip
    import lzma

    file.seek(0)
    start = file.read(6)
    file.seek(0)
    openers: tuple[Callable[[BinaryIO], Any], ...] = (gzip.open, bz2.open, lzma.open)
    return next((one for one, begins in zip(openers, _COMPRESSED, strict=True) if start.startswith(begins)), None)


def _plain(file: BinaryIO) -> Any:
    """A file to read from its beginning, decompressed on the way; up to where it is cut short nothing is lost."""
    opener = _opener(file)
    return file if opener is None else SimpleNamespace(read=opener(file).read1)


def _decompressed(file: BinaryIO) -> BinaryIO:
    """All of a compressed file that can be decompressed, in a file without a name.

    Raises:
        UnreadableError: it is made to fill the disk.
    """
    import lzma
    import zlib

    limit = _SMALLEST_LIMIT + _MOST_GROWTH * file.seek(0, os.SEEK_END)
    plain = _plain(file)
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - its reader closes it

    def read_on() -> bytes:
        with contextlib.suppress(EOFError, OSError, zlib.error, lzma.LZMAError):
            return bytes(plain.read(_BLOCK))
        return b""

    try:
        with file:
            while block := read_on():
                spool.write(block)
                if spool.tell() > limit:
                    raise UnreadableError(
                        f"the archive decompresses to over {limit // 1_000_000} MB, {_MOST_GROWTH} times its size"
                    )
    except BaseException:
        spool.close()
        raise
    return spool


def _zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    return Member(info.filename, info.file_size, partial(_open_zipped, archive, info))


def _tarred(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    return Member(info.name, info.size, partial(_open_tarred, archive, info))


def _open_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    if info.flag_bits & 1:
        raise UnreadableError("it is encrypted: unpack the archive with its password and ingest the folder")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise UnreadableError("it is a link, and links inside archives are not followed")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # zipfile bounds no other one
        raise UnreadableError(
            f"it is compressed by method {info.compress_type}: pack the archive again with the usual one, deflate"
        )
    return archive.open(info)


def _open_tarred(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(info)
    assert file is not None  # noqa: S101 - for mypy: it is a regular file
    return file


def _read(member: Member, limit: int, is_wanted: Callable[[bytes], bool] = lambda beginning: True) -> bytes | None:
    try:
        with member.open() as file:
            beginning = file.read(BEGINNING)
            if not is_wanted(beginning):
                return None
            if member.size > limit:
                raise UnreadableError(too_large(limit))
            data = io.BytesIO()
            data.write(beginning)
            shutil.copyfileobj(file, data, _BLOCK)  # the sizes in a zip may lie: only a read of so much is bounded
            return data.getvalue()
    except UnreadableError:
        raise
    except Exception as error:
        raise UnreadableError(f"the archive is damaged here: {_said(error)}") from error


def too_large(limit: int) -> str:
    """Why no more than `limit` bytes are read."""
    return f"over {limit // 1_000_000} MB, more than the limit of megapixels can need"


def _said(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
