"""The QoS 2 state that outlives a connection: pure bookkeeping, owned by the session (`session.keep_connected`).

Invariants:

* A packet id is kept here from its first PUBLISH until PUBCOMP, a refusal, or a new session, and is not reused in
  between: the broker would take the next message under it for a repetition, and discard it.
* A publication is kept until PUBREC, so that it can be repeated unchanged; after that only its token is kept.
* None of this is on disk. So a process begins with a clean session, in which all packet ids are free.
"""

from __future__ import annotations

from collections import deque

from edgeagent.mqtt.reason_codes import FAILURE, SUCCESS, answer
from edgeagent.ports.link import Ack, Publication


class Qos2Handshakes:
    """The incomplete QoS 2 publications of one session, over all its connections.

    It must never free a packet id that a broker may still know, nor repeat anything in a new session.

    Attributes:
        begun: whether a broker has answered CONNECT, so that its session holds only what is known here.
        last_packet_id: the packet id assigned last, over all connections: freed ones are reused as late as possible.
    """

    def __init__(self) -> None:
        self.begun = False
        self.last_packet_id = 0
        self._unreceived: dict[int, Publication] = {}  # PUBLISH without PUBREC, in the order of the first PUBLISH
        self._released: dict[int, Ack] = {}  # PUBREL without PUBCOMP, in the order of PUBREC, with what PUBREC said
        self._given_up: set[int] = set()  # not repeated, but the broker may know them
        self._again: deque[int] = deque()  # to be repeated on this connection

    def __len__(self) -> int:
        """How many are incomplete."""
        return len(self._unreceived) + len(self._released)

    def __contains__(self, packet_id: int) -> bool:
        """Whether this packet id is in use."""
        return packet_id in self._unreceived or packet_id in self._released or packet_id in self._given_up

    @property
    def tokens(self) -> frozenset[int]:
        """The tokens of the incomplete publications."""
        return frozenset(
            [publication.token for publication in self._unreceived.values()]
            + [ack.token for ack in self._released.values()]
        )

    def begin(self, *, session_present: bool) -> None:
        """Note that a broker answered CONNECT: continue its session, or forget everything with the one that is gone."""
        self.begun = True
        self._again.clear()
        if session_present:
            self._again.extend(self._unreceived)
        else:
            self._unreceived.clear()
            self._released.clear()
            self._given_up.clear()

    def released(self) -> list[int]:
        """The packet ids whose PUBREL must be repeated on a new connection."""
        return list(self._released)

    def again(self, receive_max: int) -> list[tuple[int, Publication]]:
        """What to publish again now, with packet ids; `receive_max`: how many may be unacknowledged at once."""
        repeated = []
        while self._again and len(self) - len(self._again) < receive_max:
            packet_id = self._again.popleft()
            if packet_id in self._unreceived:  # otherwise the broker has answered it meanwhile
                repeated.append((packet_id, self._unreceived[packet_id]))
        return repeated

    def add(self, packet_id: int, publication: Publication) -> None:
        """Note that a publication is published for the first time."""
        self._unreceived[packet_id] = publication
        self.last_packet_id = packet_id

    def give_up(self, packet_id: int) -> None:
        """Note that a publication cannot be repeated on this connection; its packet id stays in use for the session."""
        if self._unreceived.pop(packet_id, None) is not None:
            self._given_up.add(packet_id)

    def received(self, packet_id: int, reason_code: int, reason: str) -> Ack | None:
        """Take a PUBREC. Returns the final `Ack` if the broker refuses; None: PUBREL must be sent.

        Raises:
            KeyError: nothing waits for this packet id.
        """
        if packet_id in self._released:
            return None  # a repeated PUBREC, so PUBREL is repeated too
        ack = answer(self._unreceived.pop(packet_id).token, reason_code, reason)
        if reason_code >= FAILURE:
            return ack
        self._released[packet_id] = ack
        return None

    def completed(self, packet_id: int, reason_code: int, reason: str) -> Ack:
        """Take a PUBCOMP. Returns the final `Ack`, with its reason if it has one, otherwise PUBREC's.

        A broker that does not know the packet id (0x92) may have forgotten the message between PUBREC and PUBREL.
        Reporting a failure can double the message; reporting success can lose it.

        Raises:
            KeyError: nothing waits for this packet id.
        """
        ack = self._released.pop(packet_id)
        return ack if reason_code == SUCCESS else answer(ack.token, reason_code, reason)
