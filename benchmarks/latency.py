"""How long an event takes at 1,000 events a second by MQTT (goal G7), at the agent's listener and by a local broker.

*Acknowledged*: from handing the agent an event to its PUBACK, which says that the event is synced. By the listener that
is what the device hears. To see what a local broker would hear, the load process takes that broker's place; what the
broker itself tells the device is told of another run, beside it. *Upstream*: from the device's write to the
subscriber's read, with Mosquitto upstream.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.load_path import agent_config, all_counted, through_agent, through_listener, upstream
from benchmarks.load_processes import Agent, Load, Usage
from benchmarks.measure import Checked, show_checked
from tests.fakes.mosquitto import free_port

_RATE_PER_S = 1_000
_EVENTS = 10_000
_LONG_EVENTS = 60_000
_WARM_UP_EVENTS = 1_000

_ACKED_P50_MS, _ACKED_P99_MS = 2.0, 10.0
_UPSTREAM_P50_MS, _UPSTREAM_P99_MS = 4.0, 20.0


def run(*, long: bool) -> None:
    """Print the times. `long`: for a minute instead of 10 s."""
    events = _LONG_EVENTS if long else _EVENTS
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        place = Path(directory)
        rows = [
            *_listener(place / "listener", events),
            *_acknowledged(place / "stand-in", events),
            *_upstream(place / "way", events),
        ]
    show_checked(f"latency at {_RATE_PER_S:,} events a second", rows)


def _listener(directory: Path, events: int) -> list[Checked]:
    directory.mkdir()
    with through_listener(directory) as way:
        before = way.edge.usage()
        sent_s, acked_s, came_s = _sent(way.device, way.counter, events)
        after = way.edge.usage()
    return [
        *_times("acknowledged by the listener", sent_s, acked_s, _ACKED_P50_MS, _ACKED_P99_MS),
        *_times("device by the listener to upstream", sent_s, came_s, _UPSTREAM_P50_MS, _UPSTREAM_P99_MS),
        *_used("listener", before, after, events),
    ]


def _acknowledged(directory: Path, events: int) -> list[Checked]:
    directory.mkdir()
    port = free_port()
    with (
        upstream(directory) as (above, counter),
        Load("load_device", "--listen", port) as device,
        Agent(directory, agent_config(above, local_port=port), links=2),
    ):
        device.hear()  # that the agent has subscribed
        _sent(device, counter, _WARM_UP_EVENTS)
        sent_s, acked_s, came_s = _sent(device, counter, events)
    return [
        *_times("acknowledged by the agent to a broker", sent_s, acked_s, _ACKED_P50_MS, _ACKED_P99_MS),
        *_times("agent to upstream", sent_s, came_s),
    ]


def _upstream(directory: Path, events: int) -> list[Checked]:
    directory.mkdir()
    with through_agent(directory) as way:
        before = way.edge.usage()
        sent_s, acked_s, came_s = _sent(way.device, way.counter, events)
        after = way.edge.usage()
    return [
        *_times("device by a local broker to upstream", sent_s, came_s, _UPSTREAM_P50_MS, _UPSTREAM_P99_MS),
        *_times("acknowledged by the local broker (not synced)", sent_s, acked_s),
        *_used("by a local broker", before, after, events),
    ]


def _used(what: str, before: Usage, after: Usage, events: int) -> list[Checked]:
    return [
        Checked(f"{what}: CPU of the agent, an event", (after.cpu_s - before.cpu_s) / events * 1e6, "us"),
        Checked(f"{what}: written, an event", (after.written_bytes - before.written_bytes) / events, "B"),
    ]


def _sent(device: Load, counter: Load, events: int) -> tuple[list[float], list[float], list[float]]:
    """The times at which each event was sent, acknowledged, and came upstream."""
    counter.ask(expect=events)
    sent = device.ask(count=events, rate=_RATE_PER_S)
    all_counted(counter, events)
    return sent["sent_s"], sent["acked_s"], counter.ask(times=True)["came_s"]


def _times(
    what: str,
    from_s: Sequence[float],
    to_s: Sequence[float],
    p50_limit_ms: float | None = None,
    p99_limit_ms: float | None = None,
) -> list[Checked]:
    in_order = sorted(to - since for since, to in zip(from_s, to_s, strict=True))
    p50_ms, p99_ms = (in_order[int(len(in_order) * part)] * 1000 for part in (0.50, 0.99))
    return [
        Checked(f"{what}: half of them within", p50_ms, "ms", p50_limit_ms),
        Checked(f"{what}: 99 % within", p99_ms, "ms", p99_limit_ms),
        Checked(f"{what}: the slowest", in_order[-1] * 1000, "ms"),
    ]
