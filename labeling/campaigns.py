"""Campaigns: batches under a taxonomy at a vendor, their items, and how far they got."""

import fcntl
import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from fractions import Fraction
from itertools import chain
from itertools import count as count_from
from typing import Any, Literal, TypeVar

from sqlalchemy import ColumnElement, Select, exists, func, insert, select
from sqlalchemy.orm import Session

from curation import labels, where
from labeling import progress, reasons, shares, taxonomy, vendors
from labeling.label_studio import MOMENT, AnnotatedTask, LabelStudio, RemoteProject, RemoteTask
from labeling.taxonomy import TaxonomyRevision
from store.errors import ConflictError, InvalidInputError, NotFoundError, RemoteError
from store.schema import (
    AdoptedTask,
    Annotation,
    Batch,
    Campaign,
    Image,
    ImageId,
    Pick,
    Task,
    Taxonomy,
    Vendor,
    Verdict,
    now,
)
from store.workspace import Workspace

_UID_DIGITS = 32
_SUGGESTED = 3  # campaigns whose names begin like one that is not there
_PULLS = re.compile(r" \(pull (\d+)\)")

_SomeTask = TypeVar("_SomeTask", RemoteTask, AnnotatedTask)

State = Literal["planned", "open", "paused", "cancelling", "cancelled", "closed"]


@dataclass(frozen=True)
class Status:
    """How far a campaign got, as the catalog knows since the last push and pull."""

    name: str
    purpose: str
    batch: int
    taxonomy: str
    taxonomy_revision: int
    task_kind: str
    vendor: str
    overlap: int
    adaptive: dict[str, Any] | None  # see Campaign
    state: State
    closed: bool
    items: int
    planned: int
    waiting: int  # of the planned: those that a push left, because the vendor had no room
    intended: int
    pushed: int
    withdrawn: int  # by a cancellation
    in_work: int  # items with some of the answers they want
    answered: int  # items that have all the answers they want
    escalated: int  # items whose verdict is adjudication
    accepted: int
    answers: int  # that stand now, skips among them
    skips: int
    unreadable: int  # answers that name no class of the taxonomy, where one is asked for
    price: float | None  # of an answer; none where the vendor's is not known, and then no cost is
    cost: float | None  # of the answers, skips among them
    forecast: float | None  # the same at the end; of an adaptive campaign, when what it asks for now has come
    rate_per_hour: float | None  # answers, see labeling.progress; none before the first
    eta: datetime | None
    deadline: date | None
    outlook: str
    capacity: int | None  # of the vendor
    in_flight: int  # at the vendor, of all campaigns
    ls_url: str
    ls_project_id: int | None
    adopted: bool  # its Label Studio project was there before it


@dataclass(frozen=True)
class Terms:
    """What push and pull need to know of a campaign."""

    id: int
    name: str
    overlap: int
    is_adaptive: bool
    state: State
    vendor_id: int
    ls_url: str
    ls_token_reference: str
    ls_project_id: int | None
    marker: str  # what the description of its Label Studio project holds
    pulls: int  # that changed something
    taxonomy: TaxonomyRevision  # of an adjudication, asks for the reason too
    adopted: bool  # its project was there before it: no task there is made or removed


def create(
    workspace: Workspace,
    name: str,
    *,
    batch_id: int,
    taxonomy_name: str,
    vendor_name: str,
    overlap: int = 2,
    adaptive: Mapping[str, Any] | None = None,
    expression: str | None = None,
    deadline: date | None = None,
) -> int:
    """Plan a campaign over the images of a batch at one vendor; see `create_shared`.

    Returns:
        Its id.
    """
    campaign_ids = create_shared(
        workspace,
        name,
        batch_id=batch_id,
        taxonomy_name=taxonomy_name,
        vendor_shares={vendor_name: Fraction(1)},
        overlap=overlap,
        adaptive=adaptive,
        expression=expression,
        deadline=deadline,
    )
    return campaign_ids[name]


def create_shared(
    workspace: Workspace,
    name: str,
    *,
    batch_id: int,
    taxonomy_name: str,
    vendor_shares: Mapping[str, Fraction],
    overlap: int = 2,
    adaptive: Mapping[str, Any] | None = None,
    expression: str | None = None,
    deadline: date | None = None,
) -> dict[str, int]:
    """Plan a campaign for each vendor over their share of a batch, under the newest revision of a taxonomy.

    Every image goes to one of them, and all get the same mix of arms; gold goes to every one, at places that only
    the workspace's key tells.

    Args:
        workspace: holds the catalog.
        name: of the campaign; of several, each is called after its vendor too: `NAME-VENDOR`.
        batch_id: whose images.
        taxonomy_name: what is asked.
        vendor_shares: by the vendor's name; together 1.
        overlap: answers wanted of each item.
        adaptive: the rules, see `qa.overlap.Rules`, by which an item gets more than one; `overlap` is then not read.
        expression: a `--where` expression; only images for which it holds are taken.
        deadline: the last day; asking again with another one moves it.

    Returns:
        The ids of the campaigns, by their names. The same request again changes nothing.

    Raises:
        NotFoundError: there is no such batch, taxonomy or vendor.
        ConflictError: another campaign has such a name.
        InvalidInputError: the overlap is below 1, the shares are not 1 together, the expression cannot be
            understood, a campaign would have no name or no image, or cannot be adaptive.
    """
    check_name(name)
    if overlap < 1:
        raise InvalidInputError(f"Every item needs one answer or more, not {overlap}.")
    with workspace.database.write() as session:
        if session.get(Batch, batch_id) is None:
            raise NotFoundError(f"There is no batch {batch_id}.")
        asked = taxonomy.newest(session, taxonomy_name)
        if adaptive is not None and asked.definition.kind == "questions":
            raise InvalidInputError(
                f"{taxonomy_name!r} asks questions alone, of whose answers nothing is decided: say how many it wants."
            )
        picks = select(Pick.image_id, Pick.arm).where(Pick.batch_id == batch_id).order_by(Pick.rank)
        if expression is not None:
            picks = picks.join(Image, Image.id == Pick.image_id).where(where.clause(expression, session))
        arms = dict(session.execute(picks).all())
        gold = [image_id for image_id, arm in arms.items() if arm == "gold"]
        others = [image_id for image_id, arm in arms.items() if arm != "gold"]
        dealt = shares.deal([arms[image_id] for image_id in others], vendor_shares)
        if idle := [vendor_name for vendor_name, positions in dealt.items() if others and not positions]:
            raise InvalidInputError(f"{idle[0]!r} would get none of {len(others)} images: give a larger share.")
        campaign_ids = {}
        for vendor_name, positions in dealt.items():
            vendor = vendors.get(session, vendor_name)
            if (
                adaptive is not None
                and adaptive["adjudication_cost"] is not None
                and asked.definition.kind not in vendor.prices
            ):
                raise InvalidInputError(
                    f"What an expert may cost is weighed against the price of an answer, and {vendor_name!r} has none: "
                    f"winnow vendor add {vendor_name} --price {asked.definition.kind}=PRICE."
                )
            campaign = Campaign(
                name=name if len(dealt) == 1 else f"{name}-{vendor_name}",
                purpose="labelling",
                batch_id=batch_id,
                taxonomy_id=asked.id,
                vendor_id=vendor.id,
                overlap=overlap if adaptive is None else 1,
                adaptive=None if adaptive is None else dict(adaptive),
                deadline=deadline,
            )
            own = [others[position] for position in positions]
            order = shares.hide(own, gold, key=workspace.key, context=campaign.name)
            campaign_ids[campaign.name] = _plan(session, workspace.key, campaign, order)
        return campaign_ids


def shared_items(session: Session, campaign_id: int) -> dict[str, int]:
    """How many items of a campaign, gold aside, other labelling campaigns of its batch hold too, by their names."""
    campaign = session.get_one(Campaign, campaign_id)
    gold = select(Pick.image_id).where(Pick.batch_id == campaign.batch_id, Pick.arm == "gold")
    own = select(Task.image_id).where(Task.campaign_id == campaign_id, Task.image_id.not_in(gold))
    others = (
        select(Campaign.name, func.count())
        .join(Task, Task.campaign_id == Campaign.id)
        .where(
            Campaign.batch_id == campaign.batch_id,
            Campaign.purpose == "labelling",
            Campaign.id != campaign_id,
            Task.image_id.in_(own),
        )
        .group_by(Campaign.id)
        .order_by(Campaign.id)
    )
    return dict(session.execute(others).all())


def plan_adjudication(
    session: Session,
    key: bytes,
    name: str,
    *,
    parent: str,
    suggestions: Mapping[ImageId, Sequence[list[dict[str, Any]]]],
    vendor_name: str | None = None,
) -> int:
    """Plan, in the caller's transaction, a campaign in which an expert settles some items of another, `parent`.

    Each gets one answer.

    The items come in the order of `suggestions`, which holds by image what each shows: results to choose from, as
    Label Studio has them.

    Whoever has a login to a Label Studio Community sees all its projects; experts whom the annotators are not to
    see, nor to answer for, are a vendor with a server of their own. Without `vendor_name` it is the parent's.

    Returns:
        Its id. The same request again changes nothing.

    Raises:
        NotFoundError: there is no such campaign or vendor.
        ConflictError: another campaign has this name.
        InvalidInputError: there is no image, or one that is not in the parent.
    """
    check_name(name)
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
    strangers = len(suggestions.keys() - set(_image_ids(session, disputed.id)))
    if strangers:
        raise InvalidInputError(f"{strangers} of {len(suggestions)} images are not in the campaign {parent!r}.")
    return _plan(session, key, campaign, list(suggestions), suggestions)


def derive(
    session: Session,
    key: bytes,
    base: str,
    *,
    purpose: Literal["labelling", "audit"],
    parent: Campaign,
    vendor_id: int,
    image_ids: Sequence[ImageId],
) -> Campaign:
    """Plan, in the caller's transaction, a campaign over some items of another, `parent`, in the given order.

    It is called `base`, or `base-2` and so on if there is one. An auditor answers once; whoever labels again, as
    often as in the parent.

    Raises:
        InvalidInputError: there is no image.
    """
    taken = set(session.scalars(select(Campaign.name).where(Campaign.name.startswith(base, autoescape=True))))
    names = chain([base], (f"{base}-{number}" for number in count_from(2)))
    campaign = Campaign(
        name=next(name for name in names if name not in taken),
        purpose=purpose,
        parent_id=parent.id,
        batch_id=parent.batch_id,
        taxonomy_id=parent.taxonomy_id,
        vendor_id=vendor_id,
        overlap=1 if purpose == "audit" else parent.overlap,
        adaptive=None if purpose == "audit" else parent.adaptive,
    )
    _plan(session, key, campaign, image_ids)
    return campaign


def get(session: Session, name: str) -> Campaign:
    """The campaign of this name.

    Raises:
        NotFoundError: there is none; names that begin like it are suggested.
    """
    campaign = session.scalar(select(Campaign).where(Campaign.name == name))
    if campaign is None:
        alike = select(Campaign.name).where(Campaign.name.startswith(name, autoescape=True)).order_by(Campaign.id)
        found = " and ".join(session.scalars(alike.limit(_SUGGESTED)))
        but = f", but {found}" if found else ""
        raise NotFoundError(f"There is no campaign called {name!r}{but}. See: winnow campaign list.")
    return campaign


def list_names(session: Session) -> list[str]:
    """Every campaign, the oldest first."""
    return list(session.scalars(select(Campaign.name).order_by(Campaign.id)))


def close(workspace: Workspace, name: str) -> None:
    """End a campaign: it is pushed no more; late answers may still be pulled. Closing twice is a no-op."""
    with workspace.database.write() as session:
        campaign = get(session, name)
        campaign.closed_at = campaign.closed_at or now()


def set_paused(workspace: Workspace, name: str, *, paused: bool) -> None:
    """Let a campaign rest: nothing more is pushed, and its Label Studio project is left alone; or let it go on.

    Raises:
        NotFoundError: there is no such campaign.
        ConflictError: it has ended.
    """
    with workspace.database.write() as session:
        campaign = get(session, name)
        if state(campaign) not in ("planned", "open", "paused"):
            raise ConflictError(f"The campaign {name!r} is {state(campaign)}: it neither rests nor goes on.")
        campaign.paused = paused


def state(campaign: Campaign) -> State:
    """What may happen to a campaign."""
    if campaign.closed_at is not None:
        return "closed" if campaign.cancelled_at is None else "cancelled"
    if campaign.cancelled_at is not None:
        return "cancelling"
    if campaign.paused:
        return "paused"
    return "planned" if campaign.ls_project_id is None else "open"


def check_pushable(terms: Terms) -> None:
    """Refuse what would add tasks to a campaign that rests or has ended.

    Raises:
        ConflictError: it does.
    """
    if terms.state == "paused":
        raise ConflictError(f"The campaign {terms.name!r} is paused. Run: winnow campaign resume {terms.name}.")
    if terms.state not in ("planned", "open"):
        raise ConflictError(
            f"The campaign {terms.name!r} is {terms.state}: nothing is pushed any more. Plan a new one."
        )


def status(session: Session, name: str, *, at: datetime | None = None) -> Status:
    """How far a campaign got; asks only the catalog. `at` is the moment to reckon from, by default now."""
    at = at or now()
    campaign = get(session, name)
    asked = session.get_one(Taxonomy, campaign.taxonomy_id)
    vendor = session.get_one(Vendor, campaign.vendor_id)
    states = count(session, campaign.id)
    answerers = _answerers(session, campaign.id)
    more = _wanted(session, campaign)
    answered = _answered(answerers, campaign.overlap, more)
    answers, skips, unnamed = _answers(session, campaign.id)
    outcomes = _outcomes(session, campaign.id)
    wanted = (states.total() - states["withdrawn"] - len(more)) * campaign.overlap + sum(more.values())
    given = sum(min(people, more.get(task_id, campaign.overlap)) for task_id, people in answerers.items())
    missing = 0 if campaign.closed_at is not None else wanted - given
    rate = _rate_per_hour(session, campaign.id)
    eta = progress.end(missing, rate, now=at) if missing else None
    price = vendor.prices.get(asked.task_kind)
    return Status(
        name=campaign.name,
        purpose=campaign.purpose,
        batch=campaign.batch_id,
        taxonomy=asked.name,
        taxonomy_revision=asked.revision,
        task_kind=asked.task_kind,
        vendor=vendor.name,
        overlap=campaign.overlap,
        adaptive=campaign.adaptive,
        state=state(campaign),
        closed=campaign.closed_at is not None,
        items=states.total(),
        planned=states["planned"],
        waiting=states["planned"] if state(campaign) == "open" else 0,
        intended=states["intended"],
        pushed=states["pushed"],
        withdrawn=states["withdrawn"],
        in_work=len(answerers) - answered,
        answered=answered,
        escalated=outcomes["adjudication"],
        accepted=outcomes["accepted"],
        answers=answers,
        skips=skips,
        unreadable=unnamed if asked.task_kind == labels.CLASSIFICATION else 0,
        price=price,
        cost=None if price is None else answers * price,
        forecast=None if price is None else (answers + missing) * price,
        rate_per_hour=rate,
        eta=eta,
        deadline=campaign.deadline,
        outlook=progress.outlook(answers_missing=missing, eta=eta, deadline=campaign.deadline, now=at),
        capacity=vendor.capacity,
        in_flight=in_flight(session, vendor.id),
        ls_url=vendor.ls_url,
        ls_project_id=campaign.ls_project_id,
        adopted=_is_adopted(session, campaign.id),
    )


def in_flight(session: Session, vendor_id: int) -> int:
    """How many tasks a vendor has before them: sent, in a campaign that is not closed, and not wholly answered."""
    open_ones = select(Campaign).where(Campaign.vendor_id == vendor_id, Campaign.closed_at.is_(None))
    total = 0
    for campaign in session.scalars(open_ones):
        states = count(session, campaign.id)
        sent = states["pushed"] + states["intended"]
        total += sent - _answered(_answerers(session, campaign.id), campaign.overlap, _wanted(session, campaign))
    return total


def room(session: Session, vendor_id: int) -> int | None:
    """How many more tasks a vendor may get; none for no limit."""
    capacity = session.get_one(Vendor, vendor_id).capacity
    return None if capacity is None else max(0, capacity - in_flight(session, vendor_id))


def open_items(session: Session, vendor_name: str) -> int:
    """How many items of a vendor's open labelling campaigns lack answers, sent yet or not, as of the last pulls."""
    open_ones = (
        select(Campaign)
        .join(Vendor, Vendor.id == Campaign.vendor_id)
        .where(Vendor.name == vendor_name, Campaign.purpose == "labelling", Campaign.closed_at.is_(None))
    )
    return sum(
        count(session, each.id).total() - _answered(_answerers(session, each.id), each.overlap, _wanted(session, each))
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
    revision = taxonomy.get(session, campaign.taxonomy_id)
    if campaign.purpose == "adjudication":
        revision = replace(revision, definition=reasons.asked_for(revision.definition))
    first_uid = session.scalar(select(Task.uid).where(Task.campaign_id == campaign.id).order_by(Task.rank).limit(1))
    return Terms(
        id=campaign.id,
        name=campaign.name,
        overlap=campaign.overlap,
        is_adaptive=campaign.adaptive is not None,
        state=state(campaign),
        vendor_id=vendor.id,
        ls_url=vendor.ls_url,
        ls_token_reference=vendor.ls_token_reference,
        ls_project_id=campaign.ls_project_id,
        marker=f"winnow:{first_uid}",
        pulls=(campaign.ls_sync or {}).get("pulls", 0),
        taxonomy=revision,
        adopted=_is_adopted(session, campaign.id),
    )


def named(workspace: Workspace, terms: Terms, pages: Iterator[list[_SomeTask]]) -> Iterator[list[_SomeTask]]:
    """Pages of a project's tasks under our uids: adopted ones carry none, and are known by their numbers."""
    for page in pages:
        if not terms.adopted:
            yield page
            continue
        numbers = [task.ls_task_id for task in page]
        ours = (
            select(AdoptedTask.ls_task_id, Task.uid)
            .join(Task, Task.id == AdoptedTask.task_id)
            .where(AdoptedTask.campaign_id == terms.id, AdoptedTask.ls_task_id.in_(numbers))
        )
        with workspace.database.read() as session:
            uids = dict(session.execute(ours).all())
        yield [replace(task, uid=uids.get(task.ls_task_id)) for task in page]


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
            f"description, which is the campaign {terms.name!r}. Restore it, or put the mark back there; or end this "
            f"campaign with: winnow campaign close {terms.name}."
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
    """Let one process at a time push, pull, review or judge a campaign; others wait."""
    folder = workspace.home / "locks"
    folder.mkdir(exist_ok=True)
    with (folder / f"campaign-{campaign_id}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def check_name(name: str) -> None:
    """Refuse a name that cannot be read in a sentence.

    Raises:
        InvalidInputError: it is empty, or holds line breaks or the like.
    """
    if not name.strip():
        raise InvalidInputError("A campaign needs a name.")
    if not name.isprintable():
        raise InvalidInputError(f"A campaign's name is one line of characters that can be seen, unlike {name!r}.")


def _plan(
    session: Session,
    key: bytes,
    campaign: Campaign,
    image_ids: Sequence[int],
    suggestions: Mapping[ImageId, Sequence[list[dict[str, Any]]]] | None = None,
) -> int:
    if not image_ids:
        raise InvalidInputError("A campaign needs at least one image.")
    if existing := session.scalar(select(Campaign).where(Campaign.name == campaign.name)):
        if _essence(existing) != _essence(campaign) or set(_image_ids(session, existing.id)) != set(image_ids):
            raise ConflictError(f"There is another campaign called {campaign.name!r}. Choose another name.")
        existing.deadline = campaign.deadline or existing.deadline
        return existing.id
    session.add(campaign)
    session.flush()
    of_batch = select(Image.id, Image.sha256).join(Pick, Pick.image_id == Image.id)
    sha256 = dict(session.execute(of_batch.where(Pick.batch_id == campaign.batch_id)).all())
    rows = [
        {
            "uid": uid(key, campaign.name, sha256[image_id]),
            "campaign_id": campaign.id,
            "image_id": image_id,
            "rank": rank,
            "state": "planned",
            "suggestions": None if suggestions is None else list(suggestions[ImageId(image_id)]),
        }
        for rank, image_id in enumerate(image_ids)
    ]
    session.execute(insert(Task), rows)
    return campaign.id


def _is_adopted(session: Session, campaign_id: int) -> bool:
    return bool(session.scalar(select(exists().where(AdoptedTask.campaign_id == campaign_id))))


def _essence(campaign: Campaign) -> tuple[object, ...]:
    return (
        campaign.purpose,
        campaign.parent_id,
        campaign.batch_id,
        campaign.taxonomy_id,
        campaign.vendor_id,
        campaign.overlap,
        campaign.adaptive,
    )


def _image_ids(session: Session, campaign_id: int) -> Sequence[int]:
    return session.scalars(select(Task.image_id).where(Task.campaign_id == campaign_id)).all()


def uid(key: bytes, campaign: str, sha256: str) -> str:
    """A task's name, the same whenever it is planned, and another one in every workspace."""
    return hmac.digest(key, f"{campaign}/{sha256}".encode(), hashlib.sha256).hex()[:_UID_DIGITS]


def _answered(answerers: Mapping[int, int], overlap: int, more: Mapping[int, int]) -> int:
    """How many items have all the answers they want: `overlap`, or what `more` says of them."""
    return sum(count >= more.get(task_id, overlap) for task_id, count in answerers.items())


def _wanted(session: Session, campaign: Campaign) -> dict[int, int]:
    """How many people an item that wants another opinion wants, by task: one more than its verdict rests on."""
    return {
        verdict.task_id: max(
            campaign.overlap, len(verdict.evidence.get("annotations", ())) + verdict.evidence.get("aside", 0) + 1
        )
        for verdict in verdicts_in_force(session, campaign.id, outcome="another-opinion")
    }


def verdicts_in_force(session: Session, campaign_id: int, *, outcome: str | None = None) -> Sequence[Verdict]:
    """The newest verdict of each item of a campaign that has one; those of one outcome, if one is named."""
    newest = standing_verdicts(Task.campaign_id == campaign_id, Task.state != "withdrawn")
    in_force = select(Verdict).where(Verdict.id.in_(newest)).order_by(Verdict.task_id)
    return session.scalars(in_force if outcome is None else in_force.where(Verdict.outcome == outcome)).all()


def _answerers(session: Session, campaign_id: int) -> dict[int, int]:
    """How many people have an answer that stands, by task; tasks without any are left out."""
    counts = (
        select(Annotation.task_id, func.count(Annotation.annotator_id.distinct()))
        .where(Annotation.id.in_(standing_annotations(Task.campaign_id == campaign_id)))
        .group_by(Annotation.task_id)
    )
    return dict(session.execute(counts).all())


def _answers(session: Session, campaign_id: int) -> tuple[int, int, int]:
    """How many annotations stand, how many of them are skips, and how many are none and yet name no class."""
    standing = Annotation.id.in_(standing_annotations(Task.campaign_id == campaign_id))
    unnamed = ~Annotation.skipped & Annotation.answer.is_(None)
    counts = (func.count(), func.count().filter(Annotation.skipped), func.count().filter(unnamed))
    answers, skips, unreadable = session.execute(select(*counts).where(standing)).one()
    return answers, skips, unreadable


def _outcomes(session: Session, campaign_id: int) -> Counter[str]:
    """How many items have each outcome, by the verdict in force."""
    newest = standing_verdicts(Task.campaign_id == campaign_id)
    outcomes = select(Verdict.outcome, func.count()).where(Verdict.id.in_(newest)).group_by(Verdict.outcome)
    return Counter(dict(session.execute(outcomes).all()))


def _rate_per_hour(session: Session, campaign_id: int) -> float | None:
    first_ones = (Annotation.revision == 0, Task.campaign_id == campaign_id)
    joined = select(func.min(Annotation.ls_updated_at), func.max(Annotation.ls_updated_at))
    told = session.execute(joined.join(Task, Task.id == Annotation.task_id).where(*first_ones)).one()
    if told[0] is None:
        return None
    first, last = (datetime.fromisoformat(moment) for moment in told)
    since = (last - progress.WINDOW).astimezone(UTC).strftime(MOMENT)
    recent = select(func.count(Annotation.id)).join(Task, Task.id == Annotation.task_id)
    answers = session.scalar(recent.where(*first_ones, Annotation.ls_updated_at > since)) or 0
    return progress.rate_per_hour(answers, first=first, last=last)


def standing_annotations(*of_tasks: ColumnElement[bool]) -> Select[int]:
    """A query for the ids of the newest revisions of annotations that were not deleted, of all tasks or some."""
    newest = select(func.max(Annotation.id)).group_by(Annotation.task_id, Annotation.ls_annotation_id)
    if of_tasks:
        newest = newest.join(Task, Task.id == Annotation.task_id).where(*of_tasks)
    return select(Annotation.id).where(Annotation.id.in_(newest), Annotation.deleted.is_(False))


def standing_verdicts(*of_tasks: ColumnElement[bool]) -> Select[int]:
    """A query for the ids of the verdicts in force, of all tasks or some."""
    newest = select(func.max(Verdict.id)).group_by(Verdict.task_id)
    return newest.join(Task, Task.id == Verdict.task_id).where(*of_tasks) if of_tasks else newest
