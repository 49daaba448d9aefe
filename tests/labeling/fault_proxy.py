"""A proxy between Winnow and Label Studio that does one thing wrong, once, at a chosen request."""

import http.client
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_TARGET_TIMEOUT_S = 60
_OF_A_CONNECTION = {"connection", "keep-alive", "transfer-encoding"}  # headers that end here


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and when.

    cut-request: half of the request reaches the server, then both lines are cut.
    lost-answer: the server did the work; the line is cut before its answer.
    cut-answer: the server did the work; the line is cut in the middle of its answer.
    late: the request is held for `seconds`, then reaches the server, whose answer nobody gets.
    slow: the request reaches the server at once, its answer the client after `seconds`.
    429, 500, 502: said in the server's stead, which hears nothing.
    done-500, done-502: said in the server's stead, which did the work.
    kill: `kill` is called `seconds` after the request went to the server.
    """

    kind: str
    method: str
    path: str  # a regular expression for all of the path, without the query
    passage: int = 1  # which of the requests that fit
    seconds: float = 0.0
    kill: Callable[[], None] | None = None


@dataclass
class FaultProxy:
    """A running proxy."""

    url: str
    fault: Fault
    fired: threading.Event = field(default_factory=threading.Event)
    passed: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def due(self, method: str, path: str) -> Fault | None:
        """The fault, if this is the request it waits for."""
        if method != self.fault.method or not re.fullmatch(self.fault.path, path):
            return None
        with self._lock:
            self.passed += 1
            if self.passed != self.fault.passage:
                return None
        self.fired.set()
        return self.fault


@contextmanager
def between(target: str, fault: Fault) -> Iterator[FaultProxy]:
    """A proxy to the server at `target`, while the block lasts; what it holds is delivered before that ends."""
    place = urlsplit(target)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def relay(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            due = proxy.due(self.command, urlsplit(self.path).path)
            try:
                if due and due.kind in ("429", "500", "502"):
                    self.refuse(due.kind)
                elif due and due.kind == "cut-request":
                    self.send_half(body)
                    self.cut()
                else:
                    self.deliver(body, due)
            except (OSError, http.client.HTTPException):  # either side has gone
                self.cut()

        def deliver(self, body: bytes, due: Fault | None) -> None:
            kind = due.kind if due else ""
            if due and kind == "late":
                stopping.wait(due.seconds)
            if due and due.kill:
                threading.Timer(due.seconds, due.kill).start()
            status, headers, answer = self.forward(body)
            if due and kind == "slow":
                stopping.wait(due.seconds)
            if kind.startswith("done-"):
                self.refuse(kind.removeprefix("done-"))
            elif kind == "cut-answer":
                self.tell(status, headers, answer, only=len(answer) // 2)
                self.cut()
            elif kind in ("lost-answer", "late"):
                self.cut()
            else:
                self.tell(status, headers, answer)

        def refuse(self, status: str) -> None:
            self.tell(int(status), {}, b'{"detail": "The proxy says so."}')

        def forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            server = http.client.HTTPConnection(place.hostname or "", place.port, timeout=_TARGET_TIMEOUT_S)
            with closing(server):
                server.request(self.command, self.path, body or None, self.passing())
                answer = server.getresponse()
                return answer.status, dict(answer.getheaders()), answer.read()

        def send_half(self, body: bytes) -> None:
            with socket.create_connection((place.hostname, place.port)) as server:
                lines = [f"{self.command} {self.path} HTTP/1.1", f"Host: {place.netloc}"]
                lines += [f"{name}: {value}" for name, value in self.passing().items()]
                request = "\r\n".join([*lines, "", ""]).encode() + body
                server.sendall(request[: len(request) // 2])

        def passing(self) -> dict[str, str]:
            dropped = {*_OF_A_CONNECTION, "host"}
            return {name: value for name, value in self.headers.items() if name.lower() not in dropped}

        def tell(self, status: int, headers: dict[str, str], answer: bytes, *, only: int | None = None) -> None:
            dropped = {*_OF_A_CONNECTION, "content-length", "date", "server"}
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in dropped:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer[:only])
            self.wfile.flush()

        def cut(self) -> None:
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

        do_GET = do_POST = do_PATCH = do_DELETE = relay  # noqa: N815  the names the base class asks for

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that went away is no trouble."""

    stopping = threading.Event()
    with Server(("127.0.0.1", 0), Handler) as server:
        proxy = FaultProxy(f"http://127.0.0.1:{server.server_port}", fault)
        thread = threading.Thread(target=server.serve_forever, name="fault-proxy")
        thread.start()
        try:
            yield proxy
        finally:
            stopping.set()
            server.shutdown()
            thread.join()
