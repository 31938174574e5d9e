"""What the links of both engines have in common: the phases of one connection's life, and what a session asks of it."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Sequence

from edgeagent.errors import UplinkError
from edgeagent.mqtt.farewell import Farewell
from edgeagent.mqtt.handshake import RECEIVE_MAX, Handshake
from edgeagent.mqtt.held import Held
from edgeagent.mqtt.link import FAILURE, MARK, Abilities, Ack, LinkOwner, Message
from edgeagent.mqtt.terms import Attempt

# QoS 0 messages kept while the subscriptions are being confirmed; beyond it they are dropped, as QoS 0 allows.
EARLY_QOS0_MAX = 1024


class Phase(enum.Enum):
    """Where a connection stands: CONNECT sent, SUBSCRIBE sent, in use, over."""

    CONNECTING = enum.auto()
    SUBSCRIBING = enum.auto()
    UP = enum.auto()
    ENDED = enum.auto()


CONNECTING, SUBSCRIBING, UP, ENDED = Phase


class Life:
    """One connection's life.

    Args:
        owner: who is told.
        handshake: what to ask of the broker.
        connection: this connection's number, unique in the process; every `Message` carries it.
        loop: the running loop.

    Attributes:
        connection: as above.
        up: done when connected and subscribed (None, just before `on_up`), or when that failed (the error).
        ended: done with the reason when the connection has ended, whoever ended it. `on_down` is the session's to call.
        lost: done when the socket is gone.
        taken_over: whether it ended because another client took the session.
        farewell: what became of `unsubscribe`.
        given_up: done when the broker has answered for `Handshake.unwanted`: whether it gave all of them up.
    """

    def __init__(
        self, owner: LinkOwner, handshake: Handshake, connection: int, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.connection = connection
        self.up: asyncio.Future[UplinkError | None] = loop.create_future()
        self.ended: asyncio.Future[UplinkError] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self.given_up: asyncio.Future[bool] = loop.create_future()
        self.taken_over = False
        self._abilities = Abilities(retains=not handshake.plain)
        self._owner = owner
        self._handshake = handshake
        self._mark = ((MARK, handshake.mark),) if handshake.mark else ()
        self._loop = loop
        self._phase = CONNECTING
        self._session_present = False
        self._refused_with = 0
        self._unanswered = self._over_retained = False
        self._unsubscribe_id = 0  # of the UNSUBSCRIBE for what is unwanted
        self._held = Held(RECEIVE_MAX)
        self.farewell = Farewell(handshake.subscriptions, self._held, loop)
        self._messages: list[Message] = []
        self._acks: list[Ack] = []

    @property
    def abilities(self) -> Abilities:
        """See `Link.abilities`."""
        return self._abilities

    @property
    def attempt(self) -> Attempt:
        """How it ended, for what the next connection asks; `up` must be done."""
        abilities = self._abilities if self.up.result() is None else None
        return Attempt(self._refused_with, self._unanswered, abilities, self._over_retained)

    def _has_unwanted(self) -> bool:
        """Whether an UNSUBSCRIBE for what is unwanted is due; with a new session nothing is."""
        if self._handshake.unwanted and not self._session_present:
            self.given_up.set_result(True)
        return bool(self._handshake.unwanted) and self._session_present

    def _take_given_up(self, packet_id: int, reason_codes: Sequence[int]) -> bool:
        """Take an UNSUBACK; False: it does not answer for what is unwanted."""
        if not self._unsubscribe_id or packet_id != self._unsubscribe_id:
            return False
        self._unsubscribe_id = 0
        self.given_up.set_result(max(reason_codes, default=0) < FAILURE)
        return True
