"""What of QoS 1 and 2 is under way between a client and the listener: pure bookkeeping, owned by the session.

Invariants:

* Answers leave in the order in which the messages came (MQTT 5, 4.6), whatever order the disk or the broker has.
* A message at QoS 2 is given on once: its packet id stands in `Inbound` from PUBLISH to PUBREL, over all connections.
* A packet id of `Outbound` is not used again before the client's last word on it.
* What a client does not acknowledge is sent again on its next connection in the same order, and at no other time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from edgeagent.listener.framing import MOST_QOS, PUBACK, PUBREC, MalformedPacket
from edgeagent.listener.packets import Publish
from edgeagent.listener.parcels import size_of
from edgeagent.listener.queue import Room
from edgeagent.listener.reasons import FAILURE, Reason

_WAITING: Final = -1  # no reason code yet
_LARGEST_PACKET_ID: Final = 65535
# Of a client before MQTT 5, which no receive maximum holds back: messages at QoS 2 without their PUBREL.
MOST_UNRELEASED: Final = 1024
# How many messages are on their way to one client, whatever more it would take.
MOST_OUT: Final = 100
# And how much that may be, beside one message of any size.
MOST_OUT_BYTES: Final = 1 << 20


class Inbound:
    """What the client published at QoS 1 and 2, and was not answered to the end.

    At QoS 1 nothing outlives the connection: the client sends again, and is answered then.
    """

    __slots__ = ("_at_least_once", "_received", "_unanswered")

    def __init__(self) -> None:
        # Packet ids to be answered on this connection, in the order of their messages: the reason code to answer with.
        self._unanswered: dict[int, int] = {}
        self._at_least_once = 0  # how many of them are at QoS 1
        self._received: dict[int, int] = {}  # at QoS 2, until PUBREL: with the reason code of PUBREC

    def __len__(self) -> int:
        """How many count against the receive maximum."""
        return self._at_least_once + len(self._received)

    @property
    def unanswered(self) -> int:
        """How many wait for their PUBACK or PUBREC on this connection."""
        return len(self._unanswered)

    def begin(self) -> None:
        """A connection begins, with the session that was kept."""
        self._unanswered.clear()
        self._at_least_once = 0

    def take(self, packet_id: int, qos: int, *, duplicate: bool) -> bool:
        """A message came; False: it came before, and is not to be given on.

        Raises:
            Malformed: its packet id is in use for another one.
        """
        if qos == MOST_QOS:
            return self._take_exactly_once(packet_id)
        if packet_id in self._unanswered or packet_id in self._received:
            if duplicate and packet_id not in self._received:
                return False
            raise _in_use(packet_id)
        self._unanswered[packet_id] = _WAITING
        self._at_least_once += 1
        return True

    def _take_exactly_once(self, packet_id: int) -> bool:
        reason = self._received.get(packet_id)
        if packet_id in self._unanswered:
            if reason is None:
                raise _in_use(packet_id)
            return False
        is_new = reason is None
        if is_new:
            reason = self._received[packet_id] = _WAITING
        self._unanswered[packet_id] = _WAITING if reason is None else reason
        return is_new

    def answer(self, packet_ids: Iterable[int], reason: int) -> None:
        """These messages of this connection may be answered."""
        unanswered, received = self._unanswered, self._received
        for packet_id in packet_ids:
            if unanswered.get(packet_id) == _WAITING:
                unanswered[packet_id] = reason
            if received and received.get(packet_id) == _WAITING:
                received[packet_id] = reason

    def unsafe(self) -> frozenset[int]:
        """The packet ids of messages at QoS 2 that may not be answered yet."""
        return frozenset([packet_id for packet_id, reason in self._received.items() if reason == _WAITING])

    def leaving(self) -> list[tuple[int, int, list[int]]]:
        """The answers that may leave now, in order: PUBACK or PUBREC, reason code, packet ids with the same two."""
        unanswered, received = self._unanswered, self._received
        runs: list[tuple[int, int, list[int]]] = []
        run: list[int] = []
        run_kind = run_reason = _WAITING
        for packet_id, reason in unanswered.items():
            if reason == _WAITING:
                break
            kind = PUBREC if received and packet_id in received else PUBACK
            if reason != run_reason or kind != run_kind:
                run, run_kind, run_reason = [], kind, reason
                runs.append((kind, reason, run))
            run.append(packet_id)
        for _, _, run in runs:
            for packet_id in run:
                del unanswered[packet_id]
        for kind, reason, run in runs:
            if kind == PUBACK:
                self._at_least_once -= len(run)
            elif reason >= FAILURE:
                for packet_id in run:
                    del received[packet_id]  # that was the last word on it (MQTT 5, 4.3.3)
        return runs

    def release(self, packet_id: int) -> bool:
        """PUBREL: the packet id may be used again; False: it was not in use.

        Raises:
            Malformed: PUBREC was not sent yet.
        """
        reason = self._received.get(packet_id)
        if reason is None:
            return False
        if reason == _WAITING or packet_id in self._unanswered:
            raise MalformedPacket(Reason.PROTOCOL_ERROR, f"a PUBREL for packet id {packet_id}, before its PUBREC")
        del self._received[packet_id]
        return True


class Sent(msgspec.Struct, frozen=True, gc=False):
    """A message on its way to a client, and how it was sent at `sent_s` (monotonic)."""

    message: Publish
    qos: int
    retain: bool
    subscription_ids: tuple[int, ...]
    sent_s: float


class Outbound:
    """What was sent to the client at QoS 1 and 2, and not acknowledged to the end."""

    __slots__ = ("_again", "_last_packet_id", "_released", "_sent", "_shared", "_used_bytes", "_window")

    def __init__(self, shared: Room | None = None) -> None:
        """Nothing was sent. `shared`: the room for what waits for all clients, in which this counts too."""
        self._last_packet_id = 0
        self._sent: dict[int, Sent] = {}  # PUBLISH without PUBACK or PUBREC, in the order of the first PUBLISH
        self._released: dict[int, None] = {}  # PUBREL without PUBCOMP, in the order of PUBREC
        self._again: list[int] = []  # to be sent again on this connection, the last one first
        self._window = 0
        self._used_bytes = 0
        self._shared = shared or Room()

    def __len__(self) -> int:
        """How many are not acknowledged to the end."""
        return len(self._sent) + len(self._released)

    @property
    def room(self) -> int:
        """How many more may be sent now; 0 while some are to be sent again, or too much is on its way."""
        if self._again or self._used_bytes >= MOST_OUT_BYTES or (self._sent and self._shared.is_full):
            return 0
        return max(0, self._window - len(self))

    @property
    def has_more(self) -> bool:
        """Whether some are still to be sent again."""
        return bool(self._again)

    def unacknowledged(self) -> list[Sent]:
        """What the client did not say that it has, in the order of the first PUBLISH."""
        return list(self._sent.values())

    def begin(self, receive_maximum: int) -> list[int]:
        """A connection begins: the packet ids whose PUBREL is to be sent again; then asks for `again`."""
        self._window = min(receive_maximum, MOST_OUT)
        self._again = list(reversed(self._sent))
        return list(self._released)

    def again(self) -> list[tuple[int, Sent]]:
        """What is to be sent again now, with its packet id: as much as the client takes."""
        repeated: list[tuple[int, Sent]] = []
        while self._again and len(self) - len(self._again) < self._window:
            packet_id = self._again.pop()
            if packet_id in self._sent:  # else the client has answered it meanwhile
                repeated.append((packet_id, self._sent[packet_id]))
        return repeated

    def next_packet_id(self) -> int:
        """A packet id that is not in use."""
        packet_id = self._last_packet_id
        while True:
            packet_id = packet_id % _LARGEST_PACKET_ID + 1
            if packet_id not in self._sent and packet_id not in self._released:
                return packet_id

    def add(self, packet_id: int, sent: Sent) -> None:
        """It is sent for the first time."""
        self._sent[packet_id] = sent
        self._last_packet_id = packet_id
        self._account(size_of(sent.message))

    def give_up(self, packet_id: int) -> None:
        """It cannot be sent again on this connection; that counts as done (MQTT 5, 3.1.2.11.4)."""
        self._forget(packet_id)

    def acknowledged(self, packet_id: int) -> None:
        """PUBACK. One that nothing waits for says nothing.

        Raises:
            Malformed: it is for a message at QoS 2.
        """
        sent = self._sent.get(packet_id)
        if packet_id in self._released or (sent is not None and sent.qos == MOST_QOS):
            raise MalformedPacket(Reason.PROTOCOL_ERROR, f"a PUBACK for packet id {packet_id}, which is at QoS 2")
        self._forget(packet_id)

    def received(self, packet_id: int, reason: int) -> bool | None:
        """PUBREC: whether it was waited for, so that PUBREL follows; None: the client refuses it, and nothing follows.

        Raises:
            Malformed: it is for a message at QoS 1.
        """
        sent = self._sent.get(packet_id)
        if sent is None:
            return packet_id in self._released
        if sent.qos != MOST_QOS:
            raise MalformedPacket(Reason.PROTOCOL_ERROR, f"a PUBREC for packet id {packet_id}, which is at QoS 1")
        self._forget(packet_id)
        if reason >= FAILURE:
            return None
        self._released[packet_id] = None
        return True

    def clear(self) -> None:
        """The session ended: nothing is sent again."""
        self._account(-self._used_bytes)
        self._sent.clear()
        self._released.clear()
        self._again.clear()

    def _forget(self, packet_id: int) -> None:
        sent = self._sent.pop(packet_id, None)
        if sent is not None:
            self._account(-size_of(sent.message))

    def _account(self, size_bytes: int) -> None:
        self._used_bytes += size_bytes
        self._shared.used_bytes += size_bytes

    def completed(self, packet_id: int) -> None:
        """PUBCOMP. One that nothing waits for says nothing."""
        self._released.pop(packet_id, None)


def _in_use(packet_id: int) -> MalformedPacket:
    return MalformedPacket(Reason.PROTOCOL_ERROR, f"a PUBLISH with packet id {packet_id}, which is in use")
