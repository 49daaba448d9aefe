"""The servers a demo runs, and the record by which a later command can end them."""

import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from api import ports
from api.demo import label_studio_server
from api.demo.label_studio_server import LabelStudioServer
from curation import explore, servers
from curation.servers import Server
from store.errors import ConflictError
from store.workspace import Workspace

_RECORD = "demo-servers.json"
_SERVE_PORT = 8765
_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 20


@dataclass
class Services:
    """What is running; each part appears when it has been started."""

    workspace: Workspace
    label_studio: LabelStudioServer
    winnow: Server
    view: explore.View | None = None

    @property
    def url(self) -> str:
        """Of the dashboard."""
        return f"http://{servers.HOST}:{self.winnow.port}"

    def explore(self) -> explore.View:
        """Open the FiftyOne App on the catalog as it is now."""
        self.view = explore.start(self.workspace)
        _record(self.workspace.home, self._running())
        return self.view

    def stop(self) -> None:
        """End everything."""
        stop_recorded(self.workspace.home)

    def _running(self) -> list[Server]:
        view = [self.view.app, self.view.database] if self.view else []
        return [self.winnow, self.label_studio.server, *view]


@contextmanager
def running(workspace: Workspace) -> Iterator[Services]:
    """Label Studio and `winnow serve`; when the block raises, everything started in it is ended.

    Raises:
        RemoteError: a server did not start; the message names its log.
    """
    logs = workspace.home / "logs"
    stop_recorded(workspace.home)  # of a demo that was killed
    _record(workspace.home, [])  # marks the workspace as a demo's, whatever happens next
    ports_before = _ports(workspace.home)
    label_studio = label_studio_server.start(
        workspace.home / "label-studio", log=logs / "label-studio.log", port=ports_before.get("Label Studio", 8080)
    )
    started = [label_studio.server]
    try:
        _record(workspace.home, started)
        port = ports.free(servers.HOST, ports_before.get("winnow serve", _SERVE_PORT))
        winnow = servers.start(
            "winnow serve",
            [sys.executable, "-m", "api.cli.main", "--home", str(workspace.home), "serve", "--port", str(port)],
            log=logs / "serve.log",
            timeout_s=_START_TIMEOUT_S,
            is_ready=_is_healthy,
        )
        started.append(winnow)
        _record(workspace.home, started)
        yield Services(workspace, label_studio, winnow)
    except BaseException:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would leave the rest running
        servers.end_children()  # also one whose start was interrupted before it was recorded
        stop_recorded(workspace.home)
        raise


def forget(home: Path) -> None:
    """Delete a demo's workspace.

    Raises:
        ConflictError: the folder was not made by a demo.
    """
    if not home.exists():
        return
    if not (home / _RECORD).exists():
        raise ConflictError(f"{home} was not made by a demo: it is not deleted. Choose another --home.")
    shutil.rmtree(home)


def stop_recorded(home: Path) -> int:
    """End the servers that a demo in `home` started and that still run; returns how many."""
    path = home / _RECORD
    if not path.exists():
        return 0
    stopped = 0
    for entry in json.loads(path.read_text())["servers"]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(entry["pid"])
            if process.create_time() == entry["created"]:  # else the number was given to somebody else's process
                _end(process)
                stopped += 1
    _write(path, {"servers": [], "ports": _ports(home)})
    return stopped


def _end(process: psutil.Process) -> None:
    os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(psutil.TimeoutExpired):
        process.wait(_STOP_TIMEOUT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _record(home: Path, started: list[Server]) -> None:
    entries = [
        {"name": one.name, "pid": one.process.pid, "created": psutil.Process(one.process.pid).create_time()}
        for one in started
    ]
    known = _ports(home) | {one.name: one.port for one in started}
    _write(home / _RECORD, {"servers": entries, "ports": known})


def _ports(home: Path) -> dict[str, int]:
    """The ports of the last run: tasks in Label Studio hold addresses of images, so these should stay."""
    path = home / _RECORD
    return dict(json.loads(path.read_text())["ports"]) if path.exists() else {}


def _write(path: Path, document: dict[str, object]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(document))
    os.replace(part, path)


def _is_healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://{servers.HOST}:{port}/health", timeout=5).is_success
    except httpx.TransportError:
        return False
