"""The few calls we make to a Label Studio server; its SDK, and the SDK's errors, stop here."""

import errno
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import httpx

from store.errors import RemoteError

MOMENT = "%Y-%m-%dT%H:%M:%S.%fZ"  # of a time, UTC
IMPORT_TIMEOUT_S = 300  # how long an import is waited for
NOBODY = 0  # stands for users whom the server forgot

_TIMEOUT_S = 60
_POLL_S = 0.5
_PAGE = 500  # tasks
_ACTIONS = ("ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED", "TASKS_DELETED")
_OF_ANNOTATIONS = ("result", "completed_by", "was_cancelled", "lead_time", "ground_truth")
_OF_EXPANDED_ANNOTATIONS = tuple(f"annotations.{name}" for name in ("id", "updated_at", *_OF_ANNOTATIONS))
_AT_ONCE = {"expand": "annotations"}  # the server then writes those of a page in a third of the time
_REMOVED = "Deleted"  # what the server calls users that were removed from the organization
_ONCE = 0  # retries of a request that creates: a repeated one would create twice


@dataclass(frozen=True)
class RemoteAnnotation:
    """One annotation as the server holds it now."""

    ls_annotation_id: int
    ls_user_id: int  # NOBODY once the user was deleted
    result: list[Any]
    skipped: bool
    lead_time_s: float | None
    updated_at: str
    ground_truth: bool = False


@dataclass(frozen=True)
class RemoteTask:
    """One task as the server holds it now."""

    ls_task_id: int
    uid: str | None  # none in a task that does not say one
    annotation_count: int
    overlap: int  # how many people's answers it is offered for, skips not counted
    finished: bool  # it is offered to nobody any more


@dataclass(frozen=True)
class AnnotatedTask:
    """One task with everything that was answered."""

    ls_task_id: int
    uid: str | None
    updated_at: str  # as MOMENT says
    annotations: list[RemoteAnnotation]


@dataclass(frozen=True)
class RemoteProject:
    """One project as the server holds it now."""

    ls_project_id: int
    description: str
    tasks: int
    annotations: int  # skips among them, drafts not
    label_config: str
    overlap: int  # annotations wanted of each task


class LabelStudio:
    """A connection to one server under one token; made by `connect`.

    Every call raises RemoteError when the server cannot be reached or refuses.
    """

    def __init__(self, url: str, sdk: Any, transport: httpx.Client) -> None:  # the SDK's types are too loose to help
        self.url = url
        self._sdk = sdk
        self._transport = transport

    def find_project(self, marker: str) -> int | None:
        """The project whose description holds `marker`; the oldest if there are several."""
        with self._errors():
            projects = self._sdk.projects.list(include="id,description", page_size=_PAGE)
            return min((each.id for each in projects if marker in (each.description or "")), default=None)

    def project(self, ls_project_id: int) -> RemoteProject | None:
        """One project; none if the server has none of this number."""
        found = self._unless_gone(self._sdk.projects.get, ls_project_id)
        if found is None:
            return None
        annotations = (found.total_annotations_number or 0) + (found.skipped_annotations_number or 0)
        return RemoteProject(
            found.id,
            found.description or "",
            found.task_number or 0,
            annotations,
            found.label_config or "",
            found.maximum_annotations or 1,
        )

    def describe(self, ls_project_id: int, description: str) -> None:
        """Give a project another description."""
        with self._errors():
            self._sdk.projects.update(ls_project_id, description=description)

    def create_project(self, title: str, *, description: str, label_config: str, instruction: str, overlap: int) -> int:
        """A new project that shows pre-annotations; asks once, even if the answer is lost.

        An `instruction`, HTML, is shown to people before their first task.
        """
        with self._errors():
            project = self._sdk.projects.create(
                title=title,
                description=description,
                label_config=label_config,
                expert_instruction=instruction,
                show_instruction=bool(instruction),
                maximum_annotations=overlap,
                show_collab_predictions=True,
                request_options={"max_retries": _ONCE},
            )
            return int(project.id)

    def import_tasks(self, project: int, tasks: Sequence[dict[str, Any]]) -> list[int] | None:
        """Create all of `tasks` or none; asks once, even if the answer is lost.

        Past the SDK, whose own reading of the tasks takes a twelfth of the time that the server needs to make them.

        Returns:
            Their ids, in the order of `tasks`; none from an Enterprise server, which makes them later and is waited
            for, but names no task.
        """
        from label_studio_sdk.core.api_error import ApiError

        with self._errors():
            answer = self._transport.post(
                f"{self.url.rstrip('/')}/api/projects/{project}/import",
                params={"return_task_ids": "true"},
                json=tasks,
                headers=self._headers(),
                timeout=IMPORT_TIMEOUT_S,
            )
            try:
                told = answer.raise_for_status().json()
            except (httpx.HTTPStatusError, ValueError) as error:
                raise ApiError(status_code=answer.status_code) from error
        if "import" in told:
            self._await_import(project, told["import"])
            return None
        created = told.get("task_ids") or []
        if len(created) != len(tasks):
            message = f"Label Studio at {self.url} took {len(tasks)} tasks and named {len(created)}. Run this again."
            raise RemoteError(message)
        return list(created)

    def _await_import(self, project: int, import_: int) -> None:
        deadline = time.monotonic() + IMPORT_TIMEOUT_S
        while True:
            with self._errors():
                status = self._sdk.tasks.create_many_status(project, import_).status
            if status == "completed":
                return
            if status == "failed":
                raise RemoteError(
                    f"Label Studio at {self.url} failed in its import {import_}: its log says why. Run the same again."
                )
            if time.monotonic() + _POLL_S > deadline:
                message = f"Label Studio at {self.url} has not finished its import {import_} in {IMPORT_TIMEOUT_S} s."
                raise RemoteError(f"{message} Run the same again.")
            time.sleep(_POLL_S)

    def tasks(self, project: int, *, ls_task_id: int | None = None) -> Iterator[list[RemoteTask]]:
        """Pages of the tasks, by id; of one alone, if it is named."""
        fields = "id,data,total_annotations,cancelled_annotations,overlap,is_labeled"
        filters = [] if ls_task_id is None else [_filter("id", "Number", ls_task_id, operator="equal")]
        for page in self._pages(project, fields, filters):
            yield [
                RemoteTask(
                    task.id,
                    _uid(task.data),
                    task.total_annotations + task.cancelled_annotations,
                    overlap=task.overlap,
                    finished=task.is_labeled,
                )
                for task in page
            ]

    def offer(self, ls_task_id: int, *, overlap: int, finished: bool) -> None:
        """Offer a task until so many people have answered it; to nobody, if it is `finished`.

        The server itself reckons whether it is finished only when the next answer to it comes.
        """
        with self._errors():
            self._sdk.tasks.update(str(ls_task_id), overlap=overlap, is_labeled=finished)

    def annotated(self, project: int, *, changed_since: str | None = None) -> Iterator[list[AnnotatedTask]]:
        """Pages of tasks with their annotations by id: all, or those that changed after a moment the server named."""
        fields = ",".join(("id,data,updated_at,annotations", *_OF_ANNOTATIONS, *_OF_EXPANDED_ANNOTATIONS))
        filters = [] if changed_since is None else [_filter("updated_at", "Datetime", changed_since)]
        for page in self._pages(project, fields, filters):
            yield [
                AnnotatedTask(
                    task.id, _uid(task.data), _moment(task.updated_at), list(map(_annotation, task.annotations))
                )
                for task in page
            ]

    def newest_change(self, project: int, *, since: str | None = None) -> str | None:
        """When a task changed last, as MOMENT says; none if there is no task, or none that changed after `since`."""
        filters = [] if since is None else [_filter("updated_at", "Datetime", since)]
        newest = self._page(project, filters, order="-tasks:updated_at", fields="id,updated_at", size=1)
        return _moment(newest[0].updated_at) if newest else None

    def addresses(self, project: int, key: str) -> Iterator[list[tuple[int, Any]]]:
        """Pages of the tasks' ids and what their data holds under `key`, as it was imported; none where nothing."""
        for page in self._pages(project, "id,data", resolve_uri=False):
            yield [(task.id, task.data.get(key)) for task in page]

    def download(self, address: str, *, with_token: bool, limit: int) -> bytes:
        """What is at an address, on this server or, without the token, elsewhere.

        Raises:
            OSError: it cannot be had, or is over `limit` bytes; `strerror` says why, and quotes nothing.
        """
        with self._errors():
            ours = self._headers() if with_token else {}
        headers = {name: value for name, value in ours.items() if name == "Authorization"}
        data = bytearray()
        try:
            with self._transport.stream("GET", address, headers=headers, follow_redirects=True) as answer:
                if with_token and answer.status_code == 401:
                    raise RemoteError(f"Label Studio at {self.url} {_refusal(401)}")
                if answer.status_code != 200:
                    raise OSError(errno.EIO, f"its server answered with status {answer.status_code}")
                for block in answer.iter_bytes():
                    data += block
                    if len(data) > limit:
                        raise OSError(errno.EFBIG, f"it is over {limit // 1_000_000} MB")
        except (httpx.RequestError, httpx.InvalidURL) as error:
            if with_token:
                raise RemoteError(f"Label Studio at {self.url} did not give a file. Run the same again.") from error
            raise OSError(errno.EIO, "no answer") from None  # their messages may quote a signed address
        return bytes(data)

    def create_annotation(self, ls_task_id: int, annotation: RemoteAnnotation) -> None:
        """Put an annotation back under its author; asks once, even if the answer is lost."""
        with self._errors():
            self._sdk.annotations.create(
                ls_task_id,
                **_said(annotation),
                completed_by=annotation.ls_user_id,
                request_options={"max_retries": _ONCE},
            )

    def change_annotation(self, ls_annotation_id: int, annotation: RemoteAnnotation) -> None:
        """Make an annotation say what `annotation` says; its author stays."""
        with self._errors():
            self._sdk.annotations.update(
                ls_annotation_id,
                **_said(annotation),
            )

    def task_of(self, ls_annotation_id: int, project: int) -> RemoteTask | None:
        """The task of a project that has the annotation of this number; of one that was deleted or lost with the
        newest backup, the number can be another one's.
        """
        found = self._unless_gone(self._sdk.annotations.get, ls_annotation_id)
        if found is None or found.project != project:
            return None
        return next((task for page in self.tasks(project, ls_task_id=found.task) for task in page), None)

    def ensure_webhook(self, project: int, url: str, headers: dict[str, str], *, path: str) -> None:
        """One webhook of the project at `url`, told of every change of annotations and tasks, without their content.

        Others whose address ends in `path`, which were at another address of the same receiver, go.
        """
        there = self._webhooks(project, path)
        right = [hook.id for hook in there if (hook.url, hook.headers, hook.is_active) == (url, headers, True)][:1]
        if not right:
            with self._errors():
                self._sdk.webhooks.create(
                    url=url,
                    project=project,
                    headers=headers,
                    actions=_ACTIONS,
                    send_for_all_actions=False,
                    send_payload=False,
                    request_options={"max_retries": _ONCE},
                )
        for hook in there:
            if hook.id not in right:
                self._unless_gone(self._sdk.webhooks.delete, hook.id)

    def remove_webhooks(self, project: int, path: str) -> None:
        """Remove the webhooks of the project whose address ends in `path`."""
        for hook in self._webhooks(project, path):
            self._unless_gone(self._sdk.webhooks.delete, hook.id)

    def _webhooks(self, project: int, path: str) -> list[Any]:
        with self._errors():
            return [hook for hook in self._sdk.webhooks.list(project=project) if hook.url.endswith(path)]

    def delete_unanswered(self, project: int, ls_task_ids: Sequence[int]) -> None:
        """Remove those of `ls_task_ids` that nobody has answered or skipped by the time the server removes them."""
        items = [_filter(f"{kind}_annotations", "Number", 0, operator="equal") for kind in ("total", "cancelled")]
        for start in range(0, len(ls_task_ids), _PAGE):
            with self._errors():
                self._sdk.actions.create(
                    id="delete_tasks",
                    project=project,
                    filters={"conjunction": "and", "items": items},
                    selected_items={"all": False, "included": list(ls_task_ids[start : start + _PAGE])},
                )

    def emails(self) -> dict[int, str]:
        """The e-mail of every user, by their id."""
        with self._errors():
            return {user.id: user.email for user in self._sdk.users.list()}

    def members(self) -> set[int]:
        """The ids of the users who can log in: neither deleted nor removed from the organization."""
        return {ls_user_id for ls_user_id, email in self.emails().items() if email != _REMOVED}

    def _pages(
        self, project: int, fields: str, filters: Sequence[dict[str, Any]] = (), *, resolve_uri: bool | None = None
    ) -> Iterator[Sequence[Any]]:
        """Tasks in the order of their ids, each page asked for by the last id of the one before.

        Pages asked for by number shift when a task is deleted meanwhile, and hide another one.
        """
        after = 0
        while True:
            items = [_filter("id", "Number", after), *filters]
            page = self._page(project, items, order="tasks:id", fields=fields, size=_PAGE, resolve_uri=resolve_uri)
            if page:
                yield page
            if not page or len(page) < _PAGE:
                return
            after = page[-1].id

    def _page(
        self,
        project: int,
        filters: Sequence[dict[str, Any]],
        *,
        order: str,
        fields: str,
        size: int,
        resolve_uri: bool | None = None,
    ) -> Sequence[Any]:
        query = {"filters": {"conjunction": "and", "items": filters}, "ordering": [order]}
        with self._errors():
            page: Sequence[Any] = self._sdk.tasks.list(
                project=project,
                query=json.dumps(query),
                include=fields,
                fields="all",
                resolve_uri=resolve_uri,
                page=1,
                page_size=size,
                request_options={"additional_query_parameters": _AT_ONCE},
            ).items
        return page

    def _unless_gone(self, call: Callable[[Any], Any], number: Any) -> Any:
        """What the call for one thing returns; none if the server has none of this number."""
        from label_studio_sdk.core.api_error import ApiError

        with self._errors():
            try:
                return call(number)
            except ApiError as error:
                if error.status_code == 404:
                    return None
                raise

    def _headers(self) -> dict[str, str]:
        """What the SDK says with each request, the token among it; it may ask the server for another token."""
        return dict(self._sdk._client_wrapper.get_headers())

    def _errors(self) -> AbstractContextManager[None]:
        return _errors(self.url)


@contextmanager
def connect(url: str, token: str) -> Iterator[LabelStudio]:
    """A connection to the server at `url`, closed when the block ends."""
    from label_studio_sdk import LabelStudio as Sdk

    with httpx.Client(timeout=_TIMEOUT_S) as transport:
        with _errors(url):  # of a personal access token, it asks the server for another at once
            sdk: Any = cast(Any, Sdk)(base_url=url, api_key=token, httpx_client=transport)
        yield LabelStudio(url, sdk, transport)


@contextmanager
def _errors(url: str) -> Iterator[None]:
    """Say in one sentence, without the token, what the SDK says with headers and bodies."""
    from label_studio_sdk.core.api_error import ApiError
    from label_studio_sdk.core.parse_error import ParsingError

    try:
        yield
    except (ApiError, ParsingError) as error:
        raise RemoteError(f"Label Studio at {url} {_refusal(error.status_code)}") from error
    except httpx.TimeoutException as error:
        raise RemoteError(f"Label Studio at {url} did not answer in time. Run the same again.") from error
    except httpx.TransportError as error:
        message = f"Label Studio at {url} cannot be reached ({type(error).__name__}). Start it; run this again."
        raise RemoteError(message) from error


def _filter(column: str, kind: str, value: object, *, operator: str = "greater") -> dict[str, Any]:
    return {"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value}


def _uid(data: dict[str, Any]) -> str | None:
    """What a task says it is called: ours say it, and others may hold anything under that key."""
    uid = data.get("uid")
    return uid if isinstance(uid, str) else None


def _moment(told: datetime | str) -> str:
    """In the one form that the server's filters read."""
    moment = datetime.fromisoformat(told) if isinstance(told, str) else told
    return moment.astimezone(UTC).strftime(MOMENT)


def _said(annotation: RemoteAnnotation) -> dict[str, Any]:
    """What an annotation says, as a request does."""
    return {
        "result": annotation.result,
        "was_cancelled": annotation.skipped,
        "lead_time": annotation.lead_time_s,
        "ground_truth": annotation.ground_truth,
    }


def _annotation(told: dict[str, Any]) -> RemoteAnnotation:
    return RemoteAnnotation(
        ls_annotation_id=told["id"],
        ls_user_id=told["completed_by"] or NOBODY,
        result=told["result"] or [],
        skipped=told["was_cancelled"],
        lead_time_s=told["lead_time"],
        updated_at=told["updated_at"],
        ground_truth=told["ground_truth"],
    )


def _refusal(status: int | None) -> str:
    if status == 401:
        return "refused the token. Give the vendor a valid one: winnow vendor add."
    if status == 403:
        return "does not let this token's user do that. Give the vendor an administrator's token: winnow vendor add."
    if status == 404:
        return "does not know what was asked for. Is this the right server, and is the project still there?"
    return f"answered with status {status}. Its log says why; run the same again."
