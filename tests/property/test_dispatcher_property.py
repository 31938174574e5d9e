"""Whatever comes to a dispatcher: each message is answered or acknowledged, and nothing there ends."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeagent.ports.link import Message
from edgeagent.wire import topics
from tests.fakes.dispatching import Stage, trigger
from tests.fakes.statuses_bench import Engine, running
from tests.property.test_answers_property import ANYTHING, EXTREMES, encoded
from tests.waiting import until

pytestmark = pytest.mark.virtual_time

WORKFLOW = {"metadata": {"name": "w"}, "spec": {"workflowTemplateRef": {"name": "inspect"}}}
RIGHT: dict[str, Any] = {
    "namespace": "plant",
    "workflow": WORKFLOW,
    "correlation_id": "9f2c",
    "agent": "gw-1",
    "attempt": 1,
    "reply_to": "argo/workflows/response/gw-1",
}
QUERY: dict[str, Any] = {"agent": "gw-1", "correlation_ids": ["9f2c"], "reply_to": "t"}
WRONG = st.dictionaries(st.sampled_from([*RIGHT, "unknown"]), st.sampled_from(EXTREMES) | ANYTHING, max_size=2)
PAYLOADS = st.binary(max_size=200) | WRONG.map(lambda wrong: encoded(RIGHT | wrong, "9f2c"))


async def answer_all(payloads: list[bytes]) -> None:
    stage = Stage()
    task = asyncio.create_task(stage.dispatcher.run())
    link = stage.connect(room=1000)
    messages = [Message(topics.TRIGGER, payload, number, number) for number, payload in enumerate(payloads, 1)]
    stage.dispatcher.on_messages([*messages, trigger("last", len(messages) + 1)])

    def done() -> bool:
        for publication in link.published:
            stage.answer(publication)
        link.published.clear()
        return len(link.acknowledged) == len(messages) + 1

    await until(done)
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])


@settings(suppress_health_check=list(HealthCheck))
@given(st.lists(PAYLOADS, min_size=1, max_size=20))
def test_whatever_comes_as_a_trigger_is_answered_or_acknowledged(payloads: list[bytes]) -> None:
    asyncio.run(answer_all(payloads))


@pytest.mark.parametrize("member", RIGHT)
def test_each_member_of_a_trigger_may_be_anything(member: str) -> None:
    asyncio.run(answer_all([encoded({**RIGHT, member: value}, "9f2c") for value in EXTREMES]))


async def test_each_member_of_a_query_a_presence_and_a_cursor_may_be_anything() -> None:
    engine = Engine()
    engine.put("running", "Running")
    async with running(engine) as bench:
        bench.lead()
        heard = [
            (topic, encoded({**right, member: value}, "9f2c"))
            for topic, right in (
                (topics.STATUS_QUERY, QUERY),
                (topics.presence_topic("g", "z"), {"connection": "t"}),
                (topics.cursor_topic("g", "plant"), {"finished": "2026-03-20T11:00:00Z"}),
            )
            for member in right
            for value in EXTREMES
        ]
        for topic, payload in heard:
            bench.hear(topic, payload)
        bench.hear(topics.STATUS_QUERY, json.dumps({"agent": "gw-1", "correlation_ids": ["c-running"]}).encode())
        await bench.until(lambda: len(bench.wire.statuses()) >= 2, "the answer to the last query")
