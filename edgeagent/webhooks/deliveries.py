"""The deliveries of one receiver: which one goes next, and when. Pure: it takes values and a time and returns data.

* A few go at once while the receiver takes them, one at a time once it has failed. After a failure the receiver rests,
  ever longer, and the next try is another delivery's turn: one that always fails holds up only those of its own key.
* Deliveries of one key (of one trigger, of one workflow) go in order, one at a time.
* When the receiver has failed several times in a row, or a delivery has, what is older than `give_up_s` is given up. A
  wall clock that jumps forward, as when it is set for the first time, makes nothing older that came to be in this boot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from edgeagent.common.backoff import full_jitter
from edgeagent.common.elapsed import Instant, elapsed
from edgeagent.ports.deliveries import WebhookDelivery

# How many of a receiver's deliveries are in memory; the others wait where they are kept.
MAX_IN_MEMORY: Final = 64
# How many requests to one receiver run at a time while it answers.
AT_ONCE: Final = 4
# The longest wait after the first failure and after many.
BASE_S: Final = 2.0
CAP_S: Final = 300.0
# One delivery that fails again and again is tried ever more rarely.
_DELIVERY_CAP_S = 3600.0
# So many failures tell that it is not chance.
MIN_TRIES: Final = 3


class _Item(msgspec.Struct):
    delivery: WebhookDelivery
    tries: int = 0
    due_s: float = 0.0
    out: bool = False


class DeliveryQueue:
    """Owns the deliveries of one receiver that are in memory. Times are monotonic seconds.

    Attributes:
        failures: how many tries have failed since the last success.
        is_gone: the receiver wants no more.
        last_seq: the number of the newest delivery that was added; those after it are still to be fetched.
    """

    def __init__(self, give_up_s: float) -> None:
        """A queue without deliveries. `give_up_s`: how old one may be before it is given up."""
        self.failures = 0
        self.is_gone = False
        self.last_seq = 0
        self._give_up_s = give_up_s
        self._items: dict[int, _Item] = {}  # by seq, in order
        self._not_before_s = 0.0
        self._turn = 0  # the seq that was tried last

    @property
    def room(self) -> int:
        """How many more deliveries may be added."""
        return 0 if self.is_gone else MAX_IN_MEMORY - len(self._items)

    def add(self, deliveries: Sequence[WebhookDelivery]) -> None:
        """Take more deliveries, in order."""
        for delivery in deliveries:
            self._items[delivery.seq] = _Item(delivery)
            self.last_seq = max(self.last_seq, delivery.seq)

    def next(self, now_s: float) -> WebhookDelivery | None:
        """The delivery to send now, which is then out until `done`, `failed` or `put_back`; None if there is none."""
        if self.is_gone or now_s < self._not_before_s or self._is_busy():
            return None
        ready = [item for item in self._firsts() if not item.out and item.due_s <= now_s]
        if not ready:
            return None
        # In order while all is well; after a failure, those that were not tried yet have their turn.
        item = min(
            ready,
            key=lambda each: (
                (each.delivery.seq <= self._turn, each.delivery.seq) if self.failures else (False, each.delivery.seq)
            ),
        )
        item.out = True
        self._turn = item.delivery.seq
        return item.delivery

    def wait_s(self, now_s: float) -> float | None:
        """How long until `next` may have something; None if only an event can change that."""
        due = [item.due_s for item in self._firsts() if not item.out]
        if self.is_gone or not due or self._is_busy():
            return None
        return max(min(due), self._not_before_s) - now_s

    def _is_busy(self) -> bool:
        return sum(item.out for item in self._items.values()) >= (1 if self.failures else AT_ONCE)

    def done(self, seq: int) -> bool:
        """Note that the receiver took a delivery; returns whether it had failed before."""
        had_failed = bool(self.failures)
        self.failures = 0
        self._not_before_s = 0.0
        self._items.pop(seq, None)
        return had_failed

    def refused(self, seq: int) -> None:
        """Note that the receiver will never take this delivery. It is alive, so others go on."""
        self.done(seq)

    def failed(
        self, seq: int, now_s: float, now: Instant, *, retry_after_s: float = 0.0, fraction: float
    ) -> Sequence[WebhookDelivery]:
        """Note that a try failed; returns the deliveries that are given up.

        Args:
            seq: of the delivery.
            now_s: the time.
            now: the same, by both clocks.
            retry_after_s: how long the receiver asks us to wait.
            fraction: a random number from 0 to 1.
        """
        self.failures += 1
        item = self._items.get(seq)
        pause_s = max(full_jitter(self.failures - 1, fraction, base_s=BASE_S, cap_s=CAP_S), retry_after_s)
        self._not_before_s = max(self._not_before_s, now_s + pause_s)
        if item is not None:
            item.out = False
            item.tries += 1
            item.due_s = now_s + full_jitter(item.tries - 1, fraction, base_s=BASE_S, cap_s=_DELIVERY_CAP_S)
        old = [each for each in self._items.values() if self._is_hopeless(each, now)]
        for each in old:
            del self._items[each.delivery.seq]
        return [each.delivery for each in old]

    def stop(self) -> int:
        """Note that the receiver wants no more; returns how many deliveries that ends here."""
        self.is_gone = True
        ended = len(self._items)
        self._items.clear()
        return ended

    def drop_to(self, seq: int) -> None:
        """Forget what is not out and has at most this number: it is no longer kept."""
        self._items = {number: item for number, item in self._items.items() if number > seq or item.out}

    def _firsts(self) -> list[_Item]:
        """Of each key the first delivery."""
        firsts: dict[str, _Item] = {}
        for item in self._items.values():
            firsts.setdefault(item.delivery.key, item)
        return list(firsts.values())

    def _is_hopeless(self, item: _Item, now: Instant) -> bool:
        is_old = elapsed(item.delivery.created, now).s >= self._give_up_s
        return is_old and not item.out and max(item.tries, self.failures) >= MIN_TRIES
