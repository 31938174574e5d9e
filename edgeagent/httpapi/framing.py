"""Where requests begin and end in the bytes of a connection: h11, behind a stricter look at each head.

h11 forgives what RFC 9112 lets a server forgive. Two programs on one way that forgive differently see different
requests in the same bytes (request smuggling), so here everything ambiguous is malformed, and ends the connection.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

import h11

from edgeagent.errors import EdgeAgentError

# PAUSED never comes: between two requests h11 holds nothing.
Event: TypeAlias = h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]

MAX_HEAD_BYTES: Final = 16 << 10
# RFC 9112 2.2: empty lines before a request line are skipped; old clients send one behind a body.
_MAX_EMPTY_LINES: Final = 8
# Each chunk costs about the same, however small it is: a client that sends single bytes would keep the loop busy for
# seconds. A batch of as many events as are taken may come with one chunk for each, and some more.
_SMALL_CHUNK_BYTES: Final = 256
_MAX_SMALL_CHUNKS: Final = 2000
_BOTH_DONE = {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}
_END = h11.EndOfMessage()
_END_OF_HEAD = b"\r\n\r\n"

_ODD = re.compile(rb"\n[ \t]|(?<!\r)\n|\r(?=[^\n])|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_FIRST_SIGN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]")
_VERSION = re.compile(rb"[^\r]* HTTP/([0-9])\.[0-9]\r\n")
_LENGTH = re.compile(rb"\ncontent-length:[ \t]*([^\r]*)", re.IGNORECASE)

# What h11 says, by how it begins, in words that do not quote Python.
_REASONS: Final = (
    ("illegal request line", "the first line must be a method, a target and HTTP/1.1"),
    ("illegal header line", "a line of the head is no header"),
    ("illegal chunk header", "a chunk must begin with its size in hexadecimal digits"),
    ("malformed chunk footer", "a chunk must end with CR LF where its size says"),
    ("Missing mandatory Host", "Host: is missing"),
    ("Found multiple Host", "Host: comes more than once"),
    ("bad Content-Length", "Content-Length: must be a number of bytes"),
    ("conflicting Content-Length", "Content-Length: comes more than once"),
    ("multiple Transfer-Encoding", "Transfer-Encoding: must be chunked, once"),
    ("Only Transfer-Encoding", "Transfer-Encoding: must be chunked"),
    ("Receive buffer too long", f"a line has more than {MAX_HEAD_BYTES} bytes"),
    ("peer", "it ends before it is complete"),
)


class Malformed(EdgeAgentError):
    """The bytes are no request that could be understood in one way only. The connection cannot go on.

    `status`: that of the answer, 400, 431, 501 or 505.
    """

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason, status)
        self.reason = reason
        self.status = status

    def __str__(self) -> str:
        return f"the request is malformed: {self.reason}"


class Framing:
    """Bytes in, the parts of one request after the other out, as h11's events; and answers as bytes.

    Between two requests everything waits here, and not in h11, until a head is complete.
    """

    def __init__(self) -> None:
        self._machine = h11.Connection(h11.SERVER, MAX_HEAD_BYTES)
        self._waiting = bytearray()
        self._seen = 0  # how much of what waits was looked at
        self._empty_lines = 0
        self._small_chunks = 0
        self._is_chunked = False
        self._last = b""  # the end of what h11 was given of a body, to see how it ended
        self._is_eof = False
        self._is_broken = False

    @property
    def is_receiving(self) -> bool:
        """Whether a request has begun and has not ended."""
        return self._machine.their_state is not h11.IDLE or bool(self._waiting)

    @property
    def wants_continue(self) -> bool:
        """Whether the client sends its body only after `100 Continue`."""
        return self._machine.they_are_waiting_for_100_continue

    @property
    def may_answer(self) -> bool:
        """Whether nothing was answered yet to the request that is there."""
        return self._machine.our_state in {h11.IDLE, h11.SEND_RESPONSE}

    @property
    def is_incomplete(self) -> bool:
        """Whether something of the request has not come, so that no other one can follow."""
        return self._is_broken or self._machine.their_state in {h11.IDLE, h11.SEND_BODY, h11.ERROR}

    def receive(self, data: bytes) -> None:
        """Bytes came."""
        if self._machine.their_state is not h11.SEND_BODY:
            self._waiting += data
            return
        self._last = (self._last + data)[-len(data) - len(_END_OF_HEAD) :]
        self._machine.receive_data(data)

    def receive_eof(self) -> None:
        """No more will come."""
        self._is_eof = True
        if self._machine.their_state is h11.SEND_BODY:
            self._machine.receive_data(b"")

    def next_event(self) -> Event:
        """The next part of a request.

        Raises:
            Malformed: there is none, and never will be.
        """
        try:
            if self._machine.their_state is not h11.IDLE:
                return self._next_of_body()
            return self._next_head()
        except Malformed:
            self._is_broken = True
            raise
        except h11.RemoteProtocolError as exc:
            text = str(exc)
            reason = next((ours for theirs, ours in _REASONS if text.startswith(theirs)), "it is no HTTP/1.1")
            raise Malformed(reason, exc.error_status_hint if exc.error_status_hint in {431, 501} else 400) from exc

    def _next_head(self) -> Event:
        waiting = self._waiting
        while waiting.startswith(b"\r\n"):
            del waiting[:2]
            self._empty_lines += 1
        if self._empty_lines > _MAX_EMPTY_LINES:
            raise Malformed("too many empty lines come before it")
        end = waiting.find(_END_OF_HEAD, max(0, self._seen - len(_END_OF_HEAD)))
        if end < 0:
            return self._without_head()
        _check_head(bytes(waiting[: end + 2]))
        self._machine.receive_data(bytes(waiting))
        waiting.clear()
        self._seen = 0
        event = self._machine.next_event()
        if isinstance(event, h11.Request):
            self._begin(event)
        return event

    def _without_head(self) -> Event:
        waiting = self._waiting
        if waiting and waiting != b"\r" and not _FIRST_SIGN.match(waiting):
            raise Malformed("the first line must be a method, a target and HTTP/1.1")
        if odd := _ODD.search(waiting, max(0, self._seen - 1)):
            raise Malformed(_odd_reason(odd[0]))
        self._seen = len(waiting)
        if len(waiting) > MAX_HEAD_BYTES:
            raise Malformed(f"its head has more than {MAX_HEAD_BYTES} bytes", 431)
        if not self._is_eof:
            return h11.NEED_DATA
        if waiting:
            raise Malformed("it ends before it is complete")
        return h11.ConnectionClosed()

    def _begin(self, request: h11.Request) -> None:
        names = {name for name, _ in request.headers}
        self._is_chunked = b"transfer-encoding" in names
        if self._is_chunked and b"content-length" in names:
            raise Malformed("Transfer-Encoding: and Content-Length: exclude each other")
        if self._is_chunked and request.http_version < b"1.1":
            raise Malformed("Transfer-Encoding: is not known in HTTP/1.0")
        self._empty_lines = self._small_chunks = 0
        self._last = self._machine.trailing_data[0]
        if self._is_eof:
            self._machine.receive_data(b"")

    def _next_of_body(self) -> Event:
        event = self._machine.next_event()
        if isinstance(event, h11.Data) and event.chunk_start and event.chunk_end:
            self._small_chunks += len(event.data) < _SMALL_CHUNK_BYTES
            if self._small_chunks > _MAX_SMALL_CHUNKS:
                raise Malformed(
                    f"more than {_MAX_SMALL_CHUNKS} of its chunks have less than {_SMALL_CHUNK_BYTES} bytes"
                )
        if isinstance(event, h11.EndOfMessage):
            rest = self._machine.trailing_data[0]
            if self._is_chunked and not self._last[: len(self._last) - len(rest)].endswith(_END_OF_HEAD):
                raise Malformed("the last chunk must end with CR LF")
            self._waiting += rest
        return event

    def continue_(self) -> bytes:
        """`100 Continue`."""
        return self._machine.send(h11.InformationalResponse(status_code=100, headers=[])) or b""

    def answer(self, head: h11.Response, body: bytes | None) -> tuple[bytes, bool]:
        """The bytes of a whole answer, and whether the connection ends with it. `body`: None for the answer to HEAD."""
        machine = self._machine
        parts = [machine.send(head) or b""]
        if body is not None:
            parts.append(machine.send(h11.Data(data=body)) or b"")
        parts.append(machine.send(_END) or b"")
        is_last = machine.states != _BOTH_DONE
        if not is_last and machine.trailing_data[0]:
            self._machine = h11.Connection(h11.SERVER, MAX_HEAD_BYTES)  # what it holds waits here too
        elif not is_last:
            machine.start_next_cycle()
        return b"".join(parts), is_last


def _check_head(head: bytes) -> None:
    """Refuse a head that others could read in another way; each line with its end.

    Raises:
        Malformed: says what.
    """
    if len(head) > MAX_HEAD_BYTES:
        raise Malformed(f"its head has more than {MAX_HEAD_BYTES} bytes", 431)
    if odd := _ODD.search(head):
        raise Malformed(_odd_reason(odd[0]))
    version = _VERSION.match(head)
    if version is not None and version[1] != b"1":
        raise Malformed("only HTTP/1.1 and HTTP/1.0 are understood", 505)
    lengths: list[bytes] = _LENGTH.findall(head)
    if len(lengths) > 1 or b"," in b"".join(lengths):
        raise Malformed("Content-Length: comes more than once")


def _odd_reason(odd: bytes) -> str:
    if len(odd) > 1:
        return "a header must not go on in the next line"
    if odd in b"\r\n":
        return "each line of the head must end with CR LF"
    return "a control character is in the head"
