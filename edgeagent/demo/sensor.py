"""The demo's sensor: it speaks MQTT to the agent's own listener, and says again what nobody acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NoReturn

import msgspec

from edgeagent.common.units import Duration
from edgeagent.config.tables import Connection
from edgeagent.demo.series import SOURCE, Reading
from edgeagent.errors import CommandFailed, UplinkError
from edgeagent.links.session import keep_connected
from edgeagent.ports.link import TAKEN, UNHEARD, Ack, Link, Message, Publication

_CLIENT_ID = "flow-sensor"
_RETRY_S = 0.1


class Sensor:
    """The `LinkOwner` of the sensor's connection; `run` must be running for anything to be sent. One reading at a time.

    The agent acknowledges a reading (PUBACK) when it is synced. Sent again it has the same id, so that it stays one
    event whether or not the first one had arrived.
    """

    def __init__(self, port: int) -> None:
        """Not connected yet. `port`: the listener's, on loopback."""
        self._connection = Connection(url=f"mqtt://127.0.0.1:{port}", session_expiry=Duration(0))
        self._link: Link | None = None
        self._publication: Publication | None = None  # not acknowledged yet
        self._answered: asyncio.Future[None] | None = None
        self._sent = 0

    async def run(self) -> NoReturn:
        """Keep it connected until cancelled, through every death of the agent."""
        await keep_connected(self._connection, self, client_id=_CLIENT_ID, base_s=_RETRY_S, cap_s=_RETRY_S)

    async def send(self, reading: Reading) -> None:
        """Publish a reading until it is acknowledged.

        Raises:
            CommandFailed: the agent refuses it.
        """
        event = {
            "specversion": "1.0",
            "source": SOURCE,
            "id": reading.time,
            "type": "reading",
            "time": reading.time,
            "data": {"flow_l_s": reading.flow_l_s},
        }
        self._sent += 1
        self._publication = Publication(self._sent, SOURCE, msgspec.json.encode(event))
        self._answered = asyncio.get_running_loop().create_future()
        self._publish()
        try:
            await self._answered
        finally:
            self._publication = self._answered = None

    def on_up(self, link: Link, *, session_present: bool) -> None:  # noqa: ARG002  the session is always new
        """See `LinkOwner`."""
        self._link = link
        self._publish()

    def on_down(self, error: UplinkError) -> None:  # noqa: ARG002  it is tried again, whatever it was
        """See `LinkOwner`."""
        self._link = None

    def on_messages(self, messages: Sequence[Message]) -> None:
        """See `LinkOwner`; it subscribes to nothing."""

    def on_acks(self, acks: Sequence[Ack]) -> None:
        """See `LinkOwner`."""
        for ack in acks:
            if self._publication is None or self._answered is None or ack.token != self._publication.token:
                continue  # of one that was given up
            if ack.outcome is TAKEN:
                self._answered.set_result(None)
            else:
                reason = "it takes it for no event" if ack.outcome is UNHEARD else ack.outcome
                self._answered.set_exception(CommandFailed(f"the agent refuses the sensor's reading: {reason}"))

    def on_room(self) -> None:
        """See `LinkOwner`."""

    def _publish(self) -> None:
        if self._link is not None and self._publication is not None:
            self._link.publish([self._publication])
