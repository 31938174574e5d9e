"""An HTTP server with one artifact, which it serves as a test says: whole, in parts, cut off, elsewhere, or a lie.

with ArtifactServer(content) as server:
    server.cut_after = [1000]         # the first answer breaks off there; later ones do not
"""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

_RANGE = re.compile(r"bytes=([0-9]+)-")


class ArtifactServer:
    """Listens on loopback, on threads of its own.

    Attributes:
        content: what it serves at every path but those of `redirects`.
        ranges: whether it knows ranges; without, each answer is the whole.
        cut_after: for each answer to come, after how many bytes of it the connection breaks.
        statuses: for the answers to come, statuses in place of an artifact.
        redirects: where a path leads.
        headers: what each answer with an artifact has in addition, or instead; "" takes one away.
        hold: an answer that is cut waits for it before the connection breaks.
        requests: the path, and the headers in lower case, of each request.
    """

    def __init__(self, content: bytes, tls: ssl.SSLContext | None = None) -> None:
        self.content = content
        self.ranges = True
        self.cut_after: list[int] = []
        self.statuses: list[int] = []
        self.redirects: dict[str, str] = {}
        self.headers: dict[str, str] = {}
        self.hold: threading.Event | None = None
        self.requests: list[tuple[str, dict[str, str]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._scheme = "http"
        if tls is not None:
            self._scheme = "https"
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def base(self) -> str:
        """Its scheme, host and port."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    @property
    def asked_ranges(self) -> list[str]:
        """The range of each request; "" for none."""
        return [headers.get("range", "") for _, headers in self.requests]

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        if self.hold is not None:
            self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
                """Say nothing."""

        return Handler

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        request.close_connection = True
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((request.path, headers))
        if self.statuses and (status := self.statuses.pop(0)) != 200:
            _head(request, status, {"Content-Length": "0"})
            return
        if request.path in self.redirects:
            _head(request, 302, {"Location": self.redirects[request.path], "Content-Length": "0"})
            return
        found = _RANGE.fullmatch(headers.get("range", "")) if self.ranges else None
        begin = int(found[1]) if found else 0
        if begin and begin >= len(self.content):
            _head(request, 416, {"Content-Length": "0"})
            return
        body = self.content[begin:]
        members = {"Content-Length": str(len(body)), "ETag": '"1"', "Last-Modified": "Sat, 28 Nov 2026 09:00:00 GMT"}
        if found:
            members["Content-Range"] = f"bytes {begin}-{len(self.content) - 1}/{len(self.content)}"
        _head(request, 206 if found else 200, {**members, **self.headers})
        cut = self.cut_after.pop(0) if self.cut_after else len(body)
        request.wfile.write(body[:cut])
        request.wfile.flush()
        if cut < len(body) and self.hold is not None:
            self.hold.wait(60)


def _head(request: BaseHTTPRequestHandler, status: int, headers: Mapping[str, str]) -> None:
    request.send_response(status)
    for name, value in headers.items():
        if value:
            request.send_header(name, value)
    request.end_headers()
