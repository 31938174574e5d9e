"""The call `where` of a running agent. What it needs is loaded with the first question: few agents are ever asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from edgeagent.agent.clock import Clock
from edgeagent.agent.lookup import TriggerLookup
from edgeagent.agent.notices import ConnectionNotices
from edgeagent.agent.request_door import RequestDoor
from edgeagent.agent.uplink_parts import UplinkParts
from edgeagent.config.tables import AgentConfig
from edgeagent.ledger.ledger import Ledger
from edgeagent.outbox.outbox import Outbox
from edgeagent.ports.where import Course, Courses, WhereQuery
from edgeagent.rules.ruleset import RuleSet

if TYPE_CHECKING:
    from edgeagent.agent.uploading import Uploading
    from edgeagent.agent.webhook_parts import WebhookParts


Asked = Callable[[WhereQuery], Awaitable[Courses]]


def where_call(
    config: AgentConfig,
    uplink: UplinkParts,
    outbox: Outbox,
    ledger: Ledger,
    lookup: TriggerLookup,
    rules: RuleSet,
    clock: Clock,
    local: ConnectionNotices | None,
    uploading: Uploading | None,
) -> Asked:
    """`Where.find` over the parts of a running agent.

    `local`: the notices of the local broker's connection, if any. `uploading`: the triggers that wait for an upload.
    """

    async def where(asked: WhereQuery) -> Courses:
        from edgeagent.agent.live_knowledge import LiveKnowledge  # noqa: PLC0415  only for who asks
        from edgeagent.agent.where import Where  # noqa: PLC0415  as above

        knowledge = LiveKnowledge(config, uplink, outbox, ledger, lookup, rules, clock, local, uploading)
        return await Where(knowledge).find(asked)

    return where


def with_more(where: Asked, requests: RequestDoor, webhooks: WebhookParts | None) -> Asked:
    """The same, with the requests about each trigger's workflow, and the reports that its webhooks do not get."""

    def more(course: Course) -> Course:
        lost = webhooks.lost(course.correlation_id) if webhooks is not None else ()
        managed = requests.of_workflow(course)
        return msgspec.structs.replace(course, managed=managed or UNSET, lost_reports=lost or UNSET)

    async def asked_for_more(asked: WhereQuery) -> Courses:
        found = await where(asked)
        return msgspec.structs.replace(found, triggers=[more(course) for course in found.triggers])

    return asked_for_more
