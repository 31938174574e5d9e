"""State directories as versions of the agent leave them, to be opened by later ones: `tests/golden/state`.

    python -m tests.fakes.golden_state NAME [TREE]

plays the same events to the agent of a tree (this one by default), ends it once by a stop and once by `kill -9`, and
packs what is left: `NAME/stopped.tar.xz` and `NAME/killed.tar.xz`, each with a JSON file beside it that says what is
inside (`Inside`). The tree needs no environment of its own, if ours has what it imports. Directories are never changed:
another version gets another name.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec

from tests.fakes.engine import Engine, success
from tests.fakes.mosquitto import Mosquitto, MqttClient, free_port
from tests.fakes.programs import Agent
from tests.fakes.tcp_proxy import TcpProxy

_HERE = Path(__file__).parents[2]
STATES = Path(__file__).parents[1] / "golden" / "state"
STOPPED, KILLED = "stopped", "killed"

# What every version understands. Nothing expires, however old the directory is when it is opened.
RULES = """
[[rule]]
name = "overheat"
source = "boiler-*"
ttl = "36500d"
namespace = "plant"
template = "inspect"
arguments = { n = "body.n", device = "source" }
[[rule]]
name = "alarm"
source = "smoke-*"
ttl = "36500d"
namespace = "plant"
template = "alarm"
priority = "high"
arguments = { n = "body.n", device = "source" }
[[rule]]
name = "readings"
source = "meter-*"
ttl = "36500d"
namespace = "plant"
template = "readings"
window = { time = "5m", count = 3 }
arguments = { n = "body.0.n", device = "source" }
[[rule]]
name = "level"
source = "tank-*"
ttl = "36500d"
namespace = "plant"
template = "level"
rearm = { data = [{ path = "body.n", type = "number", comparator = "<", value = ["0"] }] }
arguments = { n = "body.n", device = "source" }
[[rule]]
name = "position"
source = "valve-*"
ttl = "36500d"
namespace = "plant"
template = "position"
coalesce = "latest"
arguments = { n = "body.n", device = "source" }
"""
_OUTBOX = 'max_age = "36500d"\nsegment_bytes = "64KiB"\nmax_event_bytes = "16KiB"'
# What only later versions understand; `rate` is to let through at first one, and then all.
LATER_RULES = """
[[rule]]
name = "pace"
source = "pump-*"
ttl = "36500d"
namespace = "plant"
template = "pace"
rate = RATE
arguments = { n = "body.n", device = "source" }
[[rule]]
name = "frame"
source = "cam-*"
ttl = "36500d"
namespace = "plant"
template = "frame"
arguments = { n = "body.size", device = "source" }
"""
_SLOW, _FAST = '{ count = 1, time = "1d" }', '{ count = 1000, time = "1s" }'
_FREELY = '[[mqtt.allow]]\npublish = ["#"]\nsubscribe = ["#"]'
PICTURE = bytes(3000)
_RETAINED = "plant/door"
_TIME_OF_1980 = 315532800  # what is packed has no time of its own


class Sent(msgspec.Struct, frozen=True):
    """One trigger, with the value by which its workflow knows its event."""

    rule: str
    source: str
    n: int
    correlation_id: str


class Inside(msgspec.Struct):
    """What is in a directory.

    Attributes:
        waiting: what is to leave it, each as one workflow, in the order in which it was accepted. Of a window the first
            event's trigger stands for all, of `coalesce` the newest.
        merged: triggers that end in another one of these.
        dead: dead letters.
        states: the state of each trigger that the ledger knows.
        account: as `GET /v1/stats` has it.
        known: an event that came with an id: that, and the trigger that it became.
        retained: the topic of a message that the listener has retained; empty for none.
    """

    waiting: list[Sent]
    merged: list[str]
    dead: list[str]
    states: dict[str, str]
    account: dict[str, dict[str, int]]
    known: tuple[str, Sent]
    retained: str


class KeptAgent(Agent):
    """An agent that opens or makes such a directory.

    Args:
        directory, uplink: as for `Agent`.
        local: the local broker's URL.
        tree: whose agent; the one that is tested by default.
        impatient: triggers without an answer are parked soon.
        slow: a rule's `rate` lets one trigger through, and no more.
    """

    def __init__(
        self,
        directory: Path,
        uplink: str,
        local: str,
        *,
        tree: Path = _HERE,
        impatient: bool = False,
        slow: bool = False,
    ) -> None:
        self.is_later = "[artifacts]" in (tree / "config.example.toml").read_text("utf-8")
        self.store = directory / "store"
        self.port = free_port()
        rules, tables = RULES, {"outbox": 'max_age = "36500d"\nsegment_bytes = "64KiB"\nmax_event_bytes = "16KiB"'}
        if impatient:
            tables["outbox"] += "\npark_after = 2"
            tables["uplink"] = 'response_timeout = "200ms"'
        if self.is_later:
            rules += LATER_RULES.replace("RATE", _SLOW if slow else _FAST)
            tables["artifacts"] = f'store = "file://{self.store}"\ninline_max = "1KiB"'
            tables["mqtt"] = f'listen = "127.0.0.1:{self.port}"\n{_FREELY}'
        super().__init__(directory, uplink, local=local, rules=rules, tables=tables)
        self.environment = {"PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"}


def directories() -> Iterator[tuple[str, str]]:
    """Every version that is kept, with each of its ends."""
    for packed in sorted(STATES.glob("*/*.tar.xz")):
        yield packed.parent.name, packed.name.removesuffix(".tar.xz")


def inside(version: str, ended: str) -> Inside:
    """What a directory holds."""
    return msgspec.json.decode((STATES / version / f"{ended}.json").read_bytes(), type=Inside)


def unpack(version: str, ended: str, into: Path) -> None:
    """Lay it there, as `state`."""
    with tarfile.open(STATES / version / f"{ended}.tar.xz") as packed:
        packed.extractall(into, filter="data")


def answer(trigger: dict[str, Any]) -> dict[str, Any] | None:
    """An engine that refuses bad ones for good, and never hears of mute ones."""
    source = source_of(trigger)
    if source == "boiler-bad":
        return {"code": 400, "error": "Bad workflow", "detail": "no such parameter", "retryable": False}
    return None if source == "boiler-mute" else success(trigger)


def source_of(trigger: dict[str, Any]) -> str:
    """The device that a trigger is about."""
    source: str = trigger["workflow"]["metadata"]["annotations"]["edgeagent.io/source"]
    return source


class _Play:
    """One agent's life, up to what is packed."""

    def __init__(self, agent: KeptAgent, engine: Engine, device: MqttClient) -> None:
        self.agent = agent
        self.ids: dict[str, Sent] = {}
        self.dead: list[str] = []
        self.waiting: list[Sent] = []
        self.merged: list[str] = []
        self.retained = ""
        self._engine = engine
        self._device = device

    async def send(self, rule: str, source: str, *numbers: int, **headers: str) -> list[Sent]:
        """Post events that each become one trigger."""
        sent = [Sent(rule, source, n, await self.agent.triggered(source, {"n": n}, **headers)) for n in numbers]
        self.ids |= {each.correlation_id: each for each in sent}
        return sent

    async def status(self, sent: Sent, phase: str) -> None:
        """Tell what became of a workflow."""
        name = f"{sent.rule}-{sent.correlation_id}"
        said = {"namespace": "plant", "workflowId": name, "status": phase, "correlation_id": sent.correlation_id}
        said |= {"agent": "gw-1", "startedAt": "2026-03-20T12:00:00Z", "message": "", "progress": "1/1"}
        await self._engine.publish("argo/workflows/status/gw-1", json.dumps(said).encode())

    async def done(self) -> Sent:
        """What has ended, or is on its way to its end; and what is parked. Returns one that came with an id."""
        self._engine.answer = answer
        (known,) = await self.send("overheat", "boiler-1", 1, Idempotency_Key="reading-1")
        ended = [known, *await self.send("overheat", "boiler-1", 2, 3, 4), *await self.send("alarm", "smoke-1", 1)]
        ended += await self.send("level", "tank-1", 1)
        await self.agent.send("tank-1", {"n": 2})  # not armed
        ended += await self.send("level", "tank-2", 1)
        await self.agent.send("tank-2", {"n": -1})  # armed again
        for each in ended:
            await self.agent.state(each.correlation_id, "triggered")
        for each, phases in zip(
            ended, (["Running", "Succeeded"], ["Failed"], ["Running"], [], ["Error"]), strict=False
        ):
            for phase in phases:
                await self.status(each, phase)
        await self.agent.state(ended[0].correlation_id, "succeeded")
        await self.agent.state(ended[4].correlation_id, "error")
        self.dead = [each.correlation_id for each in await self.send("overheat", "boiler-bad", 1, 2)]
        await self.agent.account(dead=2)
        self.waiting += await self.send("overheat", "boiler-mute", 1, 2)
        await self.agent.logged("trigger_parked", 2)
        return known

    async def under_way(self) -> None:
        """What was published, and never answered."""
        self._engine.answer = lambda _: None
        self.waiting += await self.send("overheat", "boiler-2", *range(10, 15))
        self.waiting += await self.send("alarm", "smoke-2", 1)
        window = await self.send("readings", "meter-1", 1, 2, 3)
        self.waiting.append(window[0])
        self.merged += [each.correlation_id for each in window[1:]]
        names = {f"{each.rule}-{each.correlation_id}" for each in self.waiting if each.source != "boiler-mute"}
        await self._engine.until(lambda: names <= self._engine.started.keys(), "what is under way")

    async def unsent(self) -> None:
        """What the uplink has not seen."""
        self.waiting += await self.send("overheat", "boiler-2", *range(15, 20))
        self.waiting += await self.send("alarm", "smoke-2", 2, 3)
        *older, newest = await self.send("position", "valve-1", 1, 2, 3)
        self.merged += [each.correlation_id for each in older]
        self.waiting.append(newest)
        first, second = await self.send("readings", "meter-2", 1, 2)
        self.waiting.append(first)
        self.merged.append(second.correlation_id)
        stored = (await self.agent.get("/v1/stats"))["account"]["events"]["stored"]
        for n in (1, 2, 3):
            await self._device.publish("sensors/boiler-mqtt/data", json.dumps({"n": n}).encode())
        await self.agent.account(stored=stored + 3)
        listed = (await self.agent.get("/v1/triggers?source=boiler-mqtt"))["triggers"]
        for n, report in enumerate(reversed(listed), 1):
            sent = Sent("overheat", "boiler-mqtt", n, report["correlation_id"])
            self.ids[sent.correlation_id] = sent
            self.waiting.append(sent)

    async def of_later_versions(self) -> None:
        """What waits for a rate, and for a store; and what the listener has retained."""
        self.waiting += await self.send("pace", "pump-1", 1, 2, 3)
        _, told = await self.agent.request("POST", "/v1/events/cam-1", PICTURE, Content_Type="image/jpeg")
        picture = Sent("frame", "cam-1", len(PICTURE), told["accepted"][0]["triggers"][0]["correlation_id"])
        self.ids[picture.correlation_id] = picture
        self.waiting.append(picture)
        async with MqttClient(f"mqtt://127.0.0.1:{self.agent.port}", "door") as door:
            await door.publish(_RETAINED, b"closed", retain=True)
        self.retained = _RETAINED

    async def noted(self) -> dict[str, str]:
        """The states, once all of it is on the disk."""
        cursor = self.agent.directory / "state" / "outbox" / "cursor"
        before = cursor.stat().st_mtime_ns
        await self.agent.send("boiler-1", {"n": 1}, Idempotency_Key="reading-1")  # for another commit
        await asyncio.sleep(7)  # the ledger's commits, and the checkpoint
        assert cursor.stat().st_mtime_ns >= before
        return {name: (await self.agent.get(f"/v1/triggers/{name}"))["state"] for name in self.ids}


async def make(tree: Path, version: str, ended: str) -> None:
    """Play, and pack what is left."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = await stack.enter_async_context(Mosquitto(directory))
        proxy = await stack.enter_async_context(TcpProxy(broker.port))
        engine = await stack.enter_async_context(Engine(broker.url))
        device = await stack.enter_async_context(MqttClient(broker.url, "device"))
        place = directory / "agent"
        agent = KeptAgent(place, proxy.url, broker.url, tree=tree, impatient=True, slow=True)
        await agent.start()
        await agent.logged("link_up", 2)
        play = _Play(agent, engine, device)
        known = await play.done()
        await agent.stop()
        play.agent = agent = KeptAgent(place, proxy.url, broker.url, tree=tree, slow=True)
        await agent.start()
        await agent.logged("link_up", 4)
        await play.under_way()
        if agent.is_later:
            await play.of_later_versions()
        await proxy.cut()
        await play.unsent()
        states = await play.noted()
        account = (await agent.get("/v1/stats"))["account"]
        parts = {part: account[part] for part in ("events", "triggers")}
        await agent.stop(signal.SIGTERM if ended == STOPPED else signal.SIGKILL)
        found = Inside(play.waiting, play.merged, play.dead, states, parts, ("reading-1", known), play.retained)
        _pack(agent.directory / "state", STATES / version, ended, found)


def _pack(state: Path, into: Path, ended: str, found: Inside) -> None:
    into.mkdir(parents=True, exist_ok=True)
    with tarfile.open(into / f"{ended}.tar.xz", "w:xz", preset=9) as packed:
        for path in sorted(state.rglob("*")):
            if path.is_socket():
                continue
            entry = packed.gettarinfo(path, str(path.relative_to(state.parent)))
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            entry.mtime = _TIME_OF_1980
            if entry.isdir():
                packed.addfile(entry)
            else:
                with path.open("rb") as file:
                    packed.addfile(entry, file)
    text = msgspec.json.format(msgspec.json.encode(found), indent=1)
    (into / f"{ended}.json").write_bytes(text + b"\n")


async def _main() -> None:
    parser = argparse.ArgumentParser(description="Keep the state directory of an agent for tests of later versions.")
    parser.add_argument("version", help="what the directory is called")
    parser.add_argument("tree", nargs="?", type=Path, default=_HERE, help="whose agent runs")
    args = parser.parse_args()
    os.umask(0o027)
    for ended in (STOPPED, KILLED):
        await make(args.tree, args.version, ended)


if __name__ == "__main__":
    asyncio.run(_main())
