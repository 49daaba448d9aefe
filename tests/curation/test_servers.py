import socket
import subprocess
import sys
import time

import psutil
import pytest

from curation import servers
from store.errors import RemoteError

_SERVER = [sys.executable, "-c", "import socket; s = socket.create_server(('127.0.0.1', 0)); s.accept()"]
_STUBBORN = """
import os, signal, socket, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.fork()
s = socket.create_server(('127.0.0.1', 0))
time.sleep(600)
"""


def test_a_server_is_ready_once_it_listens_and_says_so(tmp_path):
    asked = []

    def is_ready(port: int) -> bool:
        asked.append(port)
        return len(asked) == 3

    server = servers.start("It", _SERVER, log=tmp_path / "logs" / "it.log", timeout_s=30, is_ready=is_ready)
    try:
        assert asked == [server.port] * 3
        assert not servers.is_free(server.port)
    finally:
        server.stop()
    assert servers.is_free(server.port)


def test_stop_ends_children_that_ignore_a_polite_request(tmp_path, monkeypatch):
    monkeypatch.setattr(servers, "_STOP_TIMEOUT_S", 0.2)
    server = servers.start("It", [sys.executable, "-c", _STUBBORN], log=tmp_path / "it.log", timeout_s=30)
    (child,) = psutil.Process(server.process.pid).children()
    server.stop()
    _gone, alive = psutil.wait_procs([child], timeout=10)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_a_server_that_ends_while_starting_is_a_sentence(tmp_path):
    command = [sys.executable, "-c", "import sys; sys.exit('no licence')"]
    with pytest.raises(servers.ServerEndedError, match="It ended with exit code 1") as caught:
        servers.start("It", command, log=tmp_path / "it.log", timeout_s=30)
    assert caught.value.exit_code == 1
    assert "no licence" in (tmp_path / "it.log").read_text()


def test_a_server_that_never_listens_is_ended(tmp_path):
    started = time.monotonic()
    with pytest.raises(RemoteError, match="not ready after 0 s"):
        servers.start("It", [sys.executable, "-c", "import time; time.sleep(60)"], log=tmp_path / "l", timeout_s=0.3)
    assert time.monotonic() - started < 20
    assert not [p for p in psutil.Process().children() if "time.sleep(60)" in p.cmdline()]


def test_end_children_ends_the_ones_nobody_holds():
    script = f"""
import subprocess, sys
from curation import servers
children = [subprocess.Popen([sys.executable, "-c", {_STUBBORN!r}], start_new_session=True).pid for _ in range(2)]
print(*children)
servers._STOP_TIMEOUT_S = 0.2
servers.end_children()
"""
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert [psutil.pid_exists(int(pid)) for pid in printed.split()] == [False, False]


def test_a_port_in_use_is_not_free():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert not servers.is_free(taken.getsockname()[1])
