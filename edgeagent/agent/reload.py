"""New rules for a running agent: on SIGHUP, or when its operator asks (contract section 9, `edgeagent reload`).

Only `[[rule]]` is taken over. Everything else belongs to parts that are open by then: a connection, a listener, the
outbox; what was changed there is told and counts from the next start on. What is in flight is not touched: a trigger
whose rule is gone becomes a dead letter when it is to be sent, as after a restart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from edgeagent.agent.counts import RuleCounts
from edgeagent.config import load_agent
from edgeagent.config.tables import AgentConfig
from edgeagent.errors import ConfigError
from edgeagent.host import systemd
from edgeagent.ports.operator import Reloaded
from edgeagent.rules.ruleset import RuleSet
from edgeagent.rules.spec import RuleSpec

_log = logging.getLogger(__name__)


class Reloader:
    """Takes over the rules of the configuration file."""

    def __init__(self, path: Path, config: AgentConfig, rules: RuleSet, rule_counts: dict[str, RuleCounts]) -> None:
        """`config`: what the agent was started with; `rules`: the set that all its parts hold."""
        self._path = path
        self._started_with = config
        self._specs: Sequence[RuleSpec] = config.rule
        self._rules = rules
        self._rule_counts = rule_counts
        self._one_at_a_time = asyncio.Lock()

    async def run(self, asked: asyncio.Event) -> None:
        """Reload whenever `asked` is set, until cancelled. A refused configuration is logged; the old rules go on."""
        while True:
            await asked.wait()
            asked.clear()
            try:
                await self.reload()
            except ConfigError as exc:
                _log.error(
                    "the configuration is refused, the old rules go on: %s", exc, extra={"event": "reload_refused"}
                )

    async def reload(self) -> Reloaded:
        """Read the file and take its rules over; see `OperatorPort`. The loop goes on while it is read and compiled."""
        async with self._one_at_a_time:
            systemd.reloading()
            try:
                told = await self._take_over()
            finally:
                systemd.ready()
        _log.info(
            "%s: rules from now on: %d; %s",
            told.file,
            told.rules,
            _differences(told),
            extra={"event": "rules_reloaded"},
        )
        if told.restart:
            _log.warning(
                "%s: changed too, but needs a restart: %s",
                told.file,
                ", ".join(f"[{table}]" for table in told.restart),
                extra={"event": "reload_needs_restart", "tables": told.restart},
            )
        return told

    async def _take_over(self) -> Reloaded:
        config, rules = await asyncio.to_thread(self._read)
        for rule in rules:  # what a rule did so far is kept, also of those that are gone
            self._rule_counts.setdefault(rule.name, RuleCounts())
        self._rules.take_over(rules)
        told = _told(self._path, self._specs, config.rule, _changed_tables(self._started_with, config))
        self._specs = config.rule
        return told

    def _read(self) -> tuple[AgentConfig, RuleSet]:
        config = load_agent(self._path)
        return config, RuleSet(config.rule)


def _told(path: Path, old: Sequence[RuleSpec], new: Sequence[RuleSpec], restart: tuple[str, ...]) -> Reloaded:
    before = {spec.name: spec for spec in old if spec.enabled}
    after = {spec.name: spec for spec in new if spec.enabled}
    return Reloaded(
        str(path),
        len(after),
        tuple(name for name in after if name not in before),
        tuple(name for name, spec in after.items() if name in before and before[name] != spec),
        tuple(name for name in before if name not in after),
        restart,
    )


def _changed_tables(old: AgentConfig, new: AgentConfig) -> tuple[str, ...]:
    return tuple(name for name in old.__struct_fields__ if name != "rule" and getattr(old, name) != getattr(new, name))


def _differences(told: Reloaded) -> str:
    parts = {"added": told.added, "changed": told.changed, "removed": told.removed}
    return "; ".join(f"{what} {', '.join(names)}" for what, names in parts.items() if names) or "none differs"
