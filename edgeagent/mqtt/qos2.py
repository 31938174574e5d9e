"""What of QoS 2 outlives a connection: pure bookkeeping, owned by the session (`session.keep_connected`).

Invariants:

* A packet id stands here from its first PUBLISH until PUBCOMP, a refusal, or a new session, and is not used again in
  between: the broker would take the next message under it for a repetition, and swallow it.
* A publication is kept until PUBREC, to be repeated as it was; from then on only its token is.
* Nothing of it is on disk. A process therefore begins with a clean session, whose packet ids are all free.
"""

from __future__ import annotations

from collections import deque

from edgeagent.mqtt.reason_codes import FAILURE, SUCCESS, answer
from edgeagent.ports.link import Ack, Publication


class Qos2Handshakes:
    """The QoS 2 publications of one session that are not completed, over all its connections.

    It never gives a packet id free that a broker may still know, and repeats nothing in a session that is new.

    Attributes:
        begun: whether a broker has answered CONNECT, so that its session holds only what is known here.
        last_packet_id: the packet id given out last, over all connections: freed ones rest as long as possible.
    """

    def __init__(self) -> None:
        self.begun = False
        self.last_packet_id = 0
        self._unreceived: dict[int, Publication] = {}  # PUBLISH without PUBREC, in the order of the first PUBLISH
        self._released: dict[int, Ack] = {}  # PUBREL without PUBCOMP, in the order of PUBREC, with what PUBREC said
        self._given_up: set[int] = set()  # not repeated, but perhaps half known to the broker
        self._again: deque[int] = deque()  # to be repeated on this connection

    def __len__(self) -> int:
        """How many are not completed."""
        return len(self._unreceived) + len(self._released)

    def __contains__(self, packet_id: int) -> bool:
        """Whether this packet id is in use."""
        return packet_id in self._unreceived or packet_id in self._released or packet_id in self._given_up

    @property
    def tokens(self) -> frozenset[int]:
        """The tokens of those that are not completed."""
        return frozenset(
            [publication.token for publication in self._unreceived.values()]
            + [ack.token for ack in self._released.values()]
        )

    def begin(self, *, session_present: bool) -> None:
        """A broker has answered CONNECT: go on with its session, or forget everything with the one that is gone."""
        self.begun = True
        self._again.clear()
        if session_present:
            self._again.extend(self._unreceived)
        else:
            self._unreceived.clear()
            self._released.clear()
            self._given_up.clear()

    def released(self) -> list[int]:
        """The packet ids whose PUBREL is to be repeated on a new connection."""
        return list(self._released)

    def again(self, receive_max: int) -> list[tuple[int, Publication]]:
        """What is to be published again now, with its packet id; `receive_max`: how many may be on the way at once."""
        repeated = []
        while self._again and len(self) - len(self._again) < receive_max:
            packet_id = self._again.popleft()
            if packet_id in self._unreceived:  # else the broker has answered it meanwhile
                repeated.append((packet_id, self._unreceived[packet_id]))
        return repeated

    def add(self, packet_id: int, publication: Publication) -> None:
        """It is published for the first time."""
        self._unreceived[packet_id] = publication
        self.last_packet_id = packet_id

    def give_up(self, packet_id: int) -> None:
        """It cannot be repeated on this connection; its packet id stays in use until the session ends."""
        if self._unreceived.pop(packet_id, None) is not None:
            self._given_up.add(packet_id)

    def received(self, packet_id: int, reason_code: int, reason: str) -> Ack | None:
        """PUBREC: the final `Ack` when the broker refuses it; None: PUBREL is to be sent.

        Raises:
            KeyError: nothing under this packet id waits for it.
        """
        if packet_id in self._released:
            return None  # repeated, and so is PUBREL
        ack = answer(self._unreceived.pop(packet_id).token, reason_code, reason)
        if reason_code >= FAILURE:
            return ack
        self._released[packet_id] = ack
        return None

    def completed(self, packet_id: int, reason_code: int, reason: str) -> Ack:
        """PUBCOMP: the final `Ack`, with its reason when it has one, else PUBREC's.

        A broker that does not know the packet id (0x92) may have forgotten the message between PUBREC and PUBREL. To
        say that it failed can double the message, to say nothing can lose it.

        Raises:
            KeyError: nothing under this packet id waits for it.
        """
        ack = self._released.pop(packet_id)
        return ack if reason_code == SUCCESS else answer(ack.token, reason_code, reason)
