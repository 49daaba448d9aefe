"""Tasks to Label Studio: exactly one per item, whatever crashes, times out or is asked twice.

Label Studio takes the same task twice without a word. So the catalog says which tasks are about
to be sent, one request that is never repeated sends them, and its answer names them. After a crash
or a lost answer the server is asked what arrived before anything else is sent. What had not arrived
is sent again, and may arrive twice after all: until that cannot be any more, the campaign is unsure.

Of the tasks only as many are sent as the vendor has room for; the same write that announces them counts.
"""

import hashlib
import hmac
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, bindparam, func, select, update
from sqlalchemy.orm import Session

from curation import predictions
from labeling import campaigns, definitions, label_config, label_studio, results, vendors, webhooks
from labeling.campaigns import Terms
from labeling.content import Content, Region
from labeling.geometry import Box
from labeling.label_studio import LabelStudio, RemoteTask
from labeling.results import ImageSize, Part
from labeling.webhooks import Webhook
from store import fail_points
from store.errors import InvalidInputError, RemoteError
from store.schema import BoxPrediction, Campaign, Image, ImageId, Pick, Prediction, PredictionRun, Task, now
from store.workspace import Workspace

_TASKS_PER_REQUEST = 500
_LATE_S = 20.0  # how long a request whose sender died may still take to arrive
_POLL_S = 0.5
_TITLE_LENGTH = 50  # Label Studio's limit
_DRAWS = 2**64
_SUGGESTED = "suggestion"  # one name for all: Label Studio shows the predictions of one model version at a time


@dataclass(frozen=True)
class Pushed:
    """What a push did."""

    ls_project_id: int
    created: int  # tasks this push made
    found: int  # tasks an interrupted push had made
    removed: int  # unanswered copies that were one too many
    tasks: int  # the campaign's tasks in Label Studio, as recorded
    waiting: int  # tasks for which the vendor has no room now
    blind: int  # of the tasks sent so far: those that do not show the prediction there is
    unknown_classes: list[str]  # that the model predicts and the taxonomy lacks: boxes of these are not shown


@dataclass(frozen=True)
class Manner:
    """How a campaign is pushed; remembered with it, so that more can follow when the vendor has room."""

    image_base_url: str  # of `winnow serve`, as annotators reach it
    predictions: str | None = None  # the model whose newest predictions are shown
    blind_share: float = 0.0  # of the tasks, to which they are not
    min_score: float = 0.0  # of the boxes that are shown
    webhook: bool = True
    link_days: int = 30  # for which links to images last, at least


def push(
    workspace: Workspace,
    campaign_name: str,
    *,
    image_url: Callable[[ImageId], str],
    predictions_model: str | None = None,
    blind_share: float = 0.0,
    min_score: float = 0.0,
    webhook: Webhook | None = None,
    manner: Manner | None = None,
    restored: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Pushed:
    """Create the campaign's project and the tasks it lacks, as far as its vendor has room for them, by rank.

    Again, at once or after a crash, nothing twice: it goes on, and tops up what was answered meanwhile. What a task
    shows is decided when it is first sent; sent again, it shows the same.

    Args:
        workspace: holds the catalog.
        campaign_name: which campaign.
        image_url: gives the address at which annotators see an image; it should name no file or person.
        predictions_model: its newest prediction run is shown as pre-annotations: a class, or of a taxonomy that
            has boxes the boxes of its classes.
        blind_share: of the tasks, 0–1, that show none, so that one can tell what the others owe to it; drawn by uid.
        min_score: boxes that score less, 0–1, are not shown.
        webhook: where the server tells of changes.
        manner: what of this is remembered, from when the project is there on.
        restored: the server may be a backup, of which `labeling.reconcile` takes care.
        on_progress: called with the tasks sent and those to send.

    Raises:
        NotFoundError: there is no such campaign, or no prediction of that model.
        InvalidInputError: that model predicts something else than the taxonomy asks or has no prediction of gold, the
            campaign is an audit, the share or score is none, or the token is not there.
        ConflictError: the campaign is paused or has ended, or the server was restored from a backup.
        RemoteError: Label Studio failed or refused; the same push continues.
    """
    if not 0 <= blind_share <= 1:
        raise InvalidInputError(f"The share of blind tasks is between 0 and 1, not {blind_share:g}.")
    if blind_share and predictions_model is None:
        raise InvalidInputError("Without a model's predictions every task is blind: say whose are shown to the others.")
    if not 0 <= min_score <= 1:
        raise InvalidInputError(f"The score from which boxes are shown is between 0 and 1, not {min_score:g}.")
    with workspace.database.read() as session:
        campaign_id = campaigns.get(session, campaign_name).id
    with campaigns.exclusive(workspace, campaign_id):
        with workspace.database.read() as session:
            terms = campaigns.terms(session, campaign_name)
            campaigns.check_pushable(terms)
            if predictions_model is not None and campaigns.get(session, campaign_name).purpose == "audit":
                raise InvalidInputError(
                    f"{campaign_name!r} is an audit: whoever answers sees nobody's answer, nor a model's."
                )
            run = None if predictions_model is None else _run(session, terms, predictions_model)
        draw = _Draw(workspace.key, blind_share, run)
        with label_studio.connect(terms.ls_url, vendors.token(terms.ls_token_reference)) as server:
            project, is_new = _project(workspace, server, terms, restored=restored)
            if manner is not None:
                _remember(workspace, terms.id, manner)
            if webhook is not None:
                server.ensure_webhook(project, webhook.url, webhook.headers, path=webhooks.path(terms.id))
            looked_at = now()
            found, doubled = (0, set()) if is_new else settle(workspace, server, project, terms)
            may_remove = doubled and not terms.adopted
            removed = _remove_copies(workspace, server, project, doubled) if may_remove else 0
            if not removed:
                _be_sure(workspace, terms.id, looked_at)
            sent = 0
            total = _sendable(workspace, terms)
            for chunk, ls_task_ids in _send(server, project, _requests(workspace, terms, draw, image_url, min_score)):
                if ls_task_ids is not None:
                    _note(workspace, {item.task_id: there for item, there in zip(chunk, ls_task_ids, strict=True)})
                fail_points.reach("push.after_commit")
                sent += len(chunk)
                on_progress(sent, max(sent, total))
            if _unnamed(workspace, terms):
                settle(workspace, server, project, terms)
                if missing := _unnamed(workspace, terms):
                    raise RemoteError(
                        f"Label Studio at {terms.ls_url} said that its imports are done, and {missing} tasks are not "
                        "there. Its log says why; run the same again."
                    )
    with workspace.database.read() as session:
        states = campaigns.count(session, terms.id)
        blind = select(func.count(Task.id)).where(Task.campaign_id == terms.id, Task.blind.is_(True))
        return Pushed(
            project,
            sent,
            found,
            removed,
            tasks=states["pushed"],
            waiting=states["planned"],
            blind=session.scalar(blind) or 0,
            unknown_classes=[] if run is None else _unknown_classes(terms, run),
        )


def _unnamed(workspace: Workspace, terms: Terms) -> int:
    """How many tasks were sent and are not known by a number."""
    with workspace.database.read() as session:
        return campaigns.count(session, terms.id)["intended"]


def _remember(workspace: Workspace, campaign_id: int, manner: Manner) -> None:
    with workspace.database.write() as session:
        session.get_one(Campaign, campaign_id).pushing = asdict(manner)


def _project(workspace: Workspace, server: LabelStudio, terms: Terms, *, restored: bool) -> tuple[int, bool]:
    """The campaign's project, and whether it was made just now and holds nothing."""
    if terms.ls_project_id is not None:
        found = campaigns.found_project if restored else campaigns.pushed_project
        return found(server, terms).ls_project_id, False
    project = server.find_project(terms.marker)  # of a push that died before recording it
    is_new = project is None
    if project is None:
        project = server.create_project(
            f"Winnow: {terms.name}"[:_TITLE_LENGTH],
            description=f"Made by Winnow for the campaign {terms.name}. Keep this mark: {terms.marker}",
            label_config=label_config.render(terms.taxonomy.definition),
            instruction=label_config.instruction(terms.taxonomy.definition.guideline),
            overlap=terms.overlap,
        )
    fail_points.reach("push.after_project")
    with workspace.database.write() as session:
        session.execute(update(Campaign).where(Campaign.id == terms.id).values(ls_project_id=project))
    return project, is_new


def settle(workspace: Workspace, server: LabelStudio, project: int, terms: Terms) -> tuple[int, set[str]]:
    """Record what the server has; while the fate of a request is open, wait a little for it to arrive.

    Returns:
        How many tasks were recorded just now, and our uids that several of the server's tasks carry.
    """
    deadline = time.monotonic() + _LATE_S
    recorded = 0
    while True:
        doubled: set[str] = set()
        for page in campaigns.named(workspace, terms, server.tasks(project)):
            new, copied = _record(workspace, terms.id, page)
            recorded += new
            doubled |= copied
        with workspace.database.read() as session:
            open_fate = select(Task.id).where(Task.campaign_id == terms.id, Task.state == "intended").limit(1)
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
    spare: set[int] = set()
    for uid, tasks in copies.items():
        kept = [task for task in tasks if task.annotation_count] or tasks[:1]
        with workspace.database.write() as session:
            session.execute(update(Task).where(Task.uid == uid).values(ls_task_id=kept[0].ls_task_id))
        spare |= {task.ls_task_id for task in tasks if task not in kept}
    server.delete_unanswered(project, sorted(spare))
    left = {task.ls_task_id for page in server.tasks(project) for task in page}
    return len(spare - left)


def _be_sure(workspace: Workspace, campaign_id: int, looked_at: datetime) -> None:
    """End the doubt about requests, if all of them had arrived or failed when nothing was found twice."""
    over = update(Campaign).where(Campaign.id == campaign_id, Campaign.unsure_until < looked_at)
    with workspace.database.write() as session:
        session.execute(over.values(unsure_until=None))


@dataclass(frozen=True)
class _ToSend:
    """A task about to be sent."""

    task_id: int
    uid: str
    image_id: ImageId
    shown_run_id: int | None  # whose prediction it shows
    suggestions: tuple[list[dict[str, Any]], ...]  # of an adjudication: the results it shows


@dataclass(frozen=True)
class _Draw:
    """What tasks show that are sent for the first time."""

    key: bytes
    blind_share: float
    run: PredictionRun | None

    def is_blind(self, uid: str) -> bool:
        """Drawn by the uid under the key: whoever sees the uid cannot tell."""
        draw = hmac.digest(self.key, f"blind/{uid}".encode(), hashlib.sha256)
        return int.from_bytes(draw[:8]) < self.blind_share * _DRAWS


def _send(
    server: LabelStudio, project: int, requests: Iterator[tuple[list[_ToSend], list[dict[str, Any]]]]
) -> Iterator[tuple[list[_ToSend], list[int] | None]]:
    """What each request made, in their order: while one is out, the one before is noted and the next is prepared."""
    with ThreadPoolExecutor(max_workers=1) as sender:
        out: tuple[list[_ToSend], Future[list[int] | None]] | None = None
        for chunk, tasks in requests:
            arrived = None if out is None else _arrived(*out)
            fail_points.reach("push.before_request")
            out = chunk, sender.submit(server.import_tasks, project, tasks)
            if arrived is not None:
                yield arrived
        if out is not None:
            yield _arrived(*out)


def _arrived(chunk: list[_ToSend], request: "Future[list[int] | None]") -> tuple[list[_ToSend], list[int] | None]:
    ls_task_ids = request.result()
    fail_points.reach("push.after_request")
    return chunk, ls_task_ids


def _requests(
    workspace: Workspace, terms: Terms, draw: _Draw, image_url: Callable[[ImageId], str], min_score: float
) -> Iterator[tuple[list[_ToSend], list[dict[str, Any]]]]:
    """The tasks announced, a request at a time, as Label Studio takes them."""
    data_key = terms.taxonomy.definition.tags.data
    for chunk in _announce(workspace, terms, draw):
        fail_points.reach("push.after_intent")
        suggestions = _suggestions(workspace, terms, chunk, min_score=min_score)
        yield chunk, [_task(each, image_url, suggestions, data_key) for each in chunk]


def _announce(workspace: Workspace, terms: Terms, draw: _Draw) -> Iterator[list[_ToSend]]:
    """Tasks to send, a request at a time and each once: those of a request that failed, then what there is room for."""
    with workspace.database.read() as session:
        rows = session.execute(_in_state(terms, "intended"))
        lost = [_to_send(row, row.prediction_run_id, row.blind) for row in rows]
    if lost:
        with workspace.database.write() as session:
            doubtful = now() + timedelta(seconds=label_studio.IMPORT_TIMEOUT_S)
            session.get_one(Campaign, terms.id).unsure_until = doubtful
    for start in range(0, len(lost), _TASKS_PER_REQUEST):
        yield lost[start : start + _TASKS_PER_REQUEST]
    while chunk := _intend(workspace, terms, draw):
        yield chunk


def _intend(workspace: Workspace, terms: Terms, draw: _Draw) -> list[_ToSend]:
    """Note what is sent next: none if the vendor is busy, or somebody ended the campaign or let it rest meanwhile."""
    noted = update(Task).where(Task.id == bindparam("task_id"))
    noted = noted.values(state="intended", prediction_run_id=bindparam("run_id"), blind=bindparam("is_blind"))
    fail_points.reach("push.before_intent")
    with workspace.database.write() as session:
        if campaigns.state(session.get_one(Campaign, terms.id)) != "open":
            return []
        room = campaigns.room(session, terms.vendor_id)
        size = _TASKS_PER_REQUEST if room is None else min(room, _TASKS_PER_REQUEST)
        planned = session.execute(_in_state(terms, "planned").limit(size)).all()
        predicted = set() if draw.run is None else _predicted(session, draw.run, [row.image_id for row in planned])
        rows, chunk = [], []
        for row in planned:
            run_id, is_blind = row.prediction_run_id, row.blind
            if is_blind is None:
                run_id = draw.run.id if draw.run and row.image_id in predicted else None
                is_blind = run_id is not None and draw.is_blind(row.uid)
            rows.append({"task_id": row.id, "run_id": run_id, "is_blind": is_blind})
            chunk.append(_to_send(row, run_id, is_blind))
        if rows:
            session.connection().execute(noted, rows)
        return chunk


def _in_state(terms: Terms, state: str) -> Select[Any]:
    """The campaign's tasks in a state by rank, as rows: the ORM takes several times as long."""
    of_task = (Task.id, Task.uid, Task.image_id, Task.prediction_run_id, Task.blind, Task.suggestions)
    return select(*of_task).where(Task.campaign_id == terms.id, Task.state == state).order_by(Task.rank)


def _to_send(row: Row[Any], run_id: int | None, is_blind: bool | None) -> _ToSend:
    return _ToSend(row.id, row.uid, ImageId(row.image_id), None if is_blind else run_id, tuple(row.suggestions or ()))


def _sendable(workspace: Workspace, terms: Terms) -> int:
    """How many tasks this push may send."""
    with workspace.database.read() as session:
        states, room = campaigns.count(session, terms.id), campaigns.room(session, terms.vendor_id)
    return states["intended"] + (states["planned"] if room is None else min(states["planned"], room))


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
    arrived = {row.id: there[row.uid][0] for row in rows if row.state in ("planned", "intended")}
    if arrived:
        _note(workspace, arrived)
    known = {row.uid: row.ls_task_id if row.state == "pushed" else there[row.uid][0] for row in rows}
    return len(arrived), {uid for uid, ls_task_id in known.items() if there[uid] != [ls_task_id]}


def _task(
    to_send: _ToSend,
    image_url: Callable[[ImageId], str],
    suggestions: Mapping[ImageId, dict[str, Any]],
    data_key: str,
) -> dict[str, Any]:
    """What is the same for gold and all others; only what is shown differs from task to task."""
    task: dict[str, Any] = {"data": {"uid": to_send.uid, data_key: image_url(to_send.image_id)}}
    if to_send.suggestions:
        task["predictions"] = [{"model_version": _SUGGESTED, "result": result} for result in to_send.suggestions]
    elif to_send.shown_run_id is not None:
        task["predictions"] = [suggestions[to_send.image_id]]
    return task


def _run(session: Session, terms: Terms, model: str) -> PredictionRun:
    """The model's newest run, if what it says can be shown."""
    asked = terms.taxonomy.definition
    shows_boxes = not {"boxes", "rotated-boxes"}.isdisjoint(definitions.shape_kinds(asked))
    if asked.kind != "classification" and not shows_boxes:
        raise InvalidInputError(f"Predictions are shown where one class or boxes are asked for, not for {asked.kind}.")
    run = predictions.newest_run(session, model)
    if (run.kind == "boxes") != shows_boxes:
        raise InvalidInputError(f"{model!r} predicts {run.kind}, and {terms.taxonomy.name!r} asks for {asked.kind}.")
    unknown = _unknown_classes(terms, run)
    if unknown and (run.kind != "boxes" or len(unknown) == len(run.classes)):
        raise InvalidInputError(f"{model!r} predicts {len(unknown)} classes that {terms.taxonomy.name!r} lacks.")
    gold = set(session.scalars(_gold(terms.id)))
    bare = len(gold - _predicted(session, run, gold))
    if bare:
        raise InvalidInputError(
            f"{model!r} has no prediction of {bare} of {len(gold)} gold items, which would tell them from others: "
            "predict them too, or push without predictions."
        )
    return run


def _unknown_classes(terms: Terms, run: PredictionRun) -> list[str]:
    return sorted(set(run.classes) - set(terms.taxonomy.definition.class_names))


def _predicted(session: Session, run: PredictionRun, image_ids: Collection[int]) -> set[int]:
    """Which of these images the run says something of."""
    table = BoxPrediction if run.kind == "boxes" else Prediction
    return set(session.scalars(select(table.image_id).where(table.run_id == run.id, table.image_id.in_(image_ids))))


def _gold(campaign_id: int) -> Select[int]:
    """A query for the images of a campaign that are there to test people."""
    return (
        select(Task.image_id)
        .join(Campaign, Campaign.id == Task.campaign_id)
        .join(Pick, (Pick.batch_id == Campaign.batch_id) & (Pick.image_id == Task.image_id))
        .where(Task.campaign_id == campaign_id, Pick.arm == "gold")
    )


def _suggestions(
    workspace: Workspace, terms: Terms, chunk: Sequence[_ToSend], *, min_score: float
) -> dict[ImageId, dict[str, Any]]:
    """The most probable class, the first of equals, or the boxes, as the run that each task shows saw its image.

    With gold among the items none has a score: a model that learnt from the gold is surer of it than of others.
    """
    with workspace.database.read() as session:
        has_gold = session.scalars(_gold(terms.id).limit(1)).first() is not None
        found = {}
        for run_id in {each.shown_run_id for each in chunk} - {None}:
            run = session.get_one(PredictionRun, run_id)
            image_ids = [each.image_id for each in chunk if each.shown_run_id == run_id]
            said = (
                _boxes(session, terms, run, image_ids, min_score=min_score, has_scores=not has_gold)
                if run.kind == "boxes"
                else _likeliest_class(session, terms, run, image_ids)
            )
            for image_id, (result, score) in zip(image_ids, said, strict=True):
                found[image_id] = label_config.prediction(
                    result, score=None if has_gold else score, model_version=f"{run.model} {run.digest[:8]}"
                )
        return found


def _likeliest_class(
    session: Session, terms: Terms, run: PredictionRun, image_ids: Sequence[ImageId]
) -> Iterator[tuple[list[Part], float]]:
    for row in predictions.read(session, run, image_ids):
        yield label_config.result(run.classes[row.argmax()], terms.taxonomy.definition.tags), float(row.max())


def _boxes(
    session: Session,
    terms: Terms,
    run: PredictionRun,
    image_ids: Sequence[ImageId],
    *,
    min_score: float,
    has_scores: bool,
) -> Iterator[tuple[list[Part], float | None]]:
    """Boxes of the taxonomy's classes, of several passes the first's, and the mean of their scores, as for sorting."""
    asked = terms.taxonomy.definition
    sides = session.execute(select(Image.id, Image.width, Image.height).where(Image.id.in_(image_ids)))
    sizes = {image_id: ImageSize(width, height) for image_id, width, height in sides}
    for image_id, (boxes, *_) in zip(image_ids, predictions.read_boxes(session, run, image_ids), strict=True):
        shown = [one for one in boxes if one.name in asked.class_names and one.score >= min_score]
        regions = [
            Region(
                id=f"{run.digest[:8]}-{place}",
                shape=Box(one.x, one.y, one.width, one.height),
                classes=(one.name,),
                score=one.score if has_scores else None,
            )
            for place, one in enumerate(shown)
        ]
        result = results.write(Content(regions=tuple(regions)), asked, sizes[image_id])
        yield result, statistics.fmean(one.score for one in shown) if shown else None
