"""The commands' connection to a running agent: a blocking HTTP client over its Unix socket, or over TCP."""

from __future__ import annotations

import http.client
import os
import socket
import uuid
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO, Self
from urllib.parse import quote

import msgspec

from edgeagent.errors import AgentUnreachable, CommandFailed
from edgeagent.ports.call import A, Call, R, request_of

_TIMEOUT_S = 30.0
# For answers for which a part of a log is read, or written and synced: that takes long on a slow disk.
_DISK_TIMEOUT_S = 300.0
_MAX_ANSWER_BYTES = 256 << 20
_READ_BYTES = 64 << 10
_MAX_BATCH_LINES = 100
_FILE_BLOCK_BYTES = 256 << 10


class AgentRefused(CommandFailed):
    """The agent answered with an error. `status`: the HTTP status; `retry_after_s`: 0 if the agent named no time.

    `document`: the whole answer (RFC 9457).
    """

    def __init__(self, status: int, detail: str, retry_after_s: int = 0, document: Any = None) -> None:
        super().__init__(status, detail, retry_after_s)
        self.status = status
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.document = document

    def __str__(self) -> str:
        return f"the agent refused: {self.detail} ({self.status})"


class AgentForbidden(CommandFailed):
    """This user may not ask the agent: that says nothing about whether it runs."""

    exit_code = AgentUnreachable.exit_code


class AgentClient:
    """Owns one kept-alive connection to an agent, opened on first use. To be used as a context manager."""

    def __init__(self, connection: http.client.HTTPConnection, address: str, token: str = "") -> None:
        self._connection = connection
        self._address = address
        self._token = token

    @classmethod
    def unix(cls, path: Path) -> Self:
        """A client of the agent that listens on this socket file."""
        return cls(_UnixConnection(path), str(path))

    @classmethod
    def tcp(cls, host: str, port: int, token: str = "") -> Self:
        """A client of the agent that listens on this address; `token` as in its `http.token_file`."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return cls(
            http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S, blocksize=_FILE_BLOCK_BYTES), address, token
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def request(
        self,
        method: str,
        path: str,
        body: bytes | BinaryIO | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> tuple[int, Any]:
        """Send a request and read its answer: the status (below 400) and the decoded JSON.

        `body`: a file is read as it is sent; its length is in the headers. `timeout_s`: for each step; a request that
        waits on purpose needs more than its waiting time. A request that may
        be repeated (GET, or with an `Idempotency-Key`) is repeated once if the agent had closed the kept-alive
        connection.

        Raises:
            AgentUnreachable: the agent does not answer.
            AgentRefused: the answer is an error.
            AgentForbidden: this user may not ask it.
        """
        sent = dict(headers or {})
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        may_repeat = self._connection.sock is not None and (method == "GET" or "Idempotency-Key" in sent)
        try:
            status, retry_after, answer = self._exchange(method, path, body, sent, timeout_s)
        except (http.client.RemoteDisconnected, ConnectionError) as exc:
            if not may_repeat:
                raise AgentUnreachable(self._address, _reason(exc)) from exc
            return self.request(method, path, body, headers, timeout_s)
        except (OSError, http.client.HTTPException) as exc:
            raise AgentUnreachable(self._address, _reason(exc)) from exc
        return status, self._decoded(status, retry_after, answer)

    def perform(self, call: Call[A, R], arguments: A) -> R:
        """Perform a call of the operator's; only the Unix socket offers them.

        Raises:
            AgentUnreachable, AgentRefused: as for `request`.
            CommandFailed: the agent is of another version, and answers in another form.
        """
        made = request_of(call, arguments)
        headers = {"Content-Type": made.media_type} if made.body is not None else {}
        _, answer = self.request(call.method, made.target, made.body, headers, _DISK_TIMEOUT_S)
        try:
            return msgspec.convert(answer, call.result)
        except msgspec.ValidationError as exc:
            reason = "the agent answers in the form of another version; restart it after an update"
            raise CommandFailed(f"{self._address}: {call.name}: {reason} ({exc})") from exc

    def send_events(self, source: str, data: Sequence[bytes]) -> list[dict[str, Any]]:
        """Send JSON values as events of one source, all or none; returns one member of `accepted` for each.

        Repeated after a broken connection they are the same events, because of an `Idempotency-Key`.

        Raises:
            CommandFailed: a value is not JSON (counted from 1).
            AgentUnreachable, AgentRefused: as for `request`.
        """
        name = msgspec.json.encode(source)
        lines = []
        for number, value in enumerate(data, 1):
            try:
                msgspec.json.decode(value)
            except (ValueError, RecursionError) as exc:  # msgspec's errors are ValueErrors
                raise CommandFailed(f"event {number} of {len(data)} is not JSON: {exc}") from exc
            lines.append(b'{"source":%b,"data":%b}' % (name, value.replace(b"\r", b" ").replace(b"\n", b" ")))
        headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": str(uuid.uuid4())}
        _, answer = self.request("POST", "/v1/events", b"\n".join(lines), headers)
        accepted: list[dict[str, Any]] = answer["accepted"]
        return accepted

    def trigger(self, correlation_id: str, wait_s: float = 0) -> dict[str, Any] | None:
        """A trigger's report after at most `wait_s` seconds (at most 300); None if the agent does not know it.

        Raises:
            AgentUnreachable, AgentRefused: as for `request`.
        """
        path = f"/v1/triggers/{quote(correlation_id, safe='')}?wait={wait_s:.3f}"
        try:
            _, report = self.request("GET", path, timeout_s=wait_s + _TIMEOUT_S)
        except AgentRefused as exc:
            if exc.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        found: dict[str, Any] = report
        return found

    def _exchange(
        self, method: str, path: str, body: bytes | BinaryIO | None, headers: Mapping[str, str], timeout_s: float
    ) -> tuple[int, str, bytes]:
        connection = self._connection
        connection.timeout = timeout_s
        if connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            answer = response.read(_MAX_ANSWER_BYTES + 1)
            if response.length and len(answer) <= _MAX_ANSWER_BYTES:  # read(n) does not report a truncated answer
                raise http.client.IncompleteRead(answer, response.length)
        except (OSError, http.client.HTTPException):
            connection.close()
            raise
        return response.status, response.getheader("Retry-After", "0"), answer

    def _decoded(self, status: int, retry_after: str, answer: bytes) -> Any:
        if len(answer) > _MAX_ANSWER_BYTES:
            self.close()
            raise CommandFailed(f"{self._address}: the answer has more than {_MAX_ANSWER_BYTES} bytes")
        try:
            document = msgspec.json.decode(answer)
        except (ValueError, RecursionError) as exc:  # msgspec's errors are ValueErrors
            raise AgentUnreachable(self._address, f"another program answers there: {status}, not in JSON") from exc
        if status >= HTTPStatus.BAD_REQUEST:
            detail = document.get("detail") if isinstance(document, dict) else None
            seconds = int(retry_after) if retry_after.isdecimal() else 0
            raise AgentRefused(status, str(detail or HTTPStatus(status).phrase), seconds, document)
        return document


def batches(fd: int, max_bytes: int) -> Iterator[list[bytes]]:
    """The lines of a file, pipe or terminal as they arrive, without empty ones.

    Each list has what was available when it was requested, at most 100 lines and `max_bytes` bytes, so that a slow
    writer's events are sent at once and a fast one's together.

    Raises:
        CommandFailed: one line alone has more than `max_bytes`.
    """
    rest = b""
    line_number = 0
    while chunk := os.read(fd, _READ_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from _parts(lines, max_bytes, line_number)
        line_number += len(lines)
        if len(rest) > max_bytes:
            raise _too_long(line_number + 1, max_bytes)
    yield from _parts([rest], max_bytes, line_number)


def _parts(lines: Sequence[bytes], max_bytes: int, line_number: int) -> Iterator[list[bytes]]:
    part: list[bytes] = []
    size_bytes = 0
    for number, line in enumerate(lines, line_number + 1):
        if not line.strip():
            continue
        if len(line) > max_bytes:
            raise _too_long(number, max_bytes)
        if part and (len(part) == _MAX_BATCH_LINES or size_bytes + len(line) > max_bytes):
            yield part
            part, size_bytes = [], 0
        part.append(line)
        size_bytes += len(line)
    if part:
        yield part


def _too_long(number: int, max_bytes: int) -> CommandFailed:
    return CommandFailed(f"line {number} has more than {max_bytes} bytes (outbox.max_event_bytes)")


class _UnixConnection(http.client.HTTPConnection):
    """`http.client` over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S, blocksize=_FILE_BLOCK_BYTES)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket file.

        Raises:
            AgentForbidden: this user may not.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(self.timeout)
        try:
            sock.connect(str(self._path))
        except OSError as exc:
            sock.close()
            if not isinstance(exc, PermissionError):
                raise
            text = "only root and the group of this socket may ask its agent; use sudo, or join the group"
            raise AgentForbidden(f"{self._path}: permission denied: {text}") from exc
        self.sock = sock


def _reason(exc: Exception) -> str:
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    return ((exc.strerror if isinstance(exc, OSError) else None) or str(exc) or type(exc).__name__).lower()
