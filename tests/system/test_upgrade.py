"""What earlier versions left on the disk: taken over whole, and untouched until the first start."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from edgeagent.ports.link import Subscription
from tests.fakes.engine import Engine
from tests.fakes.golden_state import KILLED, Inside, KeptAgent, directories, inside, source_of, unpack
from tests.fakes.mosquitto import Mosquitto, MqttClient

# Those of a kill need more of whoever opens them.
KEPT = [
    pytest.param(version, ended, id=f"{version}-{ended}", marks=[] if ended == KILLED else [pytest.mark.soak])
    for version, ended in directories()
]


def contents(directory: Path) -> dict[str, str]:
    """Every file below it."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): sha256(path.read_bytes()).hexdigest() for path in files}


async def told(agent: KeptAgent, *command: str) -> list[Any]:
    """What a command says, as JSON; it has nothing to complain about."""
    code, out, err = await agent.command(*command, "--json")
    assert (code, err) == (0, ""), (command, out, err)
    return [json.loads(line) for line in out.splitlines()]


async def verify(agent: KeptAgent) -> dict[str, int]:
    """The account, of an outbox in which nothing is wrong."""
    (found,) = await told(agent, "outbox", "verify")
    assert found["sound"], found
    account: dict[str, int] = found["account"]
    return account


def workflows(found: Inside) -> dict[str, int]:
    """Those that are to start, and how often."""
    return dict.fromkeys((f"{each.rule}-{each.correlation_id}" for each in found.waiting), 1)


def by_source(numbers: list[tuple[str, int]]) -> dict[str, list[int]]:
    """The numbers of each source, in order."""
    found: dict[str, list[int]] = defaultdict(list)
    for source, number in numbers:
        found[source].append(number)
    return dict(found)


async def look_before_the_start(agent: KeptAgent, found: Inside) -> None:
    """All is known to the commands, and they change nothing: the earlier version can still go on."""
    before = contents(agent.directory / "state")
    account, dead, [where] = await asyncio.gather(
        verify(agent), told(agent, "dead", "ls"), told(agent, "where", found.known[1].source)
    )
    assert account == found.account["triggers"]
    assert [each["correlation_id"] for each in dead] == found.dead
    states = {each["correlation_id"]: each["state"] for each in where["triggers"]}
    assert states == {name: found.states[name] for name in states}
    assert sorted(states.values()) == ["failed", "running", "succeeded", "triggered"]
    assert contents(agent.directory / "state") == before


async def look_after_the_start(agent: KeptAgent, engine: Engine, found: Inside) -> None:
    """Everything has left once, in order, and all that is known of it is kept."""
    ended = found.account["triggers"]
    merged = len(found.merged)
    wanted = {"settled": ended["settled"] + len(found.waiting), "merged": merged, "dead": len(found.dead)}
    await agent.account(pending=0, accepted=ended["accepted"], damaged=0, expired=0, **wanted)
    assert dict(engine.started) == workflows(found)
    numbers = [
        (source_of(trigger), int(trigger["workflow"]["spec"]["arguments"]["parameters"][0]["value"]))
        for trigger in engine.triggers
    ]
    unsent = {(each.source, each.n) for each in found.waiting if found.states[each.correlation_id] == "buffered"}
    ordered = [(each.source, each.n) for each in found.waiting if (each.source, each.n) in unsent]
    assert by_source([each for each in numbers if each in unsent]) == by_source(ordered)
    dead = (await agent.get("/v1/dead"))["dead"]
    assert [each["correlation_id"] for each in dead] == found.dead
    reports = (await agent.get("/v1/triggers?limit=1000"))["triggers"]
    states = {report["correlation_id"]: report["state"] for report in reports}
    sent = dict.fromkeys((each.correlation_id for each in found.waiting), "triggered")
    assert states == found.states | sent | dict.fromkeys(found.merged, "merged")


async def look_at_what_comes_again(agent: KeptAgent, found: Inside) -> None:
    """Repetitions, rules that are not armed, and what the listener keeps, are known as before."""
    event_id, known = found.known
    again = await agent.send(known.source, {"n": known.n}, Idempotency_Key=event_id)
    assert again["duplicate"]
    assert again["triggers"] == [{"rule": known.rule, "correlation_id": known.correlation_id}]
    assert (await agent.send("tank-1", {"n": 9}))["triggers"] == [], "it has fired, and nothing armed it"
    assert len((await agent.send("tank-2", {"n": 9}))["triggers"]) == 1, "it has fired, and was armed again"
    if found.retained:
        door = Subscription(found.retained, retained=True)
        async with MqttClient(f"mqtt://127.0.0.1:{agent.port}", "door", door) as device:
            assert (await device.message()).topic == found.retained


@pytest.mark.slow
@pytest.mark.parametrize(("version", "ended"), KEPT)
async def test_a_directory_of_an_earlier_version_is_taken_over_and_nothing_in_it_is_lost_or_doubled(
    version: str, ended: str, broker: Mosquitto, tmp_path: Path
) -> None:
    found = inside(version, ended)
    agent = KeptAgent(tmp_path / "agent", broker.url, broker.url)
    unpack(version, ended, agent.directory)
    await look_before_the_start(agent, found)
    agent.store.mkdir()
    async with Engine(broker.url) as engine:
        await agent.start()
        await look_after_the_start(agent, engine, found)
        await look_at_what_comes_again(agent, found)
        await agent.account(pending=0)
        assert await agent.stop() == 0
    assert (await verify(agent))["pending"] == 0
    assert not [line for line in agent.log.splitlines() if " ERROR " in line]


def test_two_earlier_layouts_are_kept() -> None:
    assert len({version for version, _ in directories()}) > 2
