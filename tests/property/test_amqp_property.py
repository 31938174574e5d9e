"""A broker of AMQP may say anything at any time: nothing raises, loops or fills the memory, and each end has words."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import example, given
from hypothesis import strategies as st
from pamqp import base, body, commands, header

from edgeagent.amqp.codec import FRAME_MAX_BYTES
from edgeagent.amqp.connection import AmqpPhase
from edgeagent.amqp.opening import CONSUMING, PUBLISHING
from edgeagent.ports.link import Message, Publication, Subscription
from edgeagent.wire import topics
from tests.fakes.amqp_peer import AmqpPeer, request, start

KEPT = topics.cursor_topic("g", "plant")
ASKED = request(
    subscriptions=(
        Subscription("argo/workflows/response/gw-1"),
        Subscription(topics.cursor_filter("g"), qos=0, retained=True, kept=(KEPT,)),
    )
)
# Larger than any body that is sent here, and than `ASKED` takes.
HUGE = (1001, 1 << 20, 1 << 29, 1 << 40, (1 << 64) - 1)

numbers = st.sampled_from([0, 1, 2, 3, 7, 255, 1 << 31, (1 << 40) - 1, 1 << 40, (1 << 63) - 1])
texts = st.sampled_from(["", "0", "1", "amq.topic", "argo.workflows.response.gw-1", "\x00", "é" * 100, "n1-1"])
codes = st.sampled_from([0, 200, 312, 320, 403, 404, 405, 406, 501, 541])
kinds: dict[str, Callable[..., base.Frame]] = {
    "start": lambda *_: start(),
    "tune": lambda number, *_: commands.Connection.Tune(2047, number % (1 << 32), number % (1 << 16)),
    "open": lambda *_: commands.Connection.OpenOk(),
    "channel": lambda *_: commands.Channel.OpenOk(),
    "declared": lambda number, text, *_: commands.Queue.DeclareOk(
        text if text.isascii() and text.isprintable() else "q", number % (1 << 32), 0
    ),
    "bound": lambda *_: commands.Queue.BindOk(),
    "exchange": lambda *_: commands.Exchange.DeclareOk(),
    "qos": lambda *_: commands.Basic.QosOk(),
    "select": lambda *_: commands.Confirm.SelectOk(),
    "consume": lambda _, text, *__: commands.Basic.ConsumeOk(text),
    "cancel": lambda _, text, *__: commands.Basic.Cancel(text),
    "cancelled": lambda _, text, *__: commands.Basic.CancelOk(text),
    "deliver": lambda number, text, _, bit: commands.Basic.Deliver("0", number, bit, "amq.topic", text),
    "got": lambda number, text, _, bit: commands.Basic.GetOk(number, bit, "amq.topic", text, 0),
    "empty": lambda *_: commands.Basic.GetEmpty(),
    "return": lambda _, text, code, __: commands.Basic.Return(code, text, "amq.topic", text),
    "ack": lambda number, _, __, bit: commands.Basic.Ack(number, bit),
    "nack": lambda number, _, __, bit: commands.Basic.Nack(number, bit),
    "blocked": lambda _, text, *__: commands.Connection.Blocked(text),
    "unblocked": lambda *_: commands.Connection.Unblocked(),
    "closed": lambda _, text, code, __: commands.Channel.Close(code, text, 50, 10),
    "gone": lambda _, text, code, __: commands.Connection.Close(code, text, 50, 10),
}
methods = st.builds(
    lambda kind, *values: kinds[kind](*values), st.sampled_from(sorted(kinds)), numbers, texts, codes, st.booleans()
)
heads = st.builds(
    lambda size, text: header.ContentHeader(0, size, commands.Basic.Properties(message_id=text, headers={"a": [text]})),
    st.sampled_from([0, 1, 4, 1000, *HUGE]),
    texts,
)
bodies = st.builds(body.ContentBody, st.binary(min_size=1, max_size=8))
framed = st.tuples(st.sampled_from([0, CONSUMING, PUBLISHING, 9]), st.one_of(methods, heads, bodies))
# What a broker does: frames, bytes of any kind, and the answers that the machine waits for; and what the owner does.
steps = st.one_of(
    framed,
    st.binary(min_size=1, max_size=40),
    st.sampled_from(["answer", "publish", "acknowledge", "cancel"]),
)


class Play:
    """One connection, with what must hold after each step."""

    def __init__(self) -> None:
        self.peer = AmqpPeer(ASKED)
        self.peer.kept[KEPT.replace("/", ".")] = b"{}"
        self.machine = self.peer.machine
        self.owed = self.peer.framed(0, start())
        self.taken: list[Message] = []
        self.tokens = 0
        self.answered: list[int] = []

    def hear(self, data: bytes) -> None:
        """The broker has sent this."""
        ended = self.machine.phase is AmqpPhase.ENDED
        written = self.machine.receive(data)
        self.owed = self.peer.answers(written) or self.owed
        if ended:
            assert not self.machine.messages
            assert not self.machine.acks
        self.taken += self.machine.messages
        self.answered += [ack.token for ack in self.machine.acks]
        self.machine.messages.clear()
        self.machine.acks.clear()
        self.machine.too_large.clear()

    def do(self, step: object, flip: int) -> None:
        """One step; `flip`: which bit of its bytes is turned, -1: none."""
        if step == "answer":
            owed, self.owed = self.owed, b""
            self.hear(owed)
        elif step == "publish":
            self.tokens += 1
            _, refused = self.machine.publish([Publication(self.tokens, "argo/x", b"{}", attempt=1)])
            assert not refused
        elif step == "acknowledge":
            self.machine.acknowledge(self.taken)
        elif step == "cancel":
            self.machine.cancel()
        else:
            data = step if isinstance(step, bytes) else self.peer.framed(step[0], step[1])  # type: ignore[index]
            self.hear(_turned(data, flip))

    def check(self) -> None:
        """What holds whatever was said."""
        machine = self.machine
        assert (machine.error is not None) == (machine.phase is AmqpPhase.ENDED)
        if machine.error is not None:
            assert len(str(machine.error)) < 2000
            assert str(machine.error).isprintable()
        assert len(self.answered) == len(set(self.answered)) <= self.tokens
        receipts = [message.receipt for message in self.taken if message.receipt is not None]
        assert len(receipts) == len(set(receipts))
        assert len(machine.deliveries) <= 256
        assert all(len(content.payload) <= ASKED.max_packet_bytes for content in machine._content.values())
        assert len(machine.reader._rest) <= FRAME_MAX_BYTES


def _turned(data: bytes, flip: int) -> bytes:
    if flip < 0 or not data:
        return data
    turned = bytearray(data)
    turned[flip // 8 % len(data)] ^= 1 << flip % 8
    return bytes(turned)


@given(
    st.lists(st.tuples(steps, st.sampled_from([-1, -1, -1, -1, *range(0, 400, 7)])), max_size=40),
    st.integers(0, 20),
)
@example([("answer", -1)] * 25 + [("publish", -1), ((PUBLISHING, commands.Basic.Ack(0, True)), -1)], 0)
def test_whatever_a_broker_says_is_taken_or_ends_the_connection_in_words(
    script: list[tuple[object, int]], answers: int
) -> None:
    play = Play()
    for _ in range(answers):  # so far the broker keeps to the protocol
        play.do("answer", -1)
    for step, flip in script:
        play.do(step, flip)
        play.check()


@given(st.integers((1 << 29) + 1, (1 << 64) - 1))
def test_a_message_of_a_size_that_no_broker_takes_is_not_waited_for(size_bytes: int) -> None:
    play = Play()
    while play.machine.phase is AmqpPhase.OPENING:
        play.do("answer", -1)
    head = header.ContentHeader(0, size_bytes, commands.Basic.Properties())
    play.hear(play.peer.framed(CONSUMING, commands.Basic.Deliver("0", 1, False, "x", "k"), head))
    assert f"a message of {size_bytes} bytes" in str(play.machine.error)
