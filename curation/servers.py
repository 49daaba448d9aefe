"""Servers of others that we run as children: started with a bound, stopped without remains."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from store.errors import RemoteError

HOST = "127.0.0.1"
_STOP_TIMEOUT_S = 15


@dataclass(frozen=True)
class Server:
    """A running child that leads a session of its own and listens on `HOST`."""

    name: str
    port: int
    process: "subprocess.Popen[bytes]"

    def stop(self) -> None:
        """End it and its children: politely, then after a bound for certain. Stopping twice is a no-op."""
        end(self.process)


def start(
    name: str,
    command: Sequence[str],
    *,
    log: Path,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    is_ready: Callable[[int], bool] = lambda port: True,
) -> Server:
    """Run `command` and wait until it listens and `is_ready(port)`.

    Args:
        name: what errors call it.
        command: asked to listen on one port of `HOST`; it may let the system choose which.
        log: what it prints is appended here.
        timeout_s: how long it may take.
        environment: in place of ours.
        is_ready: asked again and again once the port is open.

    Raises:
        RemoteError: it ended early or was not ready in time; `exit_code` says how it ended.
    """
    process = spawn(command, log=log, environment=environment)
    try:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise ServerEndedError(name, process.returncode, log)
            port = _listening_port(process.pid)
            if port is not None and is_ready(port):
                return Server(name, port, process)
            time.sleep(0.05)
        raise RemoteError(f"{name} was not ready after {timeout_s:.0f} s; see {log}.")
    except BaseException:
        end(process)
        raise


class ServerEndedError(RemoteError):
    """The child ended before it was ready."""

    def __init__(self, name: str, exit_code: int, log: Path) -> None:
        super().__init__(f"{name} ended with exit code {exit_code} while starting; see {log}.")
        self.exit_code = exit_code


def spawn(
    command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    """Run `command` in a session of its own, which Ctrl-C does not reach, printing into `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )


def end(process: "subprocess.Popen[bytes]") -> None:
    """SIGTERM to the child's session, then SIGKILL to whatever is left of it."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_TIMEOUT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def end_children() -> None:
    """End every child of this process: one whose start a signal interrupted is known to nobody else."""
    import psutil

    children = psutil.Process().children()
    for number in (signal.SIGTERM, signal.SIGKILL):
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, number)
        _, children = psutil.wait_procs(children, timeout=_STOP_TIMEOUT_S)


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of `HOST` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _listening_port(pid: int) -> int | None:
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        for connection in psutil.Process(pid).net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN:
                return int(connection.laddr.port)
    return None
