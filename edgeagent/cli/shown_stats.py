"""The part of an agent's figures that `edgeagent status` and `edgeagent top` show, and the rates made of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from edgeagent.ports.account import Account, EventCounts

# Five minutes of the finer of the agent's series.
_STEPS: Final = 10


class _Dead(msgspec.Struct, frozen=True):
    count: int
    max_count: int
    full: str = ""


class _Outbox(msgspec.Struct, frozen=True):
    used_bytes: int
    max_bytes: int
    accepting: bool
    failure: str
    parked: int
    dead: _Dead
    hours_left: float | None
    lost: list[Any] = []


class ShownLink(msgspec.Struct, frozen=True):
    """`since`: an agent older than this program does not say it."""

    address: str
    connected: bool
    error: str
    since: str = ""


class _Uplink(ShownLink, frozen=True):
    trouble: str = ""
    remedy: str = ""
    in_flight: int = 0
    published: int = 0
    republished: int = 0
    certificate_days_left: float | None = None


class _Listener(msgspec.Struct, frozen=True):
    addresses: list[str]
    connections: int
    sessions: int = 0
    connects_refused: int = 0
    held: str = ""


class _Http(msgspec.Struct, frozen=True):
    addresses: list[str] = []
    connections: int = 0


class ShownRule(msgspec.Struct, frozen=True):
    """The counts of a rule."""

    matched: int = 0
    throttled: int = 0
    disarmed: int = 0
    errors: int = 0
    merged: int = 0
    published: int = 0
    settled: int = 0
    dead: int = 0
    expired: int = 0


class ShownRate(msgspec.Struct, frozen=True):
    """The rate of a rule, and what waits for it: how many, and when the next and the last of them go (RFC 3339)."""

    count: int
    time_s: float
    waiting: int = 0
    next_at: str | None = None
    last_at: str | None = None


class _Noted(msgspec.Struct, frozen=True):
    at: str
    level: str
    event: str
    message: str
    count: int


class _Log(msgspec.Struct, frozen=True):
    warnings: int = 0
    errors: int = 0
    last: list[_Noted] = []


class _Accounts(msgspec.Struct, frozen=True):
    events: EventCounts
    triggers: Account
    balanced: bool


class ShownReceiver(msgspec.Struct, frozen=True):
    """A receiver of webhooks."""

    webhook: str
    last_error: str = ""
    failures: int = 0
    gone: bool = False
    pending: int = 0
    lost: int = 0


class _Webhooks(msgspec.Struct, frozen=True):
    receivers: list[ShownReceiver] = []


class _Artifacts(msgspec.Struct, frozen=True):
    """The uploads of large data. `triggers`: how many wait for one."""

    store: str
    triggers: int = 0
    sending: int = 0
    waiting_bytes: int = 0
    failing_since: str | None = None
    last_error: str = ""
    next_try_s: float | None = None


class _Spool(msgspec.Struct, frozen=True):
    """Large data that comes in: the files that are not complete, what came of them, and the room kept for them."""

    incoming: int = 0
    incoming_bytes: int = 0
    incoming_reserved_bytes: int = 0


class ShownStats(msgspec.Struct, frozen=True):
    """The part of `GET /v1/stats` that is shown; an agent of an earlier version lacks what has a default."""

    agent: str
    version: str
    account: _Accounts
    outbox: _Outbox
    uplink: _Uplink
    rules: dict[str, ShownRule]
    rates: dict[str, ShownRate] = {}
    rescue: bool = False
    started: str = ""
    http: _Http = _Http()
    local: ShownLink | None = None
    mqtt: _Listener | None = None
    webhooks: _Webhooks | None = None
    artifacts: _Artifacts | None = None
    spool: _Spool | None = None
    log: _Log = msgspec.field(default_factory=_Log)


class _Hour(msgspec.Struct, frozen=True):
    step_s: float
    events: Sequence[int | None]
    triggers: Sequence[int | None]


class _Series(msgspec.Struct, frozen=True):
    hour: _Hour


class Rates(NamedTuple):
    """How many events came and triggers went out a second, over the last `over_s` seconds."""

    events: float
    triggers: float
    over_s: float


def read_stats(document: Any) -> ShownStats:
    """The figures in an agent's answer.

    Raises:
        msgspec.ValidationError: it is not such an answer.
    """
    return msgspec.convert(document, ShownStats)


def rates_between(before: ShownStats, after: ShownStats, over_s: float) -> Rates | None:
    """The rates between two looks at one agent; None if no time passed between them."""
    if over_s <= 0:
        return None
    came = after.account.events.received - before.account.events.received
    went = _forwarded(after) - _forwarded(before)
    return Rates(max(came, 0) / over_s, max(went, 0) / over_s, over_s)


def rates_of_series(series: Any) -> Rates | None:
    """The rates of the last five minutes, from the agent's own series (`GET /v1/series`); None if it is too young."""
    hour = msgspec.convert(series, _Series).hour
    seen = [step for step in zip(hour.events, hour.triggers, strict=False) if None not in step][-_STEPS - 1 : -1]
    if not seen:
        return None
    over_s = len(seen) * hour.step_s
    return Rates(sum(came or 0 for came, _ in seen) / over_s, sum(went or 0 for _, went in seen) / over_s, over_s)


def _forwarded(stats: ShownStats) -> int:
    """How many triggers were published, each counted once."""
    return stats.uplink.published - stats.uplink.republished
