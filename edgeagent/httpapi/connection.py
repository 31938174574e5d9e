"""One HTTP/1.1 connection: h11 knows the protocol, asyncio moves the bytes, this class decides what happens next.

Plain requests (`httpapi.plain`) do not go through h11, which stays between two requests meanwhile.
Requests of a connection are answered one after the other, in order; while one is running, or while the client does
not read its answer, nothing further is parsed. The one timer of a connection is set anew only when it fires too
early, so that a request which comes and goes at once costs no timer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import h11
import msgspec

from edgeagent.errors import Draining, EdgeAgentError
from edgeagent.httpapi.clients import Clients
from edgeagent.httpapi.plain import REASONS, plain_answer, plain_request
from edgeagent.httpapi.plan import Plan
from edgeagent.httpapi.problem import Answer, problem, problem_for, retry_after
from edgeagent.httpapi.request import Request, request_head

_log = logging.getLogger(__name__)

_MAX_HEAD_BYTES = 16 << 10
# What a client may send ahead while its request is running, before reading stops (which hides that it goes away).
_MAX_AHEAD_BYTES = 64 << 10
_CROWDED_RETRY_S = 1
_BOTH_DONE = {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}
_END = h11.EndOfMessage()


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
        self._machine = h11.Connection(h11.SERVER, _MAX_HEAD_BYTES)
        self._request: Request | None = None
        self._plan: Plan | None = None
        self._refusal: Answer | None = None
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._ahead_bytes = 0
        self._task: asyncio.Task[Answer] | None = None
        self._is_plain = False
        self._is_receiving = False
        self._is_write_paused = False
        self._is_eof = False
        self._is_leaving = False
        self._is_lost = False
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  what create_server hands to a Protocol
        self._transport = transport
        # Any byte that the kernel does not take counts as a client that does not read: write_s watches it.
        transport.set_write_buffer_limits(high=0)
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
            plain = plain_request(data) if not self._is_receiving else None
            if plain is not None:
                self._take_plain(*plain)
                return
            self._machine.receive_data(data)
            self._advance()
            return
        self._machine.receive_data(data)
        self._ahead_bytes += len(data)
        if self._ahead_bytes > _MAX_AHEAD_BYTES:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The client sends no more: it may have gone, or wait for its answer. True keeps the connection open."""
        if self._is_leaving:
            return False
        self._is_eof = True
        self._machine.receive_data(b"")
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
        self._watch()
        if not self._is_leaving and self._task is None:
            self._advance()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  why it ended makes no difference
        """The connection is gone. A request that changes something runs on, one that only waits is given up."""
        self._is_lost = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None and self._plan is not None and self._plan.waits:
            self._task.cancel()
        self._clients.discard(self)

    # What the server asks.

    def drain(self) -> None:
        """Close as soon as no request is running or being received; waiting ones are told to come again."""
        if self._task is not None:
            if self._plan is not None and self._plan.waits:
                self._task.cancel()
        elif not self._is_receiving and not self._is_write_paused:
            self._transport.close()

    def abort(self) -> None:
        """Close at once, whatever is unsent."""
        self._transport.abort()

    # From bytes to a running request.

    def _advance(self) -> None:
        """Go on until more bytes are needed, a request is running or the client has to read first."""
        while self._task is None and not self._is_write_paused and not self._transport.is_closing():
            try:
                event = self._machine.next_event()
            except h11.RemoteProtocolError as exc:
                status = 431 if exc.error_status_hint == 431 else 400  # noqa: PLR2004  the only hint that fits here
                self._send(problem(status, f"the request is malformed: {exc}"))
                return
            if event is h11.NEED_DATA:
                self._pause_for_data()
                return
            if isinstance(event, h11.Request):
                self._begin(event)
            elif isinstance(event, h11.Data):
                self._take(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                self._run()
            else:  # ConnectionClosed; PAUSED cannot be: each answered request is followed by a new cycle or the end
                self._transport.close()
                return
            if self._is_leaving:
                return

    def _pause_for_data(self) -> None:
        if self._refusal is not None:  # the body is not wanted, and it has not come yet
            self._send(self._refusal)
            return
        if not self._is_receiving:
            self._is_receiving = self._machine.their_state is not h11.IDLE or bool(self._machine.trailing_data[0])
            if self._is_receiving:
                self._watch()
            elif self._clients.is_draining:
                self._transport.close()
                return
        self._ahead_bytes = 0
        self._transport.resume_reading()

    def _begin(self, event: h11.Request) -> None:
        """A request's head is complete: decide what to do with it before its body is read."""
        self._decide(request_head(event.method, event.target, event.headers.raw_items()))
        if self._refusal is None and self._machine.they_are_waiting_for_100_continue:
            self._transport.write(self._machine.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")

    def _take_plain(self, head: Request, body: bytes) -> None:
        """A whole request came in one piece, and there is nothing else that h11 knows of."""
        self._is_plain = True
        self._decide(head)
        self._body.append(body)
        self._run()

    def _decide(self, head: Request) -> None:
        """Find the plan for a request, or why it is refused."""
        self._request = head
        if head.size_bytes > _MAX_HEAD_BYTES:  # h11 holds only what is incomplete to the limit
            self._refusal = problem(431, f"the request's head has more than {_MAX_HEAD_BYTES} bytes")
            return
        try:
            plan = self._plan = self._find_plan(head)
        except EdgeAgentError as exc:
            self._refusal = problem_for(exc)
            return
        length = int(head.headers.get(b"content-length", b"0"))
        if length > plan.max_body_bytes:
            self._refuse_body(length, plan.max_body_bytes)

    def _take(self, data: bytes) -> None:
        if self._refusal is not None or self._plan is None:
            return
        self._body_bytes += len(data)
        if self._body_bytes > self._plan.max_body_bytes:
            self._refuse_body(self._body_bytes, self._plan.max_body_bytes)
            self._body.clear()
        else:
            self._body.append(data)

    def _refuse_body(self, size_bytes: int, limit_bytes: int) -> None:
        reason = f"at most {limit_bytes} are taken (outbox.max_event_bytes)" if limit_bytes else "none is taken here"
        self._refusal = problem(413, f"body: has {size_bytes} bytes or more, {reason}")

    def _run(self) -> None:
        """A request is complete: answer it."""
        self._is_receiving = False
        if self._refusal is not None:
            self._send(self._refusal)
            return
        assert self._plan is not None  # noqa: S101  _begin set it, or a refusal
        assert self._request is not None  # noqa: S101  _begin set it
        self._deadline = None
        self._task = self._clients.start(self._plan.answer(self._request, b"".join(self._body)), self._answered)

    # From an answer to bytes.

    def _answered(self, task: asyncio.Task[Answer]) -> None:
        answer = _outcome(task)
        self._task = None
        if self._is_lost or self._transport.is_closing():
            return
        may_have_more = not self._is_plain or self._ahead_bytes > 0 or self._is_eof
        self._send(answer)
        if may_have_more and not self._is_leaving:
            self._advance()

    def _send(self, answer: Answer) -> None:
        """Write a whole answer; then the connection is ready for its next request, or on its way out."""
        machine = self._machine
        if self._is_plain:
            is_last = self._clients.is_draining
            self._transport.write(plain_answer(answer, is_last=is_last))
            self._end_request(is_last=is_last, linger=False)
            return
        if machine.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.abort()
            return
        is_incomplete = machine.their_state in {h11.IDLE, h11.SEND_BODY, h11.ERROR}
        headers = [(b"content-type", answer.media_type), (b"content-length", b"%d" % len(answer.body))]
        headers.extend(answer.headers)
        if is_incomplete or self._clients.is_draining:
            headers.append((b"connection", b"close"))
        head = h11.Response(status_code=answer.status, headers=headers, reason=REASONS[answer.status])
        parts = [machine.send(head) or b""]
        if self._request is None or self._request.method != "HEAD":
            parts.append(machine.send(h11.Data(data=answer.body)) or b"")
        parts.append(machine.send(_END) or b"")
        self._transport.write(b"".join(parts))
        is_last = machine.states != _BOTH_DONE
        if not is_last:
            machine.start_next_cycle()
        self._end_request(is_last=is_last, linger=is_incomplete)

    def _end_request(self, *, is_last: bool, linger: bool) -> None:
        """A request is answered: get ready for the next one, or leave."""
        if is_last:
            self._leave(linger=linger)
            return
        self._is_plain = False
        self._request = self._plan = self._refusal = None
        self._body = []
        self._body_bytes = 0
        self._watch()

    def _leave(self, *, linger: bool) -> None:
        """Close after the answer. A client that is still sending would lose it to a reset if it was not heard out."""
        self._is_leaving = True
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
        timeouts = self._timeouts
        if self._is_write_paused:
            timeout_s = timeouts.write_s
        elif self._is_leaving:
            timeout_s = timeouts.linger_s
        elif self._is_receiving:
            timeout_s = timeouts.request_s
        else:
            timeout_s = timeouts.idle_s
        deadline = self._deadline = self._loop.time() + timeout_s
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
        elif self._is_receiving:
            self._send(problem(408, f"the request was not complete within {self._timeouts.request_s:g} s"))
        else:
            self._transport.close()


def _outcome(task: asyncio.Task[Answer]) -> Answer:
    """A finished request's answer, whatever it ended in."""
    if task.cancelled():
        return problem_for(Draining())
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, EdgeAgentError):
        return problem_for(error)
    _log.error(
        "a request failed in a way that is not foreseen",
        exc_info=error,
        extra={"event": "http_request_failed"},
    )
    return problem(500, "the agent failed to answer; its log says more")
