"""The states of agents on the wire: every version's stay readable, and today's are written as here."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgeagent.wire.agent_state import CONNECTION_LOST, STOPPED, AgentState, parse_agent_state

VECTORS = (Path(__file__).parent / "agent-states.jsonl").read_bytes().splitlines()
SINCE = "2026-11-29T08:29:39.528Z"
STATES = [
    AgentState("online"),
    AgentState("offline"),
    AgentState("online", "0.2.0", SINCE, 0),
    AgentState(
        "online",
        "0.2.0",
        SINCE,
        1204,
        "2026-11-29T06:29:41.723Z",
        95400,
        "nobody subscribes to argo/workflows/trigger",
    ),
    AgentState("offline", "0.2.0", "2026-11-29T08:29:51.315Z", 1, "2026-11-29T08:29:41.723Z", None, STOPPED),
    AgentState("offline", "0.2.0", SINCE, reason=CONNECTION_LOST),
    AgentState("online", "0.2.0", SINCE, 0, config="5af192b14ea754ed"),
]


def test_the_states_of_every_version_are_read() -> None:
    assert [*map(parse_agent_state, VECTORS)] == STATES


def test_todays_states_are_written_as_they_always_were() -> None:
    assert [*map(msgspec.json.encode, STATES[2:])] == VECTORS[2:]
