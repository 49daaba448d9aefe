"""A real Label Studio for the demo and the tests: its own environment, data folder, port and login.

`python -m api.demo.label_studio_server` prepares the environment and the migrated, empty data
folder that every new server copies, so that starting one takes seconds instead of minutes.
"""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import httpx

from api import ports
from curation import servers
from store.errors import ConflictError, RemoteError

_REPOSITORY = Path(__file__).parents[2]
_ADMIN = "admin@winnow.example"
_PREFERRED_PORT = 8080
_START_TIMEOUT_S = 240
_ATTEMPTS = 3  # a port found free can be taken before Label Studio opens it
_IN_USE = 75  # our exit code for a folder that another server holds


@dataclass(frozen=True)
class LabelStudioServer:
    """A running Label Studio and the administrator's login to it."""

    url: str
    email: str
    password: str
    token_file: Path  # holds the administrator's API token: what a vendor's `file:PATH` names
    server: servers.Server

    def stop(self) -> None:
        """End it; the data stays. Stopping twice is a no-op."""
        self.server.stop()


def start(folder: Path, *, log: Path, port: int = _PREFERRED_PORT) -> LabelStudioServer:
    """Start Label Studio on the data in `folder`, which is made on first use with a random login.

    Args:
        folder: gets `data/`, `login.json` and `token`, readable by their owner only.
        log: what the server prints is appended here.
        port: the wanted one; when it is busy, a free one is chosen.

    Raises:
        ConflictError: a server runs on this folder already.
        RemoteError: it did not become healthy; the log says why.
    """
    environment, migrated = prepare()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (folder / "data").exists():
        _copy(migrated, folder / "data")
    email, password, token = _login(folder)
    for _ in range(_ATTEMPTS):
        port = ports.free(servers.HOST, port)
        url = f"http://{servers.HOST}:{port}"
        login = {"USERNAME": email, "PASSWORD": password, "USER_TOKEN": token, "HOST": url}
        alone = ["flock", "--nonblock", "--conflict-exit-code", str(_IN_USE), "--no-fork", str(folder / "lock")]
        command = [str(environment / "bin" / "label-studio"), "start", "--no-browser", "--log-level", "WARNING"]
        place = ["--internal-host", servers.HOST, "--port", str(port)]
        try:
            server = servers.start(
                "Label Studio",
                [*alone, *command, *place],
                log=log,
                timeout_s=_START_TIMEOUT_S,
                environment=_settings(folder / "data") | {f"LABEL_STUDIO_{name}": login[name] for name in login},
                is_ready=_is_healthy,
            )
        except servers.ServerEndedError as error:
            if error.exit_code == _IN_USE:
                raise ConflictError(f"A Label Studio is running on {folder} already. Stop it first.") from error
            raise
        if server.port == port:
            return LabelStudioServer(url, email, password, folder / "token", server)
        server.stop()  # it found the port busy and took the next one, which its own links do not name
    raise RemoteError(f"Label Studio found its port taken {_ATTEMPTS} times; see {log}.")


def prepare() -> tuple[Path, Path]:
    """The environment of Label Studio and a migrated data folder that knows no user; made when missing."""
    script = _REPOSITORY / "scripts" / "environment"
    printed = subprocess.run([script, "label-studio"], check=True, stdout=subprocess.PIPE, text=True).stdout
    environment = Path(printed.strip())
    digest = hashlib.sha256((_REPOSITORY / "requirements" / "label-studio.lock").read_bytes()).hexdigest()[:16]
    migrated = environment.parent / f"label-studio-data-{digest}"
    with Path(f"{migrated}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not migrated.exists():
            with tempfile.TemporaryDirectory(dir=migrated.parent) as scratch:
                data = Path(scratch) / "data"
                _migrate(environment, data)
                data.rename(migrated)
    return environment, migrated


def _migrate(environment: Path, data: Path) -> None:
    data.mkdir(mode=0o700)
    done = subprocess.run(
        [environment / "bin" / "label-studio", "version"],
        check=False,
        env=_settings(data),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RemoteError(f"Label Studio could not make its database: {done.stderr.strip()[-300:]}")
    (data / ".env").unlink()  # the key that signs sessions: each copy makes its own
    connection = sqlite3.connect(data / "label_studio.sqlite3")
    connection.execute("PRAGMA journal_mode=WAL")  # stays with the file: people read while others write
    connection.close()


def _copy(migrated: Path, data: Path) -> None:
    with tempfile.TemporaryDirectory(dir=data.parent) as scratch:
        shutil.copytree(migrated, Path(scratch) / "data")
        (Path(scratch) / "data").rename(data)


def _login(folder: Path) -> tuple[str, str, str]:
    """The administrator's e-mail, password and token; Label Studio makes this user when it starts."""
    path = folder / "login.json"
    if not path.exists():
        _write_secret(folder / "token", secrets.token_hex(20))
        _write_secret(path, json.dumps({"email": _ADMIN, "password": secrets.token_urlsafe(16)}))
    login = json.loads(path.read_text())
    return login["email"], login["password"], (folder / "token").read_text()


def _write_secret(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _settings(data: Path) -> dict[str, str]:
    """The server's whole environment: nothing of ours leaks in, nothing is sent out."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return inherited | {
        "PYTHONUNBUFFERED": "1",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "COLLECT_ANALYTICS": "False",
        "LATEST_VERSION_CHECK": "False",
        "LABEL_STUDIO_BASE_DATA_DIR": str(data),
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
        "SSRF_PROTECTION_ENABLED": "false",  # our images come from this machine
        "ML_BLOCK_LOCAL_IP": "false",
    }


def _is_healthy(port: int) -> bool:
    try:
        return bool(httpx.get(f"http://{servers.HOST}:{port}/health", timeout=5).json() == {"status": "UP"})
    except (httpx.TransportError, ValueError):
        return False


if __name__ == "__main__":
    prepare()
