"""The way from the protocol's header to a connection in use, as one dialogue. Pure.

Each step writes one method and takes its answer. A step that the broker may refuse without harm (a queue that is not
there yet, a subscription that is not required) costs the channel, which is opened again for the next step.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

import msgspec
from pamqp import base, commands

from edgeagent.amqp import codec, reasons
from edgeagent.amqp.keys import EXCHANGE, has_key
from edgeagent.amqp.topology import AmqpQueue, dead_letters
from edgeagent.common.foreign import line
from edgeagent.errors import Denied, Unavailable, UplinkError
from edgeagent.ports.link import Subscription

# The channel for what is consumed, and the one for what is published.
CONSUMING, PUBLISHING = 1, 2

_CAPABILITIES = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "publisher_confirms": True,
}
_T = TypeVar("_T", bound=base.Frame)
# Writes bytes, and takes the method that answers them.
Dialogue = Generator[bytes, base.Frame, "Opened"]


class Terms(msgspec.Struct, frozen=True):
    """What is asked of the broker on one connection.

    `username` None: by the client certificate. `queues`: what to consume, declared and bound first. `consumes`: whether
    to begin with that; else the connection is a trial. `kept`: queues whose one message is read first, and stays there.
    `publishes`: whether there is a channel with confirms.
    """

    address: str
    virtual_host: str
    client_id: str
    username: str | None
    password: str
    heartbeat_s: int
    prefetch: int
    queues: tuple[AmqpQueue, ...] = ()
    kept: tuple[AmqpQueue, ...] = ()
    consumes: bool = True
    publishes: bool = True

    def __repr__(self) -> str:
        """Without the password."""
        return f"Terms({self.address}, {self.client_id})"


class Opened(msgspec.Struct, frozen=True):
    """What came of it. `kept`: a queue of ours was there before. `refused`: what was not granted, nor required."""

    frame_max_bytes: int
    heartbeat_s: int
    kept: bool
    refused: list[tuple[Subscription, UplinkError]]


class Opening:
    """One connection's way to use; `run` is the dialogue.

    Raises from `run`:
        UplinkError: the broker does not let us, or does not keep to the protocol.

    Attributes:
        awaited: what it asked for and has no answer to, in words; "" if that is what every connection asks for.
        tags: the queues that are consumed, by the tag that their deliveries have.
    """

    def __init__(self, terms: Terms, negotiated: Callable[[int], None]) -> None:
        """`negotiated`: told the largest frame as soon as it is agreed."""
        self._terms = terms
        self._negotiated = negotiated
        self._frame_max_bytes = codec.FRAME_MAX_BYTES
        self._heartbeat_s = terms.heartbeat_s
        self._kept = False
        self._owed = b""  # what has no answer, and goes with the next method
        self.awaited = ""
        self.tags: dict[str, AmqpQueue] = {}
        self._refused: list[tuple[Subscription, UplinkError]] = []

    def run(self) -> Dialogue:
        """From the protocol's header to the last answer."""
        terms = self._terms
        yield from self._connect()
        if terms.queues or terms.kept:
            yield from self._declare()
        if terms.publishes:
            yield from self._ask(PUBLISHING, commands.Channel.Open(), commands.Channel.OpenOk)
            yield from self._ask(PUBLISHING, commands.Confirm.Select(), commands.Confirm.SelectOk)
        return Opened(self._frame_max_bytes, self._heartbeat_s, self._kept, self._refused)

    def _connect(self) -> Generator[bytes, base.Frame, None]:
        terms = self._terms
        start = self._expect((yield codec.PROTOCOL_HEADER), commands.Connection.Start)
        mechanism = "EXTERNAL" if terms.username is None else "PLAIN"
        offered = start.mechanisms.split()
        if mechanism not in offered:
            text = "it takes no client certificate in place of a username" if terms.username is None else "no password"
            raise Denied(terms.address, f"{text} (it offers {line(' '.join(offered))})")
        start_ok = commands.Connection.StartOk(
            client_properties={
                "product": "edgeagent",
                "connection_name": terms.client_id,
                "capabilities": dict(_CAPABILITIES),
            },
            mechanism=mechanism,
            response="" if terms.username is None else f"\0{terms.username}\0{terms.password}",
        )
        tune = self._expect((yield self._method(0, start_ok)), commands.Connection.Tune)
        self._frame_max_bytes = min(tune.frame_max or codec.FRAME_MAX_BYTES, codec.FRAME_MAX_BYTES)
        if self._frame_max_bytes < codec.FRAME_MIN_BYTES:
            raise self._against_protocol(f"a largest frame of {self._frame_max_bytes} bytes")
        self._negotiated(self._frame_max_bytes)
        self._heartbeat_s = min(terms.heartbeat_s, tune.heartbeat or terms.heartbeat_s)
        tune_ok = commands.Connection.TuneOk(PUBLISHING, self._frame_max_bytes, self._heartbeat_s)
        opened = yield self._method(0, tune_ok) + self._method(0, commands.Connection.Open(terms.virtual_host))
        self._expect(opened, commands.Connection.OpenOk)

    def _declare(self) -> Generator[bytes, base.Frame, None]:
        terms = self._terms
        yield from self._ask(CONSUMING, commands.Channel.Open(), commands.Channel.OpenOk)
        exchange = commands.Exchange.Declare(exchange=EXCHANGE, exchange_type="topic", passive=True)
        yield from self._ask(CONSUMING, exchange, commands.Exchange.DeclareOk, f"the exchange {EXCHANGE}")
        ready = []
        for queue in terms.queues:
            if queue.shared:
                for command in dead_letters():
                    yield from self._ask(CONSUMING, command, base.Frame, "where dead letters go")
            ready.append((yield from self._prepare(queue)))
        for queue in terms.kept:
            yield from self._read(queue)
        yield from self._ask(CONSUMING, commands.Basic.Qos(prefetch_count=terms.prefetch), commands.Basic.QosOk)
        for number, queue in enumerate(ready if terms.consumes else []):
            tag = f"{number}"
            self.tags[tag] = queue
            consume = queue.consume(tag)
            yield from self._ask(CONSUMING, consume, commands.Basic.ConsumeOk, f"consuming {queue.name}")

    def _prepare(self, queue: AmqpQueue) -> Generator[bytes, base.Frame, AmqpQueue]:
        """Declare a queue, unbind what is unwanted, and bind what is wanted."""
        if queue.lasts:
            self._kept |= yield from self._is_there(queue)
        what = f"the queue {queue.name}" if queue.name else "a queue"
        declared = yield from self._ask(CONSUMING, queue.declare(), commands.Queue.DeclareOk, what)
        queue = self._named(queue, declared.queue)
        for key in queue.unwanted:
            yield from self._ask(CONSUMING, queue.unbind(key), commands.Queue.UnbindOk, f"unbinding {key}")
        for binding in queue.bindings:
            subscription = binding.subscription
            what = f"subscription to {subscription.topic_filter}"
            if not has_key(subscription.topic_filter):
                raise Denied(self._terms.address, f"{what}: over AMQP no topic has a dot in it")
            answer = yield from self._try(CONSUMING, queue.bind(binding.key), commands.Queue.BindOk)
            if not isinstance(answer, commands.Channel.Close):
                continue
            error = self._closed(answer, what)
            if subscription.required or answer.reply_code != reasons.ACCESS_REFUSED:
                raise error
            self._refused.append((subscription, error))
            yield from self._reopen()
        return queue

    def _named(self, queue: AmqpQueue, name: str | None) -> AmqpQueue:
        """The queue with the name that the broker has given it, if it has none of ours."""
        if queue.name:
            return queue
        named = queue._replace(name=name or "")
        try:
            named.get()
        except ValueError as exc:
            raise self._against_protocol("a name of a queue that is none") from exc
        return named

    def _read(self, queue: AmqpQueue) -> Generator[bytes, base.Frame, None]:
        """Read what a queue keeps, if it may be had: the message comes behind the answer, and goes back at once."""
        ((subscription, key),) = queue.bindings
        for command in (queue.declare(), queue.bind(key), queue.get()):
            answer = yield from self._try(CONSUMING, command, base.Frame)
            if isinstance(answer, commands.Channel.Close):
                self._refused.append((subscription, self._closed(answer, f"the queue {queue.name}")))
                yield from self._reopen()
                return
        if isinstance(answer, commands.Basic.GetOk):
            self._owed = self._method(CONSUMING, commands.Basic.Reject(answer.delivery_tag, requeue=True))

    def _is_there(self, queue: AmqpQueue) -> Generator[bytes, base.Frame, bool]:
        answer = yield from self._try(CONSUMING, queue.declare(passive=True), commands.Queue.DeclareOk)
        if not isinstance(answer, commands.Channel.Close):
            return True
        if answer.reply_code != reasons.NOT_FOUND:
            raise self._closed(answer, f"the queue {queue.name}")
        yield from self._reopen()
        return False

    def _reopen(self) -> Generator[bytes, base.Frame, None]:
        """Open the channel again that a refusal has closed."""
        both = self._method(CONSUMING, commands.Channel.CloseOk()) + self._method(CONSUMING, commands.Channel.Open())
        self._expect((yield both), commands.Channel.OpenOk)

    def _ask(
        self, channel: int, command: base.Frame, kind: type[_T], what: str = ""
    ) -> Generator[bytes, base.Frame, _T]:
        """Write a method and take its answer, which must be of this kind."""
        self.awaited = what
        answer = yield from self._try(channel, command, kind)
        self.awaited = ""
        if isinstance(answer, commands.Channel.Close):
            raise self._closed(answer, what)
        return answer

    def _try(
        self, channel: int, command: base.Frame, kind: type[_T]
    ) -> Generator[bytes, base.Frame, _T | commands.Channel.Close]:
        """Write a method and take its answer, or what closes the channel."""
        owed, self._owed = self._owed, b""
        answer = yield owed + self._method(channel, command)
        return answer if isinstance(answer, commands.Channel.Close) else self._expect(answer, kind)

    def _method(self, channel: int, command: base.Frame) -> bytes:
        try:
            return codec.method(channel, command)
        except (ValueError, TypeError) as exc:
            raise Denied(self._terms.address, f"no {command.name} can be made of this configuration ({exc})") from exc

    def _expect(self, answer: base.Frame, kind: type[_T]) -> _T:
        if not isinstance(answer, kind):
            raise self._against_protocol(f"{answer.name} where {kind.name} was due")
        return answer

    def _closed(self, close: commands.Channel.Close, what: str) -> UplinkError:
        return reasons.closed(self._terms.address, close, what)

    def _against_protocol(self, what: str) -> Unavailable:
        return Unavailable(self._terms.address, f"the broker sent {what}")
