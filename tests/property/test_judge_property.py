"""A rehearsal decides about any events as an agent does: the judge beside what the agent asks when it accepts them."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.agent.event_account import EventAccount
from edgeagent.agent.prepared import Prepared
from edgeagent.common.elapsed import Instant
from edgeagent.common.times import rfc3339
from edgeagent.common.units import Duration
from edgeagent.events.event import Draft
from edgeagent.ports.account import EventCounts, EventWay
from edgeagent.rehearsal.judge import Judge, Outcome, Seen
from edgeagent.rules.firing_decisions import decide
from edgeagent.rules.firing_limits import FiringLimits
from edgeagent.rules.ruleset import RuleSet
from edgeagent.rules.spec import RuleSpec
from tests.profiles import examples

START_MS = 1_800_000_000_000


def temp(comparator: str, value: int) -> dict[str, Any]:
    return {"data": [{"path": "body.temp", "type": "number", "comparator": comparator, "value": [str(value)]}]}


def spec(name: str, **fields: Any) -> RuleSpec:
    return msgspec.convert({"name": name, "namespace": "plant", "template": "t", **fields}, RuleSpec)


SPECS = [
    spec("plain", filters=temp(">=", 90)),
    spec("calm", filters=temp(">=", 90), throttle=Duration(60)),
    spec("once", filters=temp(">=", 90), rearm=temp("<", 80)),
    spec("both", source="a", throttle=Duration(60), rearm=temp("<", 95)),
    spec("doors", type="opened", rearm={"context": {"type": "closed"}}),
    spec("other", type="opened", rearm=temp(">", 85), coalesce="latest"),
    spec("newest", coalesce="latest"),
]
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from(["opened", "closed"]),
        st.sampled_from([b'{"temp": 70}', b'{"temp": 85}', b'{"temp": 92}', b'{"temp": 99}', b"{}"]),
        st.sampled_from([0, 1, 29_999, 30_000, 60_000]),
    ),
    max_size=40,
)


@settings(max_examples=examples(150))
@given(EVENTS)
def test_a_rehearsal_decides_as_the_agent_does(events: list[tuple[str, str, bytes, int]]) -> None:
    rules = RuleSet(SPECS)
    account = EventAccount(rules, EventCounts(), lambda: "")
    counts = account.rule_counts
    limits = FiringLimits()
    judge = Judge(SPECS, max_event_bytes=1000)
    made = {outcome: dict.fromkeys(judge.names, 0) for outcome in Outcome}
    at_ms = START_MS
    for number, (source, kind, data, gap_ms) in enumerate(events):
        at_ms += gap_ms
        draft = Draft(source=source, data=data, is_json=True, id=str(number), type=kind, time=rfc3339(at_ms))
        match = rules.match(draft)
        decision = decide(limits, rules, draft, match.rules, Instant(at_ms, at_ms, b"boot"))
        for step in decision.steps:
            limits.stored(step)
        account.taken(
            [Prepared(draft.id, source, decision.rules, None, b"", b"", decision.high, False, match.errors, decision)],
            EventWay.HTTP,
        )
        rulings = judge.rulings("gw-1", Seen(str(number), draft), at_ms)
        fired = [name for name, ruling in rulings.items() if ruling.outcome is Outcome.TRIGGERED]
        assert fired == list(decision.rules)
        for name, ruling in rulings.items():
            made[ruling.outcome][name] += 1
            made[Outcome.FAILED][name] += bool(ruling.unarmed)
    assert made[Outcome.THROTTLED] == {name: each.throttled for name, each in counts.items()}
    assert made[Outcome.DISARMED] == {name: each.disarmed for name, each in counts.items()}
    assert made[Outcome.FAILED] == {name: each.errors for name, each in counts.items()}
