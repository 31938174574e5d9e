"""Sends the agent's requests about workflows and takes their answers (contract section 15); `agent.requests` decides.

A request is synced to the file `requests` in the state directory before it is promised to be sent, and its end before
the answer is acknowledged to the broker. So it survives whatever a trigger survives. It is no trigger: it is in no
account and in no log of the outbox (ADR 12).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edgeagent.agent.clock import Clock
from edgeagent.agent.requests import Entry, Requests
from edgeagent.common.foreign import shown
from edgeagent.errors import MessageError, StorageFailed, UplinkError
from edgeagent.outbox.files import Filesystem
from edgeagent.ports.link import UNHEARD, Ack, Link, Publication, PublishRefused
from edgeagent.ports.manage import ManagedRequest, ManageFigures, ManageOrder
from edgeagent.wire.manage import ManageRequest, parse_manage_response
from edgeagent.wire.messages import parse_response
from edgeagent.wire.topics import manage_topic

# Tokens of triggers count from 1, and -1 to -5 are others'.
_FIRST_TOKEN = -1000
_RETRY_S = 5.0  # the wait while the link has no room

_log = logging.getLogger(__name__)


class Managing:
    """Owns the requests and their file. `run` must be running.

    Promises that a request which was taken is answered or expires, and that either is told. Must never touch a trigger.
    """

    def __init__(self, agent: str, response_topic: str, clock: Clock, filesystem: Filesystem, path: Path) -> None:
        """Read the file; one that cannot be read is told, and its requests are lost.

        `response_topic`: where the answers come.
        """
        self._agent = agent
        self._topic = manage_topic(agent)
        self._response_topic = response_topic
        self._clock = clock
        self._filesystem = filesystem
        self._path = path
        self._requests = Requests(self._read())
        self._link: Link | None = None
        self._token = _FIRST_TOKEN
        self._sent: dict[int, str] = {}
        self._one_write = asyncio.Lock()
        self._work = asyncio.Event()

    # Called by the connection's owner.

    def up(self, link: Link) -> None:
        """The uplink is up."""
        self._link = link
        self._requests.connected()
        self._work.set()

    def down(self, error: UplinkError) -> None:
        """The uplink is down."""
        self._link = None
        sent, self._sent = self._sent, {}
        why = f"the connection ended when it was sent; may this user publish on {self._topic}? {shown(str(error))}"
        for request_id in sent.values():
            self._requests.cut_off(request_id, self._clock.now_ms(), why)

    def acknowledged(self, acks: Sequence[Ack]) -> None:
        """The broker answered publications."""
        for ack in acks:
            request_id = self._sent.pop(ack.token, None)
            if request_id is None:
                continue
            self._requests.survived()
            if ack.outcome is UNHEARD:
                why = f"nobody subscribes to {self._topic}: does a dispatcher's [[allow]] name operations?"
                self._requests.not_taken(request_id, self._clock.now_ms(), why)
            elif isinstance(ack.outcome, PublishRefused):
                self._requests.not_taken(request_id, self._clock.now_ms(), shown(str(ack.outcome)))
            self._work.set()

    async def answered(self, payload: bytes, correlation_data: bytes | None) -> bool:
        """Take a message on the response topic if it answers a request; False if it is something else.

        A foreign engine may write a `request_id` of its own into its answer to a trigger.

        Raises:
            StorageFailed: that the request has ended could not be kept; the message is to be offered again.
        """
        try:
            response = parse_manage_response(payload)
        except MessageError:
            return False
        entry = self._requests.find(response.request_id)
        if entry is None and _answers_trigger(payload, correlation_data, response.request_id):
            return False
        if self._requests.answered(response, self._clock.now_ms()) and entry is not None:
            _log.info(
                "the answer to %s %s is %d: %s",
                entry.request.operation,
                shown(entry.subject),
                response.code,
                shown(entry.why),
                extra={"event": "manage_answered", "request_id": response.request_id, "code": response.code},
            )
        if entry is not None and entry.is_kept and entry.state != "waiting":
            await self._write()
        self._work.set()
        return True

    # Called by the operator's and the devices' calls.

    async def ask(
        self, order: ManageOrder, *, namespace: str, workflow_id: str = "", correlation_id: str = ""
    ) -> ManagedRequest:
        """Make a request and promise to send it: it is synced on return.

        Raises:
            RequestsFull: too many wait.
            StorageFailed: the disk refuses; the request is not made.
        """
        now_ms = self._clock.now_ms()
        request = ManageRequest(
            order.operation,
            self._clock.new_id(now_ms),
            namespace,
            workflow_id,
            correlation_id,
            self._agent,
            self._response_topic,
            order.message,
            order.whole,
            order.limit,
            order.continue_,
        )
        why = "" if self._link is not None else "the uplink is down: it is sent when it is up"
        entry = Entry(request, now_ms, now_ms + int(order.ttl_s * 1000), why=why)
        self._requests.add(entry)
        if entry.is_kept:
            try:
                await self._write()
            except StorageFailed:
                self._requests.remove(request.request_id)
                raise
        self._requests.promise(request.request_id)
        self._work.set()
        return entry.managed()

    def find(self, request_id: str) -> ManagedRequest | None:
        """A request by its id, if it is still known."""
        entry = self._requests.find(request_id)
        return entry.managed() if entry is not None else None

    def figures(self) -> ManageFigures:
        """What was asked since the start, and what waits."""
        return ManageFigures(dict(self._requests.counts), self._requests.waiting)

    def newest(self) -> list[ManagedRequest]:
        """Every request that is known, newest first."""
        return [entry.managed() for entry in self._requests.newest()]

    async def run(self) -> None:
        """Send and expire until cancelled."""
        while True:
            self._work.clear()
            wait_s = await self._step()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._work.wait()

    async def _step(self) -> float | None:
        """Do what is due; returns after how many seconds there is more to do, None for not before something happens."""
        now_ms = self._clock.now_ms()
        expired = self._requests.expire(now_ms)
        for entry in expired:
            _log.warning(
                "the request to %s %s expired: %s",
                entry.request.operation,
                shown(entry.subject),
                shown(entry.why),
                extra={"event": "manage_expired", "request_id": entry.request.request_id},
            )
        if any(entry.is_kept for entry in expired):
            with contextlib.suppress(StorageFailed):  # after a restart it expires again
                await self._write()
        if (link := self._link) is None:
            next_ms = self._requests.expires_ms()
            return None if next_ms is None else max(next_ms - now_ms, 0) / 1000
        next_ms = self._requests.next_ms(now_ms)
        due = self._requests.due(now_ms)[: link.room]
        if due:
            link.publish([self._publication(entry, now_ms) for entry in due])
            next_ms = self._requests.next_ms(now_ms)
        elif next_ms is not None and next_ms <= now_ms:
            return _RETRY_S
        return None if next_ms is None else max(next_ms - now_ms, 0) / 1000

    def _publication(self, entry: Entry, now_ms: int) -> Publication:
        request = entry.request
        self._token -= 1
        self._sent[self._token] = request.request_id
        self._requests.sent(request.request_id, now_ms)
        return Publication(
            self._token,
            self._topic,
            msgspec.json.encode(request),
            content_type="application/json",
            correlation_data=request.request_id.encode(),
            response_topic=self._response_topic,
            expiry_s=max((entry.until_ms - now_ms) // 1000, 1),
            user_properties=(("agent", self._agent),),
        )

    def _read(self) -> list[Entry]:
        try:
            if not self._filesystem.exists(self._path):
                return []
            return msgspec.json.decode(self._filesystem.read(self._path), type=list[Entry])
        except (ValueError, StorageFailed) as exc:  # msgspec's errors are ValueErrors; a start does not depend on it
            _log.error(
                "%s cannot be read, so the requests about workflows in it are lost: %s",
                self._path,
                exc,
                extra={"event": "manage_requests_lost", "path": str(self._path)},
            )
            return []

    async def _write(self) -> None:
        """Replace the file, synced; a write that waited writes what is known by then."""
        async with self._one_write:
            content = msgspec.json.encode(self._requests.kept())
            await asyncio.to_thread(self._filesystem.replace, self._path, content)


def _answers_trigger(payload: bytes, correlation_data: bytes | None, request_id: str) -> bool:
    """Whether a message with a request id names a trigger too. The answer to a request has at most the request's id."""
    try:
        return parse_response(payload, correlation_data).correlation_id != request_id
    except MessageError:
        return False
