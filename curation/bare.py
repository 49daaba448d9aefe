"""Image files without what they say beside the picture: where, when, by whom and with what it was taken.

The coded pixels stay byte for byte. Only the containers are read, as their specifications describe them: JPEG (ITU
T.81, annex B), PNG (W3C, third edition) and WebP's RIFF (RFC 9649). What is known to matter for how a picture looks is
kept, everything else goes, also what follows the picture's end.
"""

import re
import struct
from collections.abc import Callable, Iterator, Mapping

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = {
    *(b"IHDR", b"PLTE", b"IDAT", b"IEND"),
    *(b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"bKGD", b"hIST", b"pHYs", b"cICP"),
    *(b"acTL", b"fcTL", b"fdAT"),
}
_WEBP_KEPT = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ICCP"}
_WEBP_TELLS = 0x0C  # bits of VP8X: there is Exif, there is XMP

_START, _END, _SCAN, _APPLICATION = 0xD8, 0xD9, 0xDA, 0xE0
_JPEG_KEPT = {*range(0xC0, 0xC8), *range(0xC9, 0xD0), *range(_SCAN, _APPLICATION)}  # frames, tables, scans
_COLOURS = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}  # application segments that say how it looks
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)  # in coded data: one that ends it


class NotBareError(Exception):
    """These bytes are not what their format asks for, so nobody can say what is in them."""


def without_metadata(data: bytes, file_format: str, *, orientation: int = 1) -> bytes:
    """The same picture without metadata.

    Args:
        data: a file that can be decoded.
        file_format: one of `FORMATS`, see there.
        orientation: Exif's, 1 to 8: how the coded picture is to be turned. A JPEG goes on saying it.

    Raises:
        NotBareError: the container is damaged, or cannot say its orientation.
    """
    if orientation != 1 and file_format != "JPEG":
        raise NotBareError(f"A {file_format} has no other way to say that it is turned.")
    try:
        return b"".join(FORMATS[file_format](data, orientation))
    except (IndexError, struct.error) as error:
        raise NotBareError("It ends too soon.") from error


def _jpeg(data: bytes, orientation: int) -> Iterator[bytes]:
    if data[:2] != bytes([0xFF, _START]):
        raise NotBareError("It does not begin as a JPEG does.")
    yield data[:2]
    if orientation != 1:
        yield _only_orientation(orientation)
    at = 2
    while True:
        if data[at] != 0xFF:
            raise NotBareError("It has something between its segments.")
        while data[at + 1] == 0xFF:
            at += 1
        kind = data[at + 1]
        if kind == _END:
            yield data[at : at + 2]
            return
        (size,) = struct.unpack_from(">H", data, at + 2)
        segment = data[at : at + 2 + size]
        if size < 2 or len(segment) < 2 + size:
            raise NotBareError("A segment of it ends too soon.")
        at += 2 + size
        if kind == _APPLICATION:
            segment = _without_thumbnail(segment)
        if kind in _JPEG_KEPT or (kind in _COLOURS and segment[4:].startswith(_COLOURS[kind])):
            yield segment
        if kind == _SCAN:
            ends = _MARKER.search(data, at)
            if ends is None:
                raise NotBareError("It has no end.")
            yield data[at : ends.start()]
            at = ends.start()


def _without_thumbnail(jfif: bytes) -> bytes:
    """A JFIF segment up to its two numbers of a thumbnail's sides, and these 0."""
    return b"".join([jfif[:2], struct.pack(">H", 16), jfif[4:16], b"\0\0"])


def _only_orientation(orientation: int) -> bytes:
    """A segment of Exif with one entry, of kind SHORT."""
    directory = struct.pack(">HHHLHHL", 1, 0x0112, 3, 1, orientation, 0, 0)
    exif = b"Exif\0\0MM\0*" + struct.pack(">L", 8) + directory
    return struct.pack(">BBH", 0xFF, _APPLICATION + 1, len(exif) + 2) + exif


def _png(data: bytes, _: int) -> Iterator[bytes]:
    if not data.startswith(_PNG_SIGNATURE):
        raise NotBareError("It does not begin as a PNG does.")
    yield _PNG_SIGNATURE
    at = len(_PNG_SIGNATURE)
    while True:
        (size,) = struct.unpack_from(">L", data, at)
        chunk = data[at : at + 12 + size]
        if len(chunk) < 12 + size:
            raise NotBareError("A chunk of it ends too soon.")
        at += 12 + size
        if chunk[4:8] in _PNG_KEPT:
            yield chunk
        if chunk[4:8] == b"IEND":
            return


def _webp(data: bytes, _: int) -> Iterator[bytes]:
    (length,) = struct.unpack_from("<L", data, 4)
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < length + 8:
        raise NotBareError("It is not as long as it says, or no WebP.")
    kept = []
    at = 12
    while at < length + 8:
        (size,) = struct.unpack_from("<L", data, at + 4)
        padded = size + size % 2
        if at + 8 + padded > length + 8 + length % 2:
            raise NotBareError("A chunk of it is longer than all of it.")
        if data[at : at + 4] == b"ANMF":
            raise NotBareError("It moves, and its frames may hold anything.")
        chunk = bytearray(data[at : at + 8 + padded])
        at += 8 + padded
        if chunk[:4] == b"VP8X":
            chunk[8] &= ~_WEBP_TELLS & 0xFF
        if bytes(chunk[:4]) in _WEBP_KEPT:
            kept.append(bytes(chunk))
    yield b"RIFF" + struct.pack("<L", 4 + sum(map(len, kept))) + b"WEBP"
    yield from kept


FORMATS: Mapping[str, Callable[[bytes, int], Iterator[bytes]]] = {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp}
"""By Pillow's names."""
