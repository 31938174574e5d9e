"""What the parts of an agent know of one trigger, and of what is around all of them: values at one moment, no I/O.

`agent.course` makes of them what a person is told. Wall times are Unix milliseconds.
"""

from __future__ import annotations

from typing import NamedTuple

from edgeagent.agent.causes import Cause, CauseKind
from edgeagent.agent.inflight import FlightPhase
from edgeagent.agent.lines import RateWait
from edgeagent.ledger.followed import Followed
from edgeagent.outbox.records import Leased
from edgeagent.ports.artifacts import UploadProgress


class Flight(NamedTuple):
    """A trigger that is in flight.

    `due_ms`: when its rest is over. `behind`: the correlation id of the trigger that goes first (`order = "strict"`),
    "" if none does. `said`: in what words the broker or the engine put it off last.
    """

    phase: FlightPhase
    tries: int
    due_ms: int | None = None
    cause: Cause | None = None
    behind: str = ""
    said: str = ""

    @property
    def is_published(self) -> bool:
        """Whether the broker has taken it, with a subscriber, in this process."""
        if self.phase is FlightPhase.RESTING and self.cause is not None:
            return self.cause.kind not in {CauseKind.UNHEARD, CauseKind.BUSY}
        return self.phase is FlightPhase.WAITING


class OpenWindow(NamedTuple):
    """The window that a trigger is gathered into: when it closes by itself, and how many events it has."""

    closes_ms: int
    events: int


class RuleFacts(NamedTuple):
    """What its rule says of a trigger. `exists`: False when the configuration has no such rule any more."""

    exists: bool = True
    tracks: bool = True
    window_s: float | None = None
    window_count: int = 0
    namespace: str = ""


class TriggerFacts(NamedTuple):
    """One trigger. `followed`: what the ledger knows; `stored`: what the outbox has; both may be None, not at once.

    `upload`: how far its large data is on the way to the store.
    """

    correlation_id: str
    rule: str
    followed: Followed | None = None
    stored: Leased | None = None
    flight: Flight | None = None
    window: OpenWindow | None = None
    rate: RateWait | None = None
    of_rule: RuleFacts = RuleFacts()
    upload: UploadProgress | None = None


class BrokerConnection(NamedTuple):
    """A connection to a broker. `since_ms`: since when it is up or down; None if unknown. `error`: the last reason.

    `blocked`: why the broker takes no publications for now although the connection is up; "" if it does.
    """

    connected: bool
    since_ms: int | None
    error: str
    address: str
    blocked: str = ""


class Surroundings(NamedTuple):
    """What is around all triggers of an agent.

    `uplink`: None when no agent runs. `topic`: where triggers go. `in_flight`, `places`: how many triggers are in
    flight, and how many may be. `one_at_a_time`: connections ended without an acknowledgement, so the next one begins
    with a single publication. `parked_next_ms`: when the next parked trigger is tried. `untold_by`: the way to
    devices that is closed, by its bit in the ledger. `dead_full`: why the dead letters take no more.
    """

    uplink: BrokerConnection | None
    topic: str
    in_flight: int = 0
    places: int = 0
    one_at_a_time: bool = False
    parked_next_ms: int | None = None
    parked: int = 0
    local: BrokerConnection | None = None
    dead_full: str = ""
    status_timeout_s: float = 3600.0
