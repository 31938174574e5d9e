"""Rules that protect the engine from the field, in a real agent: throttle, rearm, coalesce, window; through kill -9."""

from __future__ import annotations

import asyncio
import json
import secrets
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from edgeagent.cli.client import AgentRefused
from edgeagent.errors import AgentUnreachable
from edgeagent.rules.rate import PublishedTriggers
from tests.fakes.engine import Engine, success
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.programs import RULE, Agent
from tests.fakes.tcp_proxy import TcpProxy
from tests.waiting import until, until_answer

HOT, WARM, COOL = {"temp": 97}, {"temp": 85}, {"temp": 60}
REARM = 'rearm.data = [{ path = "body.temp", type = "number", comparator = "<", value = ["80"] }]\n'


def rule(keys: str, arguments: str = "{}") -> str:
    return RULE.replace('{ temp = "body.temp", device = "source" }', arguments) + keys


async def test_a_throttled_rule_fires_once_and_a_crash_does_not_make_it_forget(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with Engine(broker.url) as engine:
        agent = Agent(tmp_path / "agent", broker.url, rules=rule('throttle = "1h"\n'))
        await agent.start()
        first = await agent.triggered("boiler-1", HOT, Idempotency_Key="e-1")
        for _ in range(4):
            assert (await agent.send("boiler-1", HOT))["triggers"] == []
        await agent.triggered("boiler-2", HOT)  # another source
        await agent.state(first, "triggered")
        stats = await agent.account(stored=2, throttled=4, settled=2)
        assert (stats["rules"]["overheat"]["matched"], stats["rules"]["overheat"]["throttled"]) == (2, 4)
        await agent.kill()
        await agent.start()
        assert (await agent.send("boiler-1", HOT))["triggers"] == []
        again = await agent.send("boiler-1", HOT, Idempotency_Key="e-1")
        assert (again["duplicate"], again["triggers"][0]["correlation_id"]) == (True, first)
        await agent.account(stored=2, settled=2)
        assert len(engine.started) == 2
        assert await agent.stop() == 0


async def test_a_rule_is_armed_by_an_event_that_nobody_stores_and_a_power_cut_right_after_keeps_it(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with Engine(broker.url) as engine:
        agent = Agent(tmp_path / "agent", broker.url, rules=rule(REARM))
        await agent.start()
        await agent.triggered("boiler-1", HOT)
        assert (await agent.send("boiler-1", HOT))["triggers"] == []
        await agent.kill()
        await agent.start()
        for data in (HOT, WARM, HOT):  # warm is not cool
            assert (await agent.send("boiler-1", data))["triggers"] == []
        await agent.send("boiler-2", COOL)  # another source
        assert (await agent.send("boiler-1", HOT))["triggers"] == []
        await agent.send("boiler-1", COOL)
        await agent.kill()
        await agent.start()
        await agent.triggered("boiler-1", HOT)
        stats = await agent.account(stored=2, settled=2)
        assert stats["rules"]["overheat"]["disarmed"] == 0, "since the last start"
        assert len(engine.started) == 2
        assert await agent.stop() == 0


async def test_of_triggers_that_were_never_published_only_the_newest_of_each_source_goes(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with Engine(broker.url) as engine, TcpProxy(broker.port) as proxy:
        await proxy.cut()
        agent = Agent(tmp_path / "agent", proxy.url, rules=rule('coalesce = "latest"\n', '{ n = "body.n" }'))
        await agent.start()
        promised = [await agent.triggered(f"boiler-{n % 2}", {**HOT, "n": n}) for n in range(10)]
        await agent.kill()  # which of them is the newest is known after a crash too
        await agent.start()
        await proxy.heal()
        stats = await agent.account(pending=0, settled=2, merged=8, accepted=10)
        assert stats["rules"]["overheat"]["merged"] == 8
        assert sorted(_values(trigger)["n"] for trigger in engine.triggers) == ["8", "9"]
        for number, correlation in enumerate(promised[:8]):
            report = await agent.state(correlation, "merged")
            assert report["into"] == promised[8 + number % 2]
        assert "into" not in await agent.state(promised[9], "triggered")
        assert await agent.stop() == 0


async def test_a_window_starts_one_workflow_for_its_events_and_each_of_them_tells_in_which_one_it_ended(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with Engine(broker.url) as engine, TcpProxy(broker.port) as proxy:
        await proxy.cut()
        keys = 'window = { count = 5, time = "2s" }\n'
        agent = Agent(tmp_path / "agent", proxy.url, rules=rule(keys, '{ ns = "body.#.n", ids = "events" }'))
        await agent.start()
        events = [{"source": "boiler-1", "id": f"e-{n}", "data": {**HOT, "n": n}} for n in range(12)]  # at one moment
        _, answer = await agent.request("POST", "/v1/events", json.dumps(events).encode())
        promised = [accepted["triggers"][0]["correlation_id"] for accepted in answer["accepted"]]
        assert (await agent.state(promised[1], "buffered"))["rule"] == "overheat"
        await proxy.heal()
        stats = await agent.account(pending=0, settled=3, merged=9, accepted=12)
        assert (stats["rules"]["overheat"]["gathered"], stats["rules"]["overheat"]["merged"]) == (12, 9)
        values = [_values(trigger) for trigger in engine.triggers]
        assert [json.loads(value["ns"]) for value in values] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]
        assert json.loads(values[2]["ids"]) == ["e-10", "e-11"]
        assert [trigger["correlation_id"] for trigger in engine.triggers] == promised[::5]
        for number, correlation in enumerate(promised):
            report = await agent.state(correlation, "merged" if number % 5 else "triggered")
            assert report.get("into") == (promised[number - number % 5] if number % 5 else None)
        assert await agent.stop() == 0


@pytest.mark.timeout(14400)
@pytest.mark.parametrize("rounds", [pytest.param(8), pytest.param(60, marks=[pytest.mark.soak])])
async def test_kill_9_at_any_moment_puts_each_event_into_exactly_one_window(
    broker: Mosquitto, tmp_path: Path, rounds: int
) -> None:
    random = _random()
    async with Engine(broker.url, session_expiry_s=60) as engine:
        keys = 'window = { count = 7, time = "300ms" }\n'
        tables = {"uplink": 'response_timeout = "2s"', "outbox": 'segment_bytes = "64KiB"\nmax_event_bytes = "16KiB"'}
        agent = Agent(tmp_path / "agent", broker.url, rules=rule(keys, '{ ns = "body.#.n" }'), tables=tables)
        taken: set[int] = set()

        async def device(first: int) -> None:
            for number in range(first, first + 1000, 3):
                await agent.send(f"boiler-{first}", {**HOT, "n": number}, Idempotency_Key=f"e-{number}")
                taken.add(number)

        for at in range(rounds):
            await agent.start()
            sending = [asyncio.create_task(device(at * 1000 + number)) for number in range(3)]
            await asyncio.sleep(random.uniform(0, 0.6))  # the moment of the kill
            await agent.kill()
            for outcome in await asyncio.gather(*sending, return_exceptions=True):
                assert outcome is None or isinstance(outcome, (AgentUnreachable, AgentRefused)), outcome
        await agent.start()
        stats = await agent.account(pending=0)
        account = stats["account"]["triggers"]
        assert account["settled"] + account["merged"] == account["accepted"] >= len(taken)
        windows: dict[str, list[int]] = {}
        for trigger in engine.triggers:
            numbers = json.loads(_values(trigger)["ns"])
            known = windows.setdefault(trigger["workflow"]["metadata"]["name"], numbers)
            assert known == numbers, "a name stands for the same events whenever it is sent"
        told = [number for numbers in windows.values() for number in numbers]
        assert len(told) == len(set(told)) == account["accepted"]
        assert taken <= set(told)
        assert max(map(len, windows.values())) <= 7
        assert all(numbers == sorted(numbers) for numbers in windows.values())
        assert await agent.stop() == 0


@pytest.mark.timeout(14400)
@pytest.mark.parametrize("rounds", [pytest.param(8), pytest.param(60, marks=[pytest.mark.soak])])
async def test_kill_9_at_any_moment_changes_nothing_about_when_a_rule_fires(
    broker: Mosquitto, tmp_path: Path, rounds: int
) -> None:
    random = _random()
    async with Engine(broker.url, session_expiry_s=60) as engine:
        agent = Agent(
            tmp_path / "agent",
            broker.url,
            rules=rule(REARM, '{ n = "body.n" }'),
            tables={"uplink": 'response_timeout = "2s"'},
        )
        wanted: list[str] = []
        armed, number = True, 0
        await agent.start()
        for _ in range(rounds):
            killing = asyncio.create_task(_kill(agent, random.uniform(0, 0.4)))
            alive = True
            while alive:
                number += 1
                reading = random.choice([HOT, HOT, WARM, COOL])
                if reading is HOT and armed:
                    wanted.append(str(number))
                armed = reading is COOL or (armed and reading is not HOT)
                event = {**reading, "n": number}
                try:
                    await agent.send("boiler-1", event, Idempotency_Key=f"e-{number}")
                except (AgentUnreachable, AgentRefused):  # a device sends again what nobody acknowledged
                    alive = False
                    await killing
                    await agent.start()
                    await agent.send("boiler-1", event, Idempotency_Key=f"e-{number}")
        await agent.account(pending=0)
        fired = {_values(trigger)["n"] for trigger in engine.triggers}
        assert sorted(fired, key=int) == wanted
        assert len(engine.started) == len(wanted)
        assert await agent.stop() == 0


async def _kill(agent: Agent, after_s: float) -> None:
    await asyncio.sleep(after_s)  # the moment of the kill
    await agent.kill()


def _values(trigger: dict[str, Any]) -> dict[str, str]:
    parameters = trigger["workflow"]["spec"]["arguments"]["parameters"]
    return {parameter["name"]: parameter["value"] for parameter in parameters}


def _random() -> Random:
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201  pytest shows it when the test fails
    return Random(seed)  # noqa: S311  chance for tests


async def test_triggers_beyond_the_rate_wait_through_a_crash_and_a_restart_while_others_go(
    broker: Mosquitto, tmp_path: Path
) -> None:
    other = RULE.replace("overheat", "other").replace("boiler-*", "pump-*")
    limited = rule('rate = { count = 3, time = "1h" }\n')
    async with Engine(broker.url) as engine:
        engine.answer = lambda _: None  # so that nothing of theirs is released before the crash
        agent = Agent(tmp_path / "agent", broker.url, rules=limited + other)
        await agent.start()
        names = [await agent.triggered(f"boiler-{number}", HOT) for number in range(3)]
        waiting = [await agent.triggered(f"boiler-{number}", HOT) for number in range(3, 8)]
        await engine.received(3)
        await agent.stats(lambda stats: stats["rates"]["overheat"]["waiting"] == 5, "what waits")
        code, out, _ = await agent.command("status")
        assert (code, "5 triggers wait for the rate of rule overheat (3 in 1 h): the next about" in out) == (0, True)
        file = tmp_path / "agent/state/outbox/rates"
        await until(lambda: published_on_disk(file) == set(names), "the publications on disk")
        await agent.kill()

        engine.answer = success
        await agent.start()
        pump = await agent.triggered("pump-1", HOT)
        await agent.state(pump, "triggered")
        for name in names:
            await agent.state(name, "triggered")
        await agent.account(settled=4, pending=5)
        await agent.stats(lambda stats: stats["rates"]["overheat"]["waiting"] == 5, "what waits")
        assert await agent.stop() == 0

        await agent.start()
        await agent.stats(lambda stats: stats["rates"]["overheat"]["waiting"] == 5, "what waits")
        assert len(engine.started) == 4
        found = await until_answer(
            lambda: agent.get(f"/v1/where/{waiting[-1]}"),
            lambda found: found["triggers"][0]["hangs"],
            "what it waits for",
        )
        assert "it waits for the rate of rule overheat (3 in 1 h), about" in found["triggers"][0]["hangs"]["text"]
        text = agent.config_file.read_text("utf-8")
        agent.config_file.write_text(text.replace("count = 3", "count = 30"), "utf-8")
        assert (await agent.command("reload"))[0] == 0
        await agent.account(settled=9, pending=0)
        assert len(engine.started) == 9
        assert await agent.stop() == 0


def published_on_disk(file: Path) -> set[str]:
    """The correlation ids of the rule's triggers that were published, as far as a crash would not take them."""
    if not file.exists():
        return set()
    known = msgspec.msgpack.decode(file.read_bytes(), type=PublishedTriggers).by_rule.get("overheat", ())
    return {one.trigger.hex() for one in known}
