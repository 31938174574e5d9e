"""Loads new rules into a running agent: on SIGHUP, or when its operator asks (contract section 9, `edgeagent reload`).

`[[rule]]` is reloaded, and of `[mqtt]` who may do what, what is an event, and the limits. Everything else belongs to
parts that are open by then: a connection, a socket, the outbox. A change there is logged, and takes effect at the next
start. What is in flight is not touched: a trigger whose rule is gone becomes a dead letter when it is due to be sent,
as after a restart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from edgeagent.agent.counts import RuleCounts
from edgeagent.config import load_agent
from edgeagent.config.identity import identity
from edgeagent.config.tables import AgentConfig, Mqtt
from edgeagent.errors import ConfigError
from edgeagent.host import systemd
from edgeagent.ports.operator import Reloaded
from edgeagent.rules.ruleset import RuleSet
from edgeagent.rules.spec import RuleSpec

# Of `[mqtt]`. The certificates' files are read again when they change; other ones need a restart.
RELOADED_KEYS: Final = (
    *("allow", "subscribe", "users_file"),
    *("max_connections", "max_packet", "max_retained", "retained_bytes", "session_queue"),
)

_log = logging.getLogger(__name__)


class Reloadable(Protocol):
    """A part that takes over some of a table of the configuration while it runs."""

    async def prepare(self, config: AgentConfig) -> Callable[[], None]:
        """Read what `config` names. Returns what takes it over, at once and without fail; until then nothing changes.

        Raises:
            ConfigError: it cannot be used.
        """


class Reloader:
    """Takes over what can be from the configuration file.

    Owns the rules that were read last. Promises that a file with errors changes nothing.

    Attributes:
        identity: names the configuration in force: a table that needs a restart counts as it was at the start.
        taken_over: the hook that is called when rules were taken over, under which triggers that wait may go. The
            composition root connects it with `Sender.wake`, and with the uploads that failed.
    """

    def __init__(
        self,
        path: Path,
        config: AgentConfig,
        rules: RuleSet,
        rule_counts: dict[str, RuleCounts],
        listener: Reloadable | None = None,
    ) -> None:
        """Join the parts.

        Args:
            path: of the file.
            config: the configuration the agent was started with.
            rules: the set that all its parts share.
            rule_counts: those of each rule, by name.
            listener: that of `[mqtt]`, None without one.
        """
        self.taken_over: Callable[[], None] = lambda: None
        self._path = path
        self._started_with = config
        self._specs: Sequence[RuleSpec] = config.rule
        self._rules = rules
        self._rule_counts = rule_counts
        self._listener = listener
        self.identity = identity(config)
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
                extra={"event": "reload_needs_restart", "tables": ", ".join(reloaded.restart)},
            )
        return reloaded

    async def _take_over(self) -> Reloaded:
        config, rules = await asyncio.to_thread(self._read)
        take_over = await self._listener.prepare(config) if self._listener is not None else None
        for rule in rules:  # the counts of all rules are kept, even of those that are gone
            self._rule_counts.setdefault(rule.name, RuleCounts())
        self._rules.take_over(rules)
        if take_over is not None:
            take_over()
        self.taken_over()
        reloaded = _changes(self._path, self._specs, config.rule, changed_tables(self._started_with, config))
        self._specs = config.rule
        self.identity = identity(_in_force(self._started_with, config))
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


def changed_tables(old: AgentConfig, new: AgentConfig) -> tuple[str, ...]:
    """The tables in which a running agent does not take over what is new."""
    kept = msgspec.structs.replace(new, mqtt=_as_taken_over(old.mqtt, new.mqtt))
    return tuple(name for name in old.__struct_fields__ if name != "rule" and getattr(old, name) != getattr(kept, name))


def _in_force(old: AgentConfig, new: AgentConfig) -> AgentConfig:
    """What an agent that was started with `old` does after it has read `new`."""
    return msgspec.structs.replace(old, rule=new.rule, mqtt=_as_taken_over(new.mqtt, old.mqtt))


def _as_taken_over(old: Mqtt | None, new: Mqtt | None) -> Mqtt | None:
    """The new table with those keys as in the old one that a running listener takes over."""
    if old is None or new is None:
        return new
    return msgspec.structs.replace(new, **{key: getattr(old, key) for key in RELOADED_KEYS})


def _differences(reloaded: Reloaded) -> str:
    parts = {"added": reloaded.added, "changed": reloaded.changed, "removed": reloaded.removed}
    return "; ".join(f"{what} {', '.join(names)}" for what, names in parts.items() if names) or "no rule differs"
