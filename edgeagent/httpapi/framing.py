"""Finds the requests in the bytes of a connection: h11, after a stricter check of each head.

h11 tolerates what RFC 9112 lets a server tolerate. If two programs on the same path tolerate different things, they see
different requests in the same bytes (request smuggling). So everything ambiguous is malformed here, and ends the
connection. A plain request (`httpapi.plain`), which is what devices send, is recognised without h11. h11 only reads: an
answer is always whole and has its length, so that writing it needs no state.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final, TypeAlias

import h11

from edgeagent.errors import EdgeAgentError
from edgeagent.httpapi.plain import PlainRequest, plain_request
from edgeagent.httpapi.problem import Answer, answer_bytes
from edgeagent.httpapi.request import MAX_HEAD_BYTES, Request, request_head

CONTINUE: Final = b"HTTP/1.1 100 \r\n\r\n"
# RFC 9112 2.2: empty lines before a request line are skipped; old clients send one after a body.
_MAX_EMPTY_LINES: Final = 8
# Each chunk costs about the same, however small it is: a client that sends single bytes would keep the loop busy for
# seconds. A batch with the largest number of events may come with one chunk for each, and some more.
_SMALL_CHUNK_BYTES: Final = 256
_MAX_SMALL_CHUNKS: Final = 2000
_END_OF_HEAD = b"\r\n\r\n"

_ODD = re.compile(rb"\n[ \t]|(?<!\r)\n|\r(?=[^\n])|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_FIRST_SIGN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]")
_VERSION = re.compile(rb"[^\r]* HTTP/([0-9])\.[0-9]\r\n")
_LENGTH = re.compile(rb"\ncontent-length:[ \t]*([^\r]*)", re.IGNORECASE)

# h11's messages, by how they begin, in words that do not quote Python.
_REASONS: Final = (
    ("illegal request line", "the first line must be a method, a target and HTTP/1.1"),
    ("illegal header line", "a line of the head is not a header"),
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
    """The bytes cannot be read as a request, or not unambiguously. The connection must end.

    `status`: of the answer, 400, 431, 501 or 505.
    """

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason, status)
        self.reason = reason
        self.status = status

    def __str__(self) -> str:
        return f"the request is malformed: {self.reason}"


class Mark(Enum):
    """What `next_part` returns instead of a part: the request ended, bytes are missing, or the client has closed."""

    END = auto()
    NEED_DATA = auto()
    CLOSED = auto()


# The whole of a plain request; or a request's head, then pieces of its body, then `END`.
Part: TypeAlias = PlainRequest | Request | bytes | bytearray | Mark


class Framing:
    """The unused bytes of a connection, and the state of the request in them; it owns both.

    Bytes go in; the parts of one request after the other come out. The next request begins only after `answer`. It must
    never guess: what could be read in two ways is `Malformed`, and ends the connection.
    """

    def __init__(self) -> None:
        self._waiting = bytearray()  # all bytes but those of a body that h11 has
        self._seen = 0  # how many of these bytes were searched for the end of a head
        self._is_eof = False
        self._empty_lines = 0
        # About the request that is being read:
        self._machine: h11.Connection | None = None  # reads its body; None before its head, and for a plain one
        self._is_complete = False
        self._is_kept = True  # whether the connection stays open after the answer
        self._is_chunked = False
        self._small_chunks = 0
        self._last = b""  # the last bytes of a body that h11 got, to see how it ended

    @property
    def is_receiving(self) -> bool:
        """Whether a request has begun to arrive since the last answer."""
        return self._machine is not None or bool(self._waiting)

    @property
    def has_more(self) -> bool:
        """Whether the next request has begun to arrive, or the client has closed."""
        return bool(self._waiting) or self._is_eof

    @property
    def wants_continue(self) -> bool:
        """Whether the client sends its body only after `CONTINUE`."""
        return self._machine is not None and self._machine.they_are_waiting_for_100_continue

    @property
    def is_incomplete(self) -> bool:
        """Whether a part of the request is missing, so that no other request can follow on this connection."""
        return not self._is_complete

    def receive(self, data: bytes) -> None:
        """Add bytes that arrived."""
        if self._machine is None or self._is_complete:
            self._waiting += data
            return
        if self._is_chunked:  # only of such a body the end is looked at
            self._last = (self._last + data)[-len(data) - len(_END_OF_HEAD) :]
        self._machine.receive_data(data)

    def receive_eof(self) -> None:
        """Note that the client sends no more."""
        self._is_eof = True
        if self._machine is not None and not self._is_complete:
            self._machine.receive_data(b"")

    def next_part(self) -> Part:
        """The next part of a request.

        Raises:
            Malformed: the bytes are not a valid request.
        """
        try:
            if self._machine is None:
                return self._next_head()
            return self._next_of_body(self._machine)
        except h11.RemoteProtocolError as exc:
            text = str(exc)
            reason = next((ours for theirs, ours in _REASONS if text.startswith(theirs)), "it is not HTTP/1.1")
            raise Malformed(reason, exc.error_status_hint if exc.error_status_hint in {431, 501} else 400) from exc

    def answer(self, answer: Answer, *, is_head: bool = False, is_last: bool = False) -> tuple[bytes, bool]:
        """The bytes of an answer, and whether the connection ends with it.

        `is_head`: the request was HEAD, so the body is left out. `is_last`: the connection must end with this answer.
        """
        is_last = is_last or not (self._is_complete and self._is_kept)
        self._machine = None
        self._is_complete = False
        return answer_bytes(answer, has_body=not is_head, is_last=is_last), is_last

    def _next_head(self) -> PlainRequest | Request | Mark:
        waiting = self._waiting
        if not waiting:
            return Mark.CLOSED if self._is_eof else Mark.NEED_DATA
        if not self._seen and (plain := plain_request(bytes(waiting))):
            waiting.clear()
            self._empty_lines = 0
            self._is_complete = self._is_kept = True
            return plain
        while waiting.startswith(b"\r\n"):
            del waiting[:2]
            self._empty_lines += 1
        if self._empty_lines > _MAX_EMPTY_LINES:
            raise Malformed("too many empty lines come before it")
        end = waiting.find(_END_OF_HEAD, max(0, self._seen - len(_END_OF_HEAD)))
        if end < 0:
            return self._without_head()
        _check_head(bytes(waiting[: end + 2]))
        return self._begin(h11.Connection(h11.SERVER, MAX_HEAD_BYTES))

    def _without_head(self) -> Mark:
        waiting = self._waiting
        if waiting and waiting != b"\r" and not _FIRST_SIGN.match(waiting):
            raise Malformed("the first line must be a method, a target and HTTP/1.1")
        if odd := _ODD.search(waiting, max(0, self._seen - 1)):
            raise Malformed(_odd_reason(odd[0]))
        self._seen = len(waiting)
        if len(waiting) > MAX_HEAD_BYTES:
            raise Malformed(f"its head has more than {MAX_HEAD_BYTES} bytes", 431)
        if not self._is_eof:
            return Mark.NEED_DATA
        if waiting:
            raise Malformed("it ends before it is complete")
        return Mark.CLOSED

    def _begin(self, machine: h11.Connection) -> Request:
        """Start on a complete head: h11 reads it, and then the body."""
        machine.receive_data(bytes(self._waiting))
        self._waiting.clear()
        self._seen = 0
        request = machine.next_event()
        assert isinstance(request, h11.Request)  # noqa: S101  all of its head is there, or h11 refuses it
        head = request_head(request.method, request.target, request.headers.raw_items())
        self._is_chunked = b"transfer-encoding" in head.headers
        if self._is_chunked and b"content-length" in head.headers:
            raise Malformed("Transfer-Encoding: and Content-Length: exclude each other")
        if self._is_chunked and request.http_version < b"1.1":
            raise Malformed("Transfer-Encoding: is not known in HTTP/1.0")
        options = head.headers.get(b"connection", b"").lower().split(b",")  # RFC 9112 9.3
        self._is_kept = request.http_version >= b"1.1" and b"close" not in [option.strip() for option in options]
        self._empty_lines = self._small_chunks = 0
        self._last = machine.trailing_data[0]
        self._machine = machine
        if self._is_eof:
            machine.receive_data(b"")
        return head

    def _next_of_body(self, machine: h11.Connection) -> bytes | bytearray | Mark:
        event = machine.next_event()
        if isinstance(event, h11.Data):
            if event.chunk_start and event.chunk_end:
                self._small_chunks += len(event.data) < _SMALL_CHUNK_BYTES
                if self._small_chunks > _MAX_SMALL_CHUNKS:
                    raise Malformed(
                        f"more than {_MAX_SMALL_CHUNKS} of its chunks have less than {_SMALL_CHUNK_BYTES} bytes"
                    )
            return event.data
        if event is h11.NEED_DATA:
            return Mark.NEED_DATA
        rest = machine.trailing_data[0]
        if self._is_chunked and not self._last[: len(self._last) - len(rest)].endswith(_END_OF_HEAD):
            raise Malformed("the last chunk must end with CR LF")
        self._waiting += rest
        self._is_complete = True
        return Mark.END


def _check_head(head: bytes) -> None:
    """Refuse a head that another program could read differently. `head` includes each line's end.

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
