"""A proxy in front of an S3 service that breaks requests, loses answers, and lies, as a test decides for each request."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.support.peers import HOST

_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server", "expect"})
_LONGEST_WAIT_S = 60
_CONDITIONS = ("if-none-match", "if-match")
_EMPTY = b"<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>0</KeyCount></ListBucketResult>"


class Fault(StrEnum):
    """What happens to one request."""

    NONE = "none"
    INTERNAL_ERROR = "500 before it is applied"
    SLOW_DOWN = "503 SlowDown"
    REFUSE_CONNECTION = "closed before it is applied"
    LOSE_ANSWER = "applied, and closed without an answer"
    ERROR_AFTER = "applied, and answered by 500"
    CONFLICT = "409 ConditionalRequestConflict"
    SHORT_BODY = "half of the body, and closed"
    SHORT_AND_FITTING = "half of the body, with a length that fits"
    EMPTY_LIST = "a list of nothing"
    EXPIRED = "403 ExpiredToken"
    EXPIRED_AS_AWS_SAYS = "400 ExpiredToken"
    DENIED = "403 AccessDenied"
    FULL = "507 with QuotaExceeded"
    IGNORE_CONDITION = "applied without its condition"
    IGNORE_METADATA = "applied without its metadata"
    IGNORE_RANGE = "answered without its range"
    CHANGE_BODY = "applied with other bytes"
    TIME_OUT = "applied, and no answer until the client gives up"
    CUT_UPLOAD = "half of the request reaches the service"


_ERRORS = {
    Fault.INTERNAL_ERROR: (500, "InternalError"),
    Fault.ERROR_AFTER: (500, "InternalError"),
    Fault.SLOW_DOWN: (503, "SlowDown"),
    Fault.CONFLICT: (409, "ConditionalRequestConflict"),
    Fault.EXPIRED: (403, "ExpiredToken"),
    Fault.EXPIRED_AS_AWS_SAYS: (400, "ExpiredToken"),
    Fault.DENIED: (403, "AccessDenied"),
    Fault.FULL: (507, "QuotaExceeded"),
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the proxy got it."""

    method: str
    path: str
    query: str
    headers: dict[str, str]

    @property
    def operation(self) -> str:
        """The name of what is asked: put, get, head, delete, list, or a part of an upload in parts."""
        match self.method:
            case "GET":
                return "list" if "list-type" in self.query else "get"
            case "PUT":
                return "part" if "partNumber" in self.query else "put"
            case "POST":
                return "complete" if "uploadId" in self.query else "begin" if "uploads" in self.query else "post"
        return self.method.lower()


@dataclass
class S3Proxy:
    """A running proxy. ``decide`` chooses the fault of each request; ``faults`` counts those that it made.

    ``requests`` counts requests, and ``answered`` the bytes of the bodies that they were answered with, by operation.
    """

    port: int
    decide: Callable[[Request], Fault] = lambda request: Fault.NONE
    faults: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)


@contextmanager
def s3_proxy(upstream_port: int) -> Iterator[S3Proxy]:
    """Start a proxy on a free loopback port, in front of the service at ``upstream_port``."""
    proxy = S3Proxy(0)

    class Handler(_Handler):
        upstream = upstream_port
        owner = proxy

    server = ThreadingHTTPServer((HOST, 0), Handler)
    server.daemon_threads = True
    proxy.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="s3-proxy", daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream: int
    owner: S3Proxy

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        request = Request(self.command, parts.path, parts.query, {name.lower(): value for name, value in self.headers.items()})
        fault = self.owner.decide(request)
        self.owner.requests[request.operation] += 1
        if fault is not Fault.NONE:
            self.owner.faults[fault] += 1
        if fault is Fault.CUT_UPLOAD:
            self._send_half(request, body)
        if fault in (Fault.REFUSE_CONNECTION, Fault.CUT_UPLOAD):
            self._hang_up()
        elif fault is Fault.EMPTY_LIST:
            self._answer(200, {"Content-Type": "application/xml"}, _EMPTY)
        elif fault in _ERRORS and fault is not Fault.ERROR_AFTER:
            self._error(*_ERRORS[fault])
        else:
            self._forward(request, body, fault)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _handle

    def _forward(self, request: Request, body: bytes, fault: Fault) -> None:
        dropped = {
            Fault.IGNORE_CONDITION: _CONDITIONS,
            Fault.IGNORE_RANGE: ("range",),
            Fault.CHANGE_BODY: ("x-amz-checksum-sha256", "content-md5"),
        }.get(fault, ())
        headers = {name: value for name, value in request.headers.items() if name not in dropped and name not in _HOP}
        if fault is Fault.IGNORE_METADATA:
            headers = {name: value for name, value in headers.items() if not name.startswith("x-amz-meta-")}
        if fault is Fault.CHANGE_BODY and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        status, answered, data = self._ask(request.method, headers, body)
        if fault is Fault.TIME_OUT:
            self._wait_for_the_end()
        if fault in (Fault.LOSE_ANSWER, Fault.TIME_OUT):
            self._hang_up()
        elif fault is Fault.ERROR_AFTER:
            self._error(*_ERRORS[fault])
        elif fault is Fault.SHORT_BODY and data:
            self._answer(status, {**answered, "Content-Length": str(len(data))}, data[: len(data) // 2])
            self._hang_up()
        elif fault is Fault.SHORT_AND_FITTING and data:
            self._answer(status, answered, data[: len(data) // 2])
        else:
            self.owner.answered[request.operation] += len(data)
            self._answer(status, answered, data)

    def _ask(self, method: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = self._connect(method, headers, len(body))
        try:
            connection.endheaders(body or None)
            response = connection.getresponse()
            data = response.read()
            kept = {name: value for name, value in response.getheaders() if name.lower() not in _HOP}
            if method == "HEAD":
                kept["Content-Length"] = response.getheader("Content-Length") or "0"
            return response.status, kept, data
        finally:
            connection.close()

    def _connect(self, method: str, headers: dict[str, str], length: int) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(HOST, self.upstream, timeout=60)
        connection.putrequest(method, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(length))
        return connection

    def _send_half(self, request: Request, body: bytes) -> None:
        headers = {name: value for name, value in request.headers.items() if name not in _HOP}
        connection = self._connect(request.method, headers, len(body))
        with suppress(OSError):
            connection.endheaders(body[: len(body) // 2] or None)
        connection.close()

    def _wait_for_the_end(self) -> None:
        self.connection.settimeout(_LONGEST_WAIT_S)
        with suppress(OSError):
            self.connection.recv(1)

    def _error(self, status: int, code: str) -> None:
        text = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>made by a test</Message></Error>'.encode()
        self._answer(status, {"Content-Type": "application/xml"}, b"" if self.command == "HEAD" else text)

    def _answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
        with suppress(ConnectionError):
            self.send_response_only(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
            self.wfile.flush()

    def _hang_up(self) -> None:
        self.close_connection = True
