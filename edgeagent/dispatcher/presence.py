"""Who of several dispatchers publishes statuses: the lowest instance, in the order of texts, of those present.

Pure: messages and a time come in, the payloads to publish come out. Each dispatcher keeps a retained message on its own
presence topic. An empty one takes its place when the dispatcher stops, or by its last will when it is lost.

* We lead only after our own message has come back on this connection. The broker sends the retained ones of the others
  when we subscribe, before it takes what we publish, so that we know them by then. The message carries a token that is
  new for each connection: one that was left from an earlier connection proves nothing.
* A broker that ends without a warning forgets the wills and keeps the retained messages. One of a dispatcher that never
  comes back would then lead for ever. So each repeats its message, and one that is silent for `GONE_S` is gone.

For some moments two may lead, when the broker tells one of them late. Then statuses are published twice, which does no
harm; for some moments none may lead, and the next leader publishes what was missed.
"""

from __future__ import annotations

import msgspec

HEARTBEAT_S = 20.0
GONE_S = 60.0
# More are never started; whoever may write there cannot fill the memory.
_MAX_OTHERS = 1000

GONE = b""  # the payload that takes a presence back


class _Here(msgspec.Struct, frozen=True):
    """The payload of a presence; what an operator sees who subscribes to it."""

    connection: str


class Presence:
    """What one instance knows of all that are present. Times are monotonic seconds."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._payload = GONE
        self._published_s = 0.0
        self._confirmed = False
        self._others: dict[str, float] = {}

    def connected(self, token: str, now_s: float) -> bytes:
        """A connection is up and subscribed; returns what to publish on our own topic.

        Args:
            token: a text that no earlier connection had.
            now_s: the time.
        """
        self._payload = msgspec.json.encode(_Here(token))
        self._published_s = now_s
        return self._payload

    def disconnected(self) -> None:
        """The connection ended. The others are forgotten here, because a broker may tell of them before `connected`."""
        self._payload = GONE
        self._confirmed = False
        self._others.clear()

    def leave(self) -> bytes:
        """We stop leading, and answer to nothing any more; returns what to publish on our own topic."""
        self._payload = GONE
        self._confirmed = False
        return GONE

    def heard(self, instance: str, payload: bytes, now_s: float) -> bytes | None:
        """A presence message came; returns what to publish on our own topic now, None for nothing.

        An empty one on our own topic while we are here is the will of an earlier connection that came late.
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
        """What to publish again on our own topic, None when it is not yet time."""
        if self._payload == GONE or now_s - self._published_s < HEARTBEAT_S:
            return None
        self._published_s = now_s
        return self._payload

    def leader(self, now_s: float) -> str | None:
        """The instance that leads as far as we know, None while we do not know who is present."""
        if not self._confirmed:
            return None
        self._others = {name: heard_s for name, heard_s in self._others.items() if now_s - heard_s < GONE_S}
        return min([self._instance, *self._others])

    def leads(self, now_s: float) -> bool:
        """Whether we lead."""
        return self.leader(now_s) == self._instance
