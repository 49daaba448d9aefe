"""Where a campaign's Label Studio project differs from what was pushed and pulled, and how it is made good.

People delete and copy tasks there, and servers are restored from backups.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from labeling import campaigns, definitions, label_config, label_studio, pull, push, vendors
from labeling.campaigns import Terms
from labeling.label_studio import LabelStudio, RemoteAnnotation
from store.errors import InvalidInputError
from store.schema import Annotation, Annotator, ImageId, Task
from store.workspace import Workspace


@dataclass(frozen=True)
class Drift:
    """Differences between the catalog and the server."""

    missing: list[ImageId]  # pushed, but no task there carries them any more; by rank
    copies: int  # tasks that carry an item which another task carries too
    strangers: int  # tasks that are not ours
    restored: bool  # the server is as it was before the last pull
    config: list[str]  # in what it asks something else than the taxonomy, so that answers may not be understood


@dataclass(frozen=True)
class Reconciled:
    """What was done about them."""

    restored: bool
    recreated: int  # tasks
    waiting: int  # that are to be made again, once the vendor has room
    removed: int  # copies that nobody had answered
    put_back: int  # answers that a restored server had lost, or had as they were before an edit
    not_put_back: int  # those of people or tasks that it does not know: they stand in the catalog alone
    strangers: int  # tasks of others, left alone


def find(workspace: Workspace, campaign_name: str) -> Drift:
    """Compare a pushed campaign with its Label Studio project; changes nothing.

    Raises:
        NotFoundError: there is no such campaign.
        InvalidInputError: it has not been pushed, or the token is not there.
        RemoteError: Label Studio failed or refused.
    """
    with workspace.database.read() as session:
        terms = campaigns.terms(session, campaign_name)
        rows = session.execute(
            select(Task.uid, Task.image_id, Task.state).where(Task.campaign_id == terms.id).order_by(Task.rank)
        ).all()
    with label_studio.connect(terms.ls_url, vendors.token(terms.ls_token_reference)) as server:
        project = campaigns.found_project(server, terms)
        pages = campaigns.named(workspace, terms, server.tasks(project.ls_project_id))
        there = Counter(task.uid for page in pages for task in page)
    ours = {uid: there[uid] for uid, _, _ in rows if uid in there}
    return Drift(
        missing=[ImageId(image_id) for uid, image_id, state in rows if state == "pushed" and uid not in there],
        copies=sum(ours.values()) - len(ours),
        strangers=there.total() - sum(ours.values()),
        restored=campaigns.pulls_in(project.description) < terms.pulls,
        config=_changes(project.label_config, terms),
    )


def reconcile(
    workspace: Workspace,
    campaign_name: str,
    *,
    image_url: Callable[[ImageId], str],
    predictions_model: str | None = None,
    blind_share: float = 0.0,
    min_score: float = 0.0,
) -> Reconciled:
    """Make the project hold every item once, and what a restored server forgot; again, nothing twice.

    Tasks that people deleted are made again and show what they showed, but not in an adopted project, where tasks
    come and go as its owners like; what else is sent, and what that shows, says `push.push`. Answers are put back
    only where the server was restored: an answer that is gone from a server that was not was deleted by somebody.
    Those of people who joined after the backup, or were deleted, stay in the catalog alone, and no pull touches them.
    To a campaign that has ended answers are put back where it was restored, and no tasks are made: answers to those
    that are gone stay in the catalog too.

    Raises:
        NotFoundError: there is no such campaign.
        InvalidInputError: it has not been pushed, or the token is not there.
        ConflictError: it is paused, or has ended and was not restored.
        RemoteError: Label Studio failed or refused; the same continues.
    """
    drift = find(workspace, campaign_name)
    with workspace.database.read() as session:
        terms = campaigns.terms(session, campaign_name)
    has_ended = terms.state in ("closed", "cancelling", "cancelled")
    if not (has_ended and drift.restored):
        campaigns.check_pushable(terms)
    if not has_ended and not terms.adopted:
        with workspace.database.write() as session:
            lost = set(drift.missing)
            for task in session.scalars(select(Task).where(Task.campaign_id == terms.id, Task.state == "pushed")):
                if task.image_id in lost:
                    task.state, task.ls_task_id = "planned", None
    created = removed = 0
    if not has_ended:
        pushed = push.push(
            workspace,
            campaign_name,
            image_url=image_url,
            predictions_model=predictions_model,
            blind_share=blind_share,
            min_score=min_score,
            restored=drift.restored,
        )
        created, removed = pushed.created, pushed.removed
    put_back = not_put_back = 0
    if drift.restored:
        with label_studio.connect(terms.ls_url, vendors.token(terms.ls_token_reference)) as server:
            put_back, not_put_back = _put_back(workspace, server, terms)
            project = campaigns.found_project(server, terms)
            server.describe(project.ls_project_id, campaigns.with_pulls(project.description, terms.pulls))
    pull.pull(workspace, campaign_name, everything=True)
    return Reconciled(
        restored=drift.restored,
        recreated=created,
        waiting=_waiting(workspace, terms, drift.missing),
        removed=removed,
        put_back=put_back,
        not_put_back=not_put_back,
        strangers=drift.strangers,
    )


def _changes(config: str, terms: Terms) -> list[str]:
    try:
        return definitions.differences(label_config.adopt(config).definition, terms.taxonomy.definition)
    except InvalidInputError as error:
        return [str(error)]


def _waiting(workspace: Workspace, terms: Terms, image_ids: Sequence[ImageId]) -> int:
    """How many of these images have a task that is not sent yet."""
    waiting = select(Task.image_id).where(Task.campaign_id == terms.id, Task.state == "planned")
    with workspace.database.read() as session:
        return len(set(image_ids) & set(session.scalars(waiting)))


@dataclass(frozen=True)
class _Answer:
    """An answer that stands in the catalog."""

    annotation_id: int
    task_id: int
    author: str  # the e-mail of whoever gave it: a restored server gives numbers of users again too
    annotation: RemoteAnnotation


def _put_back(workspace: Workspace, server: LabelStudio, terms: Terms) -> tuple[int, int]:
    """Give the server what stands here and it lacks; what people said there since the restore stays.

    Returns:
        How many answers it was given, and how many it was not, as it does not know their authors or tasks.
    """
    emails = server.emails()
    with workspace.database.read() as session:
        standing = _standing(session, terms.id)
    there: dict[str, list[RemoteAnnotation]] = {}
    task_of: dict[str, int] = {}
    assert terms.ls_project_id is not None  # noqa: S101  it was found just now
    for page in campaigns.named(workspace, terms, server.annotated(terms.ls_project_id)):
        for task in page:
            if task.uid in standing:
                task_of.setdefault(task.uid, task.ls_task_id)
                there.setdefault(task.uid, []).extend(task.annotations)
    put_back = 0
    strangers = [answer for uid in standing.keys() - task_of.keys() for answer in standing[uid]]
    for uid, ls_task_id in task_of.items():
        losses = _compare(standing[uid], there[uid], emails)
        strangers += losses.of_strangers
        for answer in losses.gone:
            server.create_annotation(ls_task_id, answer.annotation)
        for ls_annotation_id, answer in losses.outdated.items():
            server.change_annotation(ls_annotation_id, answer.annotation)
        put_back += len(losses.gone) + len(losses.outdated)
    _keep(workspace, strangers)
    return put_back, len(strangers)


@dataclass(frozen=True)
class _Losses:
    """What a restored server lacks of the answers to one item."""

    gone: list[_Answer]
    outdated: dict[int, _Answer]  # what an annotation there, by its number, said in the end
    of_strangers: list[_Answer]


def _compare(ours: Sequence[_Answer], there: Sequence[RemoteAnnotation], emails: Mapping[int, str]) -> _Losses:
    """Pair our answers to an item with the server's, the surest pairs first, and see what is older or left over.

    Args:
        ours: that stand here.
        there: that the server has.
        emails: of the people whom the server knows, by their id.
    """
    known = [each for each in ours if emails.get(each.annotation.ls_user_id) == each.author]
    left, free = list(ours), list(there)
    outdated: dict[int, _Answer] = {}
    for candidates, key in (
        (ours, lambda each: (each.ls_annotation_id, each.updated_at)),
        (known, lambda each: (each.ls_user_id, _content(each))),
        (known, lambda each: (each.ls_user_id, each.ls_annotation_id)),
        (known, lambda each: each.ls_user_id),
    ):
        for answer in [each for each in left if each in candidates]:
            twin = next((each for each in free if key(each) == key(answer.annotation)), None)
            if twin is not None:
                left.remove(answer)
                free.remove(twin)
                if _content(twin) != _content(answer.annotation) and twin.updated_at < answer.annotation.updated_at:
                    outdated[twin.ls_annotation_id] = answer
    return _Losses(
        gone=[each for each in left if each in known],
        outdated=outdated,
        of_strangers=[each for each in left if each not in known],
    )


def _content(annotation: RemoteAnnotation) -> tuple[object, ...]:
    return annotation.result, annotation.skipped, annotation.ground_truth


def _keep(workspace: Workspace, answers: Sequence[_Answer]) -> None:
    """Renumber answers so that no annotation of the server is ever taken for one of them, nor its lack for the end."""
    with workspace.database.write() as session:
        for each in answers:
            revisions = update(Annotation).where(
                Annotation.task_id == each.task_id,
                Annotation.ls_annotation_id == each.annotation.ls_annotation_id,
            )
            session.execute(revisions.values(ls_annotation_id=-each.annotation_id))


def _standing(session: Session, campaign_id: int) -> dict[str, list[_Answer]]:
    """The answers that stand here and are not kept here alone, by the uid of their task."""
    of_campaign = campaigns.standing_annotations(Task.campaign_id == campaign_id, Annotation.ls_annotation_id > 0)
    rows = session.execute(
        select(Task.uid, Annotation, Annotator)
        .join(Annotation, Annotation.task_id == Task.id)
        .join(Annotator, Annotator.id == Annotation.annotator_id)
        .where(Annotation.id.in_(of_campaign))
        .order_by(Annotation.id)
    )
    found: dict[str, list[_Answer]] = {}
    for uid, row, author in rows:
        annotation = RemoteAnnotation(
            ls_annotation_id=row.ls_annotation_id,
            ls_user_id=author.ls_user_id,
            result=row.result,
            skipped=row.skipped,
            lead_time_s=row.lead_time_s,
            updated_at=row.ls_updated_at,
            ground_truth=row.ground_truth,
        )
        found.setdefault(uid, []).append(_Answer(row.id, row.task_id, author.name, annotation))
    return found
