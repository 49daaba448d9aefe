"""The proxy does what its faults say: who heard what, tried against a server that counts."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

from tests.labeling import fault_proxy
from tests.labeling.fault_proxy import Fault

PATIENCE_S = 10


class Counting(HTTPServer):
    """Counts what it was sent, and says how often that was."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), CountingHandler)
        self.bodies: list[bytes] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class CountingHandler(BaseHTTPRequestHandler):
    server: Counting

    def do_POST(self) -> None:
        size = int(self.headers["Content-Length"])
        body = self.rfile.read(size)
        if len(body) == size:  # else the sender went away
            self.server.bodies.append(body)
            said = json.dumps({"heard": len(self.server.bodies)}).encode()
            self.send_response(201)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Counting]:
    with Counting() as counting:
        thread = threading.Thread(target=counting.serve_forever)
        thread.start()
        yield counting
        counting.shutdown()
        thread.join()


def wait_until_heard(server: Counting, bodies: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while len(server.bodies) < bodies:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("kind", "answer", "heard"),
    [
        ("cut-request", httpx.RemoteProtocolError, 0),
        ("lost-answer", httpx.RemoteProtocolError, 1),
        ("cut-answer", httpx.RemoteProtocolError, 1),
        ("late", httpx.ReadTimeout, 1),
        ("slow", httpx.ReadTimeout, 1),
        ("429", 429, 0),
        ("500", 500, 0),
        ("502", 502, 0),
        ("done-500", 500, 1),
        ("done-502", 502, 1),
    ],
)
def test_a_fault_happens_once_at_the_request_it_names(
    server: Counting, kind: str, answer: type[Exception] | int, heard: int
) -> None:
    fault = Fault(kind, "POST", "/a/.*", passage=2, seconds=0.6)
    with fault_proxy.between(server.url, fault) as proxy, httpx.Client(base_url=proxy.url, timeout=0.3) as client:
        assert client.post("/b", content=b"other").json() == {"heard": 1}
        assert client.post("/a/1", content=b"first").json() == {"heard": 2}
        assert not proxy.fired.is_set()
        if isinstance(answer, int):
            assert client.post("/a/2", content=b"second").status_code == answer
        else:
            with pytest.raises(answer):
                client.post("/a/2", content=b"second")
        assert proxy.fired.is_set()
        wait_until_heard(server, 2 + heard)
        assert client.post("/a/3", content=b"third").json() == {"heard": 3 + heard}
    assert server.bodies == [b"other", b"first", *([b"second"] if heard else []), b"third"]


def test_a_server_is_killed_while_it_works(server: Counting) -> None:
    killed = threading.Event()
    fault = Fault("kill", "POST", "/", kill=killed.set)
    with fault_proxy.between(server.url, fault) as proxy:
        assert httpx.post(f"{proxy.url}/", content=b"x").json() == {"heard": 1}
        assert killed.wait(PATIENCE_S)
