"""Sends canaries over the uplink and takes their answers (contract section 14); `agent.canary` decides."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence

import msgspec

from edgeagent.agent import notices
from edgeagent.agent.addressing import Addressing
from edgeagent.agent.canary import Canary, CanaryReport
from edgeagent.agent.clock import Clock
from edgeagent.agent.route import RedirectVerdict
from edgeagent.ports.link import UNHEARD, Ack, Link, Publication, PublishRefused
from edgeagent.wire.messages import Response, Trigger

# Tokens of triggers count from 1; -1 and -2 are the state's, -3 is a query's.
TOKEN = -4
_RETRY_S = 5.0  # the wait while the link has no room
_CORRELATION_BYTES = 16


class Canaries:
    """Sends one canary in each interval while connected. `run` must be running.

    Owns the canary. Promises that nothing of it reaches the outbox, the ledger or the account. Must never change what
    becomes of a trigger, except that it may learn on which topic the dispatcher wants them.
    """

    def __init__(self, addressing: Addressing, clock: Clock, *, interval_s: float, patience_s: float, qos: int) -> None:
        self._addressing = addressing
        self._clock = clock
        self._canary = Canary(interval_s, patience_s)
        self._interval_s = interval_s
        self._qos = qos
        self._now = asyncio.get_running_loop().time
        self._link: Link | None = None
        self._sent_on = ""
        self._work = asyncio.Event()

    @property
    def report(self) -> CanaryReport:
        """What is known now."""
        return self._canary.report(self._now())

    def up(self, link: Link) -> None:
        """The uplink is up."""
        self._link = link
        self._work.set()

    def down(self) -> None:
        """The uplink is down: no answer comes any more."""
        self._link = None
        self._canary.lost("the connection ended before an answer came")

    def acknowledged(self, acks: Sequence[Ack]) -> None:
        """The broker answered publications."""
        for ack in acks:
            if ack.token == TOKEN and ack.outcome is UNHEARD:
                self._canary.lost(f"nobody subscribes to {self._sent_on}: is `edgeagent dispatch` running?")
            elif ack.token == TOKEN and isinstance(ack.outcome, PublishRefused):
                self._canary.lost(str(ack.outcome))

    def answered(self, response: Response) -> bool:
        """Take a response if it answers the canary that is out; False if it does not."""
        if not self._canary.is_out(response.correlation_id):
            return False
        asked = RedirectVerdict.NOTHING
        if response.trigger_topic:
            asked = self._addressing.route.asked(response.trigger_topic, self._sent_on, self._now())
        if asked is RedirectVerdict.MOVED:
            notices.topic_learned(self._addressing.route.topic)
        if asked in {RedirectVerdict.MOVED, RedirectVerdict.LATE}:
            self._canary.again()
            self._work.set()
        else:
            self._canary.answered(response, self._now(), self._clock.now())
        return True

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            self._work.clear()
            wait_s = self._step()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._work.wait()

    def _step(self) -> float | None:
        """Send one if it is due; returns when to look again, in seconds, None for not before the next connection."""
        link, now = self._link, self._now()
        if link is None:
            return None
        left_s = self._canary.due_at() - now
        if left_s > 0:
            return left_s
        if link.room < 1:
            return _RETRY_S
        self._publish(link, now)
        return self._interval_s

    def _publish(self, link: Link, now: float) -> None:
        correlation_id = os.urandom(_CORRELATION_BYTES).hex()
        agent, reply_to = self._addressing.agent, self._addressing.response_topic
        message = Trigger("", {}, correlation_id, agent, attempt=1, reply_to=reply_to, canary=True)
        self._sent_on = self._addressing.route.topic
        self._canary.sent(correlation_id, now, self._clock.now())
        link.publish(
            [
                Publication(
                    TOKEN,
                    self._sent_on,
                    msgspec.json.encode(message),
                    qos=min(self._qos, 1),
                    content_type="application/json",
                    correlation_data=correlation_id.encode(),
                    response_topic=reply_to,
                    expiry_s=max(int(self._interval_s), 1),  # where a dispatcher is away, only the last one waits
                    user_properties=(("agent", agent),),
                )
            ]
        )
