"""The call `where` of a running agent. What it needs is loaded with the first question: few agents are ever asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from edgeagent.agent.clock import Clock
from edgeagent.agent.lookup import TriggerLookup
from edgeagent.agent.notices import ConnectionNotices
from edgeagent.agent.request_door import RequestDoor
from edgeagent.agent.uplink_parts import UplinkParts
from edgeagent.config.tables import AgentConfig
from edgeagent.ledger.ledger import Ledger
from edgeagent.outbox.outbox import Outbox
from edgeagent.ports.where import Courses, WhereQuery
from edgeagent.rules.ruleset import RuleSet


def where_call(
    config: AgentConfig,
    uplink: UplinkParts,
    outbox: Outbox,
    ledger: Ledger,
    lookup: TriggerLookup,
    rules: RuleSet,
    clock: Clock,
    local: ConnectionNotices | None,
    requests: RequestDoor,
) -> Callable[[WhereQuery], Awaitable[Courses]]:
    """`Where.find` over the parts of a running agent, with the requests about each trigger's workflow.

    `local`: the notices of the local broker's connection, if any.
    """

    async def where(asked: WhereQuery) -> Courses:
        from edgeagent.agent.live_knowledge import LiveKnowledge  # noqa: PLC0415  only for who asks
        from edgeagent.agent.where import Where  # noqa: PLC0415  as above

        knowledge = LiveKnowledge(config, uplink, outbox, ledger, lookup, rules, clock, local)
        found = await Where(knowledge).find(asked)
        courses = [
            msgspec.structs.replace(course, managed=managed) if (managed := requests.of_workflow(course)) else course
            for course in found.triggers
        ]
        return msgspec.structs.replace(found, triggers=courses)

    return where
