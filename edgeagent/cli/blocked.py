"""Why triggers do not get through, according to the statistics of the running agent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from edgeagent.common.finding import Finding, ok, warn
from edgeagent.common.plural import counted


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


class _Receiver(msgspec.Struct):
    """A receiver of webhooks; an agent older than this program does not say what it `lost`."""

    webhook: str
    receiver: str
    failures: int = 0
    failing_since: str | None = None
    last_error: str = ""
    gone: bool = False
    pending: int = 0
    lost: int = 0


class _Webhooks(msgspec.Struct):
    receivers: list[_Receiver] = []


class _Stats(msgspec.Struct):
    """The part of `GET /v1/stats` that is read here."""

    account: _Account
    uplink: _Uplink
    webhooks: _Webhooks | None = None


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
    waiting = counted(pending, "waits", "wait")
    if not read.uplink.connected:
        found = f"{waiting}: {cause(stats)[0]}"
        return warn("triggers", found, "see the findings on the uplink, and the agent's log")
    if pending and read.uplink.trouble:
        return warn("triggers", f"{waiting}: {read.uplink.trouble}", read.uplink.remedy)
    return ok("triggers", f"{waiting}; the agent knows of nothing that keeps them from being accepted")


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


def webhook_findings(stats: Any) -> Iterator[Finding]:
    """Whether the running agent's reports arrive at each of its webhooks."""
    webhooks = msgspec.convert(stats, _Stats).webhooks
    for each in webhooks.receivers if webhooks is not None else ():
        subject = f"{each.webhook} {each.receiver}"
        lost = f"{counted(each.lost, 'report is', 'reports are')} lost"
        if each.gone:
            found = f"the receiver wants no more (410); {lost}"
            yield warn(subject, found, "take the table out of the configuration, or correct url, and restart the agent")
        elif each.failures:
            since = f" since {each.failing_since}" if each.failing_since else ""
            found = f"takes nothing{since}: {each.last_error}; {counted(each.pending, 'waits', 'wait')}, {lost}"
            remedy = "mend the receiver, or correct the table; what waits is posted then"
            yield warn(subject, found, remedy)
        elif each.lost and each.last_error:
            found = f"refuses reports, and does not get them again: {each.last_error}; {lost}"
            yield warn(subject, found, "correct the table (url, secret_file, body) by what the receiver's log says")
        elif each.lost:
            yield ok(subject, f"takes reports; {lost} since the agent started")
        else:
            yield ok(subject, "takes all reports")
