"""What the uri of a sighting means, and how to get at the bytes behind it.

/photos/a.jpg                 a file
s3://bucket/photos/a.jpg      a file behind a URL
/photos/b.zip!/inner/a.jpg    a member of an archive
/photos/c.mp4#t=12.000        the frame of a video at that second, as a BMP
"""

import errno
import os
import re
import stat as modes
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

from curation import archives, objects, videos
from curation.objects import Stamp

Kind: TypeAlias = Literal["file", "archive", "video"]

_ARCHIVE_ENDS = "|".join(re.escape(suffix) for suffix in sorted(archives.SUFFIXES, key=len, reverse=True))
_VIDEO_ENDS = "|".join(map(re.escape, videos.SUFFIXES))
_MEMBER = re.compile(rf"(.+?(?:{_ARCHIVE_ENDS}))!/(.+)", re.IGNORECASE | re.DOTALL)
_FRAME = re.compile(rf"(.+(?:{_VIDEO_ENDS}))#t=(\d+\.\d{{3}})", re.IGNORECASE | re.DOTALL)


class UnreadableError(OSError):
    """The bytes cannot be had now; the message is the reason."""


@dataclass(frozen=True)
class Address:
    """A uri taken apart."""

    file: str  # a path or URL
    member: str | None = None
    time_s: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it means all of the file."""
        return self.member is None and self.time_s is None


def kind(name: str) -> Kind:
    """What a file of this name is taken for."""
    lowered = name.lower()
    if lowered.endswith(archives.SUFFIXES):
        return "archive"
    return "video" if lowered.endswith(videos.SUFFIXES) else "file"


def of_member(archive: str, name: str) -> str:
    """The uri of an archive's member."""
    return f"{archive}!/{name}"


def of_frame(video: str, time_s: float) -> str:
    """The uri of a video's frame."""
    return f"{video}#t={time_s:.3f}"


def inside(file: str) -> tuple[str, str]:
    """The beginnings that the uris of everything inside an archive or video have: of members, of frames."""
    return f"{file}!/", f"{file}#t="


def split(uri: str) -> Address:
    """Take a uri apart. A file that is there under the whole name is meant before any member or frame."""
    member, frame = _MEMBER.fullmatch(uri), _FRAME.fullmatch(uri)
    if (member or frame) and not objects.is_url(uri) and os.path.lexists(uri):
        return Address(uri)
    if member:
        return Address(member[1], member=member[2])
    return Address(frame[1], time_s=float(frame[2])) if frame else Address(uri)


def is_local_file(uri: str) -> bool:
    """Whether a uri means a file on this machine, there or not."""
    return not objects.is_url(uri) and split(uri).is_whole


def stamp(uri: str) -> Stamp:
    """Size and modification time of the file that is, or holds, the image.

    Raises:
        OSError: it is not there.
    """
    file = split(uri).file
    return objects.stamp(file) if objects.is_url(file) else _stamp(os.stat(file))


def exists(uri: str) -> bool:
    """Whether the file is there, and the member in it; the bytes are not looked at."""
    address = split(uri)
    try:
        found = stamp(uri)
        return address.member is None or address.member in _reader(address.file, found)
    except (OSError, archives.UnreadableError):
        return False


def is_gone(file: str) -> bool:
    """Whether a file is certainly not there: a folder that cannot be entered or a store that fails proves nothing."""
    if objects.is_url(file):
        try:
            stamp(file)
        except OSError as error:
            return isinstance(error, FileNotFoundError)
        return False
    try:
        os.stat(file)
    except OSError as error:
        return error.errno in (errno.ENOENT, errno.ENOTDIR)
    return False


def read(uri: str, *, limit: int = 1 << 31) -> tuple[bytes, Stamp]:
    """The bytes, and the stamp of the file they are from.

    Raises:
        UnreadableError: not a regular file, over `limit` bytes, changed while it was read, or damaged.
        OSError: not there, or not to be read.
    """
    address = split(uri)
    if address.is_whole:
        return objects.read(uri, limit=limit) if objects.is_url(uri) else _read_file(uri, limit)
    found = stamp(uri)
    try:
        if address.member is not None:
            data = _reader(address.file, found).read(address.member, limit)
        else:
            with open_file(address.file) as file:
                data = videos.read_frame(file, address.time_s or 0.0)
    except KeyError:
        raise FileNotFoundError(errno.ENOENT, "the archive holds no such member") from None
    except (archives.UnreadableError, videos.UnreadableError) as error:
        raise UnreadableError(str(error)) from error
    check_size(len(data), limit)
    return data, found


def check_size(size: int, limit: int) -> None:
    """Raises UnreadableError when there are more bytes than `limit`."""
    if size > limit:
        raise UnreadableError(archives.too_large(limit))


def open_file(file: str) -> BinaryIO:
    """A path or URL, opened to read and seek.

    Raises:
        OSError: it cannot be opened.
    """
    return objects.open_file(file) if objects.is_url(file) else Path(file).open("rb")


def _reader(file: str, found: Stamp) -> archives.Reader:
    return archives.reader((file, found), lambda: open_file(file))


def _read_file(path: str, limit: int) -> tuple[bytes, Stamp]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would block
    with open(descriptor, "rb", buffering=0) as file:
        before = os.fstat(descriptor)
        if not modes.S_ISREG(before.st_mode):
            raise UnreadableError("not a regular file")
        check_size(before.st_size, limit)
        data = file.read()
        after = _stamp(os.fstat(descriptor))
    if after != _stamp(before) or after[0] != len(data):
        raise UnreadableError("the file changed while it was read: ingest it again")
    return data, after


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_size, status.st_mtime_ns
