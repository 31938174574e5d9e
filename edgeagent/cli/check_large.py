"""What `edgeagent check` says about large data: where it goes, how much is taken, and which rules want nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from edgeagent.config.tables import AgentConfig, ArtifactsTable
from edgeagent.outbox.spool_book import room_bytes
from edgeagent.rules.spec import RuleSpec

_URL: Final = "body.url"
_OF_CLAIMS: Final = frozenset({"body.size", "body.sha256", "body.contentType"})


def large_data(config: AgentConfig) -> Iterator[str]:
    """Where large data goes, and with which bandwidth."""
    if (table := config.artifacts) is None:
        return
    room = room_bytes(config.outbox.max_bytes)
    why = " (outbox.max_bytes bounds it)" if room < table.max_bytes else ""
    most, least = _size(min(room, table.max_bytes)), _size(table.inline_max)
    yield f"store     data over {least}, up to {most}{why}, goes to {table.store}"
    if table.public_url:
        yield f"store     workflows find it below {table.public_url}"
    if table.bandwidth is not None or table.bandwidth_at:
        yield f"store     bandwidth: {', '.join(_bandwidths(table))}"


def large_data_notes(config: AgentConfig) -> Iterator[str]:
    """Rules that take the url of large data, and become dead letters for events whose data is small."""
    if (table := config.artifacts) is None:
        return
    names = [rule.name for rule in config.rule if rule.enabled and _URL in rule.arguments.values() and _takes_all(rule)]
    if names:
        yield (
            f"artifacts.inline_max: data up to {_size(table.inline_max)} stays in its event and has no {_URL}: it ends "
            f"as a dead letter of {', '.join(names)}; add a filter on body.size, or make inline_max smaller"
        )


def _takes_all(rule: RuleSpec) -> bool:
    """Whether no filter asks for what only large data has."""
    filters = rule.filters
    return filters is None or not any(condition.path in _OF_CLAIMS for condition in filters.data or ())


def _bandwidths(table: ArtifactsTable) -> Iterator[str]:
    for span in table.bandwidth_at:
        yield f"{_rate(span.rate)} from {span.start} to {span.stop} {table.timezone or 'UTC'}"
    other = " else" if table.bandwidth_at else ""
    yield (_rate(table.bandwidth) if table.bandwidth is not None else "without a limit") + other


def _rate(bytes_per_s: float) -> str:
    kbits = bytes_per_s * 8 / 1000
    if kbits == 0:
        return "no uploads"
    return f"{kbits / 1000:g}Mbit/s" if kbits >= 1000 else f"{kbits:g}kbit/s"  # noqa: PLR2004  as it is written


def _size(size: int) -> str:
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << shift:
            return f"{size / (1 << shift):.4g} {unit}"
    return f"{size} bytes"
