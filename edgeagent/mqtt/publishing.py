"""The publications of one connection, from PUBLISH to the broker's final answer: pure bookkeeping.

Invariants:

* A packet id is in `tokens` (QoS 1) or in the session's `Qos2Handshakes` (QoS 2) as long as the broker may answer it.
* Together these are never more than the broker's receive maximum.
* A topic alias is used only on the connection on which a PUBLISH with the whole topic defined it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeagent.mqtt.encoding import PublishEncoder
from edgeagent.mqtt.limits import BrokerLimits
from edgeagent.mqtt.packets import (
    LARGEST_PACKET_ID,
    PUBACK,
    PUBCOMP,
    pubrel_packet,
    repeated,
)
from edgeagent.mqtt.reason_codes import (
    FAILURE,
    MALFORMED,
    PACKET_TOO_LARGE,
    answer,
    too_large,
)
from edgeagent.ports.link import Ack, Publication

if TYPE_CHECKING:
    from edgeagent.mqtt.qos2 import Qos2Handshakes

_EXACTLY_ONCE = 2
# An agent publishes on two or three topics again and again; each alias that we define costs the broker memory.
_MOST_ALIASES = 8


class Publishing:
    """The publications of one connection, from PUBLISH to the broker's final answer.

    It assigns packet ids and topic aliases, and answers itself for what cannot be written. It must never have more
    unacknowledged than the broker takes, and never repeat a publication at QoS 1: the owner does that, on the next
    connection.

    Args:
        qos2: the session's QoS 2 handshakes; None: nothing is published at QoS 2.
        mark: user properties of every publication, in addition to its own.

    Attributes:
        tokens: the publications at QoS 1 without PUBACK, by packet id; the link removes them. last_packet_id: the
        packet id assigned last. reserved_id: a packet id that is in use for something other than a publication; 0:
        none. limits: what the broker takes; nothing before `begin`. carried: the tokens of earlier connections' QoS 2
        publications that are still being completed. answers: the link's own answers, to what was not written and to
        what no broker will answer; the link removes them. replies: PUBRELs to be written; the link removes them.
    """

    def __init__(self, qos2: Qos2Handshakes | None, mark: tuple[tuple[str, str], ...] = ()) -> None:
        self.limits = BrokerLimits(receive_max=0)
        # Copied from `limits` for each publication: attributes of a named tuple are slower (`benchmarks path`).
        self._max_packet_bytes, self._has_acks = self.limits.max_packet_bytes, True
        self.carried: frozenset[int] = frozenset()
        self.answers: list[Ack] = []
        self.replies: list[bytes] = []
        self.last_packet_id = qos2.last_packet_id if qos2 is not None else 0
        self.reserved_id = 0
        self._qos2 = qos2
        self._highest_qos = 1 if qos2 is None else _EXACTLY_ONCE
        self.tokens: dict[int, int] = {}
        self._encode = PublishEncoder(mark).packet
        self._aliases: dict[str, int] = {}
        self._most_aliases = 0
        self._last_topic = ""

    def begin(self, limits: BrokerLimits, *, session_present: bool) -> None:
        """Note that the broker answered CONNECT; continue the session's QoS 2 handshakes, or forget them."""
        self.limits = limits
        self._max_packet_bytes, self._has_acks = limits.max_packet_bytes, limits.abilities.most_qos > 0
        self._most_aliases = min(limits.aliases, _MOST_ALIASES)
        if self._qos2 is not None:
            self._qos2.begin(session_present=session_present)
            self.carried = self._qos2.tokens

    @property
    def room(self) -> int:
        """How many more may be published at QoS 1 and 2."""
        qos2, receive_max = self._qos2, self.limits.receive_max
        out = len(self.tokens) if qos2 is None else len(self.tokens) + len(qos2)
        return receive_max - out if out < receive_max else 0

    def first(self) -> list[bytes]:
        """The first packets of a resumed session: its PUBRELs again, then its PUBLISHes without PUBREC."""
        if self._qos2 is None:
            return []
        return [pubrel_packet(packet_id) for packet_id in self._qos2.released()] + self.again()

    def again(self) -> list[bytes]:
        """Publications of earlier connections, whole and marked as duplicates; as many as the broker takes now."""
        if self._qos2 is None:
            return []
        packets = []
        for packet_id, publication in self._qos2.again(self.limits.receive_max - len(self.tokens)):
            packet = repeated(self._encode(publication, packet_id, publication.topic))
            if len(packet) > self.limits.max_packet_bytes:
                self._qos2.give_up(packet_id)
                self._too_large(publication, len(packet))
            else:
                packets.append(packet)
        return packets

    def packets(self, publications: Sequence[Publication]) -> list[bytes]:
        """The PUBLISH packets, with packet ids assigned. What cannot be sent is in `answers` instead."""
        packets: list[bytes] = []
        room = self.room
        for publication in publications:
            if publication.qos != 1 or room <= 0 or publication.retain:  # otherwise only its size may be a problem
                reason_code = self.limits.obstacle(publication, room=room, highest_qos=self._highest_qos)
                if reason_code:
                    self._refuse(publication, reason_code)
                    continue
            packet = self._packet(publication)
            if packet is not None:
                packets.append(packet)
                room -= publication.qos > 0
        return packets

    def free_packet_id(self) -> int:
        """A packet id that is not in use; the caller has it from now on."""
        packet_id, qos2 = self.last_packet_id % LARGEST_PACKET_ID + 1, self._qos2
        while packet_id in self.tokens or packet_id == self.reserved_id or (qos2 is not None and packet_id in qos2):
            packet_id = packet_id % LARGEST_PACKET_ID + 1
        self.last_packet_id = packet_id
        return packet_id

    def answered(self, kind: int, packet_id: int, reason_code: int, reason: str) -> Ack | None:
        """Take a PUBACK, PUBREC or PUBCOMP (its first byte). None: it is not final, and `replies` has the PUBREL.

        Raises:
            KeyError: nothing waits for this packet id.
        """
        if kind == PUBACK:
            return answer(self.tokens.pop(packet_id), reason_code, reason)
        if self._qos2 is None:
            raise KeyError(packet_id)
        if kind == PUBCOMP:
            return self._qos2.completed(packet_id, reason_code, reason)
        try:
            ack = self._qos2.received(packet_id, reason_code, reason)
        except KeyError:
            if reason_code < FAILURE:  # not an error while a session is recovered (MQTT 5, 3.6.2.1)
                self.replies.append(pubrel_packet(packet_id, known=False))
            return None
        if ack is None:
            self.replies.append(pubrel_packet(packet_id))
        return ack

    def _packet(self, publication: Publication) -> bytes | None:
        topic, alias, packet_id = publication.topic, None, None
        if len(publication.payload) > self._max_packet_bytes:
            self._too_large(publication, len(publication.payload))
            return None
        if publication.qos and self._has_acks:
            packet_id = self.free_packet_id()
        if self._most_aliases:
            alias = self._aliases.get(topic)
            if alias is None:
                alias = self._new_alias(topic)
            else:
                topic = ""
        try:
            packet = self._encode(publication, packet_id, topic, alias)
        except (ValueError, OverflowError) as exc:
            self._refuse(publication, MALFORMED, str(exc))
            return None
        if len(packet) > self._max_packet_bytes:
            self._too_large(publication, len(packet))
            return None
        if alias is not None and topic:
            self._aliases[topic] = alias
        self._wait_for_answer(publication, packet_id)
        return packet

    def _wait_for_answer(self, publication: Publication, packet_id: int | None) -> None:
        if packet_id is None:
            if publication.qos:  # the broker takes only QoS 0, and does not answer
                self.answers.append(Ack(publication.token))
        elif publication.qos == 1:
            self.tokens[packet_id] = publication.token
        elif self._qos2 is not None:
            self._qos2.add(packet_id, publication)

    def _new_alias(self, topic: str) -> int | None:
        """The alias to assign to a topic that comes twice in a row, if one is left."""
        again, self._last_topic = topic == self._last_topic, topic
        return len(self._aliases) + 1 if again and len(self._aliases) < self._most_aliases else None

    def _refuse(self, publication: Publication, reason_code: int, reason: str = "") -> None:
        self.answers.append(answer(publication.token, reason_code, reason))

    def _too_large(self, publication: Publication, size_bytes: int) -> None:
        self._refuse(publication, PACKET_TOO_LARGE, too_large(size_bytes, self.limits.max_packet_bytes))
