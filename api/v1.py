"""The catalog as JSON under /v1, and where Label Studio tells of changes."""

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from api import adjudication_page, dashboard, documents, jobs, schedules
from curation import versions
from labeling import webhooks
from qa import adjudication, decisions, lots
from store.workspace import Workspace

if TYPE_CHECKING:
    from fastapi import APIRouter


def routes(workspace: Workspace, *, hint: Callable[[int], None]) -> "APIRouter":
    """The routes over one workspace; `hint` is told which campaign Label Studio says has changed."""
    from fastapi import APIRouter, Header, Response
    from fastapi.responses import JSONResponse
    from pydantic import BaseModel

    class Decision(BaseModel, extra="forbid"):
        campaign: str
        task: int
        answer: str | None = None
        reason: str
        comment: str = ""
        author: str

    router = APIRouter(prefix="/v1")

    @router.get("/status")
    def show_status() -> dict[str, Any]:
        with workspace.database.read() as session:
            return documents.status(session)

    @router.get("/images")
    def list_images(
        after: int = 0, limit: int = 100, where: str | None = None, sort: str | None = None
    ) -> dict[str, Any]:
        with workspace.database.read() as session:
            return documents.images(session, after=after, limit=limit, where=where, sort=sort)

    @router.get("/images/{image_id}")
    def show_image_record(image_id: int) -> dict[str, Any]:
        with workspace.database.read() as session:
            return documents.image(session, image_id)

    @router.get("/quarantine")
    def list_quarantine() -> dict[str, Any]:
        with workspace.database.read() as session:
            return documents.quarantine(session)

    @router.get("/duplicates")
    def list_duplicates(after: int = 0, limit: int = 100) -> dict[str, Any]:
        with workspace.database.read() as session:
            return documents.duplicates(session, after=after, limit=limit)

    @router.get("/batches/{batch_id}")
    def show_batch(batch_id: int) -> dict[str, Any]:
        with workspace.database.read() as session:
            return documents.batch(session, batch_id)

    @router.get("/campaigns")
    def list_campaigns() -> dict[str, Any]:
        with workspace.database.read() as session:
            return {"campaigns": [asdict(campaign) for campaign in dashboard.campaigns(session)]}

    @router.get("/lots")
    def list_lots() -> dict[str, Any]:
        with workspace.database.read() as session:
            return documents.lots(session)

    @router.get("/lots/{lot_id}")
    def show_lot(lot_id: int) -> dict[str, Any]:
        with workspace.database.read() as session:
            found = lots.show(session, lot_id)
        return documents.lot(found)

    @router.get("/queue")
    def show_queue(campaign: str | None = None) -> dict[str, Any]:
        with workspace.database.read() as session:
            queue = adjudication.queue(workspace, session, campaign)
        return asdict(queue)

    @router.post("/decisions", status_code=201)
    def decide(said: Decision, token: Annotated[str, Header(alias=adjudication_page.HEADER)] = "") -> Any:
        if not adjudication_page.is_genuine(workspace, token):
            return JSONResponse({"error": "This was not sent by a page of this workspace. Open /adjudication."}, 403)
        made = decisions.decide(
            workspace,
            said.campaign,
            f"task:{said.task}",
            answer=said.answer,
            reason=said.reason,
            comment=said.comment,
            author=said.author,
        )
        return asdict(made)

    @router.post("/hooks/{campaign_id}", status_code=202)
    def take_hint(campaign_id: int, secret: Annotated[str, Header(alias=webhooks.HEADER)] = "") -> Response:
        if not webhooks.is_genuine(workspace.key, campaign_id, secret):
            return JSONResponse({"error": "This was not sent by a Label Studio that this workspace knows."}, 403)
        hint(campaign_id)
        return Response(status_code=202)

    @router.get("/versions/{reference}")
    def show_version(reference: str) -> dict[str, Any]:
        return asdict(versions.show(workspace, reference))

    @router.get("/schedules")
    def list_schedules() -> dict[str, Any]:
        return {"schedules": [schedules.document(schedule) for schedule in schedules.load(workspace)]}

    @router.get("/jobs")
    def list_jobs(limit: int = 50) -> dict[str, Any]:
        return {"jobs": [asdict(job) for job in jobs.recent(workspace, limit=limit)]}

    return router
