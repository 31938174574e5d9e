"""Thousands of simulated gateways at one broker, and the dispatchers behind it.

    python -m benchmarks fleet                                  # the series of docs/scale.md
    python -m benchmarks.fleet --gateways 5000 --dispatchers 4  # one fleet

The gateways are one process on real sockets (`benchmarks.fleet_gateway`); the broker is Mosquitto, the dispatchers are
`edgeagent dispatch`, the engine is the Argo Server of the tests, which answers after 20 ms. All of them share the
machine, so the figures are what so many cores do together, not what one dispatcher does with cores to itself.

One fleet goes through this:

* it connects, as after a power cut: each gateway within its own part of ten seconds;
* each gateway starts a workflow, so that every process has seen every gateway: then memory is read;
* triggers come at a steady rate: the time to their answers counts from when they were due;
* as many triggers as go through, from all gateways in turn, 500 of them unanswered: how many are answered a second;
* if asked for (`--burst`), every gateway has several triggers at once, as after an outage of the engine: when all are
  answered, and how many were sent again because their turn came after `response_timeout`;
* the broker is killed (kill -9, so it forgets every session and message) while triggers come, started again a while
  later, and then the same with a clean stop, which keeps them: how long until all are connected, all triggers are
  answered, and of all workflows the end is known. Each gateway has a running workflow when the broker goes.

At last each trigger must have been answered with 200 (or with a status, which says as much), and the engine must have
exactly one workflow for each.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.chart import Line, chart
from benchmarks.fleet_scene import EngineSide, Fleet, allow_files, engine_side, workflows_of
from benchmarks.measure import RESULTS, Checked, keep, resident_mib, show_checked
from edgeagent.links.session import STABLE_S

_RATE_PER_S = 100.0
_STEADY_S = 20.0
_AWAY_S = 3.0
_SAMPLE_S = 0.25
_TRIGGERS = 5
_OUTSTANDING = 500  # beyond what the slowest machine answers within `response_timeout`, triggers would be sent again


class Plan(NamedTuple):
    """One fleet: how many gateways and dispatchers, and what it goes through.

    `triggers`: of each gateway, as fast as they go through; `burst`: that each gateway has at once.
    """

    gateways: int
    dispatchers: int = 1
    triggers: int = _TRIGGERS
    rate_per_s: float = _RATE_PER_S
    steady_s: float = _STEADY_S
    restarts: bool = True
    burst: int = 0


class Sample(NamedTuple):
    """During a restart: seconds since the broker was gone, gateways connected, triggers given and answered."""

    at_s: float
    up: int
    given: int
    answered: int


class Course(NamedTuple):
    """A restart. From the broker's return until all gateways are connected, all triggers answered, all finals known."""

    back_s: float
    drained_s: float
    known_s: float
    samples: list[Sample]


class Figures(NamedTuple):
    """What was measured of one fleet."""

    plan: Plan
    connected_s: float
    dispatcher_mib: float  # the largest
    broker_mib: float
    fleet_mib: float
    p50_ms: float
    p99_ms: float
    per_s: float
    burst_s: float | None
    burst_again: int
    cpu_us: dict[str, float]  # of a trigger, by process
    killed: Course | None
    stopped: Course | None
    triggers: int
    duplicates: int
    queries: int
    again: dict[str, int]


def run(*, long: bool) -> None:
    """Print the series, keep it as JSON, and draw it. `long`: a fleet of 10,000 too."""
    sizes = [100, 1000, 5000, *([10_000] if long else [])]
    by_size = [measured(Plan(size)) for size in sizes]
    by_dispatchers = [measured(Plan(1000, count, restarts=False)) for count in (1, 2, 4)]
    keep("fleet", [_as_json(figures) for figures in [*by_size, *by_dispatchers]])
    _draw(by_size, by_dispatchers)


def measured(plan: Plan) -> Figures:
    """Take one fleet through everything, and print what it did."""
    allow_files(plan.gateways)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name, engine_side(Path(name), plan.dispatchers) as engine:
        figures = asyncio.run(_measured(plan, engine))
    show_checked(f"fleet, {plan.gateways:,} gateways, {plan.dispatchers} dispatchers", _rows(figures))
    print(f"  all of it shared {os.cpu_count()} cores; put off: {figures.again or 'nothing'}")
    return figures


async def _measured(plan: Plan, engine: EngineSide) -> Figures:
    fleet = Fleet(plan.gateways)
    tally = fleet.tally
    async with fleet.connecting(engine.url):
        connected_s = await fleet.until(lambda: fleet.is_up)
        await fleet.keep_outstanding(plan.gateways, _OUTSTANDING)
        await fleet.until(lambda: fleet.is_finished)
        memory = [resident_mib(each.pid) for each in engine.dispatchers]
        broker_mib, fleet_mib = resident_mib(engine.broker.pid), resident_mib()
        tally.take_answers()
        async with _giving(fleet, plan.rate_per_s):
            await asyncio.sleep(plan.steady_s)
        await fleet.until(lambda: fleet.is_finished)
        p50_ms, p99_ms = _percentiles_ms(tally.take_answers())
        before = _cpu_s(engine)
        count = plan.triggers * plan.gateways
        busy_s = await fleet.keep_outstanding(count, _OUTSTANDING)
        await fleet.until(lambda: fleet.is_finished)
        cpu_us = {name: (after_s - before[name]) / count * 1e6 for name, after_s in _cpu_s(engine).items()}
        burst_s, again = None, tally.sent_again
        if plan.burst:
            fleet.give_each(plan.burst)
            burst_s = await fleet.until(lambda: fleet.is_answered)
            await fleet.until(lambda: fleet.is_finished)
        burst_again = tally.sent_again - again
        killed = stopped = None
        if plan.restarts:
            killed = await _restarted(fleet, engine, plan, is_clean=False)
            # Connections that broke sooner would count as bad, and be made again after longer waits.
            await asyncio.sleep(STABLE_S)
            stopped = await _restarted(fleet, engine, plan, is_clean=True)
        names = await workflows_of(engine.argo)
    if len(names) != tally.given or len(set(names)) != tally.given:
        raise AssertionError(
            f"{tally.given} triggers, {len(names)} workflows, of which {len(set(names))} are different"
        )
    return Figures(
        plan=plan,
        connected_s=connected_s,
        dispatcher_mib=max(memory),
        broker_mib=broker_mib,
        fleet_mib=fleet_mib,
        p50_ms=p50_ms,
        p99_ms=p99_ms,
        per_s=count / busy_s,
        burst_s=burst_s,
        burst_again=burst_again,
        cpu_us=cpu_us,
        killed=killed,
        stopped=stopped,
        triggers=tally.given,
        duplicates=tally.duplicates,
        queries=tally.queries,
        again=dict(tally.again),
    )


@contextlib.asynccontextmanager
async def _giving(fleet: Fleet, rate_per_s: float) -> AsyncIterator[None]:
    giving = asyncio.create_task(fleet.give_at(rate_per_s))
    try:
        yield
    finally:
        giving.cancel()
        await asyncio.wait([giving])


async def _restarted(fleet: Fleet, engine: EngineSide, plan: Plan, *, is_clean: bool) -> Course:
    """Stop or kill the broker while triggers come, start it a while later, and watch until everything is over.

    Each gateway has a workflow that runs then.
    """
    tally, broker, samples = fleet.tally, engine.broker, list[Sample]()
    await fleet.keep_outstanding(plan.gateways, _OUTSTANDING)
    given, answered, begin_s = tally.given, tally.answered, time.perf_counter()

    async def watch() -> None:
        while True:
            at_s = time.perf_counter() - begin_s
            samples.append(Sample(at_s, tally.up, tally.given - given, tally.answered - answered))
            await asyncio.sleep(_SAMPLE_S)

    watching = asyncio.create_task(watch())
    try:
        async with _giving(fleet, plan.rate_per_s):
            await asyncio.to_thread(broker.stop if is_clean else broker.kill)
            await asyncio.sleep(_AWAY_S)
            await asyncio.to_thread(broker.start)
            started_s = time.perf_counter()
            await fleet.until(lambda: fleet.is_up)
            back_s = time.perf_counter() - started_s
        await fleet.until(lambda: fleet.is_answered)
        drained_s = time.perf_counter() - started_s
        await asyncio.sleep(_SAMPLE_S)
    finally:
        watching.cancel()
        await asyncio.wait([watching])
    await fleet.until(lambda: fleet.is_finished)
    known_s = time.perf_counter() - started_s
    fleet.tally.take_answers()
    return Course(back_s, drained_s, known_s, samples)


def _percentiles_ms(seconds: Sequence[float]) -> tuple[float, float]:
    in_order = sorted(seconds)
    p50_ms, p99_ms = (in_order[int(len(in_order) * part)] * 1000 for part in (0.50, 0.99))
    return p50_ms, p99_ms


def _cpu_s(engine: EngineSide) -> dict[str, float]:
    return {
        "dispatchers": sum(each.usage().cpu_s for each in engine.dispatchers),
        "broker": engine.broker.usage().cpu_s,
        "Argo Server": engine.argo.usage().cpu_s,
        "gateways": time.process_time(),
    }


# What is shown.


def _rows(figures: Figures) -> list[Checked]:
    plan = figures.plan
    rows = [
        Checked("all connected after", figures.connected_s, "s"),
        Checked("a dispatcher", figures.dispatcher_mib, "MiB"),
        Checked("the broker", figures.broker_mib, "MiB"),
        Checked("all gateways in one process", figures.fleet_mib, "MiB"),
        Checked(f"{plan.rate_per_s:g}/s: answered within, half of them", figures.p50_ms, "ms"),
        Checked(f"{plan.rate_per_s:g}/s: answered within, 99 %", figures.p99_ms, "ms"),
        Checked(f"{_OUTSTANDING} at once: answered", figures.per_s, "1/s"),
        *(Checked(f"CPU of the {name}, a trigger", cpu_us, "us") for name, cpu_us in figures.cpu_us.items()),
    ]
    if figures.burst_s is not None:
        rows += [
            Checked(f"{plan.burst} at once of each gateway: all answered after", figures.burst_s, "s"),
            Checked("sent again, of these", figures.burst_again, ""),
        ]
    for name, course in (("killed", figures.killed), ("restarted", figures.stopped)):
        if course is not None:
            rows += [
                Checked(f"broker {name}: all connected after", course.back_s, "s"),
                Checked(f"broker {name}: all answered after", course.drained_s, "s"),
                Checked(f"broker {name}: all final statuses known after", course.known_s, "s"),
            ]
    return [
        *rows,
        Checked("triggers, each with one workflow", figures.triggers, ""),
        Checked("answers that said duplicate", figures.duplicates, ""),
        Checked("questions about silent triggers", figures.queries, ""),
    ]


def _as_json(figures: Figures) -> dict[str, object]:
    courses = {
        name: None if course is None else {**course._asdict(), "samples": [list(each) for each in course.samples]}
        for name, course in (("killed", figures.killed), ("stopped", figures.stopped))
    }
    return {**figures._asdict(), "plan": figures.plan._asdict(), **courses}


def _draw(by_size: Sequence[Figures], by_dispatchers: Sequence[Figures]) -> None:
    RESULTS.mkdir(exist_ok=True)
    memory = [
        Line("one dispatcher", [(each.plan.gateways, each.dispatcher_mib) for each in by_size]),
        Line("broker", [(each.plan.gateways, each.broker_mib) for each in by_size]),
    ]
    speed = [Line("triggers answered a second", [(each.plan.dispatchers, each.per_s) for each in by_dispatchers])]
    pictures = {
        "fleet-memory": chart("Resident memory, MiB", "gateways", memory),
        "fleet-dispatchers": chart("1,000 gateways, 500 triggers unanswered", "dispatchers", speed),
    }
    largest = by_size[-1]
    for name, course in (("killed", largest.killed), ("restarted", largest.stopped)):
        if course is not None:
            pictures[f"fleet-{name}"] = _course_chart(largest.plan.gateways, name, course)
    for name, picture in pictures.items():
        (RESULTS / f"{name}.svg").write_text(picture, "utf-8")


def _course_chart(gateways: int, name: str, course: Course) -> str:
    total = course.samples[-1].given
    lines = [
        Line("gateways connected", [(each.at_s, 100 * each.up / gateways) for each in course.samples]),
        Line("triggers given", [(each.at_s, 100 * each.given / total) for each in course.samples]),
        Line("triggers answered", [(each.at_s, 100 * each.answered / total) for each in course.samples]),
    ]
    return chart(f"Broker {name} with {gateways:,} gateways, %", "seconds", lines)


def main() -> None:
    """Measure one fleet."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description="One fleet of simulated gateways.")
    parser.add_argument("--gateways", type=int, default=1000)
    parser.add_argument("--dispatchers", type=int, default=1)
    parser.add_argument("--triggers", type=int, default=_TRIGGERS, help="of each gateway, as fast as they go through")
    parser.add_argument("--burst", type=int, default=0, help="triggers that each gateway has at once")
    parser.add_argument("--rate", type=float, default=_RATE_PER_S, help="of all gateways, a second")
    parser.add_argument("--steady", type=float, default=_STEADY_S, help="for so many seconds")
    parser.add_argument("--no-restarts", action="store_true", help="leave the broker alone")
    given = parser.parse_args()
    measured(
        Plan(
            given.gateways,
            given.dispatchers,
            given.triggers,
            given.rate,
            given.steady,
            restarts=not given.no_restarts,
            burst=given.burst,
        )
    )


if __name__ == "__main__":
    main()
