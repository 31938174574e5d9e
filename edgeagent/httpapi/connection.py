"""One HTTP/1.1 connection: `Framing` knows the protocol, asyncio moves the bytes, this class decides what happens next.

Plain requests (`httpapi.plain`) do not go through the framing, which stays between two requests meanwhile.
Requests of a connection are answered one after the other, in order; while one is running, or while the client does
not read its answer, nothing further is parsed. The one timer of a connection is set anew only when it fires too
early, so that a request which comes and goes at once costs no timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import h11
import msgspec

from edgeagent.errors import EdgeAgentError
from edgeagent.httpapi.body import Body
from edgeagent.httpapi.clients import Clients, limited_address, outcome
from edgeagent.httpapi.framing import Framing, Malformed
from edgeagent.httpapi.plain import REASONS, plain_answer, plain_request
from edgeagent.httpapi.plan import Plan
from edgeagent.httpapi.problem import Answer, Refused, problem, problem_for, retry_after
from edgeagent.httpapi.request import Request, request_head

# What a client may send ahead while its request is running, before reading stops (which hides that it goes away).
_MAX_AHEAD_BYTES = 64 << 10
_CROWDED_RETRY_S = 1
_NO_CONTENT = 204
_GAVE_WAY = problem(503, "the request took long, and others want its place", retry_after(_CROWDED_RETRY_S))


class Timeouts(msgspec.Struct, frozen=True):
    """How long a connection may take, in seconds.

    `request_s`: from a request's first byte to its last. `idle_s`: without a request. `write_s`: for the client to
    read an answer. `linger_s`: for the client to hear that it is refused, before the rest of what it sends is lost.
    """

    request_s: float = 30
    idle_s: float = 75
    write_s: float = 30
    linger_s: float = 2


class Connection(asyncio.Protocol):
    """The protocol of one accepted connection."""

    _transport: asyncio.Transport

    def __init__(self, plan: Callable[[Request], Plan], clients: Clients, timeouts: Timeouts) -> None:
        self._find_plan = plan
        self._clients = clients
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._framing = Framing()
        self._request: Request | None = None
        self._plan: Plan | None = None
        self._refusal: Answer | None = None
        self._body: Body | None = None
        self._ahead_bytes = 0
        self._task: asyncio.Task[Answer] | None = None
        self._is_plain = False
        self._is_write_paused = False
        self._is_eof = False
        self._is_leaving = False
        self._gives_way = False
        self._is_lost = False
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        # What `Client` says of them.
        self.address = ""
        self.idle_since: float | None = self._loop.time()
        self.receiving_since: float | None = None
        self.held_bytes = 0

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  what create_server hands to a Protocol
        self._transport = transport
        # Any byte that the kernel does not take counts as a client that does not read: write_s watches it.
        transport.set_write_buffer_limits(high=0)
        self.address = limited_address(transport.get_extra_info("peername"))
        is_admitted = self._clients.add(self)
        if self._clients.is_draining:
            self.abort()
        elif is_admitted:
            self._watch()
        elif self._clients.is_crowded():
            self.abort()
        else:
            self._send(problem(503, "too many connections", retry_after(_CROWDED_RETRY_S)))

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._is_leaving:
            return
        if self._task is None and not self._is_write_paused:
            plain = plain_request(data) if self.receiving_since is None else None
            if plain is not None:
                self._take_plain(*plain)
                return
            self._framing.receive(data)
            self._advance()
            return
        self._framing.receive(data)
        self._clients.occupy(self, len(data))
        self._ahead_bytes += len(data)
        if self._ahead_bytes > _MAX_AHEAD_BYTES:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The client sends no more: it may have gone, or wait for its answer. True keeps the connection open."""
        if self._is_leaving:
            return False
        self._is_eof = True
        self._framing.receive_eof()
        if self._task is None:
            if not self._is_write_paused:
                self._advance()
        elif self._plan is not None and self._plan.waits:
            self._transport.close()
        return True

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered."""
        self._is_write_paused = True
        self._watch()

    def resume_writing(self) -> None:
        """The client read everything."""
        self._is_write_paused = False
        if self._task is None:
            self._release()
        self._watch()
        if not self._is_leaving and self._task is None:
            self._advance()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  why it ended makes no difference
        """The connection is gone. A request that changes something runs on, one that only waits is given up."""
        self._is_lost = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is None:
            self._clients.release(self)
        elif self._plan is not None and self._plan.waits:
            self._task.cancel()
        self._clients.discard(self)

    # What the server asks.

    def drain(self) -> None:
        """Close as soon as no request is running or being received; waiting ones are told to come again."""
        if self._task is not None:
            if self._plan is not None and self._plan.waits:
                self._task.cancel()
        elif self.receiving_since is None and not self._is_write_paused:
            self._transport.close()

    def give_way(self) -> None:
        """Make room for another client: nothing is lost by it but what has not arrived whole."""
        if self._task is not None:
            self._gives_way = True
            self._task.cancel()
        elif self._is_leaving:
            self.abort()
        elif self.receiving_since is not None:
            self._send(_GAVE_WAY)
        else:
            self._transport.close()

    def abort(self) -> None:
        """Close at once, whatever is unsent."""
        self._transport.abort()

    # From bytes to a running request.

    def _advance(self) -> None:
        """Go on until more bytes are needed, a request is running or the client has to read first."""
        while self._task is None and not self._is_write_paused and not self._transport.is_closing():
            try:
                event = self._framing.next_event()
            except Malformed as exc:
                self._send(problem(exc.status, str(exc)))
                return
            if event is h11.NEED_DATA:
                self._pause_for_data()
                return
            if isinstance(event, h11.Request):
                self._begin(event)
            elif isinstance(event, h11.Data):
                self._take(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self._complete()
            else:  # ConnectionClosed; PAUSED cannot be: each answered request is followed by a new cycle or the end
                self._transport.close()
                return
            if self._is_leaving:
                return

    def _pause_for_data(self) -> None:
        if self._refusal is not None:  # the body is not wanted, and it has not come yet
            self._send(self._refusal)
            return
        if self.receiving_since is None:
            if self._framing.is_receiving:
                self.idle_since = None
                self.receiving_since = self._loop.time()
                self._watch()
            elif self._clients.is_draining:
                self._transport.close()
                return
        if self._ahead_bytes:
            self._ahead_bytes = 0
            if self._body is None:
                self._release()
        self._transport.resume_reading()

    def _begin(self, event: h11.Request) -> None:
        """A request's head is complete: decide what to do with it, and reserve what it will hold."""
        self.idle_since = None
        head = self._request = request_head(event.method, event.target, event.headers.raw_items())
        try:
            self._plan = self._find_plan(head)
            self._body = Body(head, self._plan, self._reserve)
        except EdgeAgentError as exc:
            self._refusal = problem_for(exc)
        else:
            if self._framing.wants_continue:
                self._transport.write(self._framing.continue_())

    def _take_plain(self, head: Request, body: bytes) -> None:
        """A whole request came in one piece, and nearly always its body is ready to be used as it is."""
        self._is_plain = True
        self.idle_since = None
        self._request = head
        try:
            plan = self._plan = self._find_plan(head)
            if plan.weigh is None and b"content-encoding" not in head.headers and len(body) <= plan.max_body_bytes:
                self._reserve(plan.work_bytes + len(body))
            else:
                body = Body(head, plan, self._reserve, body).whole()
        except EdgeAgentError as exc:
            self._refusal = problem_for(exc)
        self._run(body)

    def _take(self, data: bytes | bytearray) -> None:
        """A part of the body came."""
        if self._body is None:
            return
        try:
            self._body.take(data)
        except Refused as exc:
            self._refusal = problem_for(exc)
            self._body = None
            self._release()

    def _complete(self) -> None:
        """All of a request has come."""
        self.receiving_since = None
        body, self._body = self._body, None
        try:
            whole = body.whole() if body is not None else b""
        except EdgeAgentError as exc:
            self._refusal = problem_for(exc)
            whole = b""
        self._run(whole)

    def _run(self, body: bytes) -> None:
        """A request is complete: answer it."""
        if self._refusal is not None:
            self._send(self._refusal)
            return
        assert self._plan is not None  # noqa: S101  there is one, or a refusal
        assert self._request is not None  # noqa: S101  it has been read
        self._deadline = None
        if self._plan.waits:
            self.receiving_since = self._loop.time()
        self._task = self._clients.start(self._plan.answer(self._request, body), self._answered)

    # What it holds.

    def _reserve(self, total_bytes: int) -> None:
        if not self._clients.reserve(self, total_bytes):
            raise Refused(503, "too many requests are being worked on", retry_after(_CROWDED_RETRY_S))

    def _release(self) -> None:
        """The request is no more: what it held is free, but for what was sent ahead."""
        self._clients.release(self)
        if self._ahead_bytes:
            self._clients.occupy(self, self._ahead_bytes)

    # From an answer to bytes.

    def _answered(self, task: asyncio.Task[Answer]) -> None:
        answer = _GAVE_WAY if self._gives_way and task.cancelled() else outcome(task)
        self._task = None
        if self._is_lost or self._transport.is_closing():
            self._clients.release(self)
            return
        may_have_more = not self._is_plain or self._ahead_bytes > 0 or self._is_eof
        self._send(answer)
        if may_have_more and not self._is_leaving:
            self._advance()

    def _send(self, answer: Answer) -> None:
        """Write a whole answer; then the connection is ready for its next request, or on its way out."""
        framing = self._framing
        if self._is_plain:
            is_last = self._clients.is_draining
            self._transport.write(plain_answer(answer, is_last=is_last))
            self._end_request(answer, is_last=is_last, linger=False)
            return
        if not framing.may_answer:
            self.abort()
            return
        is_incomplete = framing.is_incomplete
        headers = list(answer.headers)
        if answer.status != _NO_CONTENT:
            headers[:0] = [(b"content-type", answer.media_type), (b"content-length", b"%d" % len(answer.body))]
        if is_incomplete or self._clients.is_draining or self._gives_way:
            headers.append((b"connection", b"close"))
        head = h11.Response(status_code=answer.status, headers=headers, reason=REASONS[answer.status])
        is_head = self._request is not None and self._request.method == "HEAD"
        data, is_last = framing.answer(head, None if is_head else answer.body)
        self._transport.write(data)
        self._end_request(answer, is_last=is_last, linger=is_incomplete)

    def _end_request(self, answer: Answer, *, is_last: bool, linger: bool) -> None:
        """A request is answered: get ready for the next one, or leave."""
        self.receiving_since = None
        self._body = None
        if self._ahead_bytes:
            self._release()
        else:
            self._clients.release(self)
        if self._is_write_paused:
            self._clients.occupy(self, len(answer.body))
        if is_last:
            self._leave(linger=linger)
            return
        self._is_plain = False
        self._request = self._plan = self._refusal = None
        self._watch()

    def _leave(self, *, linger: bool) -> None:
        """Close after the answer. A client that is still sending would lose it to a reset if it was not heard out."""
        self._is_leaving = True
        self.idle_since = 0.0
        if self._is_eof or not linger:
            self._transport.close()
        else:
            try:
                self._transport.write_eof()
            except OSError:  # the client reset the connection meanwhile
                self.abort()
            self._transport.resume_reading()
        self._watch()

    # Time.

    def _watch(self) -> None:
        """Set the deadline that the present state asks for."""
        timeouts, now = self._timeouts, self._loop.time()
        if self._is_write_paused:
            timeout_s = timeouts.write_s
        elif self._is_leaving:
            timeout_s = timeouts.linger_s
        elif self.receiving_since is not None:
            timeout_s = timeouts.request_s
        else:
            timeout_s = timeouts.idle_s
            self.idle_since = now
        deadline = self._deadline = now + timeout_s
        if self._timer is None or deadline < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._expire)
        elif self._is_write_paused or self._is_leaving:
            self.abort()
        elif self.receiving_since is not None:
            self._send(problem(408, f"the request was not complete within {self._timeouts.request_s:g} s"))
        else:
            self._transport.close()
