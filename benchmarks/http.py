"""Events by HTTP, through the agent to upstream (goal G2): NDJSON batches of 100, and single POSTs.

The agent forwards while it takes events, so both rates are of one run: how fast requests are answered (with 202, the
events synced), and how fast the events arrive upstream, from the first request to the last receipt.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import NamedTuple

from benchmarks.load_path import agent_config, all_counted, upstream
from benchmarks.load_processes import Agent, Load
from benchmarks.measure import Checked, show_checked
from tests.fakes.mosquitto import free_port

_ROUNDS = 3
_LONG_ROUNDS = 9
_BATCH = 100
_BATCHES = 400
_BATCH_CONNECTIONS = 4
_SINGLES = 10_000
_SINGLE_CONNECTIONS = 50
_WARM_UP_REQUESTS = 200

_BATCHED_LEAST_PER_S = 50_000.0
_SINGLE_LEAST_PER_S = 5_000.0
_SINGLE_P99_MS = 30.0


def run(*, long: bool) -> None:
    """Print rates, answer times and processor time. `long`: more rounds."""
    rounds = _LONG_ROUNDS if long else _ROUNDS
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        turns = [_round(Path(directory) / str(number)) for number in range(rounds)]
    batched, single = (_median(of_kind) for of_kind in zip(*turns, strict=True))
    where = f"NDJSON, {_BATCH} a request"
    rows = [
        Checked(f"{where}: events accepted", batched.accepted_per_s, "1/s", least=_BATCHED_LEAST_PER_S),
        Checked(f"{where}: events upstream", batched.upstream_per_s, "1/s", least=_BATCHED_LEAST_PER_S),
        Checked(f"{where}: answered within, half of them", batched.p50_ms, "ms"),
        Checked(f"{where}: answered within, 99 %", batched.p99_ms, "ms"),
        Checked(f"{where}: CPU of the agent, an event", batched.cpu_us, "us"),
    ]
    where = f"single POSTs, {_SINGLE_CONNECTIONS} at once"
    rows += [
        Checked(f"{where}: events accepted", single.accepted_per_s, "1/s", least=_SINGLE_LEAST_PER_S),
        Checked(f"{where}: events upstream", single.upstream_per_s, "1/s"),
        Checked(f"{where}: answered within, half of them", single.p50_ms, "ms"),
        Checked(f"{where}: answered within, 99 %", single.p99_ms, "ms", _SINGLE_P99_MS),
        Checked(f"{where}: CPU of the agent, an event", single.cpu_us, "us"),
    ]
    show_checked("http, device to upstream", rows)


class _Turn(NamedTuple):
    accepted_per_s: float
    upstream_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float


def _round(directory: Path) -> tuple[_Turn, _Turn]:
    """Batches, then single POSTs, through a fresh agent."""
    directory.mkdir()
    port = free_port()
    with upstream(directory) as (above, counter):
        config = agent_config(above, listen=f"127.0.0.1:{port}")
        with Agent(directory, config, links=1) as agent, Load("load_http", port) as device:
            _sent(agent, device, counter, _SINGLE_CONNECTIONS, _WARM_UP_REQUESTS, 1)
            return (
                _sent(agent, device, counter, _BATCH_CONNECTIONS, _BATCHES, _BATCH),
                _sent(agent, device, counter, _SINGLE_CONNECTIONS, _SINGLES, 1),
            )


def _sent(agent: Agent, device: Load, counter: Load, connections: int, requests: int, batch: int) -> _Turn:
    events = requests * batch
    counter.ask(expect=events)
    before = agent.usage()
    sent = device.ask(connections=connections, requests=requests, batch=batch)
    count = all_counted(counter, events)
    after = agent.usage()
    in_order = sorted(sent["took_s"])
    p50_ms, p99_ms = (in_order[int(len(in_order) * part)] * 1000 for part in (0.50, 0.99))
    return _Turn(
        events / (sent["ended_s"] - sent["begun_s"]),
        events / (count["last_s"] - sent["begun_s"]),
        p50_ms,
        p99_ms,
        (after.cpu_s - before.cpu_s) / events * 1e6,
    )


def _median(turns: tuple[_Turn, ...]) -> _Turn:
    return _Turn(*(statistics.median(figures) for figures in zip(*turns, strict=True)))
