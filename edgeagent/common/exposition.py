r"""Metrics in Prometheus's text format 0.0.4. Pure.

A family is a name with its samples, which differ in the values of their labels. The format allows any text as the value
of a label: `\`, `"` and line feeds are escaped. Whoever makes the families sees to it that no two samples have the same
labels, and that the values of a label are bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from itertools import accumulate
from typing import NamedTuple

import msgspec

from edgeagent.common.histogram import Histogram

Labels = tuple[tuple[str, str], ...]


class MetricKind(Enum):
    """What a family's values mean: a counter only grows, until its process or its disk begins anew."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class MetricSample(NamedTuple):
    """One value. `suffix` follows the name of the family, for the parts of a histogram."""

    value: float
    labels: Labels = ()
    suffix: str = ""


class MetricFamily(msgspec.Struct, frozen=True):
    """A metric with all its samples; it is shown even if there are none, so that its name can be found."""

    name: str
    kind: MetricKind
    help: str
    samples: tuple[MetricSample, ...]


def counter(name: str, text: str, *samples: MetricSample) -> MetricFamily:
    """A family of counters; the names of such end with `_total`."""
    return MetricFamily(name, MetricKind.COUNTER, text, samples)


def gauge(name: str, text: str, *samples: MetricSample) -> MetricFamily:
    """A family of gauges."""
    return MetricFamily(name, MetricKind.GAUGE, text, samples)


def histogram(name: str, text: str, values: Histogram) -> MetricFamily:
    """A histogram without labels of its own. Its number of values is that of its last bucket, always."""
    counts = [*accumulate(values.counts)]
    bounds = [*(f"{bound:g}" for bound in values.bounds), "+Inf"]
    buckets = [MetricSample(count, (("le", bound),), "_bucket") for bound, count in zip(bounds, counts, strict=True)]
    return MetricFamily(
        name,
        MetricKind.HISTOGRAM,
        text,
        (*buckets, MetricSample(values.total, suffix="_sum"), MetricSample(counts[-1], suffix="_count")),
    )


def build_info(name: str, version: str, python: str, *labels: tuple[str, str]) -> MetricFamily:
    """Which version runs on which Python; its value is always 1."""
    return gauge(
        name,
        "Always 1; its labels say what runs.",
        MetricSample(1, (*labels, ("version", version), ("python", python))),
    )


def exposition(families: Iterable[MetricFamily]) -> bytes:
    """All families as one text, which ends with a line feed."""
    return "".join(f"{line}\n" for family in families for line in _lines(family)).encode()


def _lines(family: MetricFamily) -> Iterator[str]:
    name = family.name
    yield f"# HELP {name} {_escaped(family.help)}"
    yield f"# TYPE {name} {family.kind.value}"
    for value, labels, suffix in family.samples:
        shown = ",".join([f'{label}="{_quoted(text)}"' for label, text in labels])
        yield f"{name}{suffix}{{{shown}}} {_number(value)}" if shown else f"{name}{suffix} {_number(value)}"


def _escaped(text: str) -> str:
    # A lone surrogate, from bytes that were no UTF-8, cannot be encoded.
    encodable = text.encode("utf-8", "backslashreplace").decode()
    return encodable.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', r"\"")


def _number(value: float) -> str:
    """Integers, and truth values, without a point; a float is never infinite here."""
    return str(int(value)) if isinstance(value, int) or value.is_integer() else repr(value)
