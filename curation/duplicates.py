"""Images that are the same picture: proposed cheaply and generously, proven pixel by pixel.

Near perceptual hashes, near embeddings and shared local features name pairs. None of them is
believed: a pair is a duplicate when its pixels are equal, or when `curation.alignment` leaves no
structure between the two pictures. Groups are stars around a representative: every member was
compared with it, so a group never chains from one picture to another.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from curation import alignment, originals
from curation.alignment import Sketch
from curation.decode import decode
from curation.index import Index, open_index
from store.arrays import Vectors
from store.errors import NotFoundError, WinnowError
from store.schema import DuplicateGroup, DuplicateMember, DuplicatePair, DuplicateScan, Image, ImageId, Label, Sighting
from store.workspace import Workspace

MAX_RESIDUAL = 0.08
"""The largest residual (see `curation.alignment`) of two pictures that are one.

On 2,624 photos of solar cells the most alike different cells (wafers cut from one brick) begin at
.10; JPEG at quality 70, half size, brighter by a fifth end at .04, quality 30 and crops of 80 %
lie below .08 in nine cases of ten. docs/decisions/0003 has the table.
"""

Kind: TypeAlias = Literal["pixels", "perceptual", "embedding", "crop"]
Pair: TypeAlias = tuple[int, int]  # positions, the smaller first

_NEIGHBOURS = 5  # proposals per image by hash and by embedding
_MAX_HAMMING = 10  # bits of 64 between perceptual hashes
_VOTING_KEYPOINTS = 48  # the strongest of each image
_MIN_VOTE = 0.75  # similarity from which a descriptor votes
_VOTED = 3  # images per image that local features may propose


@dataclass(frozen=True)
class Match:
    """Two positions that hold one picture, and how far apart they are."""

    kind: Kind  # crop: only after alignment; perceptual, embedding: in place, with near or distant hashes
    residual: float  # 0 for equal pixels


@dataclass(frozen=True)
class Proposals:
    """Pairs worth comparing."""

    in_place: set[Pair]
    aligned: set[Pair]  # these share local features; the frame may differ


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
    groups: int
    duplicates: int  # images beyond one per group
    exact_copies: int  # sightings beyond one per image
    kinds: dict[str, int]
    compared_pairs: int
    unreadable: list[str]  # a sentence each


def scan(
    workspace: Workspace,
    *,
    max_residual: float = MAX_RESIDUAL,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> ScanSummary:
    """Find every duplicate among the embedded images and record the groups.

    The same catalog gives the same groups, whatever order the images came in.

    Raises:
        NotFoundError: nothing is embedded.
    """
    encoder, index = open_index(workspace)
    with workspace.database.read() as session:
        found = originals.find(session, [ImageId(i) for i in index.image_ids.tolist()])
        pixels, hashes = _fingerprints(session, found)
        labelled = set(session.scalars(select(Label.image_id)))
        sizes = dict(session.execute(select(Image.id, Image.width * Image.height)).all())
        exact_copies = _exact_copies(session)
    sketches, unreadable = _sketches(found, on_progress)
    proposals = propose(hashes, index, sketches)
    matches = verify(proposals, hashes, sketches, max_residual=max_residual) | equal_pixels(pixels)
    preference = sorted(
        range(len(found)),
        key=lambda i: (found[i].image_id not in labelled, -sizes[found[i].image_id], found[i].sha256),
    )

    def settle(first: int, second: int) -> Match | None:
        if pixels[first] == pixels[second]:
            return Match("pixels", 0.0)
        return compare(first, second, hashes, sketches, max_residual=max_residual, align=True)

    groups = group(preference, matches, settle)
    kinds = Counter(match.kind for one in groups for match in one.members.values())
    report = {
        "max_residual": max_residual,
        "images": len(found),
        "groups": len(groups),
        "duplicates": sum(len(one.members) for one in groups),
        "exact_copies": exact_copies,
        "kinds": dict(sorted(kinds.items())),
        "compared_pairs": len(proposals.in_place | proposals.aligned),
        "unreadable": unreadable,
    }
    scanned = {found[position].image_id for position in sketches}
    until = max(scanned, default=0)
    with workspace.database.write() as session:
        unread = sorted(set(session.scalars(select(Image.id).where(Image.id <= until))) - scanned)
        row = DuplicateScan(
            digest=_digest(groups, found),
            encoder_id=encoder.id,
            report={**report, "scanned_until": until, "unread": unread},
        )
        session.add(row)
        session.flush()
        _save_pairs(session, matches, found)
        _save_groups(session, row.id, groups, found)
        summary = {key: value for key, value in report.items() if key != "max_residual"}
        return ScanSummary(scan_id=row.id, digest=row.digest, **summary)  # type: ignore[arg-type]


def equal_pixels(pixels: Sequence[str]) -> dict[Pair, Match]:
    """The first position of each pixel digest with every other one: as many pairs as copies, not their square."""
    first: dict[str, int] = {}
    pairs = [(first.setdefault(digest, position), position) for position, digest in enumerate(pixels)]
    return {pair: Match("pixels", 0.0) for pair in pairs if pair[0] != pair[1]}


def propose(hashes: Any, index: Index, sketches: Mapping[int, Sketch]) -> Proposals:
    """Pairs worth comparing.

    Args:
        hashes: Perceptual hashes `(N, 8)` uint8.
        index: The embeddings, aligned with `hashes`.
        sketches: By position; a picture that could not be read has none and is proposed by nobody.
    """
    near = _near_hashes(hashes) | _near_embeddings(index)
    return Proposals({pair for pair in near if sketches.keys() >= set(pair)}, _shared_features(sketches))


def verify(
    proposals: Proposals, hashes: Any, sketches: Mapping[int, Sketch], *, max_residual: float
) -> dict[Pair, Match]:
    """The proposed pairs that are one picture."""

    from threadpoolctl import threadpool_limits

    def check(pair: Pair) -> Match | None:
        align = pair in proposals.aligned
        return compare(*pair, hashes, sketches, max_residual=max_residual, align=align)

    pairs = sorted(proposals.in_place | proposals.aligned)
    with threadpool_limits(1), ThreadPoolExecutor() as pool:  # small products are no work for BLAS threads
        return {pair: match for pair, match in zip(pairs, pool.map(check, pairs), strict=True) if match is not None}


def compare(
    first: int, second: int, hashes: Any, sketches: Mapping[int, Sketch], *, max_residual: float, align: bool
) -> Match | None:
    """Whether two positions hold one picture: in place, and if `align` also moved and scaled, both ways round."""
    a, b = sketches.get(first), sketches.get(second)
    if a is None or b is None:
        return None
    residual = alignment.residual_in_place(a, b)
    if residual <= max_residual:
        near = int(np.bitwise_count(hashes[first] ^ hashes[second]).sum()) <= _MAX_HAMMING
        return Match("perceptual" if near else "embedding", residual)
    if not align:
        return None
    residual = alignment.residual_aligned(a, b)
    if residual > max_residual:
        residual = alignment.residual_aligned(b, a)
    return Match("crop", residual) if residual <= max_residual else None


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
    """Every two images ever proven to be one picture, by the residual that the newest scan allows.

    More than the groups hold: of three pictures in a row, where the first is not like the third, a
    group takes two, and the pair that is left must still not be separated.
    """
    report = newest_report(session)
    if report is None:
        return []
    proven = (
        select(DuplicatePair.first_id, DuplicatePair.second_id)
        .where(DuplicatePair.distance <= report["max_residual"])
        .order_by(DuplicatePair.first_id, DuplicatePair.second_id)
    )
    return [(ImageId(first), ImageId(second)) for first, second in session.execute(proven)]


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


def _fingerprints(session: Session, found: Sequence[originals.Original]) -> tuple[list[str], Any]:
    rows = {
        image_id: (pixels or str(image_id), phash)
        for image_id, pixels, phash in session.execute(select(Image.id, Image.pixels_sha256, Image.phash))
    }
    pixels = [rows[original.image_id][0] for original in found]
    hashes = [np.frombuffer(bytes.fromhex(rows[original.image_id][1]), dtype=np.uint8) for original in found]
    return pixels, np.stack(hashes)


def _exact_copies(session: Session) -> int:
    sightings, images = session.execute(
        select(func.count(), func.count(Sighting.image_id.distinct())).where(Sighting.current)
    ).one()
    return int(sightings - images)


def _sketches(
    found: Sequence[originals.Original], on_progress: Callable[[int, int], None]
) -> tuple[dict[int, Sketch], list[str]]:
    import cv2

    cv2.setNumThreads(1)  # we are the threads, here and in verify; OpenCV's own would fight over the same cores

    def read(original: originals.Original) -> Sketch | str:
        try:
            return alignment.sketch(decode(original.read()).picture)
        except WinnowError as error:
            return str(error)

    sketches: dict[int, Sketch] = {}
    unreadable = []
    with ThreadPoolExecutor() as pool:
        for position, result in enumerate(pool.map(read, found)):
            if isinstance(result, str):
                unreadable.append(result)
            else:
                sketches[position] = result
            on_progress(position + 1, len(found))
    return sketches, unreadable


def _near_hashes(hashes: Any) -> set[Pair]:
    import faiss

    index = faiss.IndexBinaryFlat(64)
    index.add(hashes)
    distances, positions = index.search(hashes, min(_NEIGHBOURS + 1, len(hashes)))
    return _pairs(positions, distances <= _MAX_HAMMING)


def _near_embeddings(index: Index) -> set[Pair]:
    positions, cosines = index.search_directions(index.directions, min(_NEIGHBOURS + 1, len(index.image_ids)))
    return _pairs(positions, cosines > 0)


def _pairs(positions: Any, wanted: Any) -> set[Pair]:
    rows, columns = np.nonzero(wanted & (positions >= 0))
    others = positions[rows, columns]
    return {(min(a, b), max(a, b)) for a, b in zip(rows.tolist(), others.tolist(), strict=True) if a != b}


def _shared_features(sketches: Mapping[int, Sketch]) -> set[Pair]:
    """Each image with those it shares most local features with.

    A descriptor votes for the owners of its nearest descriptors, by how similar they are.
    """
    import faiss

    owners = np.repeat(list(sketches), [len(one.descriptors[:_VOTING_KEYPOINTS]) for one in sketches.values()])
    if len(owners) < 2:
        return set()
    descriptors: Vectors = np.concatenate(
        [alignment.directions(one.descriptors[:_VOTING_KEYPOINTS]) for one in sketches.values()]
    )
    lists = max(1, int(np.sqrt(len(descriptors))))
    index: Any = faiss.index_factory(descriptors.shape[1], f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1
    index.cp.max_points_per_centroid = 64
    index.train(descriptors)
    index.add(descriptors)
    index.nprobe = 8
    similarity, nearest = index.search(descriptors, _NEIGHBOURS + 1)
    voters = np.repeat(owners, similarity.shape[1])
    elected = np.where(nearest.ravel() >= 0, owners[nearest.ravel()], -1)
    weight = similarity.ravel() - _MIN_VOTE
    counted = (weight > 0) & (elected >= 0) & (elected != voters)
    votes: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for voter, choice, value in zip(
        voters[counted].tolist(), elected[counted].tolist(), weight[counted].tolist(), strict=True
    ):
        votes[voter][choice] += value
    return {
        (min(voter, choice), max(voter, choice))
        for voter, choices in votes.items()
        for choice, _ in sorted(choices.items(), key=lambda item: (-item[1], item[0]))[:_VOTED]
    }


def _digest(groups: Sequence[Group], found: Sequence[originals.Original]) -> str:
    names = sorted(
        f"{found[one.representative].sha256}:{','.join(sorted(found[member].sha256 for member in one.members))}"
        for one in groups
    )
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def _save_pairs(session: Session, matches: Mapping[Pair, Match], found: Sequence[originals.Original]) -> None:
    known = set(session.execute(select(DuplicatePair.first_id, DuplicatePair.second_id)).all())
    for (a, b), match in matches.items():
        pair = tuple(sorted((found[a].image_id, found[b].image_id)))
        if pair not in known:
            session.add(DuplicatePair(first_id=pair[0], second_id=pair[1], kind=match.kind, distance=match.residual))


def _save_groups(session: Session, scan_id: int, groups: Sequence[Group], found: Sequence[originals.Original]) -> None:
    for one in groups:
        representative = found[one.representative].image_id
        row = DuplicateGroup(scan_id=scan_id, representative_id=representative)
        session.add(row)
        session.flush()
        session.add(DuplicateMember(group_id=row.id, image_id=representative, kind="representative", distance=0.0))
        for member, match in one.members.items():
            session.add(
                DuplicateMember(
                    group_id=row.id, image_id=found[member].image_id, kind=match.kind, distance=match.residual
                )
            )
