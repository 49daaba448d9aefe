"""Tasks to Label Studio: exactly one per item, whatever crashes, times out or is asked twice.

Label Studio takes the same task twice without a word. So the catalog says which tasks are about
to be sent, one request that is never repeated sends them, and the server is asked what arrived.
After a crash or a lost answer it is asked again before anything else is sent.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update

from curation import predictions
from labeling import campaigns, label_config, label_studio, vendors
from labeling.campaigns import Terms
from labeling.label_studio import LabelStudio, RemoteTask
from store import fail_points
from store.errors import ConflictError, InvalidInputError
from store.schema import Campaign, ImageId, Prediction, Task
from store.workspace import Workspace

_TASKS_PER_REQUEST = 500
_LATE_S = 10.0  # how long a request whose sender died may still take to arrive
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
        suggestions = _suggestions(workspace, terms, predictions_model) if predictions_model else {}
        data_key = terms.taxonomy.definition.tags.data
        with label_studio.connect(terms.ls_url, vendors.token(terms.ls_token_reference)) as server:
            project = _project(workspace, server, terms, restored=restored)
            if webhook is not None:
                server.ensure_webhook(project, webhook.url, webhook.headers)
            there, found = _settle(workspace, server, project, terms.id)
            removed = _remove_copies(server, there)
            last = max((task.ls_task_id for task in there), default=0)
            to_send = _unpushed(workspace, terms.id)
            created = 0
            for start in range(0, len(to_send), _TASKS_PER_REQUEST):
                chunk = to_send[start : start + _TASKS_PER_REQUEST]
                _intend(workspace, chunk)
                fail_points.reach("push.after_intent")
                server.import_tasks(project, [_task(*each, image_url, suggestions, data_key) for each in chunk])
                fail_points.reach("push.after_request")
                arrived = server.tasks(project, after=last)
                last = max((task.ls_task_id for task in arrived), default=last)
                created += _record(workspace, terms.id, arrived)
                fail_points.reach("push.after_commit")
                on_progress(start + len(chunk), len(to_send))
    return Pushed(project, created, found, removed, tasks=_pushed(workspace, terms.id))


def _project(workspace: Workspace, server: LabelStudio, terms: Terms, *, restored: bool) -> int:
    if terms.ls_project_id is not None:
        found = campaigns.found_project if restored else campaigns.pushed_project
        return found(server, terms).ls_project_id
    project = server.find_project(terms.marker)  # of a push that died before recording it
    if project is None:
        project = server.create_project(
            f"Winnow: {terms.name}"[:_TITLE_LENGTH],
            description=f"Made by Winnow for the campaign {terms.name}. Keep this mark: {terms.marker}",
            label_config=label_config.render(terms.taxonomy.definition),
            overlap=terms.overlap,
        )
    fail_points.reach("push.after_project")
    with workspace.database.write() as session:
        session.execute(update(Campaign).where(Campaign.id == terms.id).values(ls_project_id=project))
    return project


def _settle(workspace: Workspace, server: LabelStudio, project: int, campaign_id: int) -> tuple[list[RemoteTask], int]:
    """Record what the server has; while the fate of a request is open, wait a little for it to arrive.

    Returns:
        The server's tasks, and how many of them were recorded just now.
    """
    deadline = time.monotonic() + _LATE_S
    recorded = 0
    while True:
        there = server.tasks(project)
        recorded += _record(workspace, campaign_id, there)
        with workspace.database.read() as session:
            open_fate = select(Task.id).where(Task.campaign_id == campaign_id, Task.state == "intended").limit(1)
            settled = session.scalar(open_fate) is None
        if settled or time.monotonic() > deadline:
            return there, recorded
        time.sleep(_POLL_S)


def _remove_copies(server: LabelStudio, there: Sequence[RemoteTask]) -> int:
    """Delete what a request that arrived later than anyone waited for made twice; never an answered task."""
    seen: set[str] = set()
    removed = 0
    for task in there:
        if task.uid in seen and task.annotation_count == 0:
            server.delete_task(task.ls_task_id)
            removed += 1
        elif task.uid is not None:
            seen.add(task.uid)
    return removed


def _unpushed(workspace: Workspace, campaign_id: int) -> list[tuple[str, ImageId]]:
    unpushed = select(Task.uid, Task.image_id).where(Task.campaign_id == campaign_id, Task.state != "pushed")
    with workspace.database.read() as session:
        return [(uid, ImageId(image_id)) for uid, image_id in session.execute(unpushed.order_by(Task.rank))]


def _pushed(workspace: Workspace, campaign_id: int) -> int:
    with workspace.database.read() as session:
        return campaigns.count(session, campaign_id)["pushed"]


def _intend(workspace: Workspace, chunk: Sequence[tuple[str, ImageId]]) -> None:
    with workspace.database.write() as session:
        session.execute(update(Task).where(Task.uid.in_([uid for uid, _ in chunk])).values(state="intended"))


def _record(workspace: Workspace, campaign_id: int, there: Sequence[RemoteTask]) -> int:
    """Note the Label Studio task of every uid that had none; of several, the oldest."""
    ls_task_ids = {task.uid: task.ls_task_id for task in reversed(there)}
    with workspace.database.write() as session:
        waiting = session.scalars(select(Task).where(Task.campaign_id == campaign_id, Task.state != "pushed")).all()
        arrived = [task for task in waiting if task.uid in ls_task_ids]
        for task in arrived:
            task.state = "pushed"
            task.ls_task_id = ls_task_ids[task.uid]
        return len(arrived)


def _task(
    uid: str,
    image_id: ImageId,
    image_url: Callable[[ImageId], str],
    suggestions: Mapping[ImageId, dict[str, Any]],
    data_key: str,
) -> dict[str, Any]:
    task: dict[str, Any] = {"data": {"uid": uid, data_key: image_url(image_id)}}
    if image_id in suggestions:
        task["predictions"] = [suggestions[image_id]]
    return task


def _suggestions(workspace: Workspace, terms: Terms, model: str) -> dict[ImageId, dict[str, Any]]:
    """The most probable class, the first of equals, as the model's newest run saw each image."""
    asked = terms.taxonomy.definition
    if asked.kind != "classification":
        raise InvalidInputError(f"Predictions are shown where one class is asked for, not for {asked.kind}.")
    with workspace.database.read() as session:
        run = predictions.newest_run(session, model)
        unknown = set(run.classes) - set(asked.class_names)
        if unknown:
            raise InvalidInputError(f"{model!r} predicts {len(unknown)} classes that {terms.taxonomy.name!r} lacks.")
        of_campaign = (
            select(Prediction.image_id)
            .join(Task, Task.image_id == Prediction.image_id)
            .where(Prediction.run_id == run.id, Task.campaign_id == terms.id)
        )
        image_ids = [ImageId(image_id) for image_id in session.scalars(of_campaign)]
        probabilities = predictions.read(session, run, image_ids)
        model_version = f"{model} {run.digest[:8]}"
        return {
            image_id: label_config.prediction(
                run.classes[row.argmax()], score=float(row.max()), model_version=model_version, tags=asked.tags
            )
            for image_id, row in zip(image_ids, probabilities, strict=True)
        }
