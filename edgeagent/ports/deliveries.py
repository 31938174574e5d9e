"""The interface between what is to be posted to webhooks and who posts it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from edgeagent.common.elapsed import Instant


class WebhookDelivery(msgspec.Struct, frozen=True, gc=False):
    """One message for one receiver.

    Attributes:
        seq: its number, rising in the order of delivery.
        key: what it is about, as the correlation id of a trigger. Deliveries of one key go in order.
        state: of what it is about.
        created: when it came to be, by both clocks.
        payload: the report or the status, a JSON object.
    """

    seq: int
    key: str
    state: str
    created: Instant
    payload: bytes


class LostReport(msgspec.Struct, frozen=True):
    """A report that a webhook does not get. `at`: when it was lost (RFC 3339); `why`: one line, bounded."""

    webhook: str
    state: str
    at: str
    why: str


class DeliverySource(Protocol):
    """Keeps deliveries until they are done. A receiver is named by a text of the program's own."""

    async def deliveries(self, receiver: str, after: int, limit: int) -> Sequence[WebhookDelivery]:
        """The receiver's first deliveries with a `seq` above `after`, in order.

        Raises:
            StorageFailed: they cannot be read now.
        """

    def delivered(self, receiver: str, seqs: Sequence[int]) -> None:
        """Forget these: they arrived, or are given up."""

    async def forget(self, receiver: str) -> int:
        """Forget every delivery of this receiver, which wants no more; returns how many there were.

        Raises:
            StorageFailed: they cannot be forgotten now.
        """
