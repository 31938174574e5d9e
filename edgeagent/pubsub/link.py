"""One link to Pub/Sub: publishes in batches, pulls, acknowledges and extends deadlines (`links.driver.LinkDriver`).

There is no connection to speak of: a link is up once the service has taken our credentials, and it ends with the first
call that gets no answer, or one that somebody must do something about. The session then begins another one.

What Pub/Sub does not have is made up for here, or left out:

* Topics below a topic: the attribute `topic` names the one that is meant. A message that comes without it came on
  `PubSubTerms.default_topic`; one on a topic that is not subscribed to is acknowledged and reported.
* Retained messages: none are kept. What a dispatcher publishes for other dispatchers (`edgeagent/dispatch/…`) comes
  back to itself alone, so that each of them leads; what an agent publishes for monitors has no hearers.
* Expiry: a pulled message after its `expires_at` is acknowledged and dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from edgeagent.errors import Denied, Unavailable, UplinkError
from edgeagent.links.driver import LinkFutures
from edgeagent.ports.link import (
    TAKEN,
    UNHEARD,
    Abilities,
    Ack,
    LinkOwner,
    Message,
    Publication,
    PublishOutcome,
    PublishRefused,
)
from edgeagent.pubsub import messages
from edgeagent.pubsub.batches import MAX_REQUEST_BYTES, Batches, is_too_large
from edgeagent.pubsub.client import PubSubClient
from edgeagent.pubsub.credentials import ServiceClock
from edgeagent.pubsub.messages import Attempted, Pulled
from edgeagent.pubsub.outcomes import Verdict
from edgeagent.pubsub.publishing import published
from edgeagent.pubsub.pulling import Puller
from edgeagent.pubsub.terms import PubSubTerms
from edgeagent.wire import topics

# How many publishing requests are under way at a time, and how many publications wait or are in one.
PUBLISHERS = 4
MAX_UNANSWERED = 1000
# What a message may have: base64 makes four bytes of three, and attributes and the request take some.
MAX_PAYLOAD_BYTES = (MAX_REQUEST_BYTES - 40_000) * 3 // 4
_EDGEAGENT = "edgeagent"

_log = logging.getLogger(__name__)


class PubSubLink(LinkFutures):
    """Owns the publications that have no answer, and the messages that are held. It never repeats what has an answer.

    The futures and calls are those of `links.driver.LinkDriver`.
    """

    def __init__(self, client: PubSubClient, clock: ServiceClock, owner: LinkOwner, terms: PubSubTerms) -> None:
        """Nothing is asked yet: see `start`."""
        loop = asyncio.get_running_loop()
        super().__init__(loop)
        self.unwanted_unsubscribed.set_result(True)  # what is not wanted any more is only not pulled
        self._client = client
        self._clock = clock
        self._owner = owner
        self._terms = terms
        self._loop = loop
        self._batches = Batches()
        self._unanswered = 0
        self._work = asyncio.Event()  # for publishers
        self._puller = Puller(client, clock, terms, self._received)
        self.emptied = self._puller.emptied
        self._missing = False  # whether it is logged that the topic does not exist
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    # For the session.

    def start(self) -> None:
        """Begin: `up` says how that ended."""
        self._task = self._loop.create_task(self._run(), name="pubsub link")

    @property
    def taken_over(self) -> bool:
        """Never: there is no session that another client could take."""
        return False

    @property
    def is_emptied(self) -> bool:
        """Whether nothing is held; what is not acknowledged, the subscription keeps for others."""
        return self._puller.is_emptied

    def unsubscribe(self) -> None:
        """Pull no more; what was pulled can still be acknowledged."""
        self._puller.stop()
        if not self.unsubscribed.done():
            self.unsubscribed.set_result(True)

    def close(self) -> None:
        """End gracefully: what is acknowledged is sent, and what is held is given back."""
        if self._closing or self.lost.done():
            return
        self._closing = True
        self._end(Unavailable(self._terms.address, "the connection was closed"))

    def abort(self) -> None:
        """End at once."""
        if self._task is not None:
            self._task.cancel()
        self._end(Unavailable(self._terms.address, "the connection was closed"))
        if not self.lost.done():
            self.lost.set_result(None)

    # For the owner.

    @property
    def room(self) -> int:
        """See `Link.room`."""
        return 0 if self.ended.done() else MAX_UNANSWERED - self._unanswered

    @property
    def max_packet_bytes(self) -> int:
        """See `Link.max_packet_bytes`."""
        return MAX_PAYLOAD_BYTES

    @property
    def abilities(self) -> Abilities:
        """See `Link.abilities`."""
        return Abilities(retains=False, most_qos=1)

    @property
    def blocked(self) -> str:
        """See `Link.blocked`: what Pub/Sub cannot take is refused."""
        return ""

    @property
    def carried(self) -> frozenset[int]:
        """See `Link.carried`."""
        return frozenset()

    def publish(self, publications: Sequence[Publication]) -> None:
        """See `Link.publish`."""
        if self.ended.done():
            return
        now, early, echoed = self._clock.now(), list[Ack](), list[Message]()
        for publication in publications:
            outcome = self._outcome_here(publication, echoed)
            if outcome is None:
                entry = messages.outgoing(publication, now)
                if not is_too_large(entry):
                    self._batches.add(entry)
                    self._unanswered += 1
                    continue
                outcome = PublishRefused(413, f"it is larger than Pub/Sub takes ({MAX_REQUEST_BYTES} bytes)", True)
            if publication.qos:
                early.append(Ack(publication.token, outcome))
        self._work.set()
        if early or echoed:
            self._loop.call_soon(self._answer_here, early, echoed)

    def acknowledge(self, received: Sequence[Message]) -> None:
        """See `Link.acknowledge`. Messages of another link are not held here, and are ignored."""
        if not self.ended.done():
            self._puller.acknowledge(received)

    def _outcome_here(self, publication: Publication, echoed: list[Message]) -> PublishOutcome | None:
        """The outcome of what is not sent, None for what is; messages for our own subscriptions go to `echoed`."""
        topic = publication.topic
        if not publication.qos:
            return UNHEARD  # a reply that may get lost: nobody asks for one here
        if topics.is_below(_EDGEAGENT, topic):
            if self._terms.wants(topic) is None:
                return UNHEARD
            echoed.append(Message(topic, publication.payload))
            return TAKEN
        if self._unanswered >= MAX_UNANSWERED:
            return PublishRefused(429, "too many publications have no answer yet")
        return None

    def _answer_here(self, early: Sequence[Ack], echoed: Sequence[Message]) -> None:
        if self.ended.done():
            return
        if early:
            self._owner.on_acks(early)
        if echoed and not self.ended.done():
            self._owner.on_messages(echoed)

    def _received(self, received: Sequence[Message]) -> None:
        if not self.ended.done():
            self._owner.on_messages(received)

    # Running.

    def _end(self, error: UplinkError) -> None:
        if not self.up.done():
            self.up.set_result(error)
        if not self.ended.done():
            self.ended.set_result(error)

    async def _run(self) -> None:
        """Everything that a link does, until it ends."""
        workers: list[asyncio.Task[None]] = []
        try:
            try:
                first = await self._try()
            except UplinkError as exc:
                self._end(exc)
                return
            if self.ended.done():
                return
            self.up.set_result(None)
            self._owner.on_up(self, session_present=bool(self._terms.subscription))
            self._puller.deliver(first)
            jobs = [self._publisher() for _ in range(PUBLISHERS)]
            workers = [self._loop.create_task(job) for job in (*jobs, self._puller.pull(), self._puller.keep())]
            everything: set[asyncio.Future[Any]] = {self.ended, *workers}
            await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
            self._take_failure(workers)
            await _cancelled(workers)
            if self._closing:
                await self._puller.settle()
        finally:
            for worker in workers:
                worker.cancel()
            await self._client.aclose()
            if not self.lost.done():
                self.lost.set_result(None)

    def _take_failure(self, workers: Sequence[asyncio.Task[None]]) -> None:
        """End with the error of the worker that failed; a defect of ours is raised."""
        for worker in workers:
            if worker.done() and not worker.cancelled() and (error := worker.exception()) is not None:
                if not isinstance(error, UplinkError):
                    self._end(Unavailable(self._terms.address, f"a defect of ours: {error!r}"))
                    raise error
                self._end(error)

    async def _try(self) -> list[Pulled]:
        """Find out whether the service takes our credentials, and lets us pull; returns what that brought."""
        # Every account may ask which of the permissions it names it has. A topic that does not exist has none.
        await self._asked("testIamPermissions", self._terms.publish_to, b'{"permissions":["pubsub.topics.publish"]}')
        return await self._puller.attempt()

    async def _asked(self, verb: str, resource: str, body: bytes) -> None:
        """Ask something that emulators need not know; only credentials, names and the service's health count."""
        judged = (await self._client.call(verb, resource, body)).judged
        if judged.verdict in {Verdict.MALFORMED, Verdict.FORBIDDEN}:
            raise Denied(self._terms.address, judged.reason)
        if judged.verdict is Verdict.LATER and judged.status != 501:  # noqa: PLR2004  an emulator that does not know it
            raise Unavailable(self._terms.address, judged.reason)

    # Publishing.

    async def _publisher(self) -> None:
        """Send one batch after the other."""
        while True:
            batch = self._batches.take()
            if batch is None:
                self._work.clear()
                await self._work.wait()
                continue
            await published(self._client, self._terms, batch, self._answered)
            self._batches.done(batch)
            self._work.set()

    def _answered(self, entries: Sequence[Attempted], outcome: PublishOutcome, reason: str) -> None:
        """Pass on how a request ended."""
        self._unanswered -= len(entries)
        if outcome is UNHEARD and not self._missing:
            extra = {"event": "pubsub_topic_missing", "topic": self._terms.publish_to}
            _log.warning("%s: %s: create it", self._terms.address, reason, extra=extra)
        self._missing = outcome is UNHEARD
        if not self.ended.done():
            self._owner.on_acks([Ack(entry.token, outcome) for entry in entries])


async def _cancelled(workers: Sequence[asyncio.Task[None]]) -> None:
    for worker in workers:
        worker.cancel()
    await asyncio.wait(workers)
