"""The service: signed images for Label Studio, the dashboard, and the catalog as JSON under /v1."""

import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select

from api import adjudication_page, batch_page, dashboard, image_files, image_urls, jobs, pages, v1
from curation.decode import UndecodableError
from store.errors import ConflictError, InvalidInputError, NotFoundError, RemoteError, RequestError, WinnowError
from store.schema import ImageId, now
from store.workspace import Workspace

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.datastructures import Address

LOOPBACK_HOSTS: Sequence[str] = ("127.0.0.1", "localhost")
_FOR_ALL = ("/images/", "/v1/hooks/", "/health")  # what annotators' browsers and Label Studio need; all else is ours

_STATUS: dict[type, int] = {
    NotFoundError: 404,
    ConflictError: 409,
    RequestError: 422,
    RemoteError: 502,
    WinnowError: 500,
}
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # an image's address is a secret
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}


def create_app(
    workspace: Workspace,
    *,
    hosts: Sequence[str] = LOOPBACK_HOSTS,
    hint: Callable[[int], None] = lambda _campaign: None,
    is_open: bool = False,
) -> "FastAPI":
    """The web application over one workspace.

    Args:
        workspace: what it shows.
        hosts: only requests that name one of these are answered.
        hint: is told which campaign Label Studio says has changed.
        is_open: Whether other machines see the dashboard and the API too; by default only signed images, and the
            receiver of webhooks. An annotator who can load an image could else read which of them are gold.
    """
    from fastapi import FastAPI, Request, Response
    from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
    from fastapi.staticfiles import StaticFiles
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    app = FastAPI(title="Winnow", docs_url=None, redoc_url=None)  # those pages load scripts from elsewhere
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    _refuse_in_sentences(app)

    @app.middleware("http")
    async def keep_strangers_out(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        if is_open or request.url.path.startswith(_FOR_ALL) or _is_of_this_machine(request.client):
            return await call_next(request)
        sentence = "This machine shows the dashboard and the API to itself alone. See: winnow serve --open."
        return JSONResponse({"error": sentence}, 403)

    @app.middleware("http")
    async def add_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        response.headers.update(_HEADERS)
        return response

    @app.get("/", response_class=HTMLResponse)
    def show_dashboard() -> str:
        with workspace.database.read() as session:
            model = dashboard.read(session)
        return pages.dashboard(model, jobs.recent(workspace, limit=8), home=workspace.home)

    @app.get("/batches/{batch_id}", response_class=HTMLResponse)
    def show_batch_page(batch_id: int, arm: str | None = None, page: int = 1) -> str:
        return pages.batch(batch_page.read(workspace, batch_id, arm=arm, page=page), home=workspace.home)

    @app.get("/adjudication", response_class=HTMLResponse)
    def show_adjudication(campaign: str | None = None, task: int | None = None) -> str:
        return pages.adjudication(adjudication_page.read(workspace, campaign=campaign, task=task), home=workspace.home)

    @app.get("/questions", response_class=HTMLResponse)
    def show_questions(campaign: str | None = None) -> str:
        return pages.questions(adjudication_page.read_questions(workspace, campaign=campaign), home=workspace.home)

    @app.get("/images/{token}")
    def show_image(token: str) -> Response:
        headers = {"Access-Control-Allow-Origin": "*"}  # Label Studio's pages come from another origin
        try:
            image_id = image_urls.verify(workspace.key, token, now=now())
            shown = image_files.shown(workspace, image_id)
        except UndecodableError as error:
            return JSONResponse({"error": f"This image cannot be shown: {error}."}, 422, headers)
        except InvalidInputError as error:
            return JSONResponse({"error": str(error)}, 403, headers)
        except NotFoundError:  # its own sentence names the image, which would tell gold
            sentence = "The file behind this link is gone or has changed. Ask whoever runs Winnow to put it back."
            return JSONResponse({"error": sentence}, 404, headers)
        headers["Cache-Control"] = "private, max-age=3600"
        return Response(shown.data, media_type=shown.media_type, headers=headers)

    @app.get("/thumbnails/{image_id}.jpg")
    def show_thumbnail(image_id: int, size: int = 192) -> FileResponse:
        path = image_files.thumbnail(workspace, ImageId(image_id), size=size)
        return FileResponse(path, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=300"})

    @app.get("/health")
    def say_health() -> dict[str, str]:
        with workspace.database.read() as session:
            session.execute(select(1))
        return {"status": "up"}

    app.include_router(v1.routes(workspace, hint=hint))
    return app


def _is_of_this_machine(client: "Address | None") -> bool:
    try:
        return client is not None and ipaddress.ip_address(client.host).is_loopback
    except ValueError:
        return False


def _refuse_in_sentences(app: "FastAPI") -> None:
    """Whatever is wrong with a request, the answer is one sentence."""
    from fastapi import Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse

    @app.exception_handler(WinnowError)
    def refuse(_request: Request, error: WinnowError) -> JSONResponse:
        status = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
        return JSONResponse({"error": str(error)}, status)

    @app.exception_handler(RequestValidationError)
    def refuse_values(_request: Request, error: RequestValidationError) -> JSONResponse:
        complaints = "; ".join(f"{complaint['loc'][-1]}: {complaint['msg'].lower()}" for complaint in error.errors())
        return JSONResponse({"error": f"The request cannot be used: {complaints}."}, 422)

    @app.exception_handler(OverflowError)
    def refuse_number(_request: Request, _error: OverflowError) -> JSONResponse:
        return JSONResponse({"error": "A number in the request is too large."}, 422)
