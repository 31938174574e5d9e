"""The pulling side of a link: takes messages from a subscription, acknowledges them, extends deadlines meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta

import msgspec

from edgeagent.common.foreign import shown
from edgeagent.errors import Denied, Unavailable, UplinkError
from edgeagent.ports.link import Message
from edgeagent.pubsub import messages
from edgeagent.pubsub.client import AnswerTooLarge, PubSubClient
from edgeagent.pubsub.credentials import ServiceClock
from edgeagent.pubsub.held import EXTENDED_S, MAX_ACK_IDS, Held
from edgeagent.pubsub.messages import Pulled
from edgeagent.pubsub.outcomes import Verdict
from edgeagent.pubsub.terms import PubSubTerms

# The service answers a pull without messages within this time; one without any answer is a broken connection.
PULL_WAIT_S = 90.0
PULL_MESSAGES = 100
# After an answer that was too large, so many messages come one by one: those that came together come again.
SINGLE_MESSAGES = 16
# A server that answers an empty pull at once, as emulators do, is asked again after this time.
IDLE_POLL_S = 1.0
# How long to wait after a call that the service could not take, and after how many in a row the link ends.
LATER_S = 2.0
MAX_LATER = 5
# Clocks of gateways and of this machine differ: a message is dropped only so long after its end.
EXPIRY_GRACE_S = 30.0
_MISSING_HINT = "create it as docs/pubsub.md tells"

_log = logging.getLogger(__name__)


class Puller:
    """Owns the messages that are held, and the acknowledgements that are not sent yet.

    Promises that a message is acknowledged only after `acknowledge`, or if nobody wants it, and that its deadline is
    extended until then. `pull` and `keep` must be running.
    """

    def __init__(
        self, client: PubSubClient, clock: ServiceClock, terms: PubSubTerms, taken: Callable[[Sequence[Message]], None]
    ) -> None:
        """`taken` is called with the messages of each pull that are wanted."""
        self._client = client
        self._clock = clock
        self._terms = terms
        self._taken = taken
        self._loop = asyncio.get_running_loop()
        self._held = Held()
        self._room = asyncio.Event()  # for `pull`
        self._acknowledged: list[str] = []
        self._to_keep = asyncio.Event()  # for `keep`
        self._pulls = bool(terms.subscription)
        self._most = PULL_MESSAGES  # fewer while messages are so large that an answer cannot hold as many
        self._single = 0  # how many are still pulled one by one
        self._foreign: set[str] = set()  # topics of messages that were not wanted, as far as reported
        self.emptied: asyncio.Future[None] = self._loop.create_future()

    @property
    def is_emptied(self) -> bool:
        """Whether no message comes any more, and none is held or waits to be acknowledged."""
        return not self._pulls and not self._held and not self._acknowledged

    def stop(self) -> None:
        """Pull no more; what was pulled can still be acknowledged."""
        self._pulls = False
        self._check_emptied()

    def acknowledge(self, received: Sequence[Message]) -> None:
        """Acknowledge what is held of these."""
        self._acknowledged += self._held.release(message.receipt for message in received)
        self._to_keep.set()
        self._room.set()

    async def attempt(self) -> list[Pulled]:
        """Find out whether we may pull; returns what that brought, for `deliver`.

        Raises:
            Denied, Unavailable: we may not, or cannot now.
        """
        if not self._pulls:
            return []
        # The only question about a subscription that an account which may pull can ask is to pull.
        body = messages.pull_body(1, at_once=True)
        answer = await self._client.call("pull", self._terms.subscription, body)
        if answer.judged.verdict is Verdict.LATER:
            raise Unavailable(self._terms.address, answer.judged.reason)
        return self._pulled(answer.judged.verdict, answer.judged.reason, answer.body)

    async def pull(self) -> None:
        """Pull, one request after the other, while there is room for messages."""
        failures = 0
        while True:
            if not self._pulls or not self._held.room:
                self._room.clear()
                await self._room.wait()
                continue
            began_s = self._loop.time()
            body = messages.pull_body(min(self._most, self._held.room))
            try:
                answer = await self._client.call("pull", self._terms.subscription, body, wait_s=PULL_WAIT_S)
            except AnswerTooLarge:
                if self._most == 1:
                    raise
                self._most, self._single = 1, SINGLE_MESSAGES  # they come again when their deadline is over
                continue
            verdict = answer.judged.verdict
            failures = failures + 1 if verdict is Verdict.LATER else 0
            if failures >= MAX_LATER:
                raise Unavailable(self._terms.address, answer.judged.reason)
            pulled = self._pulled(verdict, answer.judged.reason, answer.body)
            if pulled and self._single:
                self._single -= 1
            elif pulled:  # an answer with nothing in it says nothing about how large the messages are
                self._most = min(2 * self._most, PULL_MESSAGES)
            self.deliver(pulled)
            if verdict is Verdict.LATER:
                await asyncio.sleep(LATER_S * failures)
            elif not pulled and self._loop.time() - began_s < IDLE_POLL_S:
                await asyncio.sleep(IDLE_POLL_S)

    def _pulled(self, verdict: Verdict, reason: str, body: bytes) -> list[Pulled]:
        """What a pull brought.

        Raises:
            Denied, Unavailable: somebody must do something about it; or it was no answer to a pull.
        """
        if verdict is Verdict.MISSING:
            raise Denied(self._terms.address, f"{reason}: {_MISSING_HINT}")
        if verdict in {Verdict.FORBIDDEN, Verdict.MALFORMED}:
            raise Denied(self._terms.address, reason)
        if verdict is Verdict.STRANGE:
            raise Unavailable(self._terms.address, reason)
        if verdict is Verdict.LATER:
            return []
        try:
            return messages.pulled(body, self._terms.default_topic)
        except (ValueError, msgspec.DecodeError) as exc:
            raise Unavailable(self._terms.address, "that is no answer of Pub/Sub to a pull") from exc

    def deliver(self, pulled: Sequence[Pulled]) -> None:
        """Hand on what is wanted and not expired; the rest is acknowledged."""
        taken: list[Message] = []
        now_s = self._loop.time()
        for entry in pulled:
            topic = entry.message.topic
            qos = self._terms.wants(topic)
            if qos is None:
                self._report_foreign(topic)
            elif self._is_expired(entry):
                extra = {"event": "pubsub_expired", "topic": topic}
                _log.info("%s: a message on %s came after its end", self._terms.address, shown(topic), extra=extra)
            elif qos:
                receipt = self._held.add(entry.ack_id, now_s)
                taken.append(msgspec.structs.replace(entry.message, receipt=receipt))
                continue
            else:
                taken.append(entry.message)
            self._acknowledged.append(entry.ack_id)
        self._to_keep.set()
        if taken:
            self._taken(taken)

    def _is_expired(self, entry: Pulled) -> bool:
        # Only a difference of two times always exists: a publisher may name the calendar's last second.
        grace = timedelta(seconds=EXPIRY_GRACE_S)
        return entry.expires_at is not None and self._clock.now() - entry.expires_at > grace

    def _report_foreign(self, topic: str) -> None:
        if topic in self._foreign or len(self._foreign) >= MAX_ACK_IDS:
            return
        self._foreign.add(topic)
        extra = {"event": "pubsub_not_wanted", "topic": topic}
        _log.warning(
            "%s: %s brings messages on %s, which are not for us, and are dropped: each gateway needs a subscription of "
            "its own, with its filter",
            self._terms.address,
            self._terms.subscription,
            shown(topic),
            extra=extra,
        )

    async def keep(self) -> None:
        """Acknowledge what is acknowledged, and extend the deadlines of what is held."""
        failures = 0
        while True:
            self._to_keep.clear()
            ids, verb = self._acknowledged[:MAX_ACK_IDS], "acknowledge"
            if not ids:
                ids, verb = self._held.due(self._loop.time()), "modifyAckDeadline"
            if not ids:
                await self._kept_until(self._held.next_due())
                continue
            is_done = await self._kept(verb, ids, EXTENDED_S)
            failures = 0 if is_done else failures + 1
            if is_done and verb == "acknowledge":
                del self._acknowledged[: len(ids)]
                self._check_emptied()
            elif not is_done:
                if failures >= MAX_LATER:
                    raise Unavailable(self._terms.address, "it takes no acknowledgements")
                await asyncio.sleep(LATER_S)

    async def _kept_until(self, due_s: float | None) -> None:
        try:
            async with asyncio.timeout_at(due_s):
                await self._to_keep.wait()
        except TimeoutError:
            return

    async def _kept(self, verb: str, ids: Sequence[str], deadline_s: int) -> bool:
        """Acknowledge or extend; False if the service could not take it now. Ids that it no longer knows are done."""
        body = messages.acknowledge_body(ids) if verb == "acknowledge" else messages.extend_body(ids, deadline_s)
        judged = (await self._client.call(verb, self._terms.subscription, body)).judged
        if judged.verdict is Verdict.MISSING:
            raise Denied(self._terms.address, f"{judged.reason}: {_MISSING_HINT}")
        if judged.verdict is Verdict.FORBIDDEN:
            raise Denied(self._terms.address, judged.reason)
        if judged.verdict is Verdict.STRANGE:
            raise Unavailable(self._terms.address, judged.reason)
        # MALFORMED: an id whose deadline is over may be refused; its message comes again.
        return judged.verdict is not Verdict.LATER

    async def settle(self) -> None:
        """Before the end: send what is acknowledged, and give back what is held, for whoever pulls next."""
        try:
            for start in range(0, len(self._acknowledged), MAX_ACK_IDS):
                await self._kept("acknowledge", self._acknowledged[start : start + MAX_ACK_IDS], EXTENDED_S)
            self._acknowledged.clear()
            if held := self._held.give_up():
                await self._kept("modifyAckDeadline", held, 0)
        except UplinkError as exc:
            extra = {"event": "pubsub_not_settled"}
            _log.debug("%s: what was pulled comes again (%s)", self._terms.address, exc, extra=extra)

    def _check_emptied(self) -> None:
        if self.is_emptied and not self.emptied.done():
            self.emptied.set_result(None)
