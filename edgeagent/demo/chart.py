"""Samples as rows of characters. Pure: every row is exactly as wide as there are columns."""

from __future__ import annotations

from collections.abc import Sequence

from edgeagent.demo.scene import Sample

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_CELL = 8


def columns(samples: Sequence[Sample], expected: int, width: int) -> list[Sample]:
    """At most `width` samples that stand for all: where several share a column, the lowest flow and the worst state.

    The scale is that of `expected` samples, until there are more.
    """
    total = max(expected, len(samples))
    groups: dict[int, list[Sample]] = {}
    for index, sample in enumerate(samples):
        groups.setdefault(index * width // total, []).append(sample)
    result: list[Sample] = []
    for column in range(max(groups, default=-1) + 1):
        result.append(_merged(groups[column]) if column in groups else result[-1])
    return result


def _merged(group: Sequence[Sample]) -> Sample:
    return Sample(
        min((sample.flow_l_s for sample in group if sample.flow_l_s is not None), default=None),
        any(sample.is_loss for sample in group),
        max(sample.waiting for sample in group),
        all(sample.uplink_works for sample in group),
        all(sample.agent_runs for sample in group),
    )


def bars(values: Sequence[float | None], top: float, height: int) -> list[str]:
    """Vertical bars, `height` rows from the top down; a value above 0 shows at least a trace, None shows none."""
    levels = [0 if value is None else max(1, round(value / top * height * _CELL)) for value in values]
    return [
        "".join(_EIGHTHS[min(max(level - row * _CELL, 0), _CELL)] for level in levels)
        for row in reversed(range(height))
    ]


def marks(flags: Sequence[bool], yes: str, no: str) -> str:
    """One character a column."""
    return "".join(yes if flag else no for flag in flags)
