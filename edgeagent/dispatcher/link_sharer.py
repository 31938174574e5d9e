"""What shares the dispatcher's connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from edgeagent.ports.link import Message


class LinkSharer(Protocol):
    """A part that shares the dispatcher's connection. Only `drain` may block or raise."""

    def on_up(self) -> None:
        """Note that the connection is up and subscribed."""

    def on_down(self) -> None:
        """Note that the connection ended, or that an attempt failed."""

    def on_messages(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Take the messages that are for this part, and return the others.

        Those at QoS 1 it must acknowledge (`Dispatcher.acknowledge`), and they wait while the dispatcher holds as many
        triggers as the broker may send. What must not wait comes at QoS 0.
        """

    async def drain(self) -> None:
        """Pass what is still to be published to `Dispatcher.send`."""
