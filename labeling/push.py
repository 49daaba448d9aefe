"""Tasks to Label Studio: exactly one per item, whatever crashes, times out or is asked twice.

Label Studio takes the same task twice without a word. So the catalog says which tasks are about
to be sent, one request that is never repeated sends them, and its answer names them. After a crash
or a lost answer the server is asked what arrived before anything else is sent.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select, update

from curation import predictions
from labeling import campaigns, label_config, label_studio, vendors
from labeling.campaigns import Terms
from labeling.label_studio import LabelStudio, RemoteTask
from store import fail_points
from store.errors import ConflictError, InvalidInputError
from store.schema import Campaign, ImageId, Prediction, PredictionRun, Task
from store.workspace import Workspace

_TASKS_PER_REQUEST = 1000
_LATE_S = 20.0  # how long a request whose sender died may still take to arrive
_POLL_S = 0.5
_TITLE_LENGTH = 50  # Label Studio's limit


@dataclass(frozen=True)
class Pushed:
    """What a push did."""

    ls_project_id: int
    created: int  # tasks this push made
    found: int  # tasks an interrupted push had made
    removed: int  # unanswered copies that were one too many
    tasks: int  # the campaign's tasks in Label Studio, as recorded


@dataclass(frozen=True)
class Webhook:
    """Where a server is to tell of changes."""

    url: str
    headers: dict[str, str]  # a secret that shows who calls


@dataclass(frozen=True)
class _Item:
    """One task to send."""

    task_id: int
    uid: str
    image_id: ImageId


def push(
    workspace: Workspace,
    campaign_name: str,
    *,
    image_url: Callable[[ImageId], str],
    predictions_model: str | None = None,
    webhook: Webhook | None = None,
    restored: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Pushed:
    """Create the campaign's project and the tasks it lacks; again, at once or after a crash, nothing twice.

    Args:
        workspace: holds the catalog.
        campaign_name: which campaign.
        image_url: gives the address at which annotators see an image; it should name no file or person.
        predictions_model: its newest prediction run is shown as pre-annotations.
        webhook: where the server tells of changes.
        restored: the server may be a backup, of which `labeling.reconcile` takes care.
        on_progress: called with the tasks sent and those to send.

    Raises:
        NotFoundError: there is no such campaign, or no prediction of that model.
        InvalidInputError: that model predicts classes the taxonomy lacks, or the token is not there.
        ConflictError: the campaign is closed, or the server was restored from a backup.
        RemoteError: Label Studio failed or refused; the same push continues.
    """
    with workspace.database.read() as session:
        campaign_id = campaigns.get(session, campaign_name).id
    with campaigns.exclusive(workspace, campaign_id):
        with workspace.database.read() as session:
            terms = campaigns.terms(session, campaign_name)
        if terms.closed:
            raise ConflictError(f"The campaign {campaign_name!r} is closed. Plan a new one.")
        run = _fitting_run(workspace, terms, predictions_model) if predictions_model else None
        with label_studio.connect(terms.ls_url, vendors.token(terms.ls_token_reference)) as server:
            project = _project(workspace, server, terms, restored=restored)
            if webhook is not None:
                server.ensure_webhook(project, webhook.url, webhook.headers)
            found, doubled = _settle(workspace, server, project, terms.id)
            removed = _remove_copies(workspace, server, project, doubled) if doubled else 0
            to_send = _unpushed(workspace, terms.id)
            for start in range(0, len(to_send), _TASKS_PER_REQUEST):
                chunk = _items(workspace, to_send[start : start + _TASKS_PER_REQUEST])
                suggestions = _suggestions(workspace, run, [item.image_id for item in chunk]) if run else {}
                fail_points.reach("push.before_intent")
                _intend(workspace, chunk)
                fail_points.reach("push.after_intent")
                tasks = [_task(item, image_url, suggestions) for item in chunk]
                fail_points.reach("push.before_request")
                ls_task_ids = server.import_tasks(project, tasks)
                fail_points.reach("push.after_request")
                _note(workspace, {item.task_id: there for item, there in zip(chunk, ls_task_ids, strict=True)})
                fail_points.reach("push.after_commit")
                on_progress(start + len(chunk), len(to_send))
    return Pushed(project, len(to_send), found, removed, tasks=_pushed(workspace, terms.id))


def _project(workspace: Workspace, server: LabelStudio, terms: Terms, *, restored: bool) -> int:
    if terms.ls_project_id is not None:
        found = campaigns.found_project if restored else campaigns.pushed_project
        return found(server, terms).ls_project_id
    project = server.find_project(terms.marker)  # of a push that died before recording it
    if project is None:
        project = server.create_project(
            f"Winnow: {terms.name}"[:_TITLE_LENGTH],
            description=f"Made by Winnow for the campaign {terms.name}. Keep this mark: {terms.marker}",
            label_config=label_config.render(terms.taxonomy.classes, terms.taxonomy.guideline),
            overlap=terms.overlap,
        )
    fail_points.reach("push.after_project")
    with workspace.database.write() as session:
        session.execute(update(Campaign).where(Campaign.id == terms.id).values(ls_project_id=project))
    return project


def _settle(workspace: Workspace, server: LabelStudio, project: int, campaign_id: int) -> tuple[int, set[str]]:
    """Record what the server has; while the fate of a request is open, wait a little for it to arrive.

    Returns:
        How many tasks were recorded just now, and our uids that several of the server's tasks carry.
    """
    deadline = time.monotonic() + _LATE_S
    recorded = 0
    while True:
        doubled: set[str] = set()
        for page in server.tasks(project):
            new, copied = _record(workspace, campaign_id, page)
            recorded += new
            doubled |= copied
        with workspace.database.read() as session:
            open_fate = select(Task.id).where(Task.campaign_id == campaign_id, Task.state == "intended").limit(1)
            settled = session.scalar(open_fate) is None
        if settled or time.monotonic() > deadline:
            return recorded, doubled
        time.sleep(_POLL_S)


def _remove_copies(workspace: Workspace, server: LabelStudio, project: int, doubled: Collection[str]) -> int:
    """Delete what a request that arrived later than anyone waited for made twice; never an answered task."""
    copies: dict[str, list[RemoteTask]] = {}
    for page in server.tasks(project):
        for task in page:
            if task.uid is not None and task.uid in doubled:
                copies.setdefault(task.uid, []).append(task)
    removed = 0
    for uid, tasks in copies.items():
        kept = [task for task in tasks if task.annotation_count] or tasks[:1]
        with workspace.database.write() as session:
            session.execute(update(Task).where(Task.uid == uid).values(ls_task_id=kept[0].ls_task_id))
        removed += sum(server.delete_unanswered(task.ls_task_id) for task in tasks if task not in kept)
    return removed


def _unpushed(workspace: Workspace, campaign_id: int) -> list[int]:
    unpushed = select(Task.id).where(Task.campaign_id == campaign_id, Task.state != "pushed").order_by(Task.rank)
    with workspace.database.read() as session:
        return list(session.scalars(unpushed))


def _items(workspace: Workspace, task_ids: Sequence[int]) -> list[_Item]:
    """These tasks, by rank."""
    items = select(Task.id, Task.uid, Task.image_id).where(Task.id.in_(task_ids)).order_by(Task.rank)
    with workspace.database.read() as session:
        return [_Item(task_id, uid, ImageId(image_id)) for task_id, uid, image_id in session.execute(items)]


def _pushed(workspace: Workspace, campaign_id: int) -> int:
    with workspace.database.read() as session:
        return campaigns.count(session, campaign_id)["pushed"]


def _intend(workspace: Workspace, chunk: Sequence[_Item]) -> None:
    with workspace.database.write() as session:
        session.execute(update(Task).where(Task.id.in_([item.task_id for item in chunk])).values(state="intended"))


def _note(workspace: Workspace, ls_task_ids: Mapping[int, int]) -> None:
    """Say of these tasks that they were pushed, and where they are."""
    rows = [{"task_id": task_id, "there": there} for task_id, there in ls_task_ids.items()]
    noted = update(Task).where(Task.id == bindparam("task_id")).values(state="pushed", ls_task_id=bindparam("there"))
    with workspace.database.write() as session:
        session.connection().execute(noted, rows)  # past the ORM, which takes twice as long
        fail_points.reach("push.before_commit")


def _record(workspace: Workspace, campaign_id: int, page: Sequence[RemoteTask]) -> tuple[int, set[str]]:
    """Note the Label Studio task of every uid of the campaign that had none; of several, the oldest.

    Returns:
        How many were noted, and the campaign's uids that another task carries too.
    """
    there: dict[str, list[int]] = {}
    for task in page:
        if task.uid is not None:
            there.setdefault(task.uid, []).append(task.ls_task_id)
    ours = select(Task.id, Task.uid, Task.state, Task.ls_task_id).where(
        Task.campaign_id == campaign_id, Task.uid.in_(there)
    )
    with workspace.database.read() as session:
        rows = session.execute(ours).all()
    arrived = {row.id: there[row.uid][0] for row in rows if row.state != "pushed"}
    if arrived:
        _note(workspace, arrived)
    known = {row.uid: row.ls_task_id if row.state == "pushed" else there[row.uid][0] for row in rows}
    return len(arrived), {uid for uid, ls_task_id in known.items() if there[uid] != [ls_task_id]}


def _task(
    item: _Item, image_url: Callable[[ImageId], str], suggestions: Mapping[ImageId, dict[str, Any]]
) -> dict[str, Any]:
    task: dict[str, Any] = {"data": {"uid": item.uid, "image": image_url(item.image_id)}}
    if item.image_id in suggestions:
        task["predictions"] = [suggestions[item.image_id]]
    return task


def _fitting_run(workspace: Workspace, terms: Terms, model: str) -> PredictionRun:
    """The model's newest run, which predicts no class that the taxonomy lacks."""
    with workspace.database.read() as session:
        run = predictions.newest_run(session, model)
    unknown = set(run.classes) - {each.name for each in terms.taxonomy.classes}
    if unknown:
        raise InvalidInputError(f"{model!r} predicts {len(unknown)} classes that {terms.taxonomy.name!r} lacks.")
    return run


def _suggestions(
    workspace: Workspace, run: PredictionRun, image_ids: Sequence[ImageId]
) -> dict[ImageId, dict[str, Any]]:
    """The most probable class, the first of equals, as the run saw each of these images, if it did."""
    seen = select(Prediction.image_id).where(Prediction.run_id == run.id, Prediction.image_id.in_(image_ids))
    with workspace.database.read() as session:
        there = [ImageId(image_id) for image_id in session.scalars(seen)]
        probabilities = predictions.read(session, run, there)
    model_version = f"{run.model} {run.digest[:8]}"
    return {
        image_id: label_config.prediction(
            run.classes[row.argmax()], score=float(row.max()), model_version=model_version
        )
        for image_id, row in zip(there, probabilities, strict=True)
    }
