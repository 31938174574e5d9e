"""One HTTP/1.1 connection, from its first byte to its last; the code is in the order in which things happen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from edgeagent.common.peers import limited_address
from edgeagent.errors import EdgeAgentError
from edgeagent.httpapi.body import whole_body
from edgeagent.httpapi.clients import Clients, outcome
from edgeagent.httpapi.framing import CONTINUE, Framing, Malformed, Mark
from edgeagent.httpapi.plain import PlainRequest
from edgeagent.httpapi.plan import Plan
from edgeagent.httpapi.problem import Answer, Follower, Refused, problem, retry_after
from edgeagent.httpapi.receiving import Receiving
from edgeagent.httpapi.request import Request
from edgeagent.httpapi.timeouts import Timeouts
from edgeagent.httpapi.timer import LazyTimer

# How much a client may send ahead while its request runs. Beyond that reading stops, so its end is not noticed.
_MAX_AHEAD_BYTES = 64 << 10
_CROWDED_RETRY_S = 1
_GAVE_WAY = problem(503, "the request took long, and others want its place", retry_after(_CROWDED_RETRY_S))


class HttpConnection(asyncio.Protocol):
    """One accepted connection: it owns the present request, the memory reserved for that, and its one timer.

    `Framing` finds the requests in the bytes, a `Plan` answers them. They are answered one after the other, in the
    order sent; while one is running, or while the client does not read its answer, nothing further is parsed. A request
    that changes something must never be cut off because its client went away.
    """

    _transport: asyncio.Transport

    def __init__(self, plan: Callable[[Request], Plan], clients: Clients, timeouts: Timeouts) -> None:
        self._find_plan = plan
        self._clients = clients
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._framing = Framing()
        self._request: Request | None = None
        self._plan: Plan | None = None
        self._body = Receiving(self._reserve, self._release, self._body_changed)
        self._ahead_bytes = 0
        self._task: asyncio.Task[Answer] | None = None
        self._stream: Follower | None = None
        self._is_write_paused = False
        self._is_eof = False
        self._is_leaving = False
        self._gives_way = False
        self._is_lost = False
        self._timer = LazyTimer(self._loop, self._expire)
        # See `HttpClient`.
        self.address = ""
        self.idle_since: float | None = self._loop.time()
        self.receiving_since: float | None = None
        self.held_bytes = 0

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  create_server passes no other kind to a Protocol
        self._transport = transport
        # A client counts as not reading as soon as the kernel takes not every byte: write_s limits that.
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
        if self._is_leaving or self._stream is not None:
            return
        self._framing.receive(data)
        if self._task is None and not self._is_write_paused:
            self._advance()
            return
        self._clients.occupy(self, len(data))
        self._ahead_bytes += len(data)
        if self._ahead_bytes > _MAX_AHEAD_BYTES:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The client sends no more: it is gone, or waits for its answer. True keeps the connection open."""
        if self._is_leaving:
            return False
        self._is_eof = True
        self._framing.receive_eof()
        if self._stream is not None:
            self._transport.close()
        elif self._task is None:
            if not self._is_write_paused:
                self._advance()
        elif self._plan is not None and self._plan.waits:
            self._transport.close()
        return True

    def pause_writing(self) -> None:
        """The client reads more slowly than it is answered."""
        self._is_write_paused = True
        self._watch()

    def resume_writing(self) -> None:
        """The client has read everything."""
        self._is_write_paused = False
        if self._stream is not None:
            self._watch()
            self._pump()
            return
        if self._task is None:
            self._release()
        self._watch()
        if not self._is_leaving and self._task is None:
            self._advance()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  why it ended makes no difference
        """The connection is gone. A request that changes something runs on; one that only waits is cancelled."""
        self._is_lost = True
        self._timer.cancel()
        self._body.abandon()
        if self._stream is not None:
            self._stream.close()
        if self._task is None:
            self._clients.release(self)
        elif self._plan is not None and self._plan.waits:
            self._task.cancel()
        self._clients.discard(self)

    # Called by `Clients`.

    def drain(self) -> None:
        """Close as soon as no request is running or being received. A waiting one is answered 503."""
        if self._stream is not None:
            self._end_stream("the agent is stopping")
        elif self._task is not None:
            if self._plan is not None and self._plan.waits:
                self._task.cancel()
        elif self.receiving_since is None and not self._is_write_paused:
            self._transport.close()

    def give_way(self) -> None:
        """Close in favour of another client. Only a request that has not arrived completely is lost: 503."""
        if self._stream is not None:
            self._end_stream("others want its place")
        elif self._task is not None:
            self._gives_way = True
            self._task.cancel()
        elif self._is_leaving:
            self.abort()
        elif self.receiving_since is not None:
            self._send(_GAVE_WAY)
        else:
            self._transport.close()

    def abort(self) -> None:
        """Close at once, with answers unsent."""
        self._transport.abort()

    # From bytes to a running request.

    def _advance(self) -> None:
        """Process parts of requests until more bytes are needed, a request runs, or the client must read first."""
        while self._task is None and not self._is_write_paused and not self._transport.is_closing():
            try:
                part = self._framing.next_part()
            except Malformed as exc:
                self._send(problem(exc.status, str(exc)))
                return
            if isinstance(part, PlainRequest):
                self._run_plain(part)
            elif isinstance(part, Request):
                self._begin(part)
            elif isinstance(part, (bytes, bytearray)):
                self._take(part)
            elif part is Mark.END:
                self._complete()
            elif part is Mark.NEED_DATA:
                self._pause_for_data()
                return
            else:
                self._transport.close()
                return
            if self._is_leaving:
                return

    def _pause_for_data(self) -> None:
        if self._body.refusal is not None:  # the body is refused, and it has not come yet
            self._send(self._body.refusal)
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
            if not self._body.is_active:
                self._release()
        if self._body.is_congested:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _begin(self, head: Request) -> None:
        """Start a request whose head is complete: find its plan, and reserve the memory that it will hold."""
        self.idle_since = None
        self._request = head
        try:
            self._plan = self._find_plan(head)
        except EdgeAgentError as exc:
            self._body.refuse(exc)
            return
        self._body.begin(head, self._plan)
        if self._body.refusal is None and self._framing.wants_continue:
            self._transport.write(CONTINUE)

    def _take(self, data: bytes | bytearray) -> None:
        """Take a part of the body."""
        if self._body.is_active and self._body.take(data):
            self._progressed()

    def _body_changed(self) -> None:
        """The disk took more of the body, or takes no more of it."""
        if self._is_leaving:
            return
        if self._body.refusal is not None:
            self._send(self._body.refusal)
        elif not self._body.is_congested:
            self._progressed()
            self._transport.resume_reading()

    def _progressed(self) -> None:
        """A large body keeps coming: the time for it begins again."""
        self.receiving_since = self._loop.time()
        self._watch()

    def _complete(self) -> None:
        """Finish reading a request that has arrived completely."""
        self.receiving_since = None
        self._run(self._body.work())

    def _run_plain(self, request: PlainRequest) -> None:
        """Run the plan of a plain request, which needs none of the steps above (`benchmarks http`, single POSTs)."""
        self.idle_since = self.receiving_since = None
        head = self._request = request.head
        work = None
        try:
            plan = self._plan = self._find_plan(head)
            if plan.upload is None or len(request.body) <= plan.max_body_bytes:
                work = plan.answer(head, whole_body(head, plan, self._reserve, request.body))
            else:
                work = self._body.whole(head, plan, request.body)
        except EdgeAgentError as exc:
            self._body.refuse(exc)
        self._run(work)

    def _run(self, work: Coroutine[Any, Any, Answer] | None) -> None:
        """Run what answers a complete request; None: it was refused."""
        if work is None:
            assert self._body.refusal is not None  # noqa: S101  else there is work
            self._send(self._body.refusal)
            return
        assert self._plan is not None  # noqa: S101  without one there is a refusal
        self._timer.clear()
        if self._plan.waits:
            self.receiving_since = self._loop.time()
        self._task = self._clients.start(work, self._answered)

    # What it holds.

    def _reserve(self, total_bytes: int) -> None:
        if not self._clients.reserve(self, total_bytes):
            raise Refused(503, "too many requests are being worked on", retry_after(_CROWDED_RETRY_S))

    def _release(self) -> None:
        """Free what the request held; what the client sent ahead still counts."""
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
        self._send(answer)
        if not self._is_leaving and self._framing.has_more:
            self._advance()

    def _send(self, answer: Answer) -> None:
        """Write a whole answer; then the connection is ready for its next request, or is being closed."""
        is_incomplete = self._framing.is_incomplete
        is_head = self._request is not None and self._request.method == "HEAD"
        must_end = self._clients.is_draining or self._gives_way
        data, is_last = self._framing.answer(answer, is_head=is_head, is_last=must_end or answer.follow is not None)
        self._transport.write(data)
        if answer.follow is None or is_head or must_end:
            self._end_request(answer, is_last=is_last, linger=is_incomplete)
            return
        self.receiving_since = self._loop.time()  # as one that waits, it gives way when there is no room
        self._stream = answer.follow(self._pump)
        self._watch()
        self._pump()

    def _pump(self) -> None:
        """Send what the stream has, as far as the client reads: what it does not read is not kept for it."""
        while self._stream is not None and not self._is_write_paused and not self._transport.is_closing():
            data = self._stream.take()
            if not data:
                return
            self._transport.write(data)
            self._watch()

    def _end_stream(self, reason: str) -> None:
        """End a stream from this side, and say why, if the client reads at all."""
        if self._stream is None or self._is_write_paused:
            self.abort()
            return
        self._transport.write(self._stream.last_words(reason))
        self._transport.close()

    def _end_request(self, answer: Answer, *, is_last: bool, linger: bool) -> None:
        """End an answered request: get ready for the next one, or close."""
        self.receiving_since = None
        self._body.abandon()
        if self._ahead_bytes:
            self._release()
        else:
            self._clients.release(self)
        if self._is_write_paused:
            self._clients.occupy(self, len(answer.body))
        if is_last:
            self._leave(linger=linger)
            return
        self._request = self._plan = None
        self._watch()

    def _leave(self, *, linger: bool) -> None:
        """Close after the answer. A client that is still sending is heard out, or a reset could destroy the answer."""
        self._is_leaving = True
        self.idle_since = 0.0
        if self._is_eof or not linger:
            self._transport.close()
        else:
            try:
                self._transport.write_eof()
            except OSError:  # the client has reset the connection
                self.abort()
            self._transport.resume_reading()
        self._watch()

    # Time.

    def _watch(self) -> None:
        """Set the deadline that the present state requires."""
        timeouts, now = self._timeouts, self._loop.time()
        if self._is_write_paused:
            timeout_s = timeouts.write_s
        elif self._is_leaving:
            timeout_s = timeouts.linger_s
        elif self._stream is not None:
            timeout_s = timeouts.silence_s
        elif self.receiving_since is not None:
            timeout_s = timeouts.request_s
        else:
            timeout_s = timeouts.idle_s
            self.idle_since = now
        self._timer.set(now + timeout_s)

    def _expire(self) -> None:
        if self._is_write_paused or self._is_leaving:
            self.abort()
        elif self._stream is not None:
            self._transport.write(self._stream.beat())
            self._watch()
        elif self._body.is_congested:
            self._watch()  # it is the disk that takes long
        elif self.receiving_since is not None:
            self._send(problem(408, f"the request was not complete within {self._timeouts.request_s:g} s"))
        else:
            self._transport.close()
