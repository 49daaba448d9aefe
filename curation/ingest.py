"""Files into the catalog: every content once, every place it was seen, every failure with its reason."""

import contextlib
import json
import os
import tempfile
import threading
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from curation import archives, decode, objects, sightings, sources, uris, videos
from curation.objects import Stamp
from curation.sightings import Contents, Outcome
from curation.sources import Candidate, Descriptions, Findings, Said
from store import fail_points
from store.errors import InvalidInputError, NotFoundError
from store.workspace import Workspace

_PAGE = 1000  # candidates compared with the catalog at once
_CHUNK = 200  # files a transaction
_REQUESTS = 16  # to a store at once
_MOST_HELD = 1 << 28  # bytes of files under way, but for one file that is larger itself
DEFAULT_MEGAPIXELS = 200
DEFAULT_EVERY_S = 1.0


@dataclass(frozen=True)
class IngestSummary:
    """What one ingest did."""

    files: int  # the members of archives and the frames of videos among them
    new_images: int
    new_sightings: int
    unchanged: int
    missing: int  # newly found to be gone
    returned: int  # there again after they had been missing
    quarantined: list[tuple[str, str]]  # (uri, reason), those that were so already among them
    notes: list[str]  # sentences on what was left out


@dataclass(frozen=True)
class _Options:
    """How images are read."""

    source: str
    max_pixels: int
    every_s: float
    on_scene_change: bool
    retries: bool  # whether what is in quarantine is tried again though it did not change
    frames: str | None  # which frames are wanted of a video that is known already; none: those it has

    @property
    def max_bytes(self) -> int:
        """What no picture within the limit exceeds: 16 bits in four channels."""
        return 8 * self.max_pixels + (1 << 20)


@dataclass
class _Tally:
    """What is counted on the way."""

    files: int = 0
    new_images: int = 0
    new_sightings: int = 0
    unchanged: int = 0
    missing: int = 0
    returned: int = 0
    quarantined: list[tuple[str, str]] = field(default_factory=list)
    seen: "array[int]" = field(default_factory=lambda: array("q"))  # ids of sightings
    read: set[str] = field(default_factory=set)  # archives and videos


@dataclass
class _Changes:
    """What is to be written of sightings that did not change themselves."""

    said: dict[int, Said] = field(default_factory=dict)  # by id
    returned: list[int] = field(default_factory=list)  # ids


@dataclass(frozen=True)
class _Job:
    """One image to decode, or the end of an archive or video."""

    uri: str
    said: Said
    load: Callable[[], tuple[bytes, Stamp]] | None = None
    size: int = 0  # bytes of memory it takes until it is done
    stamp: Stamp | None = None  # of a failure that only another file can mend
    problem: str | None = None
    closes: Contents | None = None


@dataclass(frozen=True)
class _Done:
    """A job's outcome; none at the end of an archive or video."""

    outcome: Outcome | None
    closes: Contents | None = None


def ingest(
    workspace: Workspace,
    locations: Sequence[str],
    *,
    source: str | None = None,
    metadata: Path | None = None,
    scene: str | None = None,
    every_s: float | None = None,
    on_scene_change: bool = False,
    max_megapixels: float | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> IngestSummary:
    """Bring everything behind `locations` into the catalog; a second call costs a stat per unchanged file.

    Work is committed every few hundred files, so an interrupted ingest continues where it was. Memory
    holds what is under way, eight bytes a file, every failure with its reason, what manifests and globs name, and
    the names inside one archive. What the catalog knows under a folder, glob, URL
    or archive of `locations` and is not there any longer is marked missing; its labels stay.

    Args:
        workspace: Where to.
        locations: Folders, globs, files, archives, videos, URLs or manifests, see `sources.find`.
        source: The name everything behind `locations` is filed under; by default what is new is filed under
            the first location's, and what is known stays.
        metadata: A manifest describing the files.
        scene: What makes images one scene, see `sources.find`.
        every_s: Seconds between the frames taken of a video; 1 by default.
        on_scene_change: Take the frames at which a scene begins instead.
        max_megapixels: The largest picture that is decoded, 200 by default; when given, what is in quarantine
            is tried again.
        on_progress: Told (done, total) files.

    Raises:
        NotFoundError: a location does not exist or holds no image.
        InvalidInputError: a manifest, URL, pattern or number cannot be used.
        RemoteError: a store does not answer.
    """
    options = _options(source or source_of(locations[0]), every_s, on_scene_change, max_megapixels)
    findings = sources.find(locations, source=source, metadata=metadata, scene=scene, passing=workspace.home)
    tally = _Tally()
    workspace.thumbnails_dir.mkdir(exist_ok=True)
    with tempfile.TemporaryFile("w+") as spool:
        total = _compare(workspace, findings, options, tally, spool)
        if not total:
            nothing = f"No image files in {', '.join(locations)}. Nothing was ingested, and nothing marked missing."
            raise NotFoundError(" ".join([nothing, *findings.about_closed]))
        spool.seek(0)
        jobs = _jobs(workspace, findings.descriptions, options, tally, spool)
        workers = _REQUESTS if any(map(objects.is_url, locations)) else os.cpu_count() or 1
        with _pool(workers) as pool:
            decoding = partial(_decode, options=options, thumbnails_dir=workspace.thumbnails_dir)
            for done in _chunks(_in_order(pool, decoding, jobs, ahead=4 * workers)):
                _save(workspace, done, options, tally)
                on_progress(tally.files, max(tally.files, total))
    seen = np.frombuffer(tally.seen, dtype=np.int64)
    tally.missing += sightings.mark_missing(workspace, findings.roots, seen=seen, read=tally.read)
    failed = {uri for uri, _ in tally.quarantined}
    sightings.release_gone(workspace, findings.roots, failed=failed, read=tally.read)
    return IngestSummary(
        tally.files,
        tally.new_images,
        tally.new_sightings,
        tally.unchanged,
        tally.missing,
        tally.returned,
        tally.quarantined,
        findings.notes,
    )


def source_of(location: str) -> str:
    """The name that what is behind a location is filed under: the last part of its path or URL."""
    is_url = objects.is_url(location) and not os.path.lexists(location)
    path = location if is_url else os.path.abspath(location.removeprefix("file://"))
    return Path(path).name or path


def _options(source: str, every_s: float | None, on_scene_change: bool, max_megapixels: float | None) -> _Options:
    if every_s is not None and not 0.001 <= every_s < float("inf"):
        raise InvalidInputError(f"Frames can be taken every 0.001 seconds or more, not every {every_s}.")
    if every_s is not None and on_scene_change:
        raise InvalidInputError("Take frames every few seconds or on scene change, not both.")
    if max_megapixels is not None and not 0 < max_megapixels <= 10_000:
        raise InvalidInputError(f"The limit of megapixels lies between 0 and 10,000; {max_megapixels} does not.")
    frames = "scene changes" if on_scene_change else None if every_s is None else f"every {every_s:g} s"
    return _Options(
        source=source,
        max_pixels=round((max_megapixels or DEFAULT_MEGAPIXELS) * 1e6),
        every_s=every_s or DEFAULT_EVERY_S,
        on_scene_change=on_scene_change,
        retries=max_megapixels is not None,
        frames=frames,
    )


# --- what is new ---------------------------------------------------------------------------------


def _compare(workspace: Workspace, findings: Findings, options: _Options, tally: _Tally, spool: IO[str]) -> int:
    """Count what did not change and write the rest to `spool`; returns how many files there are in all.

    The rest goes to disk because a first ingest of millions would fill memory, and because the time that is
    left can only be told when all files are counted.
    """
    with workspace.database.read() as session:
        only_whole = sightings.has_old_rows(session)
    fresh = 0
    while page := list(islice(findings.candidates, _PAGE)):
        with workspace.database.read() as session:
            there = sightings.look_up(session, [one.uri for one in page], only_whole=only_whole)
        changes = _Changes()
        for candidate in page:
            failure = there.failures.get(candidate.uri)
            known = there.known.get(candidate.uri)
            if candidate.kind != "file":
                if _is_closed(candidate, there.contents.get(candidate.uri), options):
                    _pass_over(workspace, candidate, findings.descriptions, tally, changes)
                else:
                    fresh += _spool(spool, candidate)
            elif failure is not None:
                if failure.stamp is not None and failure.stamp == candidate.stamp and not options.retries:
                    tally.files += 1
                    tally.quarantined.append((candidate.uri, failure.reason))
                else:
                    fresh += _spool(spool, candidate)
            elif known is not None and known.stamp == candidate.stamp:
                _take_unchanged(candidate.uri, known, findings.descriptions, tally, changes)
            elif known is not None or candidate.is_sure or sources.begins_like_image(candidate.uri):
                fresh += _spool(spool, candidate)
        if changes.said or changes.returned:
            with workspace.database.write() as session:
                sightings.describe(session, changes.said, returned=changes.returned)
    return tally.files + fresh


def _is_closed(candidate: Candidate, contents: Contents | None, options: _Options) -> bool:
    return (
        contents is not None
        and contents.stamp == candidate.stamp
        and (candidate.kind == "archive" or options.frames in (None, contents.frames))
        and not options.retries
    )


def _pass_over(
    workspace: Workspace, candidate: Candidate, descriptions: Descriptions, tally: _Tally, changes: _Changes
) -> None:
    """Count what is known of an archive or video that did not change."""
    with workspace.database.read() as session:
        inside = sightings.look_inside(session, candidate.uri)
    for uri, known in inside.known.items():
        _take_unchanged(uri, known, descriptions, tally, changes)
    tally.files += len(inside.failures)
    tally.quarantined += [(uri, failure.reason) for uri, failure in inside.failures.items()]


def _take_unchanged(
    uri: str, known: sightings.Known, descriptions: Descriptions, tally: _Tally, changes: _Changes
) -> None:
    _count_unchanged(known, tally)
    if descriptions.say_anything:
        changes.said[known.id] = descriptions.of(uri)
    if known.missing:
        tally.returned += 1
        changes.returned.append(known.id)


def _count_unchanged(known: sightings.Known, tally: _Tally) -> None:
    tally.files += 1
    tally.unchanged += 1
    tally.seen.append(known.id)


def _spool(spool: IO[str], candidate: Candidate) -> int:
    spool.write(json.dumps(candidate) + "\n")
    return 1


# --- reading -------------------------------------------------------------------------------------


def _jobs(
    workspace: Workspace, descriptions: Descriptions, options: _Options, tally: _Tally, spool: Iterable[str]
) -> Iterator[_Job]:
    for line in spool:
        uri, stamp, kind, is_sure, problem = json.loads(line)
        candidate = Candidate(uri, None if stamp is None else (stamp[0], stamp[1]), kind, is_sure, problem)
        if problem is not None:
            yield _Job(uri, descriptions.of(uri), problem=problem)
        elif kind == "file":
            load = partial(uris.read, uri, limit=options.max_bytes)
            yield _Job(uri, descriptions.of(uri), load, 0 if candidate.stamp is None else candidate.stamp[0])
        else:
            yield from _jobs_inside(workspace, candidate, descriptions, options, tally)


def _jobs_inside(
    workspace: Workspace, candidate: Candidate, descriptions: Descriptions, options: _Options, tally: _Tally
) -> Iterator[_Job]:
    """A job for each image in an archive or video, and the end; what is known already is passed over."""
    said = descriptions.of(candidate.uri)
    problem = None
    try:
        stamp = uris.stamp(candidate.uri)
        with workspace.database.read() as session:
            known = sightings.look_inside(session, candidate.uri).known
        same = {uri: one for uri, one in known.items() if one.stamp == stamp and not one.missing}
        inside = _Inside(candidate.uri, stamp, same, descriptions, options, tally)
        with uris.open_file(candidate.uri) as file:
            yield from inside.members(file) if candidate.kind == "archive" else inside.frames(file)
        if uris.stamp(candidate.uri) != stamp:
            yield _Job(candidate.uri, said, problem="the file changed while it was read: ingest it again")
            return
    except (archives.UnreadableError, videos.UnreadableError) as error:
        problem = str(error)
    except OSError as error:
        yield _Job(candidate.uri, said, partial(_fail, error))
        return
    frames_taken = None if candidate.kind == "archive" else options.frames or f"every {options.every_s:g} s"
    closes = Contents(candidate.uri, stamp, frames_taken)
    yield _Job(candidate.uri, said, stamp=stamp, problem=problem, closes=closes)


@dataclass(frozen=True)
class _Inside:
    """One archive or video on its way into the catalog."""

    uri: str
    stamp: Stamp
    known: Mapping[str, sightings.Known]  # what is in the catalog of it, as it is now
    descriptions: Descriptions
    options: _Options
    tally: _Tally

    def members(self, file: BinaryIO) -> Iterator[_Job]:
        """The images among an archive's members."""
        names: set[str] = set()
        holds_any = False
        for member in archives.members(file):
            uri = uris.of_member(self.uri, member.name)
            is_again = member.name in names
            names.add(member.name)
            if sources.is_hidden(member.name):
                continue
            if uri in self.known and not is_again:
                holds_any = True
                _count_unchanged(self.known[uri], self.tally)
            elif (job := self._job(uri, member)) is not None:
                holds_any = True
                yield job
        if not holds_any:
            raise archives.UnreadableError("the archive holds no images")

    def frames(self, file: BinaryIO) -> Iterator[_Job]:
        """The frames that are wanted of a video; those it has already stay, whatever is wanted now."""
        self.tally.seen.extend(one.id for one in self.known.values())
        frames = videos.frames(
            file,
            every_s=self.options.every_s,
            on_scene_change=self.options.on_scene_change,
            max_pixels=self.options.max_pixels,
        )
        for frame in frames:
            uri = uris.of_frame(self.uri, frame.time_s)
            if uri in self.known:
                _count_unchanged(self.known[uri], self.tally)
            else:
                load = partial(_encoded, frame, self.stamp)
                yield _Job(uri, self.descriptions.of(uri), load, frame.size)

    def _job(self, uri: str, member: archives.Member) -> _Job | None:
        said = self.descriptions.of(uri)
        is_wanted = (lambda beginning: True) if sources.may_be_image(member.name) else sources.is_image
        try:
            data = member.read(self.options.max_bytes, is_wanted)
        except archives.UnreadableError as error:
            return _Job(uri, said, stamp=self.stamp, problem=str(error))
        return None if data is None else _Job(uri, said, partial(_loaded, data, self.stamp), len(data))


def _loaded(data: bytes, stamp: Stamp) -> tuple[bytes, Stamp]:
    return data, stamp


def _encoded(frame: videos.Frame, stamp: Stamp) -> tuple[bytes, Stamp]:
    return frame.encode(), stamp


def _fail(error: OSError) -> tuple[bytes, Stamp]:
    raise error


def _decode(job: _Job, *, options: _Options, thumbnails_dir: Path) -> _Done:
    """Read and decode one image; whatever goes wrong becomes the reason."""
    if job.load is None:
        outcome = None if job.problem is None else Outcome(job.uri, job.said, job.stamp, job.problem)
        return _Done(outcome, job.closes)
    try:
        data, stamp = job.load()
    except uris.UnreadableError as error:
        return _Done(Outcome(job.uri, job.said, None, str(error)))
    except OSError as error:
        why = f"the file cannot be read: {error.strerror or type(error).__name__}"
        is_gone = isinstance(error, FileNotFoundError | NotADirectoryError)
        return _Done(Outcome(job.uri, job.said, None, why, is_gone))
    try:
        reading = decode.read(data, max_pixels=options.max_pixels)
    except decode.UndecodableError as error:
        return _Done(Outcome(job.uri, job.said, stamp, str(error)))
    if reading.thumbnail is not None:
        _keep_thumbnail(thumbnails_dir, reading.fingerprint.sha256, reading.thumbnail)
    return _Done(Outcome(job.uri, job.said, stamp, reading.fingerprint))


def _keep_thumbnail(folder: Path, sha256: str, jpeg: bytes) -> None:
    """Write beside and rename, so that nobody reads half a thumbnail; a full disk costs no more than this cache."""
    path = folder / f"{sha256}-{decode.THUMBNAIL_SIDE}.jpg"
    scratch = folder / f"{sha256}-{threading.get_ident()}.part"
    with contextlib.suppress(OSError):
        if not path.exists():
            scratch.write_bytes(jpeg)
            os.replace(scratch, path)


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads, because decoding frees the interpreter; an interrupted run leaves none waiting."""
    pool = ThreadPoolExecutor(workers)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(
    pool: ThreadPoolExecutor, run: Callable[[_Job], _Done], jobs: Iterator[_Job], *, ahead: int
) -> Iterator[_Done]:
    """What `run` makes of every job, in order; at most `ahead` of them, and so many bytes, are under way."""
    under_way: deque[tuple[Future[_Done], int]] = deque()
    held = 0
    for job in jobs:
        under_way.append((pool.submit(run, job), job.size))
        held += job.size
        while under_way and (len(under_way) >= ahead or held > _MOST_HELD):
            done, freed = under_way.popleft()
            held -= freed
            yield done.result()
    for done, _ in under_way:
        yield done.result()


def _chunks(done: Iterator[_Done]) -> Iterator[list[_Done]]:
    """Outcomes for one transaction each; a uri that comes again begins another."""
    chunk: list[_Done] = []
    held: set[str] = set()
    for one in done:
        if len(chunk) >= _CHUNK or (one.outcome is not None and one.outcome.uri in held):
            yield chunk
            chunk, held = [], set()
        chunk.append(one)
        if one.outcome is not None:
            held.add(one.outcome.uri)
    if chunk:
        yield chunk


def _save(workspace: Workspace, done: Sequence[_Done], options: _Options, tally: _Tally) -> None:
    outcomes = [one.outcome for one in done if one.outcome is not None]
    with workspace.database.write() as session:
        saved = sightings.save(session, outcomes, source=options.source)
        for one in done:
            if one.closes is not None:
                sightings.close(session, one.closes, is_whole=one.outcome is None)
        fail_points.reach("ingest.before_commit")
    fail_points.reach("ingest.after_commit")
    tally.files += len(outcomes)
    tally.new_images += saved.new_images
    tally.new_sightings += saved.new_sightings
    tally.missing += saved.missing
    tally.seen.extend(saved.ids)
    tally.read.update(one.closes.uri for one in done if one.closes is not None)
    tally.quarantined += [(one.uri, one.found) for one in outcomes if isinstance(one.found, str)]
