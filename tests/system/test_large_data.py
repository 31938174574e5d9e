"""Large data on its whole way: from a device through the spool and a store to the step of a workflow that reads it."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.engine import Engine
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.nginx import Nginx
from tests.fakes.programs import RULE, Agent, Dispatcher
from tests.waiting import until, until_answer

RULES = (
    RULE
    + """
[[rule]]
name = "frame"
source = "cam-*"
namespace = "plant"
template = "inspect"
arguments = { claim = "body", url = "body.url", size = "body.size", sha256 = "body.sha256", kind = "body.contentType" }
"""
)
LARGE = 200_000
ALLOW = '[[allow]]\nnamespaces = ["plant"]\ntemplates = ["*"]\n'


def content(number: int) -> bytes:
    return random.Random(number).randbytes(LARGE + number)  # noqa: S311  no secret


def agent_with(directory: Path, broker: Mosquitto, store: str, *more: str, dry_run: bool = False) -> Agent:
    keys = "\n".join([f'store = "{store}"', *more])
    tables = {"artifacts": keys, "outbox": 'max_bytes = "1GiB"'}
    if dry_run:
        tables["uplink"] = "accept_dry_run = true"
    return Agent(directory / "agent", broker.url, rules=RULES, tables=tables)


async def on_terminal(agent: Agent, *arguments: str) -> str:
    """What a command writes to stderr, which is a terminal."""
    ours, terminal = os.openpty()
    command = sys.executable, "-m", "edgeagent", *arguments, "-c", str(agent.config_file)
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL, stderr=terminal)
    os.close(terminal)
    await process.wait()
    said = os.read(ours, 1 << 16).decode()
    os.close(ours)
    return said


async def post(agent: Agent, source: str, data: bytes, event_id: str) -> str:
    """Send data as a camera does; returns the correlation id of its trigger."""
    _, answer = await agent.request(
        "POST", f"/v1/events/{source}", data, Content_Type="image/jpeg", Idempotency_Key=event_id
    )
    correlation: str = answer["accepted"][0]["triggers"][0]["correlation_id"]
    return correlation


def arguments(trigger: Mapping[str, Any]) -> dict[str, str]:
    parameters = trigger["workflow"]["spec"]["arguments"]["parameters"]
    return {parameter["name"]: parameter["value"] for parameter in parameters}


def spooled(agent: Agent) -> list[str]:
    return sorted(path.name for path in (agent.directory / "state/outbox/spool").iterdir())


def stored(stats: Mapping[str, Any]) -> int:
    """How many were put into the store, and are known to be; -1 while more are on the way."""
    artifacts = stats["artifacts"]
    return -1 if artifacts["waiting"] or artifacts["sending"] else int(artifacts["uploaded"])


async def fetched(claim: str, directory: Path, allow: str) -> bytes:
    """What a step of a workflow gets with this claim."""
    target = directory / "fetched"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "edgeagent", "fetch", claim, "--allow", allow, "--output", str(target)
    )
    assert await process.wait() == 0
    return target.read_bytes()


async def test_a_cameras_picture_is_in_the_store_before_its_workflow_starts_and_can_be_fetched_there(
    broker: Mosquitto, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    picture = content(1)
    async with Engine(broker.url) as engine, agent_with(tmp_path, broker, f"file://{store}") as agent:
        correlation = await post(agent, "cam-1", picture, "frame-1")
        await agent.state(correlation, "triggered")
        (trigger,) = engine.triggers
        given = arguments(trigger)
        digest = sha256(picture).hexdigest()
        assert (given["size"], given["sha256"], given["kind"]) == (str(len(picture)), digest, "image/jpeg")
        name = given["url"].removeprefix(f"file://{store}/")
        assert name.split("/")[:2] == ["gw-1", "cam-1"]
        assert name.endswith("/frame-1")
        assert json.loads(given["claim"]) == {
            "url": given["url"],
            "size": len(picture),
            "sha256": digest,
            "contentType": "image/jpeg",
        }
        assert (store / name).read_bytes() == picture
        assert await fetched(given["claim"], tmp_path, f"file://{store}") == picture
        await agent.account(accepted=1, settled=1, pending=0)
        _, said, _ = await agent.command("status")
        assert f"nothing waits   file://{store}" in said
        _, said, _ = await agent.command("doctor")
        assert f"ok    artifacts.store file://{store}" in said
        await until(lambda: spooled(agent) == [], "the spool to be empty", seen=lambda: spooled(agent))


async def test_small_triggers_overtake_data_that_the_store_does_not_take(broker: Mosquitto, tmp_path: Path) -> None:
    async with Engine(broker.url) as engine:
        nginx = Nginx(tmp_path / "nginx")
        async with agent_with(tmp_path, broker, nginx.url) as agent:  # nothing listens there yet
            # More than there are places in flight: they take none.
            large = [await post(agent, "cam-1", content(number % 3), f"frame-{number}") for number in range(120)]
            small = await agent.triggered("boiler-1", {"temp": 97.1})
            await agent.state(small, "triggered")
            assert [arguments(trigger).get("device") for trigger in engine.triggers] == ["boiler-1"]
            stats = await agent.stats(lambda stats: stats["artifacts"]["last_error"], "the store to fail")
            assert stats["artifacts"]["triggers"] == 120
            assert len(spooled(agent)) == 3, "identical data is there once"
            _, said, _ = await agent.command("status")
            assert "120 triggers wait for " in said

            async def hangs() -> str:
                (found,) = (await agent.get(f"/v1/where/{large[0]}"))["triggers"]
                return str((found["hangs"] or {}).get("text"))

            await until_answer(hangs, lambda text: "store does not take its data" in text, "where to name the store")
            async with nginx:
                assert (await agent.command("reload"))[0] == 0  # else it is tried when the waits, which grow, are over
                await engine.received(121)
                await agent.account(accepted=121, settled=121, pending=0)
                assert set(engine.started.values()) == {1}
                assert len(nginx.files()) == 120
                await until(lambda: spooled(agent) == [], "the spool to be empty", seen=lambda: spooled(agent))


async def test_an_agent_that_is_killed_again_and_again_loses_no_data_and_starts_nothing_twice(
    broker: Mosquitto, tmp_path: Path
) -> None:
    promised: dict[str, int] = {}
    async with Engine(broker.url) as engine, Nginx(tmp_path / "nginx") as nginx:
        async with agent_with(tmp_path, broker, nginx.url, 'bandwidth = "20Mbit/s"') as agent:
            for number in range(24):
                promised[await post(agent, f"cam-{number % 2}", content(number), f"frame-{number}")] = number
                if number % 6 == 5:  # at some moment of the way of those before it
                    await agent.kill()
                    await agent.start()
            await engine.received(24)
            await agent.account(accepted=24, settled=24, pending=0)
            await until(lambda: spooled(agent) == [], "the spool to be empty", seen=lambda: spooled(agent))
        told = {trigger["correlation_id"]: arguments(trigger) for trigger in engine.triggers}
        assert told.keys() == promised.keys()
        files = nginx.files()
        for correlation, number in promised.items():
            given = told[correlation]
            data = files[given["url"].removeprefix(f"{nginx.url}/")]
            assert data == content(number)
            assert sha256(data).hexdigest() == given["sha256"]
        assert len(files) == 24, "each try replaced what an earlier one left"


async def test_data_that_no_store_can_take_is_a_dead_letter_which_can_be_replayed(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with Engine(broker.url) as engine:
        async with (
            Nginx(tmp_path / "nginx", max_body="100k") as nginx,
            agent_with(tmp_path, broker, nginx.url) as agent,
        ):
            correlation = await post(agent, "cam-1", content(1), "frame-1")
            report = await agent.state(correlation, "rejected")
            assert "its data cannot be put into the store" in report["error"]
            assert len(spooled(agent)) == 1, "the dead letter still has its data"
            await agent.stop()
        async with Nginx(tmp_path / "other") as nginx:
            agent.config_file.write_text(
                agent.config_file.read_text("utf-8").replace('store = "http', f'store = "{nginx.url}"\n# "http'),
                "utf-8",
            )
            async with agent:
                code, _, err = await agent.command("dead", "replay", correlation)
                assert (code, err) == (0, "")
                await agent.state(correlation, "triggered")
                assert [*nginx.files().values()] == [content(1)]
                assert len(engine.triggers) == 1
                await until(lambda: spooled(agent) == [], "the spool to be empty", seen=lambda: spooled(agent))


async def test_data_goes_to_the_store_while_the_uplink_is_away_and_not_again_after_kill_9(
    broker: Mosquitto, tmp_path: Path
) -> None:
    await broker.stop()
    async with Nginx(tmp_path / "nginx") as nginx, agent_with(tmp_path, broker, nginx.url) as agent:
        for number in range(6):
            await post(agent, "cam-1", content(number), f"frame-{number}")
        await agent.stats(lambda stats: stored(stats) == 6, "the data to be in the store")
        files = nginx.files()
        assert sorted(files.values()) == sorted(content(number) for number in range(6))
        await agent.kill()
        await agent.start()
        last = await post(agent, "cam-1", content(6), "frame-6")
        await agent.stats(lambda stats: stored(stats) == 1, "the one that is new")
        (found,) = (await agent.get(f"/v1/where/{last}"))["triggers"]
        assert "the uplink has been down" in found["hangs"]["text"]
        await broker.start()
        async with Engine(broker.url) as engine:
            await engine.received(7)
            await agent.account(accepted=7, settled=7, pending=0)
        await until(lambda: spooled(agent) == [], "the spool to be empty", seen=lambda: spooled(agent))
        log = (tmp_path / "nginx" / "access.log").read_text("utf-8")
        puts = re.findall(r'"PUT \S+/(frame-\d) ', log)
        assert sorted(puts) == [f"frame-{number}" for number in range(7)], "each once; several are under way at a time"


async def test_emit_waits_for_a_file_that_is_uploaded_tells_how_far_it_is_and_what_became_of_it(
    broker: Mosquitto, tmp_path: Path
) -> None:
    picture = tmp_path / "frame.jpg"
    picture.write_bytes(content(1))
    nginx = Nginx(tmp_path / "nginx")  # nothing listens there yet
    agent = agent_with(tmp_path, broker, nginx.url, dry_run=True)
    async with agent:
        await agent.logged("link_up")
        await post(agent, "cam-1", content(1), "frame-0")
        await agent.stats(lambda stats: stats["artifacts"]["failing_since"], "the store to fail")
        arguments = "emit", "cam-1", "--file", str(picture)
        code, out, err = await agent.command(*arguments, "--wait=1500ms")
        assert (code, out.count("buffered")) == (1, 1)
        waits = r"(its data waits for its turn on the way|its data is on the way|the store does not take its data)"
        assert re.match(rf"edgeagent: 1 of 1 trigger had not ended after [0-9.]+ s: {waits}", err)
        assert re.search(rf"\r\x1b\[Kwaiting: {waits}", await on_terminal(agent, *arguments, "--wait=1500ms"))
        async with nginx, Dispatcher(tmp_path / "dispatcher", broker.url, ALLOW):
            code, out, err = await agent.command(*arguments, "--wait=90s")
            assert (code, err, out.count("succeeded")) == (0, "", 1)
            await agent.account(settled=4, pending=0)
            assert [*nginx.files().values()] == [content(1)] * 4


@pytest.mark.soak
async def test_a_running_agent_exports_large_data_and_it_leaves_from_another_machine_under_the_same_name(
    broker: Mosquitto, tmp_path: Path
) -> None:
    export, names = tmp_path / "export.jsonl", [f"frame-{number}" for number in range(3)]
    nowhere = Mosquitto(tmp_path)  # it is never started
    for directory in ("here", "there"):
        (tmp_path / directory).mkdir()
    here = agent_with(tmp_path / "here", nowhere, "http://127.0.0.1:9")
    async with Engine(broker.url) as engine, Nginx(tmp_path / "nginx") as nginx:
        async with here:
            for number, name in enumerate(names):
                await post(here, "cam-1", content(number), name)
            await here.triggered("boiler-1", {"temp": 97.1})
            await here.stats(lambda stats: stats["artifacts"]["failed"], "the store to fail")
            code, out, err = await here.command("outbox", "export", str(export))
            assert (code, err) == (0, "")
            assert out.startswith("4 triggers moved")
            await here.account(exported=4, pending=0)
            await until(lambda: spooled(here) == [], "the spool to be empty", seen=lambda: spooled(here))
            await here.stats(lambda stats: stats["artifacts"]["uploads"] == [], "the uploads to be forgotten")
            assert "artifact_refused" not in here.log
        there = agent_with(tmp_path / "there", broker, nginx.url)
        there.config_file.write_text(there.config_file.read_text("utf-8").replace("gw-1", "gw-2"), "utf-8")
        async with there:
            assert (await there.command("outbox", "import", str(export)))[0] == 0
            await engine.received(4)
            await there.account(imported=4, settled=4, pending=0)
            files = dict(sorted(nginx.files().items()))
            assert [*files.values()] == [content(number) for number in range(3)]
            assert [re.sub(r"/\d{4}-\d\d-\d\d/", "/", name) for name in files] == [
                f"gw-1/cam-1/{name}" for name in names
            ]
            urls = {arguments(trigger)["url"] for trigger in engine.triggers if "url" in arguments(trigger)}
            assert urls == {f"{nginx.url}/{name}" for name in files}


@pytest.mark.soak
async def test_an_export_says_of_data_that_waits_for_its_upload_that_the_agent_must_stop_first(
    broker: Mosquitto, tmp_path: Path
) -> None:
    export = tmp_path / "export.jsonl"
    async with agent_with(tmp_path, broker, "http://127.0.0.1:9") as agent:
        await agent.logged("link_up")
        await post(agent, "cam-1", content(1), "frame-1")
        await agent.stats(lambda stats: stats["artifacts"]["failed"], "the store to fail")
        code, out, _ = await agent.command("outbox", "export", str(export))
        assert (code, export.exists()) == (0, False)
        assert "1 trigger stays here, in flight or waiting for their data to be uploaded: to move them too, stop" in out
        await agent.stop()
        code, out, _ = await agent.command("outbox", "export", str(export))
        assert (code, out.startswith("1 trigger moved")) == (0, True)
