"""The catalog in the FiftyOne App: its MongoDB, its dataset and its server, all inside the workspace.

FiftyOne itself runs in child processes only: it reads its settings once, at import, and keeps
threads. What it writes for itself goes to `<home>/fiftyone`, and it reports to nobody.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import select

from curation import mongodb, servers
from curation.explore_dataset import MAP, NAME, DatasetSummary
from store.errors import NotFoundError, RemoteError
from store.schema import Image
from store.workspace import Workspace

DEFAULT_PORT = 5151
_START_TIMEOUT_S = 180


@dataclass(frozen=True)
class View:
    """An open App and the MongoDB behind it."""

    url: str
    summary: DatasetSummary
    database: servers.Server
    app: servers.Server

    def stop(self) -> None:
        """End both. Stopping twice is a no-op."""
        self.app.stop()
        self.database.stop()


def start(workspace: Workspace, *, port: int = DEFAULT_PORT) -> View:
    """Build the dataset and open the App on it; another port is taken when this one is busy.

    Raises:
        NotFoundError: the catalog is empty.
        ConflictError: the view of this workspace is open already.
        RemoteError: FiftyOne or MongoDB failed; the message names the log.
    """
    with workspace.database.read() as session:
        if session.scalar(select(Image.id).limit(1)) is None:
            raise NotFoundError("There is no image to explore yet. Run: winnow ingest FOLDER.")
    database = mongodb.start(workspace)
    try:
        summary = build(workspace, database)
        app = _start_app(workspace, database, port)
    except BaseException:
        database.stop()
        raise
    url = f"http://{servers.HOST}:{app.port}/datasets/{NAME}"
    return View(f"{url}?workspace={MAP}" if summary.on_the_map else url, summary, database, app)


def build(workspace: Workspace, database: servers.Server) -> DatasetSummary:
    """Make the dataset in `database` again from what the catalog holds now; an open App shows it when reloaded.

    Raises:
        RemoteError: FiftyOne failed; the message names the log.
    """
    log = workspace.home / "logs" / "explore-build.log"
    with log.open("ab") as output:
        result = subprocess.run(
            [sys.executable, "-P", "-m", "curation.explore_dataset", str(workspace.home)],
            env=environment(workspace, database),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
            check=False,
        )
    if result.returncode:
        raise RemoteError(f"FiftyOne could not build the dataset (exit code {result.returncode}); see {log}.")
    return DatasetSummary(**json.loads(result.stdout.splitlines()[-1]))  # FiftyOne may have printed before


def environment(workspace: Workspace, database: servers.Server) -> dict[str, str]:
    """What a process needs to see the dataset: ours, without the user's own FiftyOne settings."""
    folder = workspace.home / "fiftyone"
    folder.mkdir(exist_ok=True)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FIFTYONE_")}
    return inherited | {
        "HOME": str(folder),
        "FIFTYONE_DATABASE_URI": mongodb.uri(database),
        "FIFTYONE_DATABASE_VALIDATION": "false",  # mongod 6.0 is older than it likes
        "FIFTYONE_DO_NOT_TRACK": "true",
    }


def _start_app(workspace: Workspace, database: servers.Server, port: int) -> servers.Server:
    main = _fiftyone_folder() / "server" / "main.py"
    wanted = port if servers.is_free(port) else 0
    return servers.start(
        "The FiftyOne App",
        [sys.executable, str(main), "--address", servers.HOST, "--port", str(wanted)],
        log=workspace.home / "logs" / "explore-app.log",
        timeout_s=_START_TIMEOUT_S,
        environment=environment(workspace, database),
        is_ready=_answers,
    )


def _answers(port: int) -> bool:
    import httpx

    try:
        return httpx.get(f"http://{servers.HOST}:{port}/fiftyone", timeout=5).is_success
    except httpx.TransportError:
        return False


def _fiftyone_folder() -> Path:
    package = find_spec("fiftyone")
    for folder in (package and package.submodule_search_locations) or []:
        return Path(folder)
    raise RemoteError("FiftyOne is not installed. Run: make setup.")
