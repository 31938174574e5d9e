"""The agent's `EventPort` for its own MQTT listener: the intake, which counts what comes from there apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgeagent.agent.intake import EventIntake
from edgeagent.errors import MessageError
from edgeagent.events.event import Draft
from edgeagent.ports.account import EventWay
from edgeagent.ports.device import RefusedEvent


class ListenerEvents:
    """Hands everything on to the intake, and owns nothing."""

    def __init__(self, intake: EventIntake) -> None:
        self._intake = intake

    async def take(self, drafts: Sequence[Draft]) -> Mapping[int, RefusedEvent]:
        """Take events; see `EventPort`."""
        return await self._intake.take(drafts, EventWay.LISTENER)

    def refuse(self, error: MessageError) -> None:
        """Count a message that cannot be made into a draft; see `EventPort`."""
        self._intake.refuse(error, EventWay.LISTENER)

    def complete(self, session: str, packet_id: int, done: Callable[[], None]) -> bool:
        """Forget a delivery at QoS 2; see `EventPort`."""
        return self._intake.complete(session, packet_id, done)

    def end_session(self, session: str) -> None:
        """Forget the deliveries of a session; see `EventPort`."""
        self._intake.end_session(session)
