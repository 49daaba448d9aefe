"""Answers from Label Studio, every revision kept: an edit is a new one, and so is a deletion.

A pull asks for the tasks that changed since the last one, a page at a time, and commits each page. That
shows new, edited and deleted annotations, but no deleted task: so the server's own counts are compared
with ours afterwards, and where they differ everything is listed; and once a day anyway.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from curation import labels
from labeling import campaigns, label_config, label_studio, results, taxonomy, vendors
from labeling.campaigns import Terms
from labeling.definitions import Definition
from labeling.label_studio import MOMENT, AnnotatedTask, LabelStudio, RemoteAnnotation
from labeling.results import ImageSize
from store import fail_points
from store.schema import Annotation, Annotator, Campaign, Image, Task, now
from store.workspace import Workspace

_OVERLAP = timedelta(minutes=2)  # a change can be committed later than the moment it bears
_LISTED_EVERY = timedelta(days=1)
_TASKS_A_QUERY = 500
_IS_THERE = Annotation.ls_annotation_id > 0  # or was, see Annotation
_LOOKS = 3  # at what changed, before counts that differ are believed: people answer meanwhile


@dataclass(frozen=True)
class Pulled:
    """What a pull found."""

    answers: int  # that stand in Label Studio now
    new: int
    edited: int
    deleted: int
    missing: int  # of our tasks, that Label Studio has no more


@dataclass(frozen=True)
class Sync:
    """How far a campaign was pulled."""

    since: str | None = None  # by the server's clock: what changed until then was seen
    pulls: int = 0  # that changed something, as the project's description says too
    standing: int = 0  # annotations of our tasks that stand on the server too
    missing: int = 0  # of our tasks, when everything was listed last
    other_tasks: int = 0  # of others in the project, then
    other_annotations: int = 0  # of others, then
    listed_at: str | None = None  # when that was, by our clock


@dataclass(frozen=True)
class Known:
    """The newest revision of one annotation that the catalog has."""

    revision: int
    annotator_id: int
    ls_updated_at: str
    result: list[Any]
    deleted: bool
    ground_truth: bool = False


@dataclass(frozen=True)
class Change:
    """A revision to add: what the server holds now, or nothing if it was deleted."""

    task_id: int
    ls_annotation_id: int
    revision: int
    now: RemoteAnnotation | None


def pull(workspace: Workspace, campaign_name: str, *, everything: bool = False) -> Pulled:
    """Add what changed in Label Studio since the last pull as new revisions; nothing is overwritten.

    Args:
        workspace: holds the catalog.
        campaign_name: which campaign.
        everything: list all tasks, whether they changed or not.

    Raises:
        NotFoundError: there is no such campaign.
        InvalidInputError: it has not been pushed, or the token is not there.
        ConflictError: the server was restored from a backup that is older than the last pull.
        RemoteError: Label Studio failed or refused; what was pulled before stays, and the same pull continues.
    """
    with workspace.database.read() as session:
        campaign_id = campaigns.get(session, campaign_name).id
    with campaigns.exclusive(workspace, campaign_id):
        with workspace.database.read() as session:
            terms = campaigns.terms(session, campaign_name)
        with label_studio.connect(terms.ls_url, vendors.token(terms.ls_token_reference)) as server:
            reader = _Reader(workspace, server, terms)
            reader.read_older()
            if everything or not reader.caught_up():
                reader.read_everything()
            if terms.is_adaptive:
                reader.note_who_is_gone()
            return reader.pulled()


class _Reader:
    """One pull."""

    def __init__(self, workspace: Workspace, server: LabelStudio, terms: Terms) -> None:
        self._workspace, self._server, self._terms = workspace, server, terms
        self._project = campaigns.pushed_project(server, terms)
        with workspace.database.read() as session:
            self._asked = taxonomy.get(session, terms.taxonomy.id).definition  # without the reason of an adjudicator
            kept = session.get_one(Campaign, terms.id).ls_sync or {}
            self.sync = Sync(**kept if "standing" in kept else kept | {"standing": self._standing(session)})
        self._first_pulls = self.sync.pulls
        self._changes = {"new": 0, "edited": 0, "deleted": 0}
        self._emails: Mapping[int, str] | None = None

    def read_older(self) -> None:
        """Keep what answers say that were pulled before that was kept."""
        if self._is_of_one_class:
            return
        said = (Annotation.skipped.is_(False), Annotation.deleted.is_(False), Annotation.content.is_(None))
        unread = (
            select(Annotation.id, Annotation.result, Image.width, Image.height)
            .join(Task, Task.id == Annotation.task_id)
            .join(Image, Image.id == Task.image_id)
            .where(Task.campaign_id == self._terms.id, *said)
            .limit(_TASKS_A_QUERY)
        )
        while True:
            with self._workspace.database.read() as session:
                rows = session.execute(unread).all()
            if not rows:
                return
            read = [
                {"id": one, "content": results.essence(result, self._asked, ImageSize(width, height))}
                for one, result, width, height in rows
            ]
            with self._workspace.database.write() as session:
                session.execute(update(Annotation), read)

    def caught_up(self) -> bool:
        """Take in the tasks that changed; false where that cannot be all, or it is time to list all."""
        if self._is_due():
            return False
        for _ in range(_LOOKS):
            self.read_changes()
            if self.agrees():
                return True
        return False

    def read_changes(self) -> None:
        """Take in the tasks that changed."""
        assert self.sync.since is not None  # noqa: S101  everything was listed before
        since = (datetime.strptime(self.sync.since, MOMENT) - _OVERLAP).strftime(MOMENT)
        newest = self._server.newest_change(self._project.ls_project_id, since=since)  # before any page is read: what
        if newest is None:  # changes on one that was read comes after it
            return
        changed = self._server.annotated(self._project.ls_project_id, changed_since=since)
        for page in campaigns.named(self._workspace, self._terms, changed):
            self._take(page)
        if newest > self.sync.since:
            self.sync = replace(self.sync, since=newest)  # only now: a pull that died has not seen all of it
            with self._workspace.database.write() as session:
                self._note(session)

    def read_everything(self) -> None:
        """Take in all tasks, and note which are gone and what is of others."""
        seen: set[int] = set()
        listed = other_annotations = 0
        newest = self._server.newest_change(self._project.ls_project_id)
        everything = self._server.annotated(self._project.ls_project_id)
        for page in campaigns.named(self._workspace, self._terms, everything):
            there = self._take(page)
            seen |= there.keys()
            listed += len(page)
            other_annotations += sum(len(task.annotations) for task in page) - sum(map(len, there.values()))
        self._save(sorted(self._answered() - seen), {})  # of tasks that are gone
        with self._workspace.database.write() as session:
            pushed = campaigns.count(session, self._terms.id)["pushed"]
            self.sync = replace(
                self.sync,
                since=newest or datetime.fromtimestamp(0, UTC).strftime(MOMENT),
                standing=self._standing(session),
                missing=pushed - len(seen),
                other_tasks=listed - len(seen),
                other_annotations=other_annotations,
                listed_at=now().isoformat(),
            )
            self._note(session)

    def agrees(self) -> bool:
        """Whether the server holds as many tasks and annotations as the catalog expects."""
        counts = self._server.project(self._project.ls_project_id) or self._project
        with self._workspace.database.read() as session:
            pushed = campaigns.count(session, self._terms.id)["pushed"]
        return (counts.tasks, counts.annotations) == (
            pushed - self.sync.missing + self.sync.other_tasks,
            self.sync.standing + self.sync.other_annotations,
        )

    def _is_due(self) -> bool:
        """Whether it is long ago that everything was listed: of counts that agree some can hide each other."""
        return self.sync.listed_at is None or now() - datetime.fromisoformat(self.sync.listed_at) >= _LISTED_EVERY

    def note_who_is_gone(self) -> None:
        """Say of each of the vendor's people whether they can still log in; who cannot is asked for no opinion."""
        members = self._server.members()
        people = select(Annotator).where(Annotator.vendor_id == self._terms.vendor_id)
        with self._workspace.database.read() as session:
            changed = [row.id for row in session.scalars(people) if row.gone == (row.ls_user_id in members)]
        if changed:
            with self._workspace.database.write() as session:
                for row in session.scalars(people.where(Annotator.id.in_(changed))):
                    row.gone = row.ls_user_id not in members

    def pulled(self) -> Pulled:
        """What all of it came to."""
        return Pulled(answers=self.sync.standing, missing=self.sync.missing, **self._changes)

    def _take(self, page: Sequence[AnnotatedTask]) -> dict[int, list[RemoteAnnotation]]:
        """Add what is new in these tasks; returns what is there of those that are ours, by our ids."""
        uids = {task.uid for task in page if task.uid is not None}
        tasks = select(Task.uid, Task.id).where(Task.campaign_id == self._terms.id, Task.uid.in_(uids))
        with self._workspace.database.read() as session:
            task_of: dict[str, int] = dict(session.execute(tasks).all())
        there: dict[int, list[RemoteAnnotation]] = {}
        for task in page:
            if task.uid in task_of:
                there.setdefault(task_of[task.uid], []).extend(task.annotations)
        self._save(list(there), there)
        return there

    def _answered(self) -> set[int]:
        """The tasks of which there are answers."""
        of_campaign = select(Annotation.task_id).join(Task, Task.id == Annotation.task_id)
        with self._workspace.database.read() as session:
            return set(session.scalars(of_campaign.where(Task.campaign_id == self._terms.id)))

    def _save(self, task_ids: Sequence[int], there: Mapping[int, Sequence[RemoteAnnotation]]) -> None:
        """Add the revisions that lead from what is known of these tasks to what is there."""
        with self._workspace.database.read() as session:
            known = _known(session, task_ids)
        changes = [change for change in compare(known, there) if not self._is_elsewhere(change, there)]
        if not changes:
            return
        if self.sync.pulls == self._first_pulls:  # said to the server before anything is kept
            self.sync = replace(self.sync, pulls=self.sync.pulls + 1)
            description = campaigns.with_pulls(self._project.description, self.sync.pulls)
            self._server.describe(self._project.ls_project_id, description)
            fail_points.reach("pull.after_describe")
        definition = self._terms.taxonomy.definition
        contents = self._contents(changes)  # before the catalog is locked: masks take long
        with self._workspace.database.write() as session:
            annotators = self._annotators(session, changes)
            rows = [
                _row(change, known, annotators, definition) | {"content": said}
                for change, said in zip(changes, contents, strict=True)
            ]
            session.execute(insert(Annotation), rows)
            self.sync = replace(self.sync, standing=self.sync.standing + _gain(changes, known))
            self._note(session)
            fail_points.reach("pull.before_commit")
        fail_points.reach("pull.after_commit")
        self._changes["new"] += sum(change.revision == 0 for change in changes)
        self._changes["edited"] += sum(change.revision > 0 and change.now is not None for change in changes)
        self._changes["deleted"] += sum(change.now is None for change in changes)

    def _contents(self, changes: Sequence[Change]) -> list[str | None]:
        """What each of them says, where more than one class is asked for."""
        if self._is_of_one_class:
            return [None] * len(changes)
        sizes = select(Task.id, Image.width, Image.height).join(Image, Image.id == Task.image_id)
        task_ids = sorted({change.task_id for change in changes})
        size_of: dict[int, ImageSize] = {}
        with self._workspace.database.read() as session:
            for start in range(0, len(task_ids), _TASKS_A_QUERY):
                some = sizes.where(Task.id.in_(task_ids[start : start + _TASKS_A_QUERY]))
                size_of |= {one: ImageSize(width, height) for one, width, height in session.execute(some)}
        return [
            None
            if change.now is None or change.now.skipped
            else results.essence(change.now.result, self._asked, size_of[change.task_id])
            for change in changes
        ]

    @property
    def _is_of_one_class(self) -> bool:
        return self._asked.kind == labels.CLASSIFICATION

    def _is_elsewhere(self, change: Change, there: Mapping[int, Sequence[RemoteAnnotation]]) -> bool:
        """Whether an annotation that its task lacks is in another task of the same item, on another page."""
        if change.now is not None or change.task_id not in there:
            return False
        holder = self._server.task_of(change.ls_annotation_id, self._project.ls_project_id)
        if holder is None:
            return False
        [[holder]] = campaigns.named(self._workspace, self._terms, iter([[holder]]))
        with self._workspace.database.read() as session:
            return session.get_one(Task, change.task_id).uid == holder.uid

    def _note(self, session: Session) -> None:
        session.get_one(Campaign, self._terms.id).ls_sync = asdict(self.sync)

    def _standing(self, session: Session) -> int:
        """How many annotations stand on the server too, counted one by one."""
        standing = campaigns.standing_annotations(Task.campaign_id == self._terms.id, _IS_THERE).subquery()
        return session.scalar(select(func.count()).select_from(standing)) or 0

    def _annotators(self, session: Session, changes: Sequence[Change]) -> dict[int, int]:
        """Our ids of the vendor's people, by Label Studio's; whoever is new is added."""
        of_vendor = select(Annotator).where(Annotator.vendor_id == self._terms.vendor_id)
        known = {row.ls_user_id: row.id for row in session.scalars(of_vendor)}
        for ls_user_id in sorted({change.now.ls_user_id for change in changes if change.now} - known.keys()):
            if self._emails is None:
                self._emails = self._server.emails()
            name = self._emails.get(ls_user_id, f"user {ls_user_id}")
            annotator = Annotator(vendor_id=self._terms.vendor_id, ls_user_id=ls_user_id, name=name)
            session.add(annotator)
            session.flush()
            known[ls_user_id] = annotator.id
        return known


def compare(known: Mapping[tuple[int, int], Known], remote: Mapping[int, Sequence[RemoteAnnotation]]) -> list[Change]:
    """The revisions that lead from what is known to what is there, ordered by task and annotation.

    Args:
        known: the newest revision by (task id, Label Studio's annotation id).
        remote: what the server holds, by task id; a task it lacks has no annotations.
    """
    there = {(task_id, each.ls_annotation_id): each for task_id, annotations in remote.items() for each in annotations}
    changes = []
    for place in sorted(known.keys() | there.keys()):
        before, now = known.get(place), there.get(place)
        if before is None:
            changes.append(Change(*place, revision=0, now=now))
        elif now is None and not before.deleted:
            changes.append(Change(*place, revision=before.revision + 1, now=None))
        elif now is not None and (before.deleted, before.ls_updated_at, before.result, before.ground_truth) != (
            False,
            now.updated_at,
            now.result,
            now.ground_truth,
        ):
            changes.append(Change(*place, revision=before.revision + 1, now=now))
    return changes


def _gain(changes: Sequence[Change], known: Mapping[tuple[int, int], Known]) -> int:
    """How many more annotations stand after the changes than before."""
    stood = {place for place, before in known.items() if not before.deleted}
    return sum((each.now is not None) - ((each.task_id, each.ls_annotation_id) in stood) for each in changes)


def _known(session: Session, task_ids: Sequence[int]) -> dict[tuple[int, int], Known]:
    known: dict[tuple[int, int], Known] = {}
    for start in range(0, len(task_ids), _TASKS_A_QUERY):
        rows = session.execute(
            select(
                Annotation.task_id,
                Annotation.ls_annotation_id,
                Annotation.revision,
                Annotation.annotator_id,
                Annotation.ls_updated_at,
                Annotation.result,
                Annotation.deleted,
                Annotation.ground_truth,
            )
            .where(Annotation.task_id.in_(task_ids[start : start + _TASKS_A_QUERY]), _IS_THERE)
            .order_by(Annotation.revision)
        )
        known |= {(task_id, ls_annotation_id): Known(*rest) for task_id, ls_annotation_id, *rest in rows}
    return known


def _row(
    change: Change,
    known: Mapping[tuple[int, int], Known],
    annotators: Mapping[int, int],
    definition: Definition,
) -> dict[str, Any]:
    place = {"task_id": change.task_id, "ls_annotation_id": change.ls_annotation_id, "revision": change.revision}
    if change.now is None:
        before = known[change.task_id, change.ls_annotation_id]
        return place | {
            "annotator_id": before.annotator_id,
            "answer": None,
            "result": [],
            "skipped": False,
            "deleted": True,
            "ground_truth": False,
            "lead_time_s": None,
            "ls_updated_at": before.ls_updated_at,
        }
    return place | {
        "annotator_id": annotators[change.now.ls_user_id],
        "answer": None if change.now.skipped else label_config.answer(change.now.result, definition),
        "result": change.now.result,
        "skipped": change.now.skipped,
        "deleted": False,
        "ground_truth": change.now.ground_truth,
        "lead_time_s": change.now.lead_time_s,
        "ls_updated_at": change.now.updated_at,
    }
