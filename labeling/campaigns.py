"""Campaigns: batches under a taxonomy at a vendor, their items, and how far they got."""

import fcntl
import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Select, func, insert, select
from sqlalchemy.orm import Session

from labeling import taxonomy, vendors
from labeling.label_studio import LabelStudio, RemoteProject
from labeling.taxonomy import TaxonomyRevision
from store.errors import ConflictError, InvalidInputError, NotFoundError, RemoteError
from store.schema import Annotation, Batch, Campaign, Image, ImageId, Pick, Task, Vendor, now
from store.workspace import Workspace

_UID_DIGITS = 32
_PULLS = re.compile(r" \(pull (\d+)\)")


@dataclass(frozen=True)
class Status:
    """How far a campaign got, as the catalog knows since the last push and pull."""

    name: str
    purpose: str
    batch: int
    taxonomy: str
    taxonomy_revision: int
    vendor: str
    overlap: int
    closed: bool
    items: int
    planned: int
    intended: int
    pushed: int
    answers: int  # that stand now, skips among them
    answered: int  # items that have all the answers they want
    ls_url: str
    ls_project_id: int | None


@dataclass(frozen=True)
class Terms:
    """What push and pull need to know of a campaign."""

    id: int
    name: str
    overlap: int
    closed: bool
    vendor_id: int
    ls_url: str
    ls_token_reference: str
    ls_project_id: int | None
    marker: str  # what the description of its Label Studio project holds
    pulls: int  # that changed something
    taxonomy: TaxonomyRevision


def create(
    workspace: Workspace, name: str, *, batch_id: int, taxonomy_name: str, vendor_name: str, overlap: int = 2
) -> int:
    """Plan a campaign over all images of a batch under the newest revision of a taxonomy.

    Returns:
        Its id. The same request again changes nothing.

    Raises:
        NotFoundError: there is no such batch, taxonomy or vendor.
        ConflictError: another campaign has this name.
        InvalidInputError: the overlap is below 1, the name or the batch is empty.
    """
    if overlap < 1:
        raise InvalidInputError(f"Every item needs one answer or more, not {overlap}.")
    with workspace.database.write() as session:
        if session.get(Batch, batch_id) is None:
            raise NotFoundError(f"There is no batch {batch_id}.")
        campaign = Campaign(
            name=name,
            purpose="labelling",
            batch_id=batch_id,
            taxonomy_id=taxonomy.newest(session, taxonomy_name).id,
            vendor_id=vendors.get(session, vendor_name).id,
            overlap=overlap,
        )
        in_rank_order = select(Pick.image_id).where(Pick.batch_id == batch_id).order_by(Pick.rank)
        return _plan(session, workspace.key, campaign, session.scalars(in_rank_order).all())


def create_adjudication(
    workspace: Workspace, name: str, *, parent: str, image_ids: Sequence[ImageId], vendor_name: str | None = None
) -> int:
    """Plan a campaign in which an expert settles some items of another, `parent`: one answer each.

    Whoever has a login to a Label Studio Community sees all its projects; experts whom the annotators are not to
    see, nor to answer for, are a vendor with a server of their own. Without `vendor_name` it is the parent's.

    Returns:
        Its id. The same request again changes nothing.

    Raises:
        NotFoundError: there is no such campaign or vendor.
        ConflictError: another campaign has this name.
        InvalidInputError: there is no image, or one that is not in the parent.
    """
    with workspace.database.write() as session:
        disputed = get(session, parent)
        campaign = Campaign(
            name=name,
            purpose="adjudication",
            parent_id=disputed.id,
            batch_id=disputed.batch_id,
            taxonomy_id=disputed.taxonomy_id,
            vendor_id=disputed.vendor_id if vendor_name is None else vendors.get(session, vendor_name).id,
            overlap=1,
        )
        in_rank_order = select(Task.image_id).where(Task.campaign_id == disputed.id).order_by(Task.rank)
        chosen = [image_id for image_id in session.scalars(in_rank_order) if image_id in set(image_ids)]
        if len(chosen) != len(set(image_ids)):
            strangers = len(set(image_ids)) - len(chosen)
            raise InvalidInputError(f"{strangers} of {len(set(image_ids))} images are not in the campaign {parent!r}.")
        return _plan(session, workspace.key, campaign, chosen)


def get(session: Session, name: str) -> Campaign:
    """The campaign of this name.

    Raises:
        NotFoundError: there is none.
    """
    campaign = session.scalar(select(Campaign).where(Campaign.name == name))
    if campaign is None:
        raise NotFoundError(f"There is no campaign called {name!r}. See: winnow campaign list.")
    return campaign


def list_names(session: Session) -> list[str]:
    """Every campaign, the oldest first."""
    return list(session.scalars(select(Campaign.name).order_by(Campaign.id)))


def close(workspace: Workspace, name: str) -> None:
    """End a campaign: it is pushed no more; late answers may still be pulled. Closing twice is a no-op."""
    with workspace.database.write() as session:
        campaign = get(session, name)
        campaign.closed_at = campaign.closed_at or now()


def status(session: Session, name: str) -> Status:
    """How far a campaign got; asks only the catalog."""
    campaign = get(session, name)
    revision = taxonomy.get(session, campaign.taxonomy_id)
    vendor = session.get_one(Vendor, campaign.vendor_id)
    states = count(session, campaign.id)
    answerers = _answerers(session, campaign.id)
    return Status(
        name=campaign.name,
        purpose=campaign.purpose,
        batch=campaign.batch_id,
        taxonomy=revision.name,
        taxonomy_revision=revision.revision,
        vendor=vendor.name,
        overlap=campaign.overlap,
        closed=campaign.closed_at is not None,
        items=states.total(),
        planned=states["planned"],
        intended=states["intended"],
        pushed=states["pushed"],
        answers=sum(answerers.values()),
        answered=_answered(answerers, campaign.overlap),
        ls_url=vendor.ls_url,
        ls_project_id=campaign.ls_project_id,
    )


def open_items(session: Session, vendor_name: str) -> int:
    """How many items of a vendor's open labelling campaigns lack answers, sent yet or not, as of the last pulls."""
    open_ones = (
        select(Campaign)
        .join(Vendor, Vendor.id == Campaign.vendor_id)
        .where(Vendor.name == vendor_name, Campaign.purpose == "labelling", Campaign.closed_at.is_(None))
    )
    return sum(
        count(session, each.id).total() - _answered(_answerers(session, each.id), each.overlap)
        for each in session.scalars(open_ones)
    )


def count(session: Session, campaign_id: int) -> Counter[str]:
    """How many items of a campaign are in each state."""
    states = select(Task.state, func.count()).where(Task.campaign_id == campaign_id).group_by(Task.state)
    return Counter(dict(session.execute(states).all()))


def terms(session: Session, name: str) -> Terms:
    """What push and pull need to know of a campaign."""
    campaign = get(session, name)
    vendor = session.get_one(Vendor, campaign.vendor_id)
    first_uid = session.scalars(select(Task.uid).where(Task.campaign_id == campaign.id).order_by(Task.rank)).first()
    return Terms(
        id=campaign.id,
        name=campaign.name,
        overlap=campaign.overlap,
        closed=campaign.closed_at is not None,
        vendor_id=vendor.id,
        ls_url=vendor.ls_url,
        ls_token_reference=vendor.ls_token_reference,
        ls_project_id=campaign.ls_project_id,
        marker=f"winnow:{first_uid}",
        pulls=(campaign.ls_sync or {}).get("pulls", 0),
        taxonomy=taxonomy.get(session, campaign.taxonomy_id),
    )


def pushed_project(server: LabelStudio, terms: Terms) -> RemoteProject:
    """The Label Studio project of a campaign that was pushed before.

    It is known by its marker, never by its number alone: behind the same address there may
    be another server by now, whose project of that number is somebody else's.

    Raises:
        InvalidInputError: the campaign was never pushed.
        RemoteError: the project is not there any more.
        ConflictError: the server was restored from a backup that is older than the last pull.
    """
    project = found_project(server, terms)
    if pulls_in(project.description) < terms.pulls:
        raise ConflictError(
            f"Label Studio at {terms.ls_url} was restored from a backup: what was pulled of {terms.name!r} since then "
            "is missing there, and kept here. Run: winnow campaign reconcile, which puts it back."
        )
    return project


def found_project(server: LabelStudio, terms: Terms) -> RemoteProject:
    """The same, even if the server was restored from a backup."""
    if terms.ls_project_id is None:
        raise InvalidInputError(f"The campaign {terms.name!r} has not been pushed. Run: winnow campaign push.")
    project = server.project(terms.ls_project_id)
    if project is None or terms.marker not in project.description:
        raise RemoteError(
            f"Label Studio at {terms.ls_url} has no project {terms.ls_project_id} with {terms.marker} in its "
            f"description, which is the campaign {terms.name!r}. Restore it, or plan a new campaign."
        )
    return project


def pulls_in(description: str) -> int:
    """How often a project was pulled with changes, as its description says; a backup says less."""
    found = _PULLS.search(description)
    return int(found[1]) if found else 0


def with_pulls(description: str, count: int) -> str:
    """The description with another count."""
    return f"{_PULLS.sub('', description)} (pull {count})"


@contextmanager
def exclusive(workspace: Workspace, campaign_id: int) -> Iterator[None]:
    """Let one process at a time push or pull a campaign; others wait."""
    folder = workspace.home / "locks"
    folder.mkdir(exist_ok=True)
    with (folder / f"campaign-{campaign_id}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _plan(session: Session, key: bytes, campaign: Campaign, image_ids: Sequence[int]) -> int:
    if not campaign.name.strip() or not image_ids:
        raise InvalidInputError("A campaign needs a name and at least one image.")
    if existing := session.scalar(select(Campaign).where(Campaign.name == campaign.name)):
        if _essence(existing) != _essence(campaign) or set(_image_ids(session, existing.id)) != set(image_ids):
            raise ConflictError(f"There is another campaign called {campaign.name!r}. Choose another name.")
        return existing.id
    session.add(campaign)
    session.flush()
    of_batch = select(Image.id, Image.sha256).join(Pick, Pick.image_id == Image.id)
    sha256 = dict(session.execute(of_batch.where(Pick.batch_id == campaign.batch_id)).all())
    rows = [
        {
            "uid": _uid(key, campaign.name, sha256[image_id]),
            "campaign_id": campaign.id,
            "image_id": image_id,
            "rank": rank,
            "state": "planned",
        }
        for rank, image_id in enumerate(image_ids)
    ]
    session.execute(insert(Task), rows)
    return campaign.id


def _essence(campaign: Campaign) -> tuple[object, ...]:
    return (
        campaign.purpose,
        campaign.parent_id,
        campaign.batch_id,
        campaign.taxonomy_id,
        campaign.vendor_id,
        campaign.overlap,
    )


def _image_ids(session: Session, campaign_id: int) -> Sequence[int]:
    return session.scalars(select(Task.image_id).where(Task.campaign_id == campaign_id)).all()


def _uid(key: bytes, campaign: str, sha256: str) -> str:
    """A task's name, the same whenever it is planned, and another one in every workspace."""
    return hmac.digest(key, f"{campaign}/{sha256}".encode(), hashlib.sha256).hex()[:_UID_DIGITS]


def _answered(answerers: dict[int, int], overlap: int) -> int:
    """How many items have all the answers they want."""
    return sum(count >= overlap for count in answerers.values())


def _answerers(session: Session, campaign_id: int) -> dict[int, int]:
    """How many people have an answer that stands, by task; tasks without any are left out."""
    standing = standing_annotations(campaign_id).subquery()
    counts = (
        select(Annotation.task_id, func.count(Annotation.annotator_id.distinct()))
        .where(Annotation.id.in_(select(standing.c.id)))
        .group_by(Annotation.task_id)
    )
    return dict(session.execute(counts).all())


def standing_annotations(campaign_id: int) -> Select[int]:
    """A query for the ids of the newest revisions of a campaign's annotations that were not deleted."""
    newest = (
        select(Annotation.task_id, Annotation.ls_annotation_id, func.max(Annotation.revision).label("revision"))
        .join(Task, Task.id == Annotation.task_id)
        .where(Task.campaign_id == campaign_id)
        .group_by(Annotation.task_id, Annotation.ls_annotation_id)
        .subquery()
    )
    same = (
        (Annotation.task_id == newest.c.task_id)
        & (Annotation.ls_annotation_id == newest.c.ls_annotation_id)
        & (Annotation.revision == newest.c.revision)
    )
    return select(Annotation.id).join(newest, same).where(Annotation.deleted.is_(False))
