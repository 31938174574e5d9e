"""Makes the agent's own MQTT listener, if its configuration has one: it is 1 MiB of code, and many agents have none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.agent.intake import EventIntake
from edgeagent.config.tables import AgentConfig
from edgeagent.errors import DiskReadOnly
from edgeagent.ledger.ledger import Ledger
from edgeagent.ledger.schema import LISTENER, LOCAL
from edgeagent.ports.device import EventPort

if TYPE_CHECKING:
    from edgeagent.agent.listener_parts import ListenerParts, ListenerState
    from edgeagent.agent.spool_parts import SpoolParts


async def opened_listener_state(config: AgentConfig, directory: Path) -> ListenerState | None:
    """What devices left behind, read; see `ListenerState`. None without `[mqtt]`."""
    if config.mqtt is None:
        return None
    from edgeagent.agent.listener_parts import ListenerState  # noqa: PLC0415  only for those who use it

    state = ListenerState(config.mqtt, directory)
    await state.open()
    return state


def make_listener(
    config: AgentConfig,
    state: ListenerState | None,
    intake: EventIntake,
    own_topics: Sequence[str],
    ledger: Ledger,
    rescue: DiskReadOnly | None,
    spool: SpoolParts | None,
) -> ListenerParts | None:
    """The listener over its opened state; see `ListenerParts`. None without `[mqtt]`.

    Raises:
        ConfigError: the file of users cannot be used.
    """
    if config.mqtt is None or state is None:
        return None
    from edgeagent.agent.listener_events import ListenerEvents  # noqa: PLC0415  only for those who use it
    from edgeagent.agent.listener_parts import ListenerParts  # noqa: PLC0415  as above

    events: EventPort = ListenerEvents(intake)
    if spool is not None:
        events = spool.events(events)
    return ListenerParts(config, config.mqtt, state, events, own_topics, ledger, rescue)


def ways_to_devices(config: AgentConfig) -> int:
    """By which ways reports go to devices, as the ledger marks them."""
    return (LOCAL if config.local is not None else 0) | (LISTENER if config.mqtt is not None else 0)
