"""The uplink's side of the agent: its parts are made and connected here (half of the composition root, `agent.agent`).

The link calls `UplinkOwner`. That hands on to three equals, none of which calls into another: `Sender`, `Answers` and
`StatusQueries`. The first two stand over `Triggers`, which owns what is in flight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from edgeagent.agent.addressing import Addressing
from edgeagent.agent.announcer import StateAnnouncer
from edgeagent.agent.answers import Answers
from edgeagent.agent.chores import Chores
from edgeagent.agent.clock import Clock
from edgeagent.agent.congestion import Congestion
from edgeagent.agent.counts import RuleCounts, TriggerCounters, TriggerCounts, account_counters
from edgeagent.agent.feed import Feed
from edgeagent.agent.inflight import InFlightSet
from edgeagent.agent.leases import Leases
from edgeagent.agent.lifetime import Lifetime
from edgeagent.agent.limited import LimitedTriggers
from edgeagent.agent.notes import LedgerNotes
from edgeagent.agent.notices import ConnectionNotices
from edgeagent.agent.parked import ParkedTriggers
from edgeagent.agent.permits import Permits
from edgeagent.agent.poison import Poison
from edgeagent.agent.publish_outcomes import PublishOutcomes
from edgeagent.agent.releases import Releases
from edgeagent.agent.rendering import Renderer
from edgeagent.agent.reporter import DaysReporter
from edgeagent.agent.request_door import RequestDoor
from edgeagent.agent.sender import Sender
from edgeagent.agent.status_queries import StatusQueries
from edgeagent.agent.successors import Successors
from edgeagent.agent.traces import UNSAMPLED, Traces
from edgeagent.agent.triggers import Triggers
from edgeagent.agent.trouble import Trouble
from edgeagent.agent.uplink_owner import UplinkOwner
from edgeagent.agent.windows import Windows
from edgeagent.config.tables import AgentConfig
from edgeagent.ledger.ledger import Ledger
from edgeagent.links.chance import fraction
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import Leased
from edgeagent.rules.firing_limits import FiringLimits
from edgeagent.rules.ruleset import RuleSet

if TYPE_CHECKING:
    from edgeagent.agent.canaries import Canaries
    from edgeagent.agent.uploading import Uploading
    from edgeagent.agent.uploads_ahead import UploadsAhead


class UplinkParts(msgspec.Struct, frozen=True):
    """The parts of the uplink that the rest of the agent uses."""

    triggers: Triggers
    sender: Sender
    answers: Answers
    queries: StatusQueries
    addressing: Addressing
    notices: ConnectionNotices
    trouble: Trouble
    windows: Windows
    limited: LimitedTriggers
    parked: ParkedTriggers
    announcer: StateAnnouncer
    canaries: Canaries | None
    reporter: DaysReporter
    owner: UplinkOwner

    def canary(self) -> dict[str, Any] | None:
        """What is known by canaries, ready for JSON; None if none are sent."""
        return None if self.canaries is None else msgspec.to_builtins(self.canaries.report)

    def stats(self) -> dict[str, Any]:
        """The counts, and the state of the connection, ready for JSON."""
        trouble, remedy = self.trouble.what, self.trouble.remedy
        if blocked := self.owner.blocked:
            trouble, remedy = f"the broker takes no publications for now ({blocked})", "free its memory or disk"
        return {
            **self.notices.stats(),
            **self.triggers.stats(),
            "trigger_topic": self.addressing.route.topic,
            "trouble": trouble,
            "remedy": remedy,
            **msgspec.to_builtins(self.answers.counts),
            **msgspec.to_builtins(self.queries.counts),
            "canary": self.canary(),
        }


def make_uplink(
    config: AgentConfig,
    agent: str,
    *,
    rules: RuleSet,
    outbox: Outbox,
    ledger: Ledger,
    chores: Chores,
    clock: Clock,
    rule_counts: dict[str, RuleCounts],
    firing_limits: FiringLimits,
    identity: Callable[[], str],
    traces: Traces = UNSAMPLED,
    requests: RequestDoor | None = None,
    uploading: Uploading | None = None,
    ahead: UploadsAhead | None = None,
) -> UplinkParts:
    """Make the parts and connect them. `rule_counts` and `firing_limits` are shared with the intake.

    `identity`: names the configuration in force. `traces`: what triggers and reports say of them. `requests`: about
    workflows; None: this agent makes none. `uploading`: triggers whose data is not in the store yet; None: no event has
    large data. `ahead`: begins uploads before that.

    The caller must run the sender, the status queries, the announcer, the canaries, the reporter, and the outbox,
    ledger and chores.
    """
    uplink = config.uplink
    addressing = Addressing(agent, uplink.trigger_topic, uplink.response_topic, uplink.reply_prefix, traces)
    trouble, counts = Trouble(), TriggerCounters(TriggerCounts(), rule_counts)
    lifetime = Lifetime(config.outbox.max_age, clock.boot)
    parked = ParkedTriggers(outbox)
    triggers = _make_triggers(
        config,
        parked,
        outbox,
        LedgerNotes(ledger, rules, clock, chores, ends_published=uplink.settle == "broker", traces=traces),
        chores,
        counts,
        uploading,
    )
    leases = Leases(outbox)
    window_uploads = None
    if uploading is not None:
        from edgeagent.agent.window_uploads import WindowUploads  # noqa: PLC0415  only for those who use it

        window_uploads = WindowUploads(uploading, rules)
    windows = Windows(
        outbox,
        leases,
        triggers,
        rules,
        chores,
        clock,
        lifetime,
        max_event_bytes=config.outbox.max_event_bytes,
        uploads=window_uploads,
    )
    successors = Successors(firing_limits, clock.boot)
    uploading_of = uploading.waiting_of if uploading is not None else None
    permits = Permits(outbox.published, clock.instant(), outbox.keep_rates, uploading_of)
    uploads = None
    if uploading is not None:
        from edgeagent.agent.uploaded_first import UploadedFirst  # noqa: PLC0415  only for those who use it

        uploads = UploadedFirst(triggers, uploading, permits, rules, lifetime, successors, clock)
    limited = LimitedTriggers(outbox, uploads or triggers, permits, rules, lifetime, successors, chores, clock)
    sender = Sender(
        triggers,
        Feed(triggers, leases, windows, limited, parked, rules, lifetime, uploads),
        Renderer(
            triggers,
            addressing,
            rules,
            successors,
            permits,
            lifetime,
            counts.total,
            qos=uplink.qos,
            uploading=uploading,
        ),
        PublishOutcomes(triggers, addressing.route, trouble, counts.total),
        Congestion(uplink.max_inflight),
        Poison(),
        addressing.route,
        clock,
        at_qos_0=uplink.qos == 0,
    )
    queries = StatusQueries(
        agent,
        ledger,
        chores,
        clock,
        status_timeout_s=config.relay.status_timeout,
        give_up_after_s=config.relay.give_up_after,
        max_age_s=config.outbox.max_age,
    )
    canaries = None
    if uplink.canary_interval:
        from edgeagent.agent.canaries import Canaries  # noqa: PLC0415  only for those who use it

        canaries = Canaries(
            addressing,
            clock,
            interval_s=float(uplink.canary_interval),
            patience_s=float(uplink.response_timeout),
            qos=uplink.qos,
        )
    answers = Answers(
        addressing,
        triggers,
        rules,
        ledger,
        chores,
        clock,
        trouble,
        heard=queries.heard,
        is_canarys=canaries.answered if canaries is not None else lambda _: False,
        is_requests=requests.answered if requests is not None else None,
        accept_dry_run=uplink.accept_dry_run,
    )
    notices = ConnectionNotices("uplink", uplink.addresses, "events are kept on disk, retrying", clock.instant)
    announcer = StateAnnouncer(
        agent, outbox, clock, uplink.state_interval, lambda: _trouble(trouble, canaries), identity
    )
    reporter = DaysReporter(agent, ledger, clock, lambda: account_counters(outbox), publishes=uplink.report)
    owner = UplinkOwner(sender, answers, queries, notices, announcer, canaries, reporter, requests)

    # Which part is notified of what happens in another.
    outbox.on_change = leases.changed if ahead is None else _both(leases.changed, ahead.changed)
    leases.more_to_send = triggers.more_to_send = limited.more_to_send = sender.wake
    if uploading is not None:
        uploading.more_to_send = sender.wake
        uploading.upload_ended = windows.uploaded
    if uploads is not None:
        windows.take_up = uploads.take_up
    ledger.listen(queries.changed)
    ledger.observe(reporter.rollup.changed)
    ledger.accompany(reporter.rollup)
    return UplinkParts(
        triggers,
        sender,
        answers,
        queries,
        addressing,
        notices,
        trouble,
        windows,
        limited,
        parked,
        announcer,
        canaries,
        reporter,
        owner,
    )


def _both(one: Callable[[], None], other: Callable[[], None]) -> Callable[[], None]:
    def call() -> None:
        one()
        other()

    return call


def _make_triggers(
    config: AgentConfig,
    parked: ParkedTriggers,
    outbox: Outbox,
    notes: LedgerNotes,
    chores: Chores,
    counts: TriggerCounters,
    uploading: Uploading | None,
) -> Triggers:
    uplink = config.uplink
    by_broker = uplink.settle == "broker"
    in_flight: InFlightSet[Leased] = InFlightSet(
        uplink.max_inflight if by_broker else uplink.max_unanswered,
        wait_for_engine=not by_broker,
        response_timeout_s=uplink.response_timeout,
        random=fraction,
    )
    return Triggers(
        in_flight,
        Releases(in_flight, outbox, parked, counts, uploading),
        parked,
        notes,
        outbox,
        chores,
        counts,
        park_after=config.outbox.park_after,
        ends_published=by_broker,
    )


def _trouble(trouble: Trouble, canaries: Canaries | None) -> str:
    """What keeps triggers from being taken: seen by triggers, else by canaries; empty: nothing is known to."""
    problem = canaries.report.problem if canaries is not None else ""
    return trouble.what or (f"canary: {problem}" if problem else "")
