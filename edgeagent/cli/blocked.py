"""Why triggers do not get through, according to the statistics of the running agent."""

from __future__ import annotations

from typing import Any

import msgspec

from edgeagent.common.finding import Finding, ok, warn


class _Triggers(msgspec.Struct):
    pending: int


class _Account(msgspec.Struct):
    triggers: _Triggers


class _Canary(msgspec.Struct):
    answered: str | None
    round_trip_s: float | None
    problem: str
    dry_run: bool


class _Uplink(msgspec.Struct):
    """The last three come from the agent; an agent older than this program has none of them."""

    address: str
    connected: bool
    error: str
    trouble: str = ""
    remedy: str = ""
    canary: _Canary | None = None


class _Stats(msgspec.Struct):
    """The part of `GET /v1/stats` that is read here."""

    account: _Account
    uplink: _Uplink


def cause(stats: Any) -> tuple[str, str]:
    """What keeps triggers from being accepted, and what to do about it; both empty if the agent knows of nothing."""
    uplink = msgspec.convert(stats, _Stats).uplink
    if not uplink.connected:
        return (
            f"the uplink is down: {uplink.error or f'not connected to {uplink.address} yet'}",
            "see `edgeagent doctor`",
        )
    return uplink.trouble, uplink.remedy


def triggers_finding(stats: Any) -> Finding:
    """Whether anything keeps the running agent's triggers from being accepted."""
    read = msgspec.convert(stats, _Stats)
    pending = read.account.triggers.pending
    if not read.uplink.connected:
        found = f"{pending} wait: {cause(stats)[0]}"
        return warn("triggers", found, "see the findings on the uplink, and the agent's log")
    if pending and read.uplink.trouble:
        return warn("triggers", f"{pending} wait: {read.uplink.trouble}", read.uplink.remedy)
    return ok("triggers", f"{pending} wait; the agent knows of nothing that keeps them from being accepted")


def canary_finding(stats: Any) -> Finding | None:
    """Whether the whole way to the dispatcher and back works; None if the agent sends no canaries, or did not yet."""
    uplink = msgspec.convert(stats, _Stats).uplink
    canary = uplink.canary
    if canary is None or not (canary.problem or canary.answered):
        return None
    answered = f"the last answer was at {canary.answered}" if canary.answered else "none was answered yet"
    if canary.problem:
        remedy = "is `edgeagent dispatch` running and connected to this broker? `edgeagent doctor --dispatch` checks it"
        return warn("canary", f"{canary.problem}; {answered}", remedy)
    if canary.dry_run:
        return warn("canary", f"a dry-run dispatcher answers, which starts nothing; {answered}", "run a real one")
    return ok("canary", f"answered at {canary.answered}, after {canary.round_trip_s} s: the whole way works")
