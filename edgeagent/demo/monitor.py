"""The demo's own subscription to the broker, beside the line that fails: everything received goes to the tally."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from edgeagent.common.units import Duration
from edgeagent.config.tables import Connection
from edgeagent.demo import tally
from edgeagent.demo.tally import DemoTally
from edgeagent.errors import CommandFailed, MessageError, UplinkError
from edgeagent.links.session import keep_connected
from edgeagent.ports.link import Ack, Link, Message, Subscription


class Monitor:
    """The `LinkOwner` of the demo's own connection. `run` must be running for anything to be received."""

    def __init__(self, broker_port: int, heard_by: DemoTally) -> None:
        self._connection = Connection(url=f"mqtt://127.0.0.1:{broker_port}", session_expiry=Duration(0))
        self._tally = heard_by
        self._link: Link | None = None
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Receive until cancelled.

        Raises:
            CommandFailed: the connection ended, so that the traffic is no longer known.
            MessageError: a message on the broker is malformed.
        """
        topics = (tally.TRIGGERS, tally.RESPONSES, tally.STATUSES)
        session = asyncio.create_task(
            keep_connected(
                self._connection,
                self,
                client_id="edgeagent-demo-monitor",
                subscriptions=[Subscription(topic) for topic in topics],
            )
        )
        try:
            await self._failure
        finally:
            session.cancel()
            await asyncio.wait([session])

    @property
    def listens(self) -> bool:
        """Whether it is connected and subscribed."""
        return self._link is not None

    def on_up(self, link: Link, *, session_present: bool) -> None:  # noqa: ARG002  the session is always new
        """See `LinkOwner`."""
        self._link = link

    def on_down(self, error: UplinkError) -> None:
        """See `LinkOwner`."""
        self._link = None
        self._fail(CommandFailed(f"the demo lost its connection to the broker: {error}"))

    def on_messages(self, messages: Sequence[Message]) -> None:
        """See `LinkOwner`."""
        for message in messages:
            try:
                self._tally.heard(message.topic, message.payload, message.correlation_data, duplicate=message.duplicate)
            except MessageError as exc:
                self._fail(exc)
        if self._link is not None:
            self._link.acknowledge(messages)

    def on_acks(self, acks: Sequence[Ack]) -> None:
        """See `LinkOwner`."""

    def on_room(self) -> None:
        """See `LinkOwner`."""

    def _fail(self, error: Exception) -> None:
        if not self._failure.done():
            self._failure.set_exception(error)
