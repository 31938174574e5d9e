"""Device to upstream through the agent, beside Mosquitto's bridge: throughput, drain, and kill -9 (goals G1 and G4).

There are three ways: the device at the agent's own listener, the device at a local Mosquitto to which the agent is
connected, and the device at a Mosquitto with a bridge. All begin at a device with 100 unacknowledged events of 200
bytes, at QoS 1, and end at a subscriber that counts distinct events. They take turns, each in fresh processes, because
the machine's speed drifts: a ratio is made within one round. The agent syncs each event before it acknowledges it; the
bridge's database is saved once a second.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from benchmarks.load import TOPIC
from benchmarks.load_path import (
    WINDOW,
    Way,
    agent_config,
    all_counted,
    bridged,
    counted,
    make_backlog,
    through_agent,
    through_bridge,
    through_listener,
    upstream,
)
from benchmarks.load_processes import Agent, Load, Program
from benchmarks.measure import Checked, show_checked

_EVENTS = 30_000
_LONG_EVENTS = 300_000
_ROUNDS = 3
_LONG_ROUNDS = 7
_BACKLOG = 100_000
_LONG_BACKLOG = 1_000_000
_KILLED_EVENTS = 20_000
_KILLED_AT = 4_000  # events upstream
_KILLED_AFTER_S = 0.3  # of publishing, when nothing gets upstream
_SILENCE_S = 2.0  # nothing new upstream for so long after a restart: what is missing is lost

_RATIO = 1.0
_CPU_RATIO = 1.2
_LOCAL_RATIO = 0.7  # behind a local broker
_DRAIN_RATIO = 0.8


def run(*, long: bool) -> None:
    """Print throughput, drain and losses. `long`: more and longer rounds, and a backlog of 1,000,000 events."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        fresh = numbered(Path(directory))
        agent, rows = _throughput(fresh, _LONG_EVENTS if long else _EVENTS, _LONG_ROUNDS if long else _ROUNDS)
        show_checked("path, device to upstream", rows)
        show_checked("path, drain", _drain(fresh, _LONG_BACKLOG if long else _BACKLOG, agent))
        show_checked("path, kill -9 in mid-stream", _kills(fresh))


def numbered(directory: Path) -> Iterator[Path]:
    """New directories, one for each turn."""
    number = 0
    while True:
        number += 1
        place = directory / str(number)
        place.mkdir()
        yield place


# Throughput.


class Turn(NamedTuple):
    """One turn of one way. `all_cpu_us` is with the local broker; `written` is the edge process's."""

    events_per_s: float
    cpu_us: float
    all_cpu_us: float
    peak_mib: float
    written: float


_WAYS = (through_listener, through_agent, through_bridge)


def _throughput(fresh: Iterator[Path], events: int, rounds: int) -> tuple[float, list[Checked]]:
    """The events a second by the listener, and the rows."""
    found = [[turn(way(next(fresh)), events) for way in _WAYS] for _ in range(rounds)]
    listener, local, bridge = (median(turns) for turns in zip(*found, strict=True))
    return listener.events_per_s, [
        Checked("agent's listener", listener.events_per_s, "1/s"),
        Checked("agent behind a local broker", local.events_per_s, "1/s"),
        Checked("Mosquitto bridge", bridge.events_per_s, "1/s"),
        Checked(
            "listener, ratio to the bridge in the same round",
            statistics.median(one.events_per_s / base.events_per_s for one, _, base in found),
            "x",
            least=_RATIO,
        ),
        Checked(
            "behind a local broker, ratio to the bridge in the same round",
            statistics.median(one.events_per_s / base.events_per_s for _, one, base in found),
            "x",
            least=_LOCAL_RATIO,
        ),
        Checked("listener: CPU an event", listener.cpu_us, "us"),
        Checked("behind a local broker: CPU an event", local.cpu_us, "us"),
        Checked("behind a local broker, and that broker: CPU an event", local.all_cpu_us, "us"),
        Checked("bridge (one process with its broker): CPU an event", bridge.cpu_us, "us"),
        Checked(
            "listener, ratio of CPU to the bridge in the same round",
            statistics.median(one.cpu_us / base.cpu_us for one, _, base in found),
            "x",
            _CPU_RATIO,
        ),
        Checked("listener: peak memory", listener.peak_mib, "MiB"),
        Checked("behind a local broker: peak memory", local.peak_mib, "MiB"),
        Checked("bridge: peak memory", bridge.peak_mib, "MiB"),
        Checked("listener: written an event", listener.written, "B"),
        Checked("behind a local broker: written an event", local.written, "B"),
        Checked("bridge: written an event (not durable)", bridge.written, "B"),
    ]


def turn(ready: AbstractContextManager[Way], events: int) -> Turn:
    """Pass so many events on, from the device to the subscriber."""
    with ready as way:
        way.counter.ask(expect=events)
        programs: Sequence[Program] = list({way.edge, way.local})
        before = {program: program.usage() for program in programs}
        way.device.tell(count=events, window=WINDOW)
        count = all_counted(way.counter, events)
        after = {program: program.usage() for program in programs}
        begun_s = way.device.hear()["begun_s"]
        cpu_us = {program: (after[program].cpu_s - before[program].cpu_s) / events * 1e6 for program in programs}
        return Turn(
            events / (count["last_s"] - begun_s),
            cpu_us[way.edge],
            sum(cpu_us.values()),
            way.edge.peak_mib(),
            (after[way.edge].written_bytes - before[way.edge].written_bytes) / events,
        )


def median(turns: Sequence[Turn]) -> Turn:
    """The median of each figure."""
    return Turn(*(statistics.median(figures) for figures in zip(*turns, strict=True)))


# Drain.


class _Drained(NamedTuple):
    events_per_s: float
    cpu_us: float
    peak_mib: float


def _drain(fresh: Iterator[Path], backlog: int, steady_per_s: float) -> list[Checked]:
    agent, bridge = _agent_drained(next(fresh), backlog), _bridge_drained(next(fresh), backlog)
    what = f"of {backlog:,} events"
    return [
        Checked(f"agent, drain {what}", agent.events_per_s, "1/s"),
        Checked(f"Mosquitto bridge, drain {what}", bridge.events_per_s, "1/s"),
        Checked("agent, ratio to its own steady rate", agent.events_per_s / steady_per_s, "x", least=_DRAIN_RATIO),
        Checked("agent, ratio to the bridge", agent.events_per_s / bridge.events_per_s, "x"),
        Checked("agent: CPU an event, start included", agent.cpu_us, "us"),
        Checked("bridge: CPU an event, start included", bridge.cpu_us, "us"),
        Checked("agent: peak memory", agent.peak_mib, "MiB"),
        Checked("bridge: peak memory", bridge.peak_mib, "MiB"),
    ]


def _agent_drained(directory: Path, backlog: int) -> _Drained:
    """Start an agent over an outbox that is full."""
    with upstream(directory) as (above, counter):
        agent = Agent(directory, agent_config(above), links=1)
        make_backlog(agent.state, backlog)
        return _drained(agent, counter, backlog)


def _bridge_drained(directory: Path, backlog: int) -> _Drained:
    """Let a bridge take events while upstream is away, stop it, and start it over its database."""
    with upstream(directory, TOPIC) as (above, counter):
        above.stop()
        local = bridged(directory, above)
        with local, Load("load_device", "--connect", local.port) as device:
            device.ask(count=backlog, window=WINDOW)
    with above, Load("load_counter", above.port, TOPIC) as counter:
        return _drained(local, counter, backlog)


def _drained(program: Program, counter: Load, backlog: int) -> _Drained:
    counter.ask(expect=backlog)
    with program:
        count = all_counted(counter, backlog)
        return _Drained(
            backlog / (count["last_s"] - count["first_s"]),
            program.usage().cpu_s / backlog * 1e6,
            program.peak_mib(),
        )


# Kill -9.


def _kills(fresh: Iterator[Path]) -> list[Checked]:
    """The rows.

    With the uplink away all that is acknowledged is at the edge, which is what an edge is for. With the listener, and
    with the bridge, one process is all that runs there. What a local broker loses that the agent had not taken yet is
    the broker's, but the device's loss all the same: it is told.
    """
    return [
        Checked(f"{name}, uplink {'away' if away else 'there'}: {what}", figure, "", limit)
        for name, ready, victims, most in (
            ("agent with its listener", through_listener, _edge_alone, 0.0),
            ("agent behind a broker", through_agent, _edge_alone, 0.0),
            ("agent and that broker", through_agent, _edge_and_local, None),
            ("Mosquitto bridge", through_bridge, _edge_alone, None),
        )
        for away in (False, True)
        for killed in [_killed(ready(next(fresh)), victims, away=away)]
        for what, figure, limit in (
            ("lost", killed.lost, most),
            ("acknowledged to the device", killed.acked, None),
            ("came again", killed.again, None),
        )
    ]


class _Killed(NamedTuple):
    acked: int
    lost: int
    again: int


def _killed(ready: AbstractContextManager[Way], victims: Callable[[Way], Sequence[Program]], *, away: bool) -> _Killed:
    """Kill in mid-stream, start again, and see what arrives of the events that were acknowledged to the device."""
    with ready as way, contextlib.ExitStack() as later:
        counter = way.counter
        if away:
            way.above.stop()
        else:
            counter.ask(expect=_KILLED_EVENTS)
        way.device.tell(count=_KILLED_EVENTS, window=WINDOW)
        if away:
            time.sleep(_KILLED_AFTER_S)
        else:
            all_counted(counter, _KILLED_AT)
        killed = victims(way)
        for program in killed:
            program.kill()
        if away:
            way.above.start()
            counter = later.enter_context(Load("load_counter", way.above.port, way.topic_filter))
            counter.ask(expect=_KILLED_EVENTS)
        for program in killed:
            program.start()
        acked = way.device.hear()["acked"]
        count = counted(counter, _KILLED_EVENTS, silence_s=_SILENCE_S, below=acked)
        return _Killed(acked, acked - count["below"], count["messages"] - count["distinct"])


def _edge_alone(way: Way) -> Sequence[Program]:
    return [way.edge]


def _edge_and_local(way: Way) -> Sequence[Program]:
    return [way.local, way.edge]
