"""Which of several dispatchers publishes statuses: the one whose instance name sorts lowest among those present.

Pure: takes messages and a time, returns the payloads to publish. Each dispatcher has a retained message on its own
presence topic. It is replaced by an empty one when the dispatcher stops, or by its last will when its connection is
lost.

* We lead only after our own message has come back on this connection. The broker sends the others' retained messages
  when we subscribe, before it accepts what we publish, so that we know them by then. The message has a token that is
  new for each connection: a message left from an earlier connection proves nothing.
* A broker that crashes forgets the wills and keeps the retained messages. The message of a dispatcher that never
  returns would then lead for ever. So each dispatcher repeats its message, and one silent for `GONE_S` is gone.

For some moments two may lead, if the broker delivers a message late. Then statuses are published twice, which does no
harm; for some moments none may lead, and the next leader publishes what was missed.
"""

from __future__ import annotations

import msgspec

HEARTBEAT_S = 20.0
GONE_S = 60.0
# A larger number of dispatchers is never started; a stranger who may write there cannot fill the memory.
_MAX_OTHERS = 1000

GONE = b""  # the payload that withdraws a presence


class _Here(msgspec.Struct, frozen=True):
    """The payload of a presence message, as an operator who subscribes to it sees it."""

    connection: str


class Presence:
    """Owns what one instance knows of all those present. Times are monotonic seconds."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._payload = GONE
        self._published_s = 0.0
        self._confirmed = False
        self._others: dict[str, float] = {}

    def connected(self, token: str, now_s: float) -> bytes:
        """Note that a connection is up and subscribed; returns the payload for our own topic.

        Args:
            token: a text that no earlier connection had.
            now_s: the time.
        """
        self._payload = msgspec.json.encode(_Here(token))
        self._published_s = now_s
        return self._payload

    def disconnected(self) -> None:
        """Note that the connection ended, and forget the others: a broker may report them before `connected`."""
        self._payload = GONE
        self._confirmed = False
        self._others.clear()

    def leave(self) -> bytes:
        """Stop leading and answering; returns the payload for our own topic."""
        self._payload = GONE
        self._confirmed = False
        return GONE

    def heard(self, instance: str, payload: bytes, now_s: float) -> bytes | None:
        """Process a presence message; returns the payload to publish on our own topic now, or None.

        An empty one on our own topic while we are present is the late will of an earlier connection.
        """
        if instance == self._instance:
            if payload == GONE and self._payload != GONE:
                self._published_s = now_s
                return self._payload
            self._confirmed = self._confirmed or (payload == self._payload != GONE)
        elif payload == GONE:
            self._others.pop(instance, None)
        elif instance in self._others or len(self._others) < _MAX_OTHERS:
            self._others[instance] = now_s
        return None

    def due(self, now_s: float) -> bytes | None:
        """The payload to publish again on our own topic; None if it is not yet due."""
        if self._payload == GONE or now_s - self._published_s < HEARTBEAT_S:
            return None
        self._published_s = now_s
        return self._payload

    def leader(self, now_s: float) -> str | None:
        """The instance that leads as far as we know; None while we do not know who is present."""
        if not self._confirmed:
            return None
        self._others = {name: heard_s for name, heard_s in self._others.items() if now_s - heard_s < GONE_S}
        return min([self._instance, *self._others])

    def leads(self, now_s: float) -> bool:
        """Whether this instance leads."""
        return self.leader(now_s) == self._instance
