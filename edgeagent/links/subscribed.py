"""The subscriptions that a broker keeps for us in a session that outlives this process.

A subscription that was removed from the configuration stays in the session until we unsubscribe, and brings unwanted
messages. So each subscription is recorded, by broker and client id, before it is made, and unwanted ones are given up
on the next connect.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from edgeagent.errors import StorageFailed

# How many brokers are remembered; the most recently used ones stay.
_MAX_BROKERS = 8

_log = logging.getLogger(__name__)


class _Session(msgspec.Struct):
    """One session at one broker: its client id, and the topic filters that may be subscribed in it."""

    address: str
    client_id: str
    filters: list[str]


_DECODER = msgspec.json.Decoder(list[_Session])


class SubscribedTopics:
    """The topic filters that may be subscribed in our sessions, by broker and client id.

    It owns the list and keeps it durable. Promises that a filter is in it before the broker is asked to subscribe, and
    leaves it only after the broker has confirmed that it is unsubscribed. So a power cut in between forgets none.

    Args:
        text: the text that `write` wrote last, empty the first time. An unreadable text counts as empty.
        write: keeps a text, synced; raises `StorageFailed`. Then what is unwanted now may stay subscribed.
    """

    def __init__(self, text: bytes, write: Callable[[bytes], Awaitable[None]]) -> None:
        try:
            self._sessions = _DECODER.decode(text) if text else []
        except ValueError:  # msgspec's errors are ValueErrors
            self._sessions = []
        self._write = write

    async def begin(self, address: str, client_id: str, wanted: Sequence[str]) -> tuple[str, ...]:
        """Record these subscriptions of a new connection; returns the filters to unsubscribe from on it."""
        known = self._filters(address, client_id)
        unwanted = [topic_filter for topic_filter in known if topic_filter not in wanted]
        await self._keep(address, client_id, [*wanted, *unwanted])
        return tuple(unwanted)

    async def unsubscribed(self, address: str, client_id: str, wanted: Sequence[str]) -> None:
        """Note that the broker confirmed that only these are left."""
        await self._keep(address, client_id, list(wanted))

    def _filters(self, address: str, client_id: str) -> list[str]:
        for session in self._sessions:
            if (session.address, session.client_id) == (address, client_id):
                return session.filters
        return []

    async def _keep(self, address: str, client_id: str, filters: list[str]) -> None:
        if self._filters(address, client_id) == filters:
            return
        others = [session for session in self._sessions if (session.address, session.client_id) != (address, client_id)]
        self._sessions = [_Session(address, client_id, filters), *others][:_MAX_BROKERS]
        try:
            await self._write(msgspec.json.encode(self._sessions))
        except StorageFailed as exc:
            extra = {"event": "subscriptions_not_kept", "address": address}
            _log.warning("which topics were subscribed to at %s is not kept: %s", address, exc, extra=extra)
