"""What a trigger waits for, and what to do about it, in words for an operator. Pure.

Each way of waiting has its own text and advice, and its own function or entry here. A trigger that has only just
reached its step waits for nothing that anybody could mend: it does not hang.
"""

from __future__ import annotations

from typing import Final

from edgeagent.agent.causes import CauseKind
from edgeagent.agent.facts import BrokerConnection, Flight, Surroundings, TriggerFacts
from edgeagent.agent.inflight import FlightPhase
from edgeagent.common.foreign import line
from edgeagent.common.plural import counted
from edgeagent.common.spans import span
from edgeagent.common.times import instant, rfc3339
from edgeagent.ledger.schema import LOCAL
from edgeagent.outbox.records import DEAD, PARKED, WINDOWS, Leased
from edgeagent.ports.artifacts import UploadProgress, UploadState
from edgeagent.ports.where import Hang
from edgeagent.wire.lifecycle import FINAL, TAKEN_ON, Life
from edgeagent.wire.messages import State

# A trigger that waits no longer than this for its next step is on its way.
GRACE_MS: Final = 5_000
# A workflow may run for long without a new status.
RUNNING_GRACE_MS: Final = 600_000

_PUBLISHED, _TRIGGERED, _RELAYED, _RUNNING, _ENDED = "published", "triggered", "relayed", "running", "ended"
_DECIDED = "decided"
_MIB: Final = 1 << 20
_START = "start the agent: systemctl start edgeagent, or edgeagent run"


def hang_of(facts: TriggerFacts, around: Surroundings, state: State, now_ms: int) -> Hang | None:
    """What a trigger in this state waits for; None if it waits for nothing, or has only just begun to."""
    stored = facts.stored
    if stored is not None and (stored.log == DEAD or stored.is_doomed):
        return _dead(facts, stored, around)
    life = facts.followed.life if facts.followed is not None else None
    # What the engine has may be in the outbox all the same, and is sent once more: a crash took that it was released.
    if life is not None and (state in TAKEN_ON or (stored is None and facts.flight is None)):
        return _without_the_outbox(facts, life, around, now_ms)
    step, since_ms = _TRIGGERED if state is State.PUBLISHED else _PUBLISHED, _since_ms(facts, life)
    if around.uplink is None:
        kept = "no agent runs: it is kept in the outbox, and sent when one does"
        return Hang(step, rfc3339(since_ms), kept, _START)
    if not around.uplink.connected:
        return _waits_for_the_uplink(around.uplink, step, now_ms)
    if facts.flight is None and facts.upload is not None and facts.upload.state is not UploadState.DONE:
        return Hang(_PUBLISHED, rfc3339(since_ms), *_uploads(facts.upload))
    return _waits_in_the_outbox(facts, around, since_ms, now_ms) if now_ms - since_ms >= GRACE_MS else None


def _waits_in_the_outbox(facts: TriggerFacts, around: Surroundings, since_ms: int, now_ms: int) -> Hang:
    if facts.flight is not None:
        return _in_flight(facts.flight, around, since_ms, now_ms)
    return _not_in_flight(facts, around, since_ms, now_ms)


def _since_ms(facts: TriggerFacts, life: Life | None) -> int:
    """Since when a trigger in the outbox has been in its state."""
    if life is not None and life.report.state not in FINAL:
        return _ms(life.report.at, life.accepted_ms)
    stored = facts.stored
    if stored is not None:
        return stored.moved.at_ms if stored.moved is not None else stored.record.accepted_ms
    return life.accepted_ms if life is not None else 0


def _dead(facts: TriggerFacts, stored: Leased, around: Surroundings) -> Hang:
    moved = stored.moved
    since = rfc3339(moved.at_ms) if moved is not None else None
    reason = line(moved.reason) if moved is not None else ""
    code = f" (code {moved.code})" if moved is not None and moved.code else ""
    if stored.log == DEAD:
        return Hang(
            _DECIDED,
            since,
            f"it is a dead letter: {reason}{code}",
            f"mend the cause, then: edgeagent dead replay {facts.correlation_id}",
        )
    full = f": {around.dead_full}" if around.dead_full else ""
    return Hang(
        _DECIDED,
        since,
        f"it is given up ({reason}{code}), and waits for a place among the dead letters{full}",
        "make room: edgeagent dead ls, then edgeagent dead replay or edgeagent dead discard",
    )


def _waits_for_the_uplink(uplink: BrokerConnection, step: str, now_ms: int) -> Hang:
    since = f" for {span((now_ms - uplink.since_ms) / 1000)}" if uplink.since_ms is not None else ""
    reason = line(uplink.error) or f"not connected to {uplink.address} yet"
    return Hang(
        step,
        rfc3339(uplink.since_ms) if uplink.since_ms is not None else None,
        f"the uplink has been down{since}: {reason}",
        "it is kept on disk and sent when the uplink is back; see edgeagent doctor",
    )


def _in_flight(flight: Flight, around: Surroundings, since_ms: int, now_ms: int) -> Hang:
    since, age = rfc3339(since_ms), span((now_ms - since_ms) / 1000)
    if flight.behind:
        return Hang(
            _PUBLISHED,
            since,
            f'an earlier trigger of its source goes first (order = "strict"): {flight.behind}',
            f"edgeagent where {flight.behind}",
        )
    match flight.phase:
        case FlightPhase.WAITING:
            return Hang(
                _TRIGGERED,
                since,
                f"published {age} ago, no answer: is a dispatcher subscribed to {around.topic} with room (max_active)?",
                "on the engine's side: edgeagent doctor --dispatch, and the dispatcher's log",
            )
        case FlightPhase.RESTING:
            return _rests(flight, around, since, now_ms)
        case FlightPhase.SENT:
            return Hang(
                _PUBLISHED,
                since,
                "sent, and the broker has not acknowledged it",
                "a slow or half-open connection: see edgeagent doctor, and the broker's log",
            )
        case FlightPhase.READY:
            return _ready(around, since)
        case FlightPhase.ENDING:
            return Hang(
                _TRIGGERED,
                since,
                "it is being moved to the parked triggers or the dead letters, which waits for the disk",
                "if it lasts, the disk refuses: edgeagent outbox verify, edgeagent doctor",
            )


def _ready(around: Surroundings, since: str) -> Hang:
    if around.uplink is not None and around.uplink.blocked:
        blocked = f"the broker takes no publications for now ({line(around.uplink.blocked)})"
        return Hang(_PUBLISHED, since, blocked, "free its memory or disk")
    return Hang(
        _PUBLISHED,
        since,
        "ready to be sent, and waits for the broker to acknowledge others",
        "a slow or busy broker: see edgeagent doctor" if not around.one_at_a_time else _ONE_AT_A_TIME,
    )


_ONE_AT_A_TIME: Final = (
    "connections ended without a single acknowledgement, so triggers go one at a time to find the one that ends them"
)
# For each cause of a rest: the step that is missing, what keeps the trigger, and what to do.
_RESTS: Final = {
    CauseKind.UNHEARD: (
        _PUBLISHED,
        "nobody subscribes to {topic}",
        "start a dispatcher there: edgeagent dispatch, or check its topics and the broker's access list",
    ),
    CauseKind.BUSY: (
        _PUBLISHED,
        "the broker refuses it for now",
        "see the broker's quotas and log",
    ),
    CauseKind.SILENT: (
        _TRIGGERED,
        "published {tries}, no answer in time: is a dispatcher subscribed to {topic} with room (max_active)?",
        "on the engine's side: edgeagent doctor --dispatch, and the dispatcher's log",
    ),
    CauseKind.REHEARSAL: (
        _TRIGGERED,
        "only a dry-run dispatcher answers, and its answers do not count",
        "run a dispatcher with a real engine, or set uplink.accept_dry_run = true for commissioning",
    ),
    CauseKind.ENGINE: (
        _TRIGGERED,
        "the engine is away or busy",
        "see whether the Argo Server runs: edgeagent doctor --dispatch",
    ),
    CauseKind.FORBIDDEN: (
        _TRIGGERED,
        "the engine forbids it for now: a quota, or a permission of the dispatcher",
        "see the dispatcher's [[allow]] and its rights in the namespace: edgeagent doctor --dispatch",
    ),
    CauseKind.MISSING: (
        _TRIGGERED,
        "the engine misses the workflow template of the rule",
        "create the template, or correct the rule and run edgeagent reload",
    ),
    CauseKind.OTHER: (
        _TRIGGERED,
        "the engine asks to try it again later",
        "see the dispatcher's log",
    ),
}


def _rests(flight: Flight, around: Surroundings, since: str, now_ms: int) -> Hang:
    again = _again((flight.due_ms - now_ms) / 1000) if flight.due_ms is not None else ""
    if flight.cause is None:
        return Hang(
            _PUBLISHED,
            since,
            f"the connection ended more than once when only this trigger was out, so others go first{again}",
            "see whether the broker takes messages of its size: its log, edgeagent outbox show",
        )
    step, what, advice = _RESTS[flight.cause.kind]
    said = f" ({line(flight.said)})" if flight.said else ""
    tries = counted(flight.tries, "time")
    return Hang(step, since, what.format(topic=around.topic, tries=tries) + said + again, advice)


def _not_in_flight(facts: TriggerFacts, around: Surroundings, since_ms: int, now_ms: int) -> Hang:
    """A trigger that is neither in flight nor dead."""
    since, stored = rfc3339(since_ms), facts.stored
    if facts.window is not None:
        closes = span((facts.window.closes_ms - now_ms) / 1000)
        events = counted(facts.window.events, "event")
        return Hang(
            _PUBLISHED,
            since,
            f"its window is open with {events}, and closes in {closes} at the latest",
            "nothing to do; the rule's window says when it closes",
        )
    if facts.rate is not None:
        rate = facts.rate
        turn = f"about {rate.ahead:,} go before it" if rate.ahead else "it is among the next"
        return Hang(
            _PUBLISHED,
            since,
            f"it waits for the rate of rule {facts.rule} ({rate.triggers} in {span(rate.time_s)}), "
            f"about {span(rate.wait_s)}: {turn}",
            "nothing to do; raise the rule's rate if that is too long, then edgeagent reload",
        )
    if stored is not None and stored.log == PARKED:
        next_ms = around.parked_next_ms
        when = f"; the next one is tried in {span((next_ms - now_ms) / 1000)}" if next_ms is not None else ""
        tries = counted(stored.moved.attempts, "try", "tries") if stored.moved is not None else "many tries"
        return Hang(
            _TRIGGERED,
            since,
            f"parked after {tries} without an answer, among {around.parked}, of which one at a time is tried{when}",
            "see whether the engine answers other triggers, and what the dispatcher's log says of this one",
        )
    if facts.of_rule.window_s is not None and (stored is None or stored.log != WINDOWS) and not _fills(around):
        return Hang(
            _PUBLISHED,
            since,
            "it is gathered into a window of its rule, which is being closed",
            "if it lasts, the disk refuses: edgeagent outbox verify",
        )
    return Hang(
        _PUBLISHED,
        since,
        f"others go first: {around.in_flight} of at most {around.places} are in flight",
        f"edgeagent status shows whether triggers flow{'; ' + _ONE_AT_A_TIME if around.one_at_a_time else ''}",
    )


def _uploads(upload: UploadProgress) -> tuple[str, str]:
    """A trigger whose data is not in the store yet; it goes out when that is done."""
    percent = 100 * upload.sent_bytes // max(upload.size, 1)
    sent = f"{upload.sent_bytes / _MIB:.1f} of {upload.size / _MIB:.1f} MiB, {percent} %"
    reason = f": {line(upload.reason)}" if upload.reason else ""
    match upload.state:
        case UploadState.SENDING:
            return f"its data is on the way to the store: {sent}", "nothing to do; artifacts.bandwidth bounds the speed"
        case UploadState.FAILED:
            again = _again(upload.next_try_s or 0.0)
            return f"the store does not take its data{reason} ({sent}){again}", _STORE
        case _:
            return f"its data waits for its turn on the way to the store{reason}", _ITS_TURN


_STORE: Final = "edgeagent doctor tries the store; when it is mended, edgeagent reload has it tried at once"
_ITS_TURN: Final = "see store in edgeagent status and edgeagent doctor; triggers without large data go on"


def _fills(around: Surroundings) -> bool:
    """Whether all places in flight are taken, so that nothing is taken up into windows."""
    return around.in_flight >= around.places


def _without_the_outbox(facts: TriggerFacts, life: Life, around: Surroundings, now_ms: int) -> Hang | None:
    """A trigger that has left the outbox: the engine has it, or it ended."""
    if not life.final:
        return _with_the_engine(life, around, now_ms)
    if life.report.state is State.UNKNOWN:
        return Hang(
            _ENDED,
            life.report.at,
            f"no status came although the dispatcher was asked: {line(life.report.error)}",
            f"look at workflow {line(life.report.workflow_id) or '(without a name)'} in the engine; "
            "a status that comes late still counts",
        )
    untold = facts.followed.untold if facts.followed is not None else 0
    at_ms = _ms(life.report.at, life.accepted_ms)
    if not untold or (around.uplink is not None and now_ms - at_ms < GRACE_MS):
        return None
    return Hang(_RELAYED, life.report.at, *_untold(untold, around, now_ms))


def _with_the_engine(life: Life, around: Surroundings, now_ms: int) -> Hang | None:
    report = life.report
    at_ms = _ms(report.at, life.accepted_ms)
    age_ms, age = now_ms - at_ms, span((now_ms - at_ms) / 1000)
    asks = f"the agent asks for it after {span(around.status_timeout_s)} of silence"
    if around.uplink is None:
        asks = f"no agent runs to hear of it: {_START}"
    elif not around.uplink.connected:
        asks = "the uplink is down: statuses come when it is back"
    if report.state is State.RUNNING:
        if age_ms < RUNNING_GRACE_MS:
            return None
        return Hang(_ENDED, report.at, f"it runs; the last status came {age} ago", f"a workflow may take long; {asks}")
    if age_ms < GRACE_MS:
        return None
    if report.state is State.TRIGGERED:
        workflow = line(report.workflow_id)
        return Hang(
            _RUNNING,
            report.at,
            f"the engine took it {age} ago, and no status came since",
            f"does workflow {workflow} run, and does a dispatcher publish statuses? {asks}",
        )
    return Hang(
        _TRIGGERED,
        report.at,
        f"{report.state} {age} ago, and it is no longer in the outbox",
        "it was exported, dropped or lost with a damaged record: see edgeagent outbox verify",
    )


def _untold(untold: int, around: Surroundings, now_ms: int) -> tuple[str, str]:
    local = around.local
    if untold & LOCAL and local is not None and not local.connected:
        since = f" for {span((now_ms - local.since_ms) / 1000)}" if local.since_ms is not None else ""
        reason = line(local.error) or "not connected yet"
        return (
            f"devices are not told of it: the local broker has been away{since}: {reason}",
            "start the local broker; reports are kept until it takes them",
        )
    if around.uplink is None:
        return "devices are not told of it: no agent runs", _START
    if untold & LOCAL:
        return (
            "devices are not told of it: the local broker has not taken the report",
            "see its access list and log: the agent publishes reports again until they are taken",
        )
    return "devices are not told of it: the report is being written", "if it lasts, the disk refuses: edgeagent doctor"


def _ms(at: str, otherwise_ms: int) -> int:
    try:
        return round(instant(at).timestamp() * 1000)
    except ValueError:
        return otherwise_ms


def _again(wait_s: float) -> str:
    return f"; tried again in {span(wait_s)}" if wait_s >= 1 else "; tried again now"
