"""The gateway's own broker, made of its parts: the connection to it, its messages, the reports to its devices."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from edgeagent.agent.clock import Clock
from edgeagent.agent.connections import local_connection
from edgeagent.agent.local_session import LocalSession
from edgeagent.agent.notices import ConnectionNotices
from edgeagent.config.tables import Local, Relay
from edgeagent.ledger.ledger import Ledger
from edgeagent.links.rotation import Rotation
from edgeagent.outbox.files import Filesystem
from edgeagent.ports.device import EventPort
from edgeagent.ports.event_topics import EventTopics


class LocalParts:
    """The local broker of a configuration with its relay; its `tasks` must run."""

    def __init__(
        self,
        local: Local,
        relay: Relay,
        events: EventPort,
        ledger: Ledger,
        clock: Clock,
        session: LocalSession,
        own_topics: tuple[str, ...],
        inline_bytes: int | None,
    ) -> None:
        """`own_topics`: what edgeagent itself publishes on or listens to. `inline_bytes`: as in `EventRoute`."""
        from edgeagent.agent.local import LocalBroker  # noqa: PLC0415  only for those who use it
        from edgeagent.agent.relay import LocalRelay  # noqa: PLC0415  as above

        self._local = local
        self._relay = LocalRelay(ledger, relay.topic, retain=relay.retain)
        ledger.listen(self._relay.changed)
        self.notices = ConnectionNotices(
            "local broker", local.addresses, "devices can reach the agent by HTTP only, retrying", clock.instant
        )
        topics = EventTopics(local.subscribe, own_topics, inline_bytes)
        self.broker = LocalBroker(topics, events, self._relay, self.notices, session)

    def tasks(
        self, agent: str, rotation: Rotation, filesystem: Filesystem, directory: Path
    ) -> dict[str, Coroutine[Any, Any, None]]:
        """What must run, by name. `directory`: the state directory."""
        connection = local_connection(
            self._local, agent, self.broker, rotation, filesystem=filesystem, directory=directory
        )
        return {"relay": self._relay.run(), "local": self.broker.run(), "local broker": connection}
