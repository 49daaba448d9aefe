"""Images that are the same picture: proposed cheaply and generously, proven pixel by pixel.

Near hashes, near vectors and shared local features name pairs (curation.proposals). None of them is believed: a pair
is a duplicate when its pixels are equal, or when `curation.alignment` leaves no structure between the two pictures.
How near and how much is measured on the collection itself (curation.calibration). A person's word goes before all of
it (curation.decisions). Groups are stars around a representative: every member was compared with it, so a group never
chains from one picture to another.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, TypeVar, cast

import numpy as np
from sqlalchemy import and_, delete, func, or_, select, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.orm import Session

from curation import alignment, calibration, collection, decisions, evidence, joins, proposals
from curation.calibration import Calibration
from curation.collection import Collection
from curation.decode import pixels_digest
from curation.refusals import Refusals
from curation.sketchbook import Sketchbook
from store import fail_points
from store.arrays import Bools, Ints
from store.errors import NotFoundError, WinnowError
from store.schema import DuplicateGroup, DuplicateMember, DuplicatePair, DuplicateScan, Image, ImageId, Sighting
from store.workspace import Workspace

Kind: TypeAlias = Literal["pixels", "perceptual", "mirrored", "crop", "embedding", "person"]
Pair: TypeAlias = tuple[int, int]  # positions, the smaller first
_Ids = TypeVar("_Ids", bound=tuple[int, int])

_GROWN = 1.25  # times as many images as were calibrated on: from here on a scan begins anew
_FEATURES_UP_TO = 30_000  # images whose local features are compared
_NEAREST = 16  # pairs of each image that its vector proposes, the nearest
_PAIRS = 512  # compared between two reports of progress
_SAME_PIXELS_BITS = 4  # of perceptual hashes that equal pixels may differ by, decoded in two ways


@dataclass(frozen=True)
class Match:
    """Two positions that hold one picture, and how far apart they are."""

    kind: Kind  # pixels; how alignment proved it; embedding: by vectors alone, as asked; person: as somebody said
    distance: float  # the residual; of kind embedding 1 - cosine; 0 for pixels and person


@dataclass(frozen=True)
class Group:
    """A representative and the positions that were each compared with it."""

    representative: int
    members: dict[int, Match]  # without the representative


@dataclass(frozen=True)
class ScanSummary:
    """What one scan found."""

    scan_id: int
    digest: str
    images: int
    not_embedded: int  # images that this encoder has not seen, and so nothing was compared with
    new_images: int  # that were compared with all others; the rest were compared before
    groups: int
    duplicates: int  # images beyond one per group
    exact_copies: int  # sightings beyond one per image
    kinds: dict[str, int]
    compared_pairs: int
    calibration: dict[str, Any]  # see curation.calibration.Calibration
    features_used: bool  # local features proposed pairs too
    truncated: int  # pairs of vectors that may be near and were left out, in places with hundreds of alike images
    expected_recall: float | None  # of copies, by those planted; none where no picture could be changed
    expected_precision: float | None  # of pairs proven by their pixels; none where there are none
    min_cosine: float | None  # from which vectors alone were believed, where a person said so
    unreadable: list[str]  # a sentence each


def scan(
    workspace: Workspace,
    *,
    encoder: str | None = None,
    min_cosine: float | None = None,
    max_residual: float | None = None,
    anew: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> ScanSummary:
    """Find the duplicates among the embedded images and record the groups.

    The first scan calibrates and compares all; later ones compare what is new with all, and begin anew when the
    collection has grown by a quarter since it was calibrated or another threshold is asked for. A first scan gives
    the same groups whatever order the images came in; a later one knows what those before it proved as well. A scan
    that was interrupted goes on where it was: what it compared is kept.

    Args:
        workspace: Whose images.
        encoder: Whose vectors propose pairs; by default see `embed.find_encoder`.
        min_cosine: Two images at least this near are taken for one on their vectors alone, such as frames of a burst.
        max_residual: How much two pictures may differ, instead of what calibration finds.
        anew: Calibrate and compare all again.
        on_progress: Told (done, total) pairs.

    Raises:
        NotFoundError: nothing is embedded.
        IntegrityError: vectors are missing on disk, or hold NaN.
    """
    images = collection.load(workspace, encoder)
    book = Sketchbook(images.found)
    asked = {"min_cosine": min_cosine, "max_residual": max_residual}
    before = None if anew else _previous(workspace, images, asked)
    if before is None:
        measured = calibration.calibrate(evidence.gather(workspace, images, book), max_bits=proposals.MAX_BITS)
        calibrated_images, fresh = len(images.found), None
    else:
        measured, calibrated_images, fresh = before
    limit = measured.max_residual if max_residual is None else max_residual
    refusals = Refusals(workspace.indexes_dir, encoder=images.encoder.digest, max_residual=limit)
    if anew:
        refusals.forget()
    proposed = _propose(workspace, images, book, measured, min_cosine=min_cosine, fresh=fresh)
    with workspace.database.read() as session:
        said = images.positions_of(decisions.in_force(session))
        known = images.positions_of(_recorded(session, limit, min_cosine if fresh is not None else None))
    by_pixels = {pair for pair, match in known.items() if match.kind != "embedding"}
    found = {pair: match for pair, match in proposed.by_vectors.items() if pair not in by_pixels}
    found |= _equal(proposed.pixels)
    unsettled: Ints = proposed.pairs[[pair not in found and pair not in known for pair in _tuples(proposed.pairs)]]
    is_aligned: Bools = np.array([pair in proposed.to_align for pair in _tuples(unsettled)], dtype=np.bool_)
    pending = unsettled[~refusals.hold(_ids(images, unsettled), is_aligned)]
    for done in _verify(pending, proposed.to_align, book, max_residual=limit):
        found |= done.proven
        _keep(workspace, images, done, refusals, proposed.to_align)
        on_progress(done.until, len(pending))
    refused = {*_tuples(unsettled[is_aligned])} - found.keys()
    refused |= {pair for pair, same in said.items() if not same}
    matches = _as_said({**known, **found}, said)

    def settle(first: int, second: int) -> Match | None:
        """A pair that nothing proposed; what is proven is kept like any other."""
        pair = (first, second)
        match = None if pair in refused else _compared(pair, proposed.pixels, book, max_residual=limit)
        if match is not None:
            found[pair] = match
        return match

    groups = group(images.preference, matches, settle)
    summary = {
        "images": len(images.found),
        "new_images": len(images.found) if fresh is None else len(fresh),
        "groups": len(groups),
        "duplicates": sum(len(one.members) for one in groups),
        "kinds": dict(sorted(Counter(match.kind for one in groups for match in one.members.values()).items())),
        "compared_pairs": len(pending),
        "calibration": asdict(measured),
        "features_used": proposed.features_used,
        "truncated": proposed.truncated,
        "expected_recall": measured.expected_recall(features_used=proposed.features_used),
        "expected_precision": expected_precision(
            sum(match.kind not in ("embedding", "person") for match in matches.values()),
            len(refusals),
            measured.false_share,
        ),
        "min_cosine": min_cosine,
        "unreadable": [book.unreadable[position] for position in sorted(book.unreadable)],
    }
    with workspace.database.read() as session:
        summary["not_embedded"] = (session.scalar(select(func.count(Image.id))) or 0) - len(images.found)
    report = {**summary, "asked": asked, "max_residual": limit, "calibrated_images": calibrated_images}
    unread = {images.found[position].image_id for position in book.unreadable}
    with workspace.database.write() as session:
        if fresh is None:  # what vectors alone said, they said anew
            session.execute(delete(DuplicatePair).where(DuplicatePair.kind == "embedding"))
        _save_pairs(session, found, images)
        row = _save_scan(session, groups, images, report, unread=unread)
        return ScanSummary(scan_id=row.id, digest=row.digest, exact_copies=row.report["exact_copies"], **summary)  # type: ignore[arg-type]


def compare(
    first: alignment.Sketch, second: alignment.Sketch, *, max_residual: float, align: bool = True
) -> Match | None:
    """Whether two sketches are one picture: in place, mirrored, and if `align` also moved and scaled."""
    for way, residual in alignment.ways(first, second, align=align):
        if residual <= max_residual:
            return Match(way, residual)
    return None


def group(
    preference: Sequence[int], matches: Mapping[Pair, Match], compare: Callable[[int, int], Match | None]
) -> list[Group]:
    """Stars of matches: the most preferred position takes everything that matches it, and so on.

    What is tied to a representative only through another image is compared with it directly.

    Args:
        preference: All positions, the best representative first.
        matches: The verified pairs.
        compare: Verifies one more pair.
    """
    neighbours: defaultdict[int, set[int]] = defaultdict(set)
    for a, b in matches:
        neighbours[a].add(b)
        neighbours[b].add(a)
    taken: set[int] = set()
    groups = []
    for representative in preference:
        if representative in taken or representative not in neighbours:
            continue
        members: dict[int, Match] = {}
        seen, waiting = {representative}, [representative]
        while waiting:
            for other in sorted(neighbours[waiting.pop()] - seen - taken):
                seen.add(other)
                pair = (min(representative, other), max(representative, other))
                match = matches.get(pair) or compare(*pair)
                if match is not None:
                    members[other] = match
                    waiting.append(other)
        if members:
            taken |= {representative, *members}
            groups.append(Group(representative, members))
    return groups


def pairs_in_force(session: Session) -> list[tuple[ImageId, ImageId]]:
    """Every two images that are one picture, see `matches_in_force`; ordered."""
    return sorted(matches_in_force(session))


def matches_in_force(session: Session) -> dict[tuple[ImageId, ImageId], Match]:
    """Every two images that are one picture, as proven within what the newest scan allows, or as a person said.

    More than the groups hold: of three pictures in a row, where the first is not like the third, a
    group takes two, and the pair that is left must still not be separated.
    """
    report = newest_report(session)
    recorded = {} if report is None else _recorded(session, report["max_residual"], report.get("min_cosine"))
    return _as_said(recorded, decisions.in_force(session))


def newest_report(session: Session) -> dict[str, Any] | None:
    """What the newest scan reported; none before the first."""
    return session.scalar(select(DuplicateScan.report).order_by(DuplicateScan.id.desc()).limit(1))


def newest_groups(session: Session) -> list[tuple[int, ImageId, list[DuplicateMember]]]:
    """The newest scan's groups as (id, representative, members with the representative first).

    Raises:
        NotFoundError: no scan has been made.
    """
    scan_id = session.scalar(select(func.max(DuplicateScan.id)))
    if scan_id is None:
        raise NotFoundError("No duplicate scan has been made. Run: winnow duplicates scan.")
    rows = session.scalars(select(DuplicateGroup).where(DuplicateGroup.scan_id == scan_id).order_by(DuplicateGroup.id))
    members = defaultdict(list)
    of_scan = select(DuplicateGroup.id).where(DuplicateGroup.scan_id == scan_id)
    for member in session.scalars(
        select(DuplicateMember)
        .where(DuplicateMember.group_id.in_(of_scan))
        .order_by(DuplicateMember.kind != "representative", DuplicateMember.distance, DuplicateMember.image_id)
    ):
        members[member.group_id].append(member)
    return [(row.id, ImageId(row.representative_id), members[row.id]) for row in rows]


def expected_precision(found: int, refused: int, false_share: float) -> float | None:
    """The share of `found` pairs that are copies if `false_share` of pairs such as those refused are taken for some."""
    return None if found == 0 else max(0.0, 1 - false_share * refused / found)


def _previous(
    workspace: Workspace, images: Collection, asked: Mapping[str, float | None]
) -> tuple[Calibration, int, Ints] | None:
    """The calibration in force, of how many images it was made, and the positions that no scan has compared.

    None where a scan has to begin anew.
    """
    with workspace.database.read() as session:
        newest = session.scalar(select(DuplicateScan).order_by(DuplicateScan.id.desc()).limit(1))
    if newest is None or newest.encoder_id != images.encoder.id or newest.report.get("asked") != asked:
        return None
    report = newest.report
    calibrated_images = report.get("calibrated_images", 0)
    if len(images.found) > _GROWN * calibrated_images:
        return None
    is_fresh = (images.image_ids > report["scanned_until"]) | np.isin(images.image_ids, report["unread"])
    try:
        return Calibration(**report["calibration"]), calibrated_images, np.flatnonzero(is_fresh)
    except TypeError:  # written by another release
        return None


@dataclass(frozen=True)
class _Proposed:
    """What a scan has to compare, and what needs no comparing."""

    pairs: Ints  # (P, 2)
    to_align: set[Pair]  # of these, those that may be moved and scaled
    by_vectors: dict[Pair, Match]  # believed as they are, if a person said so
    pixels: dict[int, str]  # digests by position
    features_used: bool
    truncated: int


def _propose(
    workspace: Workspace,
    images: Collection,
    book: Sketchbook,
    measured: Calibration,
    *,
    min_cosine: float | None,
    fresh: Ints | None,
) -> _Proposed:
    near = images.near_pairs_of(workspace, min_cosine=min(measured.min_cosine, min_cosine or 1.0), fresh=fresh)
    believed = near.cosines >= (2.0 if min_cosine is None else min_cosine)
    by_vectors = {
        (a, b): Match("embedding", max(1 - cosine, 0.0))
        for (a, b), cosine in zip(near.positions[believed].tolist(), near.cosines[believed].tolist(), strict=True)
    }
    is_near = np.flatnonzero(near.cosines >= measured.min_cosine)
    is_near = is_near[joins.nearest_of_either(near.positions[is_near], -near.cosines[is_near], most=_NEAREST)]
    by_hash = proposals.by_hash(images.known, fresh=fresh)
    pairs = voted = _unique(by_hash, near.positions[is_near])
    features_used = measured.needs_features and len(images.found) <= _FEATURES_UP_TO
    if features_used:
        voted = _with(proposals.by_features(_descriptors(book)), fresh)
        pairs = _unique(pairs, voted)
    return _Proposed(
        pairs=pairs,
        to_align=set(map(tuple, voted.tolist())),
        by_vectors=by_vectors,
        pixels=_pixels(workspace, images, by_hash),
        features_used=features_used,
        truncated=near.truncated,
    )


def _keep(
    workspace: Workspace, images: Collection, done: "_Verdicts", refusals: Refusals, to_align: AbstractSet[Pair]
) -> None:
    """Record verdicts, so that no scan after this one has to come to them again."""
    with workspace.database.write() as session:
        _save_pairs(session, done.proven, images)
    fail_points.reach("scan.after_commit")
    refused: Ints = np.array(done.refused, dtype=np.int64).reshape(-1, 2)
    refusals.add(_ids(images, refused), np.array([pair in to_align for pair in done.refused], dtype=np.bool_))


def _compared(pair: Pair, pixels: Mapping[int, str], book: Sketchbook, *, max_residual: float) -> Match | None:
    first, second = pair
    if first in pixels and pixels[first] == pixels.get(second):
        return Match("pixels", 0.0)
    sketches = book.open(pair)
    return None if len(sketches) < 2 else compare(sketches[first], sketches[second], max_residual=max_residual)


def _pixels(workspace: Workspace, images: Collection, by_hash: Ints) -> dict[int, str]:
    """The pixel digests that are known by position, and those of files whose size and hashes agree with another's.

    What is computed is kept, a few hundred at a time.
    """
    bits = np.bitwise_count(images.known.phash[by_hash[:, 0]] ^ images.known.phash[by_hash[:, 1]])
    alike = (images.sizes[by_hash[:, 0]] == images.sizes[by_hash[:, 1]]).all(axis=1) & (bits <= _SAME_PIXELS_BITS)
    digests = dict(images.pixels)
    missing = [position for position in np.unique(by_hash[alike]).tolist() if position not in digests]

    def digest(position: int) -> str | None:
        try:
            return pixels_digest(images.found[position].read(), max_pixels=images.found[position].max_pixels)
        except WinnowError:
            return None  # said when it is sketched

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(missing), _PAIRS):
            chunk = missing[start : start + _PAIRS]
            computed = {i: one for i, one in zip(chunk, pool.map(digest, chunk), strict=True) if one is not None}
            rows = [{"id": images.found[i].image_id, "pixels_sha256": one} for i, one in computed.items()]
            if rows:
                with workspace.database.write() as session:
                    session.execute(update(Image), rows)
            digests |= computed
    return digests


def _equal(pixels: Mapping[int, str]) -> dict[Pair, Match]:
    """The first position of each pixel digest with every other one: as many pairs as copies, not their square."""
    first: dict[str, int] = {}
    tied = [(first.setdefault(digest, position), position) for position, digest in sorted(pixels.items())]
    return {pair: Match("pixels", 0.0) for pair in tied if pair[0] != pair[1]}


@dataclass(frozen=True)
class _Verdicts:
    """What became of a few pairs; those whose files cannot be read have no verdict."""

    proven: dict[Pair, Match]
    refused: list[Pair]
    until: int  # of all pairs


def _verify(pairs: Ints, to_align: AbstractSet[Pair], book: Sketchbook, *, max_residual: float) -> Iterator[_Verdicts]:
    """Which of `pairs` are one picture, a few at a time; those in `to_align` also if it was moved and scaled."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), ThreadPoolExecutor() as pool:  # small products are no work for BLAS threads
        for start in range(0, len(pairs), _PAIRS):
            chunk = _tuples(pairs[start : start + _PAIRS])
            sketches = book.open(position for pair in chunk for position in pair)
            there = [pair for pair in chunk if sketches.keys() >= set(pair)]

            def check(pair: Pair, sketches: Mapping[int, alignment.Sketch] = sketches) -> Match | None:
                first, second = sketches[pair[0]], sketches[pair[1]]
                return compare(first, second, max_residual=max_residual, align=pair in to_align)

            matches = dict(zip(there, pool.map(check, there), strict=True))
            yield _Verdicts(
                proven={pair: match for pair, match in matches.items() if match is not None},
                refused=[pair for pair, match in matches.items() if match is None],
                until=start + len(chunk),
            )


def _descriptors(book: Sketchbook) -> dict[int, Any]:
    """The strongest local features of every picture that can be read, by position."""
    found: dict[int, Any] = {}
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(book), _PAIRS):
            sketches = book.open(range(start, min(start + _PAIRS, len(book))))
            features = pool.map(lambda sketch: sketch.features.descriptors, sketches.values())
            found |= {i: one[: proposals.VOTING_KEYPOINTS] for i, one in zip(sketches, features, strict=True)}
    return found


def _ids(images: Collection, pairs: Ints) -> Ints:
    """Pairs of positions as pairs of image ids, the smaller first."""
    return np.sort(images.image_ids[pairs], axis=1)


def _tuples(pairs: Ints) -> list[Pair]:
    return [(a, b) for a, b in pairs.tolist()]


def _unique(*pairs: Ints) -> Ints:
    return np.unique(np.concatenate(pairs), axis=0)


def _with(pairs: Ints, fresh: Ints | None) -> Ints:
    return pairs if fresh is None else pairs[np.isin(pairs, fresh).any(axis=1)]


def _as_said(matches: Mapping[_Ids, Match], said: Mapping[_Ids, bool]) -> dict[_Ids, Match]:
    """Matches without those that a person rejected, with those that a person accepted."""
    kept = {pair: match for pair, match in matches.items() if said.get(pair, True)}
    return kept | {pair: Match("person", 0.0) for pair, same in said.items() if same and pair not in kept}


def _recorded(session: Session, max_residual: float, min_cosine: float | None) -> dict[tuple[ImageId, ImageId], Match]:
    """The recorded pairs, by image ids, that these thresholds allow."""
    by_vectors = DuplicatePair.kind == "embedding"
    allowed = and_(~by_vectors, DuplicatePair.distance <= max_residual)
    if min_cosine is not None:
        allowed = or_(allowed, and_(by_vectors, DuplicatePair.distance <= 1 - min_cosine))
    columns = (DuplicatePair.first_id, DuplicatePair.second_id, DuplicatePair.kind, DuplicatePair.distance)
    return {
        (ImageId(first), ImageId(second)): Match(cast(Kind, kind), distance)
        for first, second, kind, distance in session.execute(select(*columns).where(allowed))
    }


def _exact_copies(session: Session) -> int:
    sightings, images = session.execute(
        select(func.count(), func.count(Sighting.image_id.distinct())).where(Sighting.current)
    ).one()
    return int(sightings - images)


def _digest(groups: Sequence[Group], images: Collection) -> str:
    def name(position: int) -> str:
        return images.found[position].sha256

    names = sorted(f"{name(one.representative)}:{','.join(sorted(map(name, one.members)))}" for one in groups)
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def _save_pairs(session: Session, matches: Mapping[Pair, Match], images: Collection) -> None:
    """Record matches; one that is recorded already may be proven in another way by now, or by other limits."""
    rows = []
    for pair, match in matches.items():
        first, second = sorted(images.found[position].image_id for position in pair)
        rows.append({"first_id": first, "second_id": second, "kind": match.kind, "distance": match.distance})
    if rows:
        statement = sqlite.insert(DuplicatePair)
        changed = {name: statement.excluded[name] for name in ("kind", "distance")}
        session.execute(statement.on_conflict_do_update(index_elements=["first_id", "second_id"], set_=changed), rows)


def _save_scan(
    session: Session, groups: Sequence[Group], images: Collection, report: dict[str, Any], *, unread: set[ImageId]
) -> DuplicateScan:
    """Record a scan with its groups, and which images it saw."""
    scanned = {ImageId(image_id) for image_id in images.image_ids.tolist()} - unread
    until = max(scanned, default=0)
    left_out = sorted(set(session.scalars(select(Image.id).where(Image.id <= until))) - scanned)
    report |= {"exact_copies": _exact_copies(session), "scanned_until": until, "unread": left_out}
    row = DuplicateScan(digest=_digest(groups, images), encoder_id=images.encoder.id, report=report)
    session.add(row)
    session.flush()
    _save_groups(session, row.id, groups, images)
    return row


def _save_groups(session: Session, scan_id: int, groups: Sequence[Group], images: Collection) -> None:
    for one in groups:
        representative = images.found[one.representative].image_id
        row = DuplicateGroup(scan_id=scan_id, representative_id=representative)
        session.add(row)
        session.flush()
        session.add(DuplicateMember(group_id=row.id, image_id=representative, kind="representative", distance=0.0))
        session.add_all(
            DuplicateMember(
                group_id=row.id, image_id=images.found[member].image_id, kind=match.kind, distance=match.distance
            )
            for member, match in one.members.items()
        )
