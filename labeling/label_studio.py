"""The few calls we make to a Label Studio server; its SDK, and the SDK's errors, stop here."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from store.errors import RemoteError

_TIMEOUT_S = 60
_IMPORT_TIMEOUT_S = 300
_PAGE = 500  # tasks
_ONCE = 0  # retries of a request that creates: a repeated one would create twice


@dataclass(frozen=True)
class RemoteAnnotation:
    """One annotation as the server holds it now."""

    ls_annotation_id: int
    ls_user_id: int | None  # none once the user was removed
    result: list[Any]
    skipped: bool
    lead_time_s: float | None
    updated_at: str


@dataclass(frozen=True)
class RemoteTask:
    """One task as the server holds it now."""

    ls_task_id: int
    uid: str | None  # none in a task that is not ours
    annotation_count: int


class LabelStudio:
    """A connection to one server under one token; made by `connect`.

    Every call raises RemoteError when the server cannot be reached or refuses.
    """

    def __init__(self, url: str, sdk: Any) -> None:  # the SDK's types are too loose to help
        self.url = url
        self._sdk = sdk

    def find_project(self, marker: str) -> int | None:
        """The project whose description holds `marker`; the oldest if there are several."""
        with self._errors():
            projects = self._sdk.projects.list(include="id,description", page_size=_PAGE)
            return min((each.id for each in projects if marker in (each.description or "")), default=None)

    def create_project(self, title: str, *, description: str, label_config: str, overlap: int) -> int:
        """A new project that shows pre-annotations; asks once, even if the answer is lost."""
        with self._errors():
            project = self._sdk.projects.create(
                title=title,
                description=description,
                label_config=label_config,
                maximum_annotations=overlap,
                show_collab_predictions=True,
                request_options={"max_retries": _ONCE},
            )
            return int(project.id)

    def import_tasks(self, project: int, tasks: Sequence[dict[str, Any]]) -> None:
        """Create all of `tasks` or none; asks once, even if the answer is lost."""
        with self._errors():
            self._sdk.projects.import_tasks(
                project,
                request=tasks,
                request_options={"max_retries": _ONCE, "timeout": _IMPORT_TIMEOUT_S},
            )

    def tasks(self, project: int, *, after: int = 0) -> list[RemoteTask]:
        """The tasks with ids above `after`, ascending."""
        pages = self._pages(project, "id,data,total_annotations,cancelled_annotations", after)
        return [
            RemoteTask(task.id, task.data.get("uid"), task.total_annotations + task.cancelled_annotations)
            for task in pages
        ]

    def annotations(self, project: int) -> dict[str, list[RemoteAnnotation]]:
        """Every annotation of every task of ours, by the task's uid; a task without any has an empty list."""
        fields = "id,data,annotations,result,completed_by,was_cancelled,lead_time,updated_at"
        found: dict[str, list[RemoteAnnotation]] = {}
        for task in self._pages(project, fields, 0):
            if uid := task.data.get("uid"):
                found.setdefault(uid, []).extend(
                    RemoteAnnotation(
                        ls_annotation_id=each["id"],
                        ls_user_id=each["completed_by"],
                        result=each["result"] or [],
                        skipped=each["was_cancelled"],
                        lead_time_s=each["lead_time"],
                        updated_at=each["updated_at"],
                    )
                    for each in task.annotations
                )
        return found

    def delete_task(self, ls_task_id: int) -> None:
        """Remove one task."""
        with self._errors():
            self._sdk.tasks.delete(str(ls_task_id))

    def emails(self) -> dict[int, str]:
        """The e-mail of every user, by their id."""
        with self._errors():
            return {user.id: user.email for user in self._sdk.users.list()}

    def _pages(self, project: int, fields: str, after: int) -> Iterator[Any]:
        """Tasks in the order of their ids, each page asked for by the last id of the one before.

        Pages asked for by number shift when a task is deleted meanwhile, and hide another one.
        """
        while True:
            newer = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": after}
            query = {"filters": {"conjunction": "and", "items": [newer]}, "ordering": ["tasks:id"]}
            with self._errors():
                page = self._sdk.tasks.list(
                    project=project, query=json.dumps(query), include=fields, fields="all", page=1, page_size=_PAGE
                ).items
            yield from page or []
            if not page or len(page) < _PAGE:
                return
            after = page[-1].id

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Say in one sentence, without the token, what the SDK says with headers and bodies."""
        from label_studio_sdk.core.api_error import ApiError

        try:
            yield
        except ApiError as error:
            raise RemoteError(f"Label Studio at {self.url} {_refusal(error.status_code)}") from error
        except httpx.TimeoutException as error:
            raise RemoteError(f"Label Studio at {self.url} did not answer in time. Run the same again.") from error
        except httpx.TransportError as error:
            message = (
                f"Label Studio at {self.url} cannot be reached ({type(error).__name__}). Start it; run this again."
            )
            raise RemoteError(message) from error


@contextmanager
def connect(url: str, token: str) -> Iterator[LabelStudio]:
    """A connection to the server at `url`, closed when the block ends."""
    from label_studio_sdk import LabelStudio as Sdk

    with httpx.Client(timeout=_TIMEOUT_S) as transport:
        sdk: Any = Sdk
        yield LabelStudio(url, sdk(base_url=url, api_key=token, httpx_client=transport))


def _refusal(status: int | None) -> str:
    if status == 401:
        return "refused the token. Give the vendor a valid one: winnow vendor add."
    if status == 403:
        return "does not let this token's user do that. Give the vendor an administrator's token: winnow vendor add."
    if status == 404:
        return "does not know what was asked for. Is this the right server, and is the project still there?"
    return f"answered with status {status}. Its log says why; run the same again."
