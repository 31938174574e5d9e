"""How often it is told that one receiver refuses what it is sent: the first at once, others once a minute. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from edgeagent.ports.deliveries import WebhookDelivery

PERIOD_S: Final = 60.0
_MAY_BE_THE_SECRET: Final = frozenset({401, 403})


class UntoldRefusals(msgspec.Struct):
    """Deliveries that were refused and of which no line tells. Times of their making, Unix milliseconds."""

    count: int
    first_seq: int
    last_seq: int
    first_ms: int
    last_ms: int


class RefusalLines:
    """Owns what is not told yet. Times are monotonic seconds."""

    def __init__(self) -> None:
        """Nothing was refused yet."""
        self._until_s: float | None = None  # the next line may be written then
        self._untold: UntoldRefusals | None = None

    def is_told(self, delivery: WebhookDelivery, now_s: float) -> bool:
        """Whether to tell of this one now; else it is kept. Take what is `due` first."""
        if self._until_s is None or now_s >= self._until_s:
            self._until_s = now_s + PERIOD_S
            return True
        at_ms, untold = delivery.created.wall_ms, self._untold
        if untold is None:
            self._untold = UntoldRefusals(1, delivery.seq, delivery.seq, at_ms, at_ms)
            return False
        untold.count += 1
        untold.first_seq, untold.last_seq = min(untold.first_seq, delivery.seq), max(untold.last_seq, delivery.seq)
        untold.first_ms, untold.last_ms = min(untold.first_ms, at_ms), max(untold.last_ms, at_ms)
        return False

    def due(self, now_s: float) -> UntoldRefusals | None:
        """What is to be told now, together."""
        if self._untold is None or self._until_s is None or now_s < self._until_s:
            return None
        self._until_s = now_s + PERIOD_S
        return self.rest()

    def rest(self) -> UntoldRefusals | None:
        """What is left to be told, for the end."""
        untold, self._untold = self._untold, None
        return untold

    def wait_s(self, now_s: float) -> float | None:
        """How long until something is due; None: nothing is kept."""
        return None if self._untold is None or self._until_s is None else max(self._until_s - now_s, 0.0)


def advice(status: int) -> str:
    """What may be wrong when a receiver refuses with this status; "" where only its words tell."""
    if status not in _MAY_BE_THE_SECRET:
        return ""
    return "is secret_file the secret that the receiver checks signatures with?"
