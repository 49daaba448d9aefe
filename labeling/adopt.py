"""A Label Studio project that was there before Winnow becomes a campaign: its images, its tasks, and all who answered.

Nothing of the project changes but its description, which gets the campaign's mark. Its tasks carry no uid of ours and
are known by their numbers: to write one into each would take a request a task, change when they changed last, and
might overwrite what somebody else writes into them.

Images come first, a page of tasks at a time. Then everything about tasks is written at once, and a project that grew
can be adopted again. Whatever dies in between, the same adopts on.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from sqlalchemy import ColumnElement, func, insert, select
from sqlalchemy.orm import Session

from curation import ingest, splits
from labeling import addresses, campaigns, definitions, label_config, label_studio, taxonomy, vendors
from labeling.addresses import Place
from labeling.definitions import Definition
from labeling.label_studio import LabelStudio, RemoteProject
from labeling.taxonomy import TaxonomyRevision
from store import fail_points
from store.errors import ConflictError, InvalidInputError, NotFoundError
from store.schema import AdoptedTask, Batch, Campaign, Image, ImageId, Pick, Sighting, Task, Vendor
from store.workspace import Workspace

ARM = "adopted"

_MARK = re.compile(r"winnow:[0-9a-f]{32}")
_REQUESTS = 8  # downloads at once
_MOST_BYTES = 1_000_000_000  # of a file
_CHUNK = 1000  # tasks a statement


@dataclass(frozen=True)
class LeftOut:
    """A task that has no image for us."""

    ls_task_id: int
    why: str


@dataclass(frozen=True)
class Adopted:
    """What an adoption did."""

    campaign: str
    ls_project_id: int
    batch: int
    taxonomy: str
    taxonomy_revision: int
    unmapped: list[str]  # a sentence for each part of the label config that the taxonomy leaves out
    tasks: int  # of the project that are the campaign's now
    new_tasks: int
    items: int  # images; fewer than tasks where several show one
    new_images: int  # that the catalog had not seen
    left_out: list[LeftOut]


@dataclass(frozen=True)
class _Asked:
    """What the annotators are asked, and the taxonomy that says so, if it is there already."""

    definition: Definition
    unmapped: list[str]
    taxonomy_name: str
    revision: TaxonomyRevision | None


@dataclass(frozen=True)
class _Origin:
    """What becomes the campaign `name`."""

    name: str
    vendor: Vendor
    project: RemoteProject
    asked: _Asked


@dataclass
class _Haul:
    """What was found on the way."""

    new_images: int = 0
    left_out: list[LeftOut] = field(default_factory=list)


def adopt(
    workspace: Workspace,
    name: str,
    *,
    vendor_name: str,
    ls_project_id: int,
    taxonomy_name: str | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Adopted:
    """Make a campaign of a project at a vendor; of one that it is already, take in the tasks that came since.

    Several tasks that show one image are one item, and the answers to all of them are its answers. Images that the
    catalog knows by their address are not read again.

    Args:
        workspace: holds the catalog.
        name: of the campaign; its images are filed under it too, and without `taxonomy_name` so is the taxonomy.
        vendor_name: whose Label Studio it is.
        ls_project_id: the project's number there.
        taxonomy_name: what its label config has to ask; by default it becomes a taxonomy.
        on_progress: told the tasks looked at and all there are.

    Raises:
        NotFoundError: there is no such vendor, project or taxonomy.
        ConflictError: the project belongs to another campaign, the name to another campaign or taxonomy, or the
            campaign has ended.
        InvalidInputError: the project has no image that can be read, or its config asks something else than the
            taxonomy, or what no taxonomy can say; or the token is not there.
        RemoteError: Label Studio failed or refused; the same continues.
    """
    campaigns.check_name(name)
    with workspace.database.read() as session:
        vendor = vendors.get(session, vendor_name)
    with label_studio.connect(vendor.ls_url, vendors.token(vendor.ls_token_reference)) as server:
        project = server.project(ls_project_id)
        if project is None:
            raise NotFoundError(f"Label Studio at {vendor.ls_url} has no project {ls_project_id}.")
        with workspace.database.read() as session:
            campaign = _campaign(session, name, vendor, project)
            asked = _asked(session, campaign, project, name, taxonomy_name)
        haul = _Haul()
        with tempfile.TemporaryFile("w+") as spool:
            seen = 0
            for page in server.addresses(ls_project_id, asked.definition.tags.data):
                places = _places(workspace, vendor, campaign, page, haul)
                problems = _bring(workspace, server, set(places.values()), name, haul)
                fail_points.reach("adopt.after_page")
                for ls_task_id, place in places.items():
                    if place.uri in problems:
                        haul.left_out.append(LeftOut(ls_task_id, problems[place.uri]))
                    else:
                        spool.write(json.dumps([ls_task_id, place.uri]) + "\n")
                seen += len(page)
                on_progress(seen, max(seen, project.tasks))
            spool.seek(0)
            found = map(json.loads, spool)
            with workspace.database.write() as session:
                origin = _Origin(name, vendor, project, asked)
                done = _save(session, origin, found, haul, key=workspace.key)
                fail_points.reach("adopt.before_commit")
        fail_points.reach("adopt.after_commit")
        _mark(workspace, server, name)
    return done


def _campaign(session: Session, name: str, vendor: Vendor, project: RemoteProject) -> Campaign | None:
    """The campaign that the project is already; none if it is none yet.

    Raises:
        ConflictError: it cannot become this one, or take in more.
    """
    called = f"Project {project.ls_project_id} of Label Studio at {vendor.ls_url}"
    campaign = session.scalar(select(Campaign).where(Campaign.name == name))
    own_mark = None
    if campaign is not None:
        terms = campaigns.terms(session, name)
        own_mark = terms.marker
        is_same = (campaign.vendor_id, campaign.ls_project_id) == (vendor.id, project.ls_project_id)
        if not is_same or not terms.adopted:
            raise ConflictError(f"There is another campaign called {name!r}. Choose another name.")
        if terms.state not in ("open", "paused"):
            raise ConflictError(f"The campaign {name!r} is {terms.state}: it takes in nothing more.")
        if campaign.ls_sync is not None and own_mark not in project.description:
            raise ConflictError(
                f"{called} has lost {own_mark} from its description, by which {name!r} is known: put it back there."
            )
    for mark in _MARK.findall(project.description):
        if mark != own_mark:
            uid = mark.removeprefix("winnow:")
            other = session.scalar(
                select(Campaign.name).join(Task, Task.campaign_id == Campaign.id).where(Task.uid == uid)
            )
            whose = f"the campaign {other!r}" if other else "a campaign of another workspace"
            raise ConflictError(f"{called} is {whose} already, as {mark} in its description says.")
    return campaign


def _asked(
    session: Session, campaign: Campaign | None, project: RemoteProject, name: str, taxonomy_name: str | None
) -> _Asked:
    try:
        adopted = label_config.adopt(project.label_config)
    except InvalidInputError as error:
        raise InvalidInputError(f"Project {project.ls_project_id} cannot be adopted. {error}") from error
    revision = None
    if campaign is not None:
        revision = taxonomy.get(session, campaign.taxonomy_id)
        if taxonomy_name not in (None, revision.name):
            raise ConflictError(f"{name!r} was adopted under the taxonomy {revision.name!r}, not {taxonomy_name!r}.")
    elif taxonomy_name is not None:
        revision = taxonomy.newest(session, taxonomy_name)
    else:
        revision = taxonomy.find(session, name)
    if revision is None:
        return _Asked(adopted.definition, adopted.unmapped, name, None)
    advice = (
        "Without --taxonomy its own config becomes the taxonomy, under the campaign's name, which is to be a new one."
        if campaign is None
        else "Change its config back: the answers that are there were given under it."
    )
    if differences := definitions.differences(adopted.definition, revision.definition):
        raise InvalidInputError(
            f"Project {project.ls_project_id} does not ask what the taxonomy {revision.name!r} asks: "
            f"{'; '.join(differences)}. {advice}"
        )
    return _Asked(revision.definition, adopted.unmapped, revision.name, revision)


def _places(
    workspace: Workspace,
    vendor: Vendor,
    campaign: Campaign | None,
    page: Sequence[tuple[int, object]],
    haul: _Haul,
) -> dict[int, Place]:
    """Where the pictures of those tasks are that the campaign does not have yet, by the task's number."""
    known: set[int] = set()
    if campaign is not None:
        numbers = [ls_task_id for ls_task_id, _ in page]
        with workspace.database.read() as session:
            known = _known(session, campaign.id, numbers)
    places = {}
    for ls_task_id, address in page:
        if ls_task_id in known:
            continue
        try:
            places[ls_task_id] = addresses.place(address, ls_url=vendor.ls_url, folder=workspace.adopted_dir)
        except InvalidInputError as error:
            haul.left_out.append(LeftOut(ls_task_id, str(error)))
    return places


def _bring(
    workspace: Workspace, server: LabelStudio, places: Collection[Place], source: str, haul: _Haul
) -> dict[str, str]:
    """Take the pictures into the catalog that it does not know; returns why some cannot be, by uri."""
    with workspace.database.read() as session:
        known = _image_ids(session, [each.uri for each in places]).keys()
    unknown = [each for each in places if each.uri not in known]
    workspace.adopted_dir.mkdir(exist_ok=True)
    problems: dict[str, str] = {}
    with ThreadPoolExecutor(_REQUESTS) as pool:
        for place, problem in zip(unknown, pool.map(lambda each: _fetch(server, each), unknown), strict=True):
            if problem is not None:
                problems[place.uri] = problem
    there = sorted(each.uri for each in unknown if each.uri not in problems)
    if there:
        with tempfile.TemporaryDirectory() as folder:
            manifest = Path(folder) / "pictures.jsonl"
            manifest.write_text("".join(json.dumps({"uri": uri}) + "\n" for uri in there))
            done = ingest.ingest(workspace, [str(manifest)], source=source)
        haul.new_images += done.new_images
        problems |= dict(done.quarantined)
        for place in unknown:
            if place.fetch_from is not None and place.uri in problems:
                Path(place.uri).unlink(missing_ok=True)  # so that it is fetched again the next time
    return problems


def _fetch(server: LabelStudio, place: Place) -> str | None:
    """Copy a picture to where it is to be, unless it is there; returns why it cannot be had."""
    if place.fetch_from is None or os.path.exists(place.uri):
        return None
    try:
        data = server.download(place.fetch_from, with_token=place.with_token, limit=_MOST_BYTES)
    except OSError as error:
        return error.strerror
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(place.uri), delete=False) as scratch:
        scratch.write(data)
        scratch.flush()
        os.fsync(scratch.fileno())
    os.replace(scratch.name, place.uri)
    return None


def _save(session: Session, origin: _Origin, found: Iterator[tuple[int, str]], haul: _Haul, *, key: bytes) -> Adopted:
    """Write everything about the tasks `found`: their numbers and the uris of their pictures."""
    campaign = _campaign(session, origin.name, origin.vendor, origin.project) or _new_campaign(session, origin)
    split_of = splits.load(session)
    new_tasks = 0
    while chunk := dict(islice(found, _CHUNK)):
        known = _known(session, campaign.id, chunk)
        image_ids = _image_ids(session, chunk.values())
        image_of = {number: image_ids[uri] for number, uri in chunk.items() if number not in known and uri in image_ids}
        haul.left_out += [
            LeftOut(number, "its picture changed meanwhile") for number, uri in chunk.items() if uri not in image_ids
        ]
        first_task: dict[int, int] = {}
        for number, image_id in image_of.items():
            first_task.setdefault(image_id, number)
        _add_items(session, campaign, first_task, split_of, key=key)
        task_ids = _task_ids(session, campaign.id, first_task)
        rows = [
            {"campaign_id": campaign.id, "ls_task_id": number, "task_id": task_ids[image_id]}
            for number, image_id in image_of.items()
        ]
        if rows:
            session.execute(insert(AdoptedTask), rows)
        new_tasks += len(rows)
    items = _count(session, Task.campaign_id == campaign.id)
    if not items:
        why = f" Task {haul.left_out[0].ls_task_id}: {haul.left_out[0].why}." if haul.left_out else ""
        raise InvalidInputError(
            f"Project {origin.project.ls_project_id} has {len(haul.left_out)} tasks, and none with an image that "
            f"can be read: nothing was adopted.{why}"
        )
    session.get_one(Batch, campaign.batch_id).report = {"arms": {ARM: items}}
    revision = taxonomy.get(session, campaign.taxonomy_id)
    return Adopted(
        campaign=origin.name,
        ls_project_id=origin.project.ls_project_id,
        batch=campaign.batch_id,
        taxonomy=revision.name,
        taxonomy_revision=revision.revision,
        unmapped=origin.asked.unmapped,
        tasks=_count(session, AdoptedTask.campaign_id == campaign.id),
        new_tasks=new_tasks,
        items=items,
        new_images=haul.new_images,
        left_out=haul.left_out,
    )


def _new_campaign(session: Session, origin: _Origin) -> Campaign:
    asked, vendor, project = origin.asked, origin.vendor, origin.project
    revision = asked.revision or taxonomy.add(session, asked.taxonomy_name, asked.definition)
    place = {"label_studio": vendor.ls_url, "project": project.ls_project_id, "campaign": origin.name}
    recipe = {"adopted": place}
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
    batch = Batch(digest=digest, recipe=recipe, state={}, pool=b"", report={})
    session.add(batch)
    session.flush()
    campaign = Campaign(
        name=origin.name,
        purpose="labelling",
        batch_id=batch.id,
        taxonomy_id=revision.id,
        vendor_id=vendor.id,
        overlap=project.overlap,
        ls_project_id=project.ls_project_id,
    )
    session.add(campaign)
    session.flush()
    return campaign


def _add_items(
    session: Session, campaign: Campaign, first_task: Mapping[int, int], split_of: Mapping[ImageId, str], *, key: bytes
) -> None:
    """Make items of those images that are none of the campaign yet; `first_task` is the number of a task of each."""
    there = _task_ids(session, campaign.id, first_task)
    sha256 = dict(session.execute(select(Image.id, Image.sha256).where(Image.id.in_(first_task))).all())
    start = _count(session, Task.campaign_id == campaign.id)
    new = [image_id for image_id in first_task if image_id not in there]
    picks, tasks = [], []
    for rank, image_id in enumerate(new, start):
        why = f"was in project {campaign.ls_project_id} of Label Studio"
        split = split_of[ImageId(image_id)]
        picks.append(
            {"batch_id": campaign.batch_id, "rank": rank, "image_id": image_id, "split": split}
            | {"arm": ARM, "score": 0.0, "why": why}
        )
        tasks.append(
            {"uid": campaigns.uid(key, campaign.name, sha256[image_id]), "campaign_id": campaign.id, "rank": rank}
            | {"image_id": image_id, "state": "pushed", "ls_task_id": first_task[image_id]}
        )
    if new:
        session.execute(insert(Pick), picks)
        session.execute(insert(Task), tasks)


def _mark(workspace: Workspace, server: LabelStudio, name: str) -> None:
    """Write into the project's description whose it is."""
    with workspace.database.read() as session:
        terms = campaigns.terms(session, name)
    project = None if terms.ls_project_id is None else server.project(terms.ls_project_id)
    if project is not None and terms.marker not in project.description:
        mark = f"Adopted by Winnow as the campaign {name}. Keep this mark: {terms.marker}"
        server.describe(project.ls_project_id, f"{project.description}\n{mark}".strip())


def _known(session: Session, campaign_id: int, numbers: Iterable[int]) -> set[int]:
    """Which of Label Studio's tasks are the campaign's already."""
    ours = select(AdoptedTask.ls_task_id).where(AdoptedTask.campaign_id == campaign_id)
    return set(session.scalars(ours.where(AdoptedTask.ls_task_id.in_(numbers))))


def _image_ids(session: Session, uris: Iterable[str]) -> dict[str, int]:
    """The images at those uris that the catalog knows."""
    current = select(Sighting.uri, Sighting.image_id).where(Sighting.current, Sighting.uri.in_(uris))
    return dict(session.execute(current).all())


def _task_ids(session: Session, campaign_id: int, image_ids: Iterable[int]) -> dict[int, int]:
    """The campaign's items, by image."""
    items = select(Task.image_id, Task.id).where(Task.campaign_id == campaign_id, Task.image_id.in_(image_ids))
    return dict(session.execute(items).all())


def _count(session: Session, condition: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count()).where(condition)) or 0
