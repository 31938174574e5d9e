"""Loads new rules into a running agent: on SIGHUP, or when its operator asks (contract section 9, `edgeagent reload`).

Only `[[rule]]` is reloaded. Everything else belongs to parts that are open by then: a connection, a listener, the
outbox. A change there is logged, and takes effect at the next start. What is in flight is not touched: a trigger whose
rule is gone becomes a dead letter when it is due to be sent, as after a restart.
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
    """Takes the rules over from the configuration file.

    Owns the rules that were read last. Promises that a file with errors changes nothing. Must never apply anything but
    rules.
    """

    def __init__(self, path: Path, config: AgentConfig, rules: RuleSet, rule_counts: dict[str, RuleCounts]) -> None:
        """`config`: the configuration the agent was started with; `rules`: the set that all its parts share."""
        self._path = path
        self._started_with = config
        self._specs: Sequence[RuleSpec] = config.rule
        self._rules = rules
        self._rule_counts = rule_counts
        self._one_at_a_time = asyncio.Lock()

    async def run(self, asked: asyncio.Event) -> None:
        """Reload whenever `asked` is set, until cancelled. A refused configuration is logged; the old rules stay."""
        while True:
            await asked.wait()
            asked.clear()
            try:
                await self.reload()
            except ConfigError as exc:
                _log.error(
                    "the configuration is refused, the old rules stay in use: %s",
                    exc,
                    extra={"event": "reload_refused"},
                )

    async def reload(self) -> Reloaded:
        """Read the file and take its rules over; see `OperatorPort`. The loop runs on while it is read and compiled."""
        async with self._one_at_a_time:
            systemd.reloading()
            try:
                reloaded = await self._take_over()
            finally:
                systemd.ready()
        _log.info(
            "%s: rules from now on: %d; %s",
            reloaded.file,
            reloaded.rules,
            _differences(reloaded),
            extra={"event": "rules_reloaded"},
        )
        if reloaded.restart:
            _log.warning(
                "%s: other tables changed too, which needs a restart: %s",
                reloaded.file,
                ", ".join(f"[{table}]" for table in reloaded.restart),
                extra={"event": "reload_needs_restart", "tables": reloaded.restart},
            )
        return reloaded

    async def _take_over(self) -> Reloaded:
        config, rules = await asyncio.to_thread(self._read)
        for rule in rules:  # the counts of all rules are kept, even of those that are gone
            self._rule_counts.setdefault(rule.name, RuleCounts())
        self._rules.take_over(rules)
        reloaded = _changes(self._path, self._specs, config.rule, _changed_tables(self._started_with, config))
        self._specs = config.rule
        return reloaded

    def _read(self) -> tuple[AgentConfig, RuleSet]:
        config = load_agent(self._path)
        return config, RuleSet(config.rule)


def _changes(path: Path, old: Sequence[RuleSpec], new: Sequence[RuleSpec], restart: tuple[str, ...]) -> Reloaded:
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


def _differences(reloaded: Reloaded) -> str:
    parts = {"added": reloaded.added, "changed": reloaded.changed, "removed": reloaded.removed}
    return "; ".join(f"{what} {', '.join(names)}" for what, names in parts.items() if names) or "none differs"
