"""The broker's side of one AMQP connection, played on the machine itself: no socket, any frame that a test wants."""

from __future__ import annotations

from typing import Any

from pamqp import base, body, commands, frame, header

from edgeagent.amqp.connection import AmqpConnection, AmqpPhase
from edgeagent.amqp.opening import CONSUMING, PUBLISHING, Terms
from edgeagent.amqp.topology import kept_queues, queues
from edgeagent.links.request import LinkRequest
from edgeagent.ports.link import Subscription

ADDRESS = "amqp://broker.example"
AGENTS = (
    Subscription("argo/workflows/response/gw-1"),
    Subscription("argo/workflows/status/gw-1", required=False),
)
# What a broker answers to each method.
_ANSWERS: dict[type[base.Frame], base.Frame] = {
    commands.Connection.StartOk: commands.Connection.Tune(2047, 131072, 60),
    commands.Connection.Open: commands.Connection.OpenOk(),
    commands.Channel.Open: commands.Channel.OpenOk(),
    commands.Exchange.Declare: commands.Exchange.DeclareOk(),
    commands.Queue.Bind: commands.Queue.BindOk(),
    commands.Queue.Unbind: commands.Queue.UnbindOk(),
    commands.Basic.Qos: commands.Basic.QosOk(),
    commands.Confirm.Select: commands.Confirm.SelectOk(),
}


def start(mechanisms: str = "PLAIN EXTERNAL") -> base.Frame:
    """The broker's first word."""
    return commands.Connection.Start(0, 9, {}, mechanisms, "en_US")


def request(session_expiry_s: int = 600, **values: Any) -> LinkRequest:
    """An agent's."""
    known = {"client_id": "edgeagent-gw-1-up", "mark": "gw-1", "subscriptions": AGENTS, **values}
    return LinkRequest(
        address=ADDRESS, keepalive_s=30, session_expiry_s=session_expiry_s, max_packet_bytes=1000, **known
    )


class AmqpPeer:
    """Answers as a broker does, except where `refusals` say otherwise: by the method, the code and words.

    Attributes:
        machine: the side under test.
        methods: everything that it wrote, in order: methods with their channels.
        kept: the message in each queue that keeps one.
    """

    def __init__(self, asked: LinkRequest | None = None, **terms: Any) -> None:
        asked = asked or request()
        values: dict[str, Any] = {
            "username": "gw-1",
            "password": "secret",
            "virtual_host": "/",
            "prefetch": 256,
            "queues": tuple(queues(asked, "n1")),
            "kept": tuple(kept_queues(asked)),
            **terms,
        }
        whole = Terms(
            address=asked.address,
            client_id=asked.client_id,
            heartbeat_s=asked.keepalive_s,
            **values,
        )
        self.machine = AmqpConnection(whole, 7, "n1", asked.mark, asked.max_packet_bytes)
        self.methods: list[tuple[int, base.Frame]] = []
        self.refusals: dict[type[base.Frame], tuple[int, str]] = {}
        self.kept: dict[str, bytes] = {}
        self.first = self.machine.begin()

    def open(self) -> None:
        """Take it through the whole opening, as far as the refusals let it come."""
        self.answer(self.send(0, start()))
        assert self.machine.phase is not AmqpPhase.OPENING, self.methods[-1]

    def answer(self, written: bytes) -> None:
        """Answer what it wrote, and so on until nothing is left to answer."""
        while written:
            answers = self.answers(written)
            written = self.machine.receive(answers) if answers else b""

    def answers(self, written: bytes) -> bytes:
        """What a broker answers to these frames."""
        return b"".join(self._answer(channel, method) for channel, method in self.heard(written))

    def framed(self, channel: int, *frames: Any) -> bytes:
        """These frames as bytes."""
        return b"".join(frame.marshal(value, channel) for value in frames)

    def _answer(self, channel: int, method: base.Frame) -> bytes:
        refusal = self.refusals.get(type(method))
        if refusal is not None:
            code, text = refusal
            if not isinstance(method, commands.Queue.Declare) or method.passive:
                del self.refusals[type(method)]
            return frame.marshal(commands.Channel.Close(code, text, 50, 10), channel)
        if isinstance(method, commands.Queue.Declare):
            return frame.marshal(commands.Queue.DeclareOk(method.queue or "amq.gen-1", 0, 0), channel)
        if isinstance(method, commands.Basic.Consume):
            return frame.marshal(commands.Basic.ConsumeOk(method.consumer_tag), channel)
        if isinstance(method, commands.Basic.Get):
            if method.queue not in self.kept:
                return frame.marshal(commands.Basic.GetEmpty(), channel)
            found = commands.Basic.GetOk(1, False, "amq.topic", method.queue, 0)
            return self.framed(channel, found, *content(self.kept[method.queue]))
        answer = _ANSWERS.get(type(method))
        return b"" if answer is None else frame.marshal(answer, channel)

    def heard(self, written: bytes) -> list[tuple[int, base.Frame]]:
        """The methods in these bytes, which are kept too."""
        found = []
        while written:
            size, channel, value = frame.unmarshal(written)
            written = written[size:]
            if isinstance(value, base.Frame):
                found.append((channel, value))
        self.methods += found
        return found

    def send(self, channel: int, *frames: Any) -> bytes:
        """The broker sends frames in one read; returns what the machine writes."""
        return self.machine.receive(self.framed(channel, *frames))

    def deliver(self, tag: int, payload: bytes, key: str = "argo.workflows.response.gw-1", **properties: Any) -> bytes:
        """A message of the first consumer's."""
        return self.send(
            CONSUMING,
            commands.Basic.Deliver("0", tag, False, "amq.topic", key),
            *content(payload, **properties),
        )

    def confirm(self, tag: int, *, multiple: bool = False) -> bytes:
        """The broker has taken a publication."""
        return self.send(PUBLISHING, commands.Basic.Ack(tag, multiple))


def content(payload: bytes, **properties: Any) -> list[Any]:
    """A header and a body, in one piece."""
    head = header.ContentHeader(0, len(payload), commands.Basic.Properties(**properties))
    return [head, body.ContentBody(payload)] if payload else [head]
