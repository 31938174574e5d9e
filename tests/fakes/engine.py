"""An engine for tests: takes every trigger from the broker, answers as the test says, counts what it would start."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from edgeagent.ports.link import Ack, Message, Publication
from tests.fakes.mosquitto import MqttClient

_ANSWER = -1  # the token of answers: nobody waits for their acknowledgement

Answer = Callable[[dict[str, Any]], "dict[str, Any] | None"]


def success(trigger: dict[str, Any]) -> dict[str, Any]:
    """The answer of an engine that started the workflow."""
    return {
        "code": 200,
        "status": "Workflow triggered successfully",
        "workflowId": trigger["workflow"]["metadata"]["name"],
        "namespace": trigger["namespace"],
    }


class Engine(MqttClient):
    """Subscribed to all topics of triggers; starts a workflow at the first trigger with its name.

    Attributes:
        answer: what to answer to a trigger, None for nothing.
        triggers: every trigger received, decoded, in order.
        started: how many triggers came for each workflow's name.
    """

    def __init__(self, url: str, *, answer: Answer = success, **options: Any) -> None:
        super().__init__(url, "engine", "argo/workflows/trigger/#", **options)
        self.answer = answer
        self.triggers: list[dict[str, Any]] = []
        self.started: Counter[str] = Counter()
        self._answers: deque[Publication] = deque()

    def on_messages(self, messages: Sequence[Message]) -> None:
        """Answer triggers; see `LinkOwner`."""
        for message in messages:
            trigger = msgspec.json.decode(message.payload)
            self.triggers.append(trigger)
            if not trigger.get("canary"):
                self.started[trigger["workflow"]["metadata"]["name"]] += 1
            answer = self.answer(trigger)
            if answer is not None:
                payload = msgspec.json.encode({"correlation_id": trigger["correlation_id"], **answer})
                self._answers.append(Publication(_ANSWER, trigger["reply_to"], payload))
        super().on_messages(messages)
        self._send()

    def on_acks(self, acks: Sequence[Ack]) -> None:
        """Go on with answers; see `LinkOwner`."""
        super().on_acks([ack for ack in acks if ack.token != _ANSWER])
        self._send()

    def _send(self) -> None:
        """Answers go out as the broker's receive maximum allows."""
        while self._answers and self.link is not None and self.link.room:
            self.link.publish([self._answers.popleft()])

    async def received(self, count: int) -> None:
        """Wait until so many different workflows were asked for."""
        await self.until(lambda: len(self.started) >= count, f"{count} workflows, there are {len(self.started)}")
