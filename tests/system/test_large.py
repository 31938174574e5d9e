"""Large data through a real agent: by HTTP, MQTT and command; it survives a kill, and is gone when it is settled."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tests.fakes.mosquitto import Mosquitto, MqttClient, free_port
from tests.fakes.paho_device import PahoDevice
from tests.fakes.programs import Agent, Dispatcher
from tests.waiting import until, until_answer

RULE = """
[[rule]]
name = "all"
namespace = "plant"
template = "inspect"
"""
NOWHERE = "mqtt://127.0.0.1:1"
MIB = 1 << 20
DATA = bytes(range(256)) * 4096


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def agent_with_store(
    directory: Path, broker: str = NOWHERE, *, local: str | None = None, tables: dict[str, str] | None = None
) -> Agent:
    """An agent that has a directory for large data."""
    store = directory / "store"
    store.mkdir(parents=True, exist_ok=True)
    every = {"artifacts": f'store = "file://{store}"', "uplink": "accept_dry_run = true", **(tables or {})}
    return Agent(directory, broker, local=local, rules=RULE, tables=every)


def spooled(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "state" / "outbox" / "spool").iterdir())


async def test_large_data_survives_kill_9_and_what_nobody_needs_is_gone_after_the_next_start(tmp_path: Path) -> None:
    port, directory = free_port(), tmp_path / "agent"
    listener = f'listen = "127.0.0.1:{port}"\nmax_packet = "4MiB"'
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(DATA[1:])
    agent = agent_with_store(directory, tables={"mqtt": listener})
    await agent.start()
    assert (await agent.request("POST", "/v1/events/cam-1", DATA, **{"Content-Type": "image/png"}))[0] == 202
    for qos in (1, 2):
        async with PahoDevice(port, "cam-2") as device:
            device.publish("events/cam-2", DATA[2:], qos, number=0)
            await device.until(lambda it: len(it.acknowledged) == 1, "the acknowledgement")
    code, output, _ = await agent.command("emit", "cam-3", "--file", str(picture), "--json")
    assert code == 0
    assert '"rule":"all"' in output.replace(" ", "")
    await agent.kill()
    wanted = sorted(map(sha256, (DATA, DATA[1:], DATA[2:])))
    assert spooled(directory) == wanted
    spool = directory / "state" / "outbox" / "spool"
    (spool / sha256(b"orphan")).write_bytes(b"orphan")
    (spool / "7.part").write_bytes(b"half")
    await agent.start()
    await agent.logged("spool_orphans_removed")
    assert spooled(directory) == wanted
    stats = await agent.account(pending=4)
    assert (stats["spool"]["files"], stats["spool"]["bytes"]) == (3, 3 * MIB)
    assert (await agent.command("outbox", "verify"))[0] == 0
    (spool / sha256(DATA)).write_bytes(bytes(MIB))
    (spool / sha256(DATA[1:])).unlink()
    missing = f"the event's data is missing: {spool / sha256(DATA[1:])}"

    def names_both(found: tuple[int, str, str]) -> bool:
        code, output, _ = found
        assert code == 1
        assert f"{sha256(DATA)} is not what its name says" in output
        return missing in output or "damaged 1" in output  # once it was read to be sent, it is counted

    for is_running in (True, False):
        if not is_running:
            await agent.stop()
        # The account is read before the logs, and what is damaged may be counted in between.
        await until_answer(lambda: agent.command("outbox", "verify"), names_both, "what is wrong")


async def test_settled_data_leaves_the_spool(broker: Mosquitto, tmp_path: Path) -> None:
    directory = tmp_path / "agent"
    allow = '[[allow]]\nnamespaces = ["plant"]\ntemplates = ["*"]\n'
    async with Dispatcher(tmp_path / "dispatcher", broker.url, allow), agent_with_store(directory, broker.url) as agent:
        for number in range(3):
            data = DATA[number // 2 :]  # the first two are the same
            assert (await agent.request("POST", "/v1/events/cam-1", data))[0] == 202
        await agent.account(settled=3, pending=0)
        await until(lambda: not spooled(directory))


async def test_large_messages_of_a_local_broker_go_to_the_spool(broker: Mosquitto, tmp_path: Path) -> None:
    directory = tmp_path / "agent"
    agent = agent_with_store(directory, local=broker.url)
    async with agent, MqttClient(broker.url, "camera") as camera:
        await agent.stats(lambda stats: stats["local"]["connected"], "the local broker")
        await camera.publish("sensors/cam-1/data", DATA)
        await camera.publish("sensors/cam-1/data", b'{"small": true}')
        await agent.account(pending=2)
        assert spooled(directory) == [sha256(DATA)]


async def test_an_export_holds_the_data_and_an_import_brings_it_to_another_spool(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    export = tmp_path / "export.jsonl"
    async with agent_with_store(here) as first:
        for data in (DATA * 3, DATA * 3, DATA[7:]):
            assert (await first.request("POST", "/v1/events/cam-1", data, **{"Content-Type": "image/png"}))[0] == 202
        assert (await first.request("POST", "/v1/events/cam-1", b'{"small": true}'))[0] == 202
    _, listed, _ = await first.command("outbox", "ls")
    assert f" {len(DATA) * 3}  " in listed, "the size of the data, and not of what is known about it"
    code, output, error = await first.command("outbox", "export", str(export), "--json")
    assert code == 0, error
    assert json.loads(output)["exported"] == 4
    await first.start()
    await first.account(exported=4, pending=0)
    await until(lambda: not spooled(here))
    await first.stop()
    for tables in ({}, {"outbox": 'max_bytes = "64MiB"'}):  # a running agent, and a stopped one
        directory = there / str(len(tables))
        second = agent_with_store(directory, tables=tables)
        await second.start()
        if tables:
            await second.stop()
        code, output, error = await second.command("outbox", "import", str(export), "--json")
        assert code == 0, error
        assert json.loads(output)["imported"] == 4
        assert spooled(directory) == sorted(map(sha256, (DATA * 3, DATA[7:])))
        if tables:
            await second.start()
        await second.account(imported=4, pending=4)
        assert (await second.command("outbox", "verify"))[0] == 0
        code, output, _ = await second.command("outbox", "import", str(export), "--json")
        assert json.loads(output) == {"imported": 0, "known": 4}
        await second.kill()
        await second.start()
        await second.account(imported=4, pending=4)
        assert spooled(directory) == sorted(map(sha256, (DATA * 3, DATA[7:])))
        await second.stop()


async def test_an_upload_in_parts_goes_on_after_kill_9_with_what_was_sent(tmp_path: Path) -> None:
    def part(first: int, end: int) -> dict[str, str]:
        return {"Content-Range": f"bytes {first}-{end - 1}/{len(DATA)}", "Content-Type": "image/png"}

    url, directory, half = "/v1/events/cam-1?id=frame-1", tmp_path / "agent", len(DATA) // 2
    async with agent_with_store(directory) as agent:
        received = 0
        for number in (1, 2):
            code, said = await agent.request(
                "PUT", url, DATA[received : half + number], **part(received, half + number)
            )
            assert (code, said["received"]) == (308, half + number)
            await agent.kill()
            await agent.start()
            code, said = await agent.request("PUT", url, b"", **{"Content-Range": f"bytes */{len(DATA)}"})
            assert (code, said) == (308, {"received": half + number, "size": len(DATA)})
            received = said["received"]
        assert (await agent.request("PUT", url, DATA[received:], **part(received, len(DATA))))[0] == 202
        assert spooled(directory) == [sha256(DATA)]
        await agent.account(pending=1)
        assert (await agent.command("outbox", "verify"))[0] == 0
