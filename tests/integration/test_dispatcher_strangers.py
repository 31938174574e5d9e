"""Who is no gateway, or not the one that it says it is: what it can have the dispatcher tell a gateway."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgeagent.ports.link import Message
from edgeagent.wire.messages import parse_response
from tests.fakes.dispatch_rehearsal import dispatching
from tests.fakes.mosquitto import Mosquitto, MqttClient

TRIGGER = "argo/workflows/trigger"
VICTIM = "argo/workflows/response/gw-1"
BASE = "argo/workflows/response"
CORRELATION = "9f2c" * 8


def trigger(name: str, **members: Any) -> bytes:
    """A trigger without an agent, but with the correlation id of one of gw-1's."""
    whole: dict[str, Any] = {
        "namespace": "plant",
        "correlation_id": CORRELATION,
        "workflow": {"metadata": {"name": name}, "spec": {"workflowTemplateRef": {"name": "inspect"}}},
    }
    return msgspec.json.encode({**whole, **members})


def labelled(name: str, **labels: str) -> dict[str, Any]:
    metadata = {"name": name, "labels": {f"edgeagent.io/{key}": text for key, text in labels.items()}}
    return {"metadata": metadata, "spec": {"workflowTemplateRef": {"name": "inspect"}}}


async def heard_by_the_victim(
    broker: Mosquitto, topic: str, payload: bytes, *, bind_agent: bool, **properties: Any
) -> tuple[list[Message], Message]:
    """What gw-1 hears after this was published, but for its own trigger's; and the answer that somebody got."""
    async with (
        dispatching(broker, bind_agent=bind_agent),
        MqttClient(broker.url, "gw-1", VICTIM, "argo/workflows/status/gw-1") as victim,
        MqttClient(broker.url, "stranger", "argo/workflows/response/#") as stranger,
    ):
        await stranger.publish(topic, payload, **properties)
        await victim.publish(f"{TRIGGER}/gw-1", trigger("own", agent="gw-1", correlation_id="own"))
        # Answers and the walks of a rehearsal come in the order of the triggers: what was to come before has come.
        heard: list[Message] = []
        while b"Succeeded" not in (message := await victim.message()).payload:
            heard.append(message)
        return [each for each in heard if b'"own"' not in each.payload], await stranger.message()


WITHOUT_AGENT: list[tuple[str, bytes, dict[str, Any]]] = [
    ("started", trigger("w"), {"response_topic": VICTIM}),
    ("with its correlation data", trigger("w"), {"response_topic": VICTIM, "correlation_data": CORRELATION.encode()}),
    ("invalid", trigger("w", workflow={}), {"response_topic": VICTIM}),
    ("unreadable", b"no json", {"response_topic": VICTIM, "correlation_data": CORRELATION.encode()}),
    ("asked for in the message", trigger("w", reply_to=VICTIM), {}),
    ("labelled as the victim's", trigger("w", workflow=labelled("w", agent="gw-1")), {"response_topic": VICTIM}),
]


@pytest.mark.parametrize("bind_agent", [True, False])
@pytest.mark.parametrize(
    ("payload", "properties"), [case[1:] for case in WITHOUT_AGENT], ids=[c[0] for c in WITHOUT_AGENT]
)
async def test_a_message_without_an_agent_tells_no_gateway_anything(
    broker: Mosquitto, payload: bytes, properties: dict[str, Any], bind_agent: bool
) -> None:
    heard, answer = await heard_by_the_victim(broker, TRIGGER, payload, bind_agent=bind_agent, **properties)
    assert heard == []
    assert answer.topic == BASE


IN_ITS_NAME: list[tuple[str, str, bytes, str]] = [
    ("unreadable", TRIGGER, trigger("w", agent="gw-1", namespace=5), BASE),
    ("on an own topic", f"{TRIGGER}/gw-2", trigger("w", agent="gw-1"), f"{BASE}/gw-2"),
    ("unreadable on an own topic", f"{TRIGGER}/gw-2", trigger("w", agent="gw-1", namespace=5), f"{BASE}/gw-2"),
    ("by a label", f"{TRIGGER}/gw-2", trigger("w", workflow=labelled("w", agent="gw-1")), f"{BASE}/gw-2"),
]


@pytest.mark.parametrize(
    ("topic", "payload", "answered"), [c[1:] for c in IN_ITS_NAME], ids=[c[0] for c in IN_ITS_NAME]
)
async def test_nobody_speaks_in_the_name_of_a_gateway_unless_the_operator_lets_everybody(
    broker: Mosquitto, topic: str, payload: bytes, answered: str
) -> None:
    heard, answer = await heard_by_the_victim(broker, topic, payload, bind_agent=True, response_topic=VICTIM)
    assert heard == []
    assert answer.topic == answered
    assert parse_response(answer.payload, None).code in {400, 403}


@pytest.mark.parametrize("members", [{}, {"workflow": {}}], ids=["well-formed", "invalid"])
async def test_on_the_topic_of_all_its_name_has_a_gateway_told_its_own_topic_and_no_more(
    broker: Mosquitto, members: dict[str, Any]
) -> None:
    payload = trigger("w", agent="gw-1", **members)
    [told], answer = await heard_by_the_victim(broker, TRIGGER, payload, bind_agent=True, response_topic=BASE)
    assert (told.topic, told.payload) == (answer.topic, answer.payload)
    response = parse_response(told.payload, None)
    assert (response.correlation_id, response.code, response.retryable, response.retry_after_s) == (
        CORRELATION,
        403,
        True,
        0,
    )
    assert response.trigger_topic == f"{TRIGGER}/gw-1"
