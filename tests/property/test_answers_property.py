"""Whatever comes on the uplink: it runs through to a real ledger and a real outbox, and nothing there ends."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeagent.ports.device import TriggerQuery
from tests.fakes.answering import RESPONSE, STATUS, Scene, scene
from tests.profiles import examples

OURS = "<ours>"  # stands for the correlation id of the message's trigger
EXTREMES: list[Any] = [10**30, -1, 0, 2**31, 2**63, 2**64, 1e308, float("inf"), float("nan"), "", OURS, "x" * 70_000]
EXTREMES += [
    "\ud800",
    "\x00",
    "\U0001f525" * 300,
    "2026-03-20T11:00:00Z",
    "9999-12-31T23:59:59-23:59",
    None,
    True,
    [],
    {},
]
ANYTHING = st.integers() | st.floats() | st.text(max_size=40)


# Each begins as a right one, so that many reach the store; then some members are anything.
RIGHT: list[dict[str, Any]] = [
    {"correlation_id": OURS, "code": 200, "workflowId": "w", "namespace": "plant", "status": "s", "duplicate": True},
    {"correlation_id": OURS, "code": 400, "error": "no", "detail": "why", "retryable": False, "dry_run": False},
    {"correlation_id": OURS, "code": 503, "error": "later", "retry_after_s": 5, "retryable": True},
    {"correlation_id": OURS, "namespace": "plant", "workflowId": "w", "status": "Running", "message": "m"},
    {
        "correlation_id": OURS,
        "namespace": "plant",
        "workflowId": "w",
        "status": "Failed",
        "agent": "gw-1",
        "startedAt": "2026-03-20T11:00:00Z",
        "finishedAt": "2026-03-20T11:00:01Z",
        "progress": "50%",
    },
]


@st.composite
def contents(draw: st.DrawFn) -> tuple[str, dict[str, Any] | bytes]:
    """A topic and a message that belongs there, some members replaced; now and then any topic, and any bytes."""
    told = {**draw(st.sampled_from(RIGHT))}
    right = told.copy()
    for member in draw(st.lists(st.sampled_from([*right, "unknown"]), max_size=2)):
        told[member] = draw(st.sampled_from(EXTREMES) if draw(st.integers(0, 3)) else ANYTHING)
    topic = RESPONSE if "code" in right else STATUS
    match draw(st.integers(0, 7)):
        case 0:
            return draw(st.sampled_from([RESPONSE, STATUS, "argo/workflows/status", "other"])), told
        case 1:
            return topic, draw(st.binary(max_size=200))
        case _:
            return topic, told


DATA = st.none() | st.binary(max_size=200) | st.just(OURS)
TOPICS = st.none() | st.text(max_size=40) | st.sampled_from(["$SYS/x", "argo/workflows/response/m", RESPONSE])
Told = tuple[tuple[str, dict[str, Any] | bytes], bytes | str | None, str | None, bool]
MESSAGES = st.tuples(contents(), DATA, TOPICS, st.booleans())


def encoded(content: dict[str, Any] | bytes, ours: str) -> bytes:
    """JSON as loose as there is: NaN, Infinity and surrogates as they are."""
    if isinstance(content, bytes):
        return content
    return json.dumps(content, ensure_ascii=False).replace(OURS, ours).encode(errors="surrogatepass")


async def hear_all(told: list[Told], directory: Path) -> None:
    async with scene(directory, status_timeout_s=0.5, give_up_after_s=1.0) as here:
        here.up()
        ours = await here.published(len(told))  # each message is about another one, which is out
        messages = [
            here.message(
                topic,
                encoded(content, name),
                correlation_data=name.encode() if isinstance(data, str) else data,
                response_topic=reply_topic,
                duplicate=duplicate,
            )
            for name, ((topic, content), data, reply_topic, duplicate) in zip(ours, told, strict=True)
        ]
        await here.hear(*messages)
        await still_works(here)


async def still_works(here: Scene) -> None:
    """What comes after it is taken, answered, stored and listed, on every thread."""
    [name] = await here.published(1)
    await here.hear(here.status(name, "Succeeded"))
    assert (await here.report(name)).state == "succeeded"
    reports = await here.ledger.find(TriggerQuery(limit=10))
    assert reports
    json.dumps([str(report) for report in reports]).encode()
    account = here.outbox.health.account
    assert not [*account.problems()]
    counts = here.answers.counts
    assert counts.malformed + counts.responses + counts.statuses >= 1


@pytest.mark.parametrize("right", RIGHT, ids=lambda right: "-".join(list(right)[-2:]))
def test_each_member_may_be_anything(right: dict[str, Any]) -> None:
    topic = RESPONSE if "code" in right else STATUS
    told: list[Told] = [
        ((topic, {**right, member: value}), None, None, False) for member in right for value in EXTREMES
    ]
    for start in range(0, len(told), 60):  # fewer than fit the window
        with tempfile.TemporaryDirectory() as directory:
            asyncio.run(hear_all(told[start : start + 60], Path(directory)))


@pytest.mark.slow
@settings(max_examples=examples(25), suppress_health_check=list(HealthCheck))
@given(st.lists(MESSAGES, min_size=20, max_size=60))
def test_whatever_comes_from_the_wire_ends_no_thread_and_no_task(told: list[Told]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(hear_all(told, Path(directory)))
