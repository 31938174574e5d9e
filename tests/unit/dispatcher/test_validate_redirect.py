"""Triggers on the base topic, for a dispatcher that binds agents to their own topics."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgeagent.dispatcher.outcome import Unbound, response_to
from edgeagent.dispatcher.validate import Checked, check
from edgeagent.ports.link import Message
from edgeagent.wire.messages import parse_response

CORRELATION = "9f2c" * 8


def checked(topic: str = "argo/workflows/trigger", **changes: Any) -> Checked:
    """A trigger of gw-1, with members changed or, by None, left out."""
    whole = {
        "namespace": "plant",
        "agent": "gw-1",
        "correlation_id": CORRELATION,
        "workflow": {"metadata": {"name": "w"}, "spec": {"workflowTemplateRef": {"name": "inspect"}}},
        **changes,
    }
    payload = msgspec.json.encode({key: value for key, value in whole.items() if value is not None})
    message = Message(topic, payload, 1, 1, response_topic="argo/workflows/response/gw-9")
    return check(message, bind_agent=True)


@pytest.mark.parametrize("changes", [{}, {"workflow": {}}, {"correlation_id": None}], ids=["whole", "invalid", "named"])
def test_an_agent_that_names_itself_on_the_base_topic_is_told_its_own_and_nothing_that_ends_its_trigger(
    changes: dict[str, Any],
) -> None:
    result = checked(**changes)
    assert isinstance(result.result, Unbound)
    assert result.reply_topic == "argo/workflows/response/gw-1"
    told = response_to(result.result, correlation_id=result.correlation_id, namespace="plant", dry_run=False)
    answer = parse_response(msgspec.json.encode(told), None)
    assert answer.correlation_id == ("w" if changes == {"correlation_id": None} else CORRELATION)
    assert (answer.code, answer.retryable, answer.retry_after_s) == (403, True, 0)
    assert answer.trigger_topic == "argo/workflows/trigger/gw-1"
    assert answer.detail == "publish on argo/workflows/trigger/gw-1 (engine.bind_agent)"


@pytest.mark.parametrize(
    "changes",
    [{"correlation_id": "two words"}, {"correlation_id": None, "workflow": {}}, {"agent": "GW 1"}, {"agent": "a/b"}],
)
def test_a_message_of_whom_and_of_what_cannot_be_told_is_refused_where_no_agent_listens(
    changes: dict[str, Any],
) -> None:
    result = checked(**changes)
    assert isinstance(result.result, Unbound)
    assert (result.result.trigger_topic, result.reply_topic) == ("", "argo/workflows/response")


def test_on_the_topic_of_another_agent_it_is_refused_for_good() -> None:
    result = checked("argo/workflows/trigger/gw-2").result
    assert isinstance(result, Unbound)
    assert not result.trigger_topic
    assert not response_to(result, correlation_id=CORRELATION, namespace="plant", dry_run=False).retryable
