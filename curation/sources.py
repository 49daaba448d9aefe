"""Where images come from: folders, globs, files, URLs, archives, videos, and manifests that say more about each."""

import glob
import os
import re
import stat as modes
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from curation import archives, manifests, objects, uris
from curation.objects import Stamp
from store.errors import InvalidInputError, NotFoundError

_IMAGE_SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
    *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)  # these and the beginnings below: what curation.decode reads
_BEGINNINGS = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8|BM.{4}\0{4}|II[*+]\0|II\0[*]|MM\0[*+]|MM[*]\0|RIFF.{4}WEBP"
    rb"|.{4}ftyp(?:avi|hei|hev|mif|msf)|\0\0\0\x0cjP  |\xff\x4f\xff\x51|P[1-6]\s|\0\0\x01\0[^\0]\0",
    re.DOTALL,
)
_SCENE_COLUMN = "column:"
_REQUESTS = 16  # at once


class Candidate(NamedTuple):
    """A file that may be an image or hold some."""

    uri: str
    stamp: Stamp | None  # none when it cannot be had
    kind: uris.Kind
    is_sure: bool = True  # whether the name says that it is one; if not, the first bytes have to
    problem: str | None = None  # why it need not even be tried


@dataclass(frozen=True)
class Root:
    """A place that was searched from end to end: what the catalog knows there and was not seen may be gone."""

    prefix: str  # of the uris in it
    pattern: str | None = None  # that they match too, when it is a glob


@dataclass(frozen=True)
class Said:
    """What is known of an image beside its bytes."""

    details: Mapping[str, Any]
    scene: str | None
    source: str | None = None  # none where the user named none: what is known already stays where it is filed


@dataclass(frozen=True)
class Descriptions:
    """What the user, manifests and the scene rule say."""

    rows: Mapping[str, Mapping[str, Any]]  # by uri
    scene_of: Callable[[str, Mapping[str, Any]], str | None] | None = None
    source: str | None = None

    @property
    def say_anything(self) -> bool:
        """Whether there is anything to say of images that are known already."""
        return bool(self.rows) or self.scene_of is not None or self.source is not None

    def of(self, uri: str) -> Said:
        """What is said of an image; frames of a video share what is said of the video, and are one scene."""
        address = uris.split(uri) if "#t=" in uri else None
        is_frame = address is not None and address.time_s is not None
        about = address.file if address is not None and is_frame else uri
        columns = dict(self.rows.get(about, {})) | dict(self.rows.get(uri, {}))
        named = columns.pop("scene", None)
        scene = str(named) if named is not None else self.scene_of(about, columns) if self.scene_of else None
        return Said(columns, scene if scene is not None or not is_frame else about, self.source)


@dataclass
class Findings:
    """What is behind the sources a user named. The rest is whole once `candidates` came to its end."""

    candidates: Iterator[Candidate] = field(default_factory=lambda: iter(()))
    descriptions: Descriptions = field(default_factory=lambda: Descriptions({}))
    roots: list[Root] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # sentences for the user
    closed: int = 0  # archives in folders, which nobody named

    @property
    def about_closed(self) -> list[str]:
        """A sentence on archives that were left closed, where there are some."""
        if not self.closed:
            return []
        return [f"Archives left closed: {self.closed}. Name them as sources to take in their images."]


def find(
    sources: Sequence[str],
    *,
    source: str | None = None,
    metadata: Path | None = None,
    scene: str | None = None,
    passing: Path | None = None,
) -> Findings:
    """The candidates behind `sources`, each once: folders by path first, then everything named by itself.

    Only what a manifest or glob names is held in memory; folders and URLs are walked as `candidates` is asked.

    Args:
        sources: Folders (searched deeply, links to folders not followed, hidden names left out), globs, files,
            archives, videos, URLs, or manifests with a `uri` column. Archives inside folders stay closed.
        source: The name to file everything under.
        metadata: A manifest whose rows describe files that other sources bring in.
        scene: What makes images one scene: `folder`; `column:NAME`, a column of a manifest; or a regular
            expression over the uri, whose first group, or all it matched, names the scene.
        passing: A folder not to enter when it lies inside another: the workspace, with its thumbnails.

    Raises:
        NotFoundError: a source does not exist.
        InvalidInputError: a manifest, URL or pattern cannot be read.
    """
    if not all(place.strip() for place in sources):
        raise InvalidInputError("A source is empty: is a variable unset? Nothing was ingested.")
    described = {} if metadata is None else dict(manifests.read(metadata))
    folders: set[str] = set()
    urls: list[str] = []
    findings = Findings()
    named: dict[str, Mapping[str, Any]] = {}  # by path, as Python spells those that are no UTF-8
    for place in sources:
        path = os.path.abspath(place.removeprefix("file://"))
        if objects.is_url(place) and not os.path.lexists(place):
            if place.lower().endswith(manifests.SUFFIXES):
                raise InvalidInputError(f"A manifest has to be a file here: fetch {objects.check(place)} first.")
            urls.append(objects.check(place))
        elif path.lower().endswith(manifests.SUFFIXES) and os.path.isfile(path):
            named.update(manifests.read(Path(path)))
        elif os.path.isdir(path):
            folders.add(path)
        elif os.path.lexists(path):
            named.setdefault(path, {})
            findings.roots += _roots_inside(path)
        elif glob.has_magic(place):
            matches = [match for match in glob.iglob(path, recursive=True) if not os.path.isdir(match)]
            named |= {match: {} for match in matches if match not in named}
            _cover(findings, Root(_before_magic(path), path), is_empty=not matches)
        else:
            raise NotFoundError(f"{place} does not exist. Nothing was ingested, and nothing marked missing.")
    rows = {uri: dict(columns) for uri, columns in named.items() if columns}
    for uri, columns in described.items():
        rows[uri] = {**rows.get(uri, {}), **columns}
    findings.descriptions = Descriptions(rows, _scene_rule(scene, rows), source)
    outermost = sorted(one for one in folders if not any(_holds(other, one) for other in folders if other != one))
    findings.candidates = _candidates(findings, outermost, urls, dict.fromkeys(named), str(passing))
    return findings


def is_image(beginning: bytes) -> bool:
    """Whether a file that begins like this may be an image."""
    return _BEGINNINGS.match(beginning) is not None


def begins_like_image(path: str) -> bool:
    """Whether the first bytes of a file are those of an image; not so when they cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return is_image(file.read(archives.BEGINNING))
    except OSError:
        return False


def may_be_image(name: str) -> bool:
    """Whether the name says so."""
    return name.lower().endswith(_IMAGE_SUFFIXES)


def is_hidden(path: str) -> bool:
    """Whether a relative path leads through a name that begins with a dot, or through what macOS puts into zips."""
    return any((part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in path.split("/"))


def _candidates(
    findings: Findings, folders: Sequence[str], urls: Sequence[str], named: dict[str, None], passing: str
) -> Iterator[Candidate]:
    for path, candidate in chain(_in_folders(findings, folders, passing), _behind_urls(findings, urls)):
        if candidate.kind == "archive" and path not in named and path not in urls:
            findings.closed += 1
            continue
        named.pop(path, None)
        yield candidate
    if any(map(objects.is_url, named)):  # a request each
        with ThreadPoolExecutor(_REQUESTS) as pool:
            yield from pool.map(_named, sorted(named))
    else:
        yield from map(_named, sorted(named))
    findings.notes += findings.about_closed


def _in_folders(findings: Findings, folders: Sequence[str], passing: str) -> Iterator[tuple[str, Candidate]]:
    for folder in folders:
        is_empty = True
        for found in _walk(folder, passing):
            is_empty = False
            yield found
        _cover(findings, Root(folder.rstrip("/") + "/"), is_empty=is_empty)


def _behind_urls(findings: Findings, urls: Sequence[str]) -> Iterator[tuple[str, Candidate]]:
    for url in urls:
        is_single, is_empty = False, True
        start = _before_magic(url) if objects.is_glob(url) else url
        for uri, stamp in objects.find(url):
            is_single = uri == url
            may_be = may_be_image(uri) or ("." not in uri.rpartition("/")[2] and stamp[0] > 0)  # 0: marks a folder
            kind = uris.kind(uri)
            is_meant = is_single or not is_hidden(uri.removeprefix(start))
            if is_meant and (kind != "file" or is_single or may_be):
                is_empty = False
                yield uri, Candidate(uri, stamp, kind)
        if is_single:
            findings.roots += _roots_inside(url)
        else:
            root = Root(_before_magic(url), url) if objects.is_glob(url) else Root(url.rstrip("/") + "/")
            _cover(findings, root, is_empty=is_empty)


def _roots_inside(file: str) -> list[Root]:
    return [] if uris.kind(file) == "file" else [Root(start) for start in uris.inside(file)]


def _cover(findings: Findings, root: Root, *, is_empty: bool) -> None:
    if is_empty:
        place = root.pattern or root.prefix
        findings.notes.append(f"No images in {place}: is a disk not mounted? Nothing there is marked missing.")
    else:
        findings.roots.append(root)


def _walk(folder: str, passing: str) -> Iterator[tuple[str, Candidate]]:
    """Path and candidate of every file in a folder and those below, by path; one stat a file."""
    waiting = [(folder, True)]  # the last comes first; no recursion, however deep folders lie
    while waiting:
        path, is_folder = waiting.pop()
        if not is_folder:
            if (candidate := _look_at(path)) is not None:
                yield path, candidate
            continue
        try:
            names, folders = _names(path)
        except OSError as error:
            yield path, Candidate(_uri(path), None, "file", problem=f"the folder cannot be read: {error.strerror}")
            continue
        start = path if path.endswith("/") else f"{path}/"
        waiting += [(start + name, name in folders) for name in reversed(names) if start + name != passing]


def _names(folder: str) -> tuple[list[str], set[str]]:
    """What is in a folder, sorted: every name, and those of folders; hidden ones and links to folders left out."""
    names: list[str] = []
    folders: set[str] = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.add(entry.name)
            names.append(entry.name)
    names.sort()
    return names, folders


def _look_at(path: str) -> Candidate | None:
    """The candidate at a path found by searching; none for a folder, or what neither name nor type makes one."""
    lowered = path.lower()
    is_sure = lowered.endswith(_IMAGE_SUFFIXES)
    kind: uris.Kind = "file" if is_sure else uris.kind(lowered)
    is_sure = is_sure or kind != "file"
    try:
        status = os.stat(path)
    except OSError:
        return Candidate(_uri(path), None, kind) if is_sure else None
    if not modes.S_ISREG(status.st_mode):
        is_folder = modes.S_ISDIR(status.st_mode)
        return Candidate(_uri(path), None, kind, problem="not a regular file") if is_sure and not is_folder else None
    if not _is_utf8(path):
        why = "the file name is not UTF-8: rename it"
        return Candidate(_uri(path), None, kind, problem=why) if is_sure or begins_like_image(path) else None
    return Candidate(path, (status.st_size, status.st_mtime_ns), kind, is_sure)


def _named(uri: str) -> Candidate:
    """The candidate that a source, glob or manifest names; it is one whatever it looks like."""
    if not _is_utf8(uri):
        return Candidate(_uri(uri), None, "file", problem="the file name is not UTF-8: rename it")
    try:
        stamp = uris.stamp(uri)
        is_regular = objects.is_url(uri) or not uris.split(uri).is_whole or os.path.isfile(uri)
    except OSError:
        return Candidate(uri, None, uris.kind(uri))
    return Candidate(uri, stamp if is_regular else None, uris.kind(uri) if is_regular else "file")


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _uri(path: str) -> str:
    """The path as text the catalog can hold; bytes that are no UTF-8 are spelled out."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _holds(folder: str, other: str) -> bool:
    return other.startswith(folder.rstrip("/") + "/")


def _before_magic(pattern: str) -> str:
    """The folder, with its slash, that everything a glob matches is in."""
    signs = [position for position in map(pattern.find, "*?[") if position >= 0]
    return pattern[: min(signs)].rpartition("/")[0] + "/"


def covers(root: Root, uri: str) -> bool:
    """Whether a uri with the root's prefix is one that a search there would have found."""
    return root.pattern is None or fnmatchcase(uris.split(uri).file, root.pattern)


def _scene_rule(
    scene: str | None, rows: Mapping[str, Mapping[str, Any]]
) -> Callable[[str, Mapping[str, Any]], str | None] | None:
    if not scene:
        return None
    if scene == "folder":
        return lambda uri, columns: uri.rpartition("/")[0]
    if scene.startswith(_SCENE_COLUMN):
        name = scene.removeprefix(_SCENE_COLUMN)
        known = sorted({column for columns in rows.values() for column in columns})
        if name not in known:
            raise InvalidInputError(
                f"No manifest has a column {name!r} to make scenes of; there are: {', '.join(known) or 'none'}."
            )
        return lambda uri, columns: None if columns.get(name) is None else str(columns[name])
    try:
        pattern = re.compile(scene)
    except re.error as error:
        raise InvalidInputError(f"The scene pattern {scene!r} is not a regular expression: {error}.") from error

    def match(uri: str, columns: Mapping[str, Any]) -> str | None:
        found = pattern.search(uri)
        return found and found.group(bool(found.groups()))

    return match
