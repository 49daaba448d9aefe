"""Immutable training sets, named by the digest of their content.

The id is the sha256 of a manifest in canonical JSON: names, classes and fractions, the digests of
encoder, duplicate scan and batches, and of the items: for each its sha256, value, split and what
its label rests on. No time and no row id goes into it, so the same inputs give the same id
anywhere, and a version whose rows were tampered with no longer fits its id.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from sqlalchemy import Select, and_, insert, select
from sqlalchemy.orm import Session

from curation import gates, labels, splits
from curation.gates import Gate
from curation.splits import Catalog, Split
from store.errors import ConflictError, IntegrityError, InvalidInputError, NotFoundError
from store.schema import (
    Batch,
    Campaign,
    DuplicateGroup,
    DuplicateMember,
    DuplicateScan,
    Encoder,
    Image,
    ImageId,
    Label,
    Sighting,
    Task,
    Verdict,
    Version,
    VersionId,
    VersionItem,
)
from store.workspace import Workspace


@dataclass(frozen=True)
class VersionSummary:
    """A version in a few figures."""

    id: VersionId
    name: str
    number: int
    parent: VersionId | None
    taxonomy: str
    counts: dict[str, int]  # images per split
    gates: list[Gate]


@dataclass(frozen=True)
class Item:
    """One image of a version."""

    image_id: ImageId
    label_id: int
    sha256: str
    value: str
    split: Split


@dataclass(frozen=True)
class Difference:
    """What lies between two versions; every list is ordered by sha256."""

    added: list[Item]
    removed: list[Item]
    relabelled: list[tuple[Item, Item]]  # before, after
    moved: list[tuple[Item, Item]]  # to another split; always empty, or a version is broken


@dataclass(frozen=True)
class Lineage:
    """Where a version comes from."""

    id: VersionId
    parents: list[VersionId]  # the nearest first
    encoder: str | None  # digests
    duplicate_scan: str | None
    batches: list[str]
    campaigns: list[str]
    verdicts: dict[str, int]  # labels accepted by consensus, and by an adjudicator
    annotators: dict[str, int]  # how many answers of each person the labels rest on


@dataclass(frozen=True)
class _Groups:
    """The newest duplicate scan."""

    scan: str | None  # digest
    encoder: str | None
    representative: dict[int, int]  # of the group an image is in
    scanned_until: int  # the newest image it compared
    unread: frozenset[int]  # older ones it could not compare

    def unscanned(self, image_ids: Sequence[int]) -> int:
        """How many of these were not compared with all others."""
        return sum(image_id > self.scanned_until or image_id in self.unread for image_id in image_ids)


@dataclass(frozen=True)
class _Files:
    """Where images are."""

    uris: dict[int, str]  # one of every image, a current one where there is one
    gone: set[int]  # the images no file shows any more


def cut(workspace: Workspace, name: str, *, taxonomy: str | None = None) -> VersionSummary:
    """Freeze the labels in force of a taxonomy into the next version called `name`.

    Of a duplicate group only one image goes into train: its representative if that is labelled,
    else the smallest sha256. Gates are recorded with the version; only a leak stops the cut. When
    nothing changed since the newest version of that name, that one is returned.

    Raises:
        NotFoundError: nothing is labelled yet, or only with classes that were retired.
        InvalidInputError: several taxonomies have labels and none is named; or they are no single classes.
        LeakError: tied images lie in two splits, since earlier versions put them there.
        ConflictError: somebody else cut a version of that name meanwhile.
    """
    with workspace.database.read() as session:
        chosen = labels.the_taxonomy(session, taxonomy, of_classes=True)
        in_force = labels.in_force(session, chosen.name)
        if not in_force:
            raise NotFoundError(f"No image has a label under {chosen.name!r}. Run: winnow qa review CAMPAIGN.")
        catalog = splits.read(session)
        groups = _groups(session)
        files = _files(session)
        newest = _newest(session, name)
        newest_labels = labels.newest_ids(chosen.name)
        evidence = _evidence(session, newest_labels)
        batches = _batches(session, newest_labels)
    assigned = splits.settle(catalog)
    split_of = dict(zip(catalog.image_ids, assigned, strict=True))
    classes = [str(each["name"]) for each in chosen.classes]
    candidates = [
        Item(label.image_id, label.label_id, label.sha256, label.value, split_of[label.image_id])
        for label in in_force
        if label.value in classes
    ]
    if not candidates:
        raise NotFoundError(f"Every label under {chosen.name!r} is of a class that was retired: nothing to freeze.")
    taken = _one_per_group(candidates, groups.representative)
    retired = Counter(label.value for label in in_force if label.value not in classes)
    checked = _gates(candidates, taken, catalog=catalog, groups=groups, files=files, classes=classes)
    checked += [gates.retired(retired), gates.scanned(groups.unscanned([item.image_id for item in taken]), len(taken))]
    manifest: dict[str, Any] = {
        "name": name,
        "parent": newest.parent_id if newest else None,
        "taxonomy": chosen.name,
        "classes": classes,
        "fractions": splits.FRACTIONS,
        "encoder": groups.encoder,
        "duplicate_scan": groups.scan,
        "batches": batches,
        "left_out": len(candidates) - len(taken),
        "items": _digest([[item.sha256, item.value, item.split, evidence[item.label_id]] for item in taken]),
    }
    if newest and _digest(manifest) == newest.id:
        return show(workspace, newest.id)
    manifest["parent"] = newest.id if newest else None
    version = Version(
        id=_digest(manifest),
        name=name,
        number=newest.number + 1 if newest else 1,
        parent_id=manifest["parent"],
        manifest=manifest,
        gates=[asdict(gate) for gate in checked],
    )
    with workspace.database.write() as session:
        _save(session, version, taken)
    return show(workspace, _digest(manifest))


def show(workspace: Workspace, reference: str) -> VersionSummary:
    """The version that an id, the beginning of one, or a name (then its newest) refers to.

    Raises:
        NotFoundError: there is none.
        InvalidInputError: several ids begin like this.
    """
    with workspace.database.read() as session:
        return _summary(session, find(session, reference))


def list_all(workspace: Workspace) -> list[VersionSummary]:
    """Every version, the newest first."""
    with workspace.database.read() as session:
        newest_first = select(Version).order_by(Version.created_at.desc(), Version.id)
        return [_summary(session, version) for version in session.scalars(newest_first)]


def verify(workspace: Workspace, reference: str) -> VersionSummary:
    """Recompute a version's id from the rows behind it.

    Raises:
        NotFoundError, InvalidInputError: as `show`.
        IntegrityError: a label, a verdict, an item or the manifest is not what it was at the cut.
    """
    with workspace.database.read() as session:
        version = find(session, reference)
        of_version = select(VersionItem.label_id).where(VersionItem.version_id == version.id)
        evidence = _evidence(session, of_version)
        found = [[item.sha256, item.value, item.split, evidence[item.label_id]] for item in items(session, version.id)]
        if _digest(found) != version.manifest.get("items"):
            raise IntegrityError(
                f"Version {version.id[:12]} is not what was cut: its {len(found)} items have other images, values, "
                "splits or evidence. Restore the catalog from a backup."
            )
        if _digest(version.manifest) != version.id:
            raise IntegrityError(
                f"Version {version.id[:12]} is not what was cut: its manifest was changed. "
                "Restore the catalog from a backup."
            )
        return _summary(session, version)


def diff(workspace: Workspace, before: str, after: str) -> Difference:
    """What changed from one version to another, each named as in `show`."""
    with workspace.database.read() as session:
        old, new = (
            {item.sha256: item for item in items(session, find(session, reference).id)} for reference in (before, after)
        )
    both = [(old[sha256], new[sha256]) for sha256 in sorted(old.keys() & new.keys())]
    return Difference(
        added=[new[sha256] for sha256 in sorted(new.keys() - old.keys())],
        removed=[old[sha256] for sha256 in sorted(old.keys() - new.keys())],
        relabelled=[(left, right) for left, right in both if left.value != right.value],
        moved=[(left, right) for left, right in both if left.split != right.split],
    )


def lineage(workspace: Workspace, reference: str) -> Lineage:
    """What a version was made from, named as in `show`."""
    with workspace.database.read() as session:
        version = find(session, reference)
        rows = session.execute(
            select(Verdict.evidence, Campaign.name)
            .join(Label, Label.verdict_id == Verdict.id)
            .join(VersionItem, VersionItem.label_id == Label.id)
            .join(Task, Task.id == Verdict.task_id)
            .join(Campaign, Campaign.id == Task.campaign_id)
            .where(VersionItem.version_id == version.id)
        ).all()
        parents: list[VersionId] = []
        ancestor = version.parent_id
        while ancestor is not None:
            parents.append(VersionId(ancestor))
            ancestor = session.get_one(Version, ancestor).parent_id
    by = Counter("adjudicator" if "adjudicator" in evidence else "consensus" for evidence, _ in rows)
    people = Counter(answer["annotator"] for evidence, _ in rows for answer in evidence.get("answers", []))
    return Lineage(
        id=VersionId(version.id),
        parents=parents,
        encoder=version.manifest["encoder"],
        duplicate_scan=version.manifest["duplicate_scan"],
        batches=version.manifest["batches"],
        campaigns=sorted({campaign for _, campaign in rows}),
        verdicts=dict(sorted(by.items())),
        annotators=dict(sorted(people.items())),
    )


def find(session: Session, reference: str) -> Version:
    """The row of the version that `reference` means; see `show`."""
    named = _newest(session, reference)
    if named is not None:
        return named
    alike = session.scalars(select(Version).where(Version.id.startswith(reference, autoescape=True))).all()
    if not reference or not alike:
        raise NotFoundError(f"There is no version {reference!r}. See: winnow version list.")
    if len(alike) > 1:
        raise InvalidInputError(f"{len(alike)} versions begin with {reference!r}: give more of the id.")
    return alike[0]


def items(session: Session, version_id: str) -> list[Item]:
    """The images of a version, ordered by sha256."""
    rows = session.execute(
        select(VersionItem, Image.sha256, Label.value)
        .join(Image, Image.id == VersionItem.image_id)
        .join(Label, (Label.id == VersionItem.label_id) & (Label.image_id == VersionItem.image_id))
        .where(VersionItem.version_id == version_id)
        .order_by(Image.sha256)
    )
    return [
        Item(ImageId(row.image_id), row.label_id, sha256, value, cast(Split, row.split)) for row, sha256, value in rows
    ]


def _one_per_group(candidates: Sequence[Item], representative: dict[int, int]) -> list[Item]:
    """All of val and test, and of each duplicate group in train one; ordered as given, by sha256."""
    chosen: dict[int, Item] = {}
    for item in candidates:
        group = representative.get(item.image_id, item.image_id)
        if item.image_id == group or group not in chosen:
            chosen[group] = item
    kept = {item.image_id for item in chosen.values()}
    return [item for item in candidates if item.split != "train" or item.image_id in kept]


def _gates(
    candidates: Sequence[Item],
    taken: Sequence[Item],
    *,
    catalog: Catalog,
    groups: _Groups,
    files: _Files,
    classes: list[str],
) -> list[Gate]:
    split_of = {item.image_id: item.split for item in candidates}
    used = [split_of.get(image_id) for image_id in catalog.image_ids]
    described = [f"{files.uris[image_id]} ({split})" for image_id, split in zip(catalog.image_ids, used, strict=True)]
    leaking = [(described[i], described[j]) for i, j in splits.leaks(catalog.components, used)]
    values: dict[str, set[str]] = {}
    for item in candidates:
        if item.image_id in groups.representative:
            values.setdefault(files.uris[groups.representative[item.image_id]], set()).add(item.value)
    return [
        gates.leak(leaking, images=len(candidates)),
        gates.classes([item.value for item in taken if item.split == "train"], classes),
        gates.test(sum(item.split == "test" for item in taken)),
        gates.files([files.uris[item.image_id] for item in taken if item.image_id in files.gone], images=len(taken)),
        gates.duplicates(len(candidates) - len(taken)),
        gates.conflicts(values),
    ]


def _save(session: Session, version: Version, taken: Sequence[Item]) -> None:
    latest = _newest(session, version.name)
    if (latest.id if latest else None) != version.parent_id:
        raise ConflictError(f"Somebody else has just cut a version of {version.name!r}. Run the command again.")
    session.add(version)
    session.flush()
    rows = [
        {"version_id": version.id, "image_id": item.image_id, "label_id": item.label_id, "split": item.split}
        for item in taken
    ]
    session.execute(insert(VersionItem), rows)


def _groups(session: Session) -> _Groups:
    newest = session.execute(
        select(DuplicateScan.id, DuplicateScan.digest, DuplicateScan.report, Encoder.digest)
        .join(Encoder, Encoder.id == DuplicateScan.encoder_id)
        .order_by(DuplicateScan.id.desc())
        .limit(1)
    ).one_or_none()
    if newest is None:
        return _Groups(scan=None, encoder=None, representative={}, scanned_until=0, unread=frozenset())
    scan_id, scan, report, encoder = newest
    members = session.execute(
        select(DuplicateMember.image_id, DuplicateGroup.representative_id)
        .join(DuplicateGroup, DuplicateGroup.id == DuplicateMember.group_id)
        .where(DuplicateGroup.scan_id == scan_id)
    )
    return _Groups(
        scan=scan,
        encoder=encoder,
        representative=dict(members.all()),
        scanned_until=report.get("scanned_until", 0),
        unread=frozenset(report.get("unread", [])),
    )


def _files(session: Session) -> _Files:
    there = and_(Sighting.current, ~Sighting.missing)
    sightings = session.execute(
        select(Sighting.image_id, Sighting.uri, there.label("there")).order_by("there", Sighting.uri.desc())
    ).all()
    uris = {image_id: uri for image_id, uri, _ in sightings}  # the last wins: one that is there, where there is one
    return _Files(uris, gone=uris.keys() - {image_id for image_id, _, is_there in sightings if is_there})


def _evidence(session: Session, label_ids: Select[int]) -> dict[int, str]:
    """The digest of what each label rests on: who answered what, and who had the last word."""
    rows = session.execute(
        select(Label.id, Verdict.outcome, Verdict.evidence)
        .join(Verdict, Verdict.id == Label.verdict_id)
        .where(Label.id.in_(label_ids))
    )
    return {
        label_id: _digest(
            [
                outcome,
                sorted([answer["annotator"], answer["answer"] or ""] for answer in evidence.get("answers", [])),
                evidence.get("adjudicator"),
            ]
        )
        for label_id, outcome, evidence in rows
    }


def _batches(session: Session, label_ids: Select[int]) -> list[str]:
    return sorted(
        session.scalars(
            select(Batch.digest)
            .distinct()
            .join(Campaign, Campaign.batch_id == Batch.id)
            .join(Task, Task.campaign_id == Campaign.id)
            .join(Verdict, Verdict.task_id == Task.id)
            .join(Label, Label.verdict_id == Verdict.id)
            .where(Label.id.in_(label_ids))
        )
    )


def _newest(session: Session, name: str) -> Version | None:
    return session.scalar(select(Version).where(Version.name == name).order_by(Version.number.desc()).limit(1))


def _summary(session: Session, version: Version) -> VersionSummary:
    of_version = session.scalars(select(VersionItem.split).where(VersionItem.version_id == version.id))
    counts = Counter(of_version)
    return VersionSummary(
        id=VersionId(version.id),
        name=version.name,
        number=version.number,
        parent=VersionId(version.parent_id) if version.parent_id else None,
        taxonomy=version.manifest["taxonomy"],
        counts={split: counts[split] for split in splits.FRACTIONS},
        gates=[Gate(**gate) for gate in version.gates],
    )


def _digest(content: object) -> str:
    """The sha256 of canonical JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
