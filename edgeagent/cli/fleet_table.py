"""What the gateways of a broker say of themselves: kept, judged and laid out. Pure.

Everything here may have been written by a stranger: the number of gateways is bounded, and texts are shown escaped.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from edgeagent.common.foreign import escaped, shown
from edgeagent.common.names import is_agent_id
from edgeagent.common.spans import span
from edgeagent.common.times import instant
from edgeagent.errors import MessageError
from edgeagent.wire.agent_state import CONNECTION_LOST, AgentState, parse_agent_state
from edgeagent.wire.topics import agent_of_state

# About 1 KiB each. A larger fleet is watched from the messages themselves, by a monitoring system.
MAX_GATEWAYS: Final = 20_000
# An online gateway whose oldest trigger waits longer is in trouble: connected, but nothing flows.
STUCK_S: Final = 600.0
# So is one whose outbox will be full sooner.
LEAST_HEADROOM_S: Final = 86400.0

_MAX_REASON_CHARS = 100
_HEADINGS = ("GATEWAY", "STATE", "SINCE", "PENDING", "OLDEST", "HEADROOM", "VERSION", "TROUBLE")


class TroubleKind(enum.IntEnum):
    """What is wrong with a gateway, the worst first."""

    OFFLINE = 0
    UNREADABLE = 1
    STUCK = 2
    FILLING = 3
    HINDERED = 4
    NONE = 5


class Gateway(NamedTuple):
    """What is known of one gateway. `state`: None if its message cannot be read; then `fault` says why."""

    agent: str
    state: AgentState | None
    fault: str = ""


class Judged(NamedTuple):
    """A gateway, and what is wrong with it in a sentence for a person (empty: nothing)."""

    gateway: Gateway
    kind: TroubleKind
    trouble: str
    badness: float  # among those of one kind, the larger the worse


class Fleet:
    """The gateways by their names, as of their last messages. Promises to keep at most `MAX_GATEWAYS`."""

    def __init__(self) -> None:
        self._gateways: dict[str, Gateway] = {}
        self.left_out = 0  # messages of gateways for which there was no room, or with no gateway's name

    def heard(self, topic: str, payload: bytes) -> None:
        """Take up a message; an empty one withdraws a gateway."""
        agent = agent_of_state(topic)
        if agent is None or not is_agent_id(agent):
            self.left_out += 1
        elif not payload:
            self._gateways.pop(agent, None)
        elif agent in self._gateways or len(self._gateways) < MAX_GATEWAYS:
            try:
                self._gateways[agent] = Gateway(agent, parse_agent_state(payload))
            except MessageError as exc:
                self._gateways[agent] = Gateway(agent, None, shown(str(exc).removeprefix("state: ")))
        else:
            self.left_out += 1

    def judged(self, now: datetime) -> list[Judged]:
        """All gateways, the worst first, and then by name."""
        return sorted(
            (judged(gateway, now) for gateway in self._gateways.values()),
            key=lambda each: (each.kind, -each.badness, each.gateway.agent),
        )


def judged(gateway: Gateway, now: datetime) -> Judged:
    """What is wrong with a gateway."""
    state = gateway.state
    if state is None:
        return Judged(gateway, TroubleKind.UNREADABLE, f"its state cannot be read: {gateway.fault}", 0)
    reason = shown(state.reason, _MAX_REASON_CHARS)
    if state.state == "offline":
        # Whoever does not say since when may have been away for ever.
        badness = float("inf") if state.since is None else _age_s(state.since, now)
        return Judged(gateway, TroubleKind.OFFLINE, f"offline: {reason}" if reason else "offline", badness)
    oldest_s = _age_s(state.oldest, now) if state.oldest is not None and state.pending else 0.0
    if oldest_s > STUCK_S:
        why = f": {reason}" if reason else ", although it is connected"
        return Judged(gateway, TroubleKind.STUCK, f"nothing flows{why}", oldest_s)
    if state.headroom_s is not None and state.headroom_s < LEAST_HEADROOM_S:
        return Judged(gateway, TroubleKind.FILLING, "its outbox will be full soon", -state.headroom_s)
    if reason:
        return Judged(gateway, TroubleKind.HINDERED, reason, 0)
    return Judged(gateway, TroubleKind.NONE, "", 0)


def table(gateways: Sequence[Judged], now: datetime) -> Iterator[str]:
    """The gateways as lines for a person, with a heading."""
    rows = [_HEADINGS, *(_row(each, now) for each in gateways)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def document(each: Judged) -> dict[str, Any]:
    """A gateway for a program: its message, its name and what is wrong with it."""
    state = each.gateway.state
    members = msgspec.to_builtins(state) if state is not None else {"state": None, "reason": each.gateway.fault}
    kind = None if each.kind is TroubleKind.NONE else each.kind.name.lower()
    return {"agent": each.gateway.agent, **members, "trouble": kind}


def _row(each: Judged, now: datetime) -> tuple[str, ...]:
    state = each.gateway.state
    if state is None:
        return (each.gateway.agent, "?", "-", "-", "-", "-", "-", each.trouble)
    return (
        each.gateway.agent,
        state.state,
        _since(state, now),
        "-" if state.pending is None else f"{state.pending:,}",
        "-" if state.oldest is None else span(_age_s(state.oldest, now)),
        "-" if state.headroom_s is None else span(state.headroom_s),
        escaped(state.version) or "-",
        each.trouble,
    )


def _since(state: AgentState, now: datetime) -> str:
    if state.since is None:
        return "-"
    age = span(_age_s(state.since, now))
    # A last will knows only when the connection was made that was lost at some time after it.
    return f"< {age}" if state.state == "offline" and state.reason == CONNECTION_LOST else age


def _age_s(text: str, now: datetime) -> float:
    """How long ago; 0 for a time that is still to come, because the gateway's clock is ahead of ours."""
    return max((now - instant(text).astimezone(UTC)).total_seconds(), 0.0)
