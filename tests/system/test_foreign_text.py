"""Text from far away on an operator's terminal and in the log: it shows, it steers nothing, it fills nothing."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from tests.fakes.engine import Engine
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.fakes.programs import Agent

# Clears the screen, names the window (OSC, C1), turns the reading direction, begins lines of its own, is very long.
HOSTILE = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202eevil\u2066\n0 dead letters\r\u2028edgeagent: ok\x00" + "long " * 20_000
HOT = {"temp": 97.1, "note": HOSTILE[:60]}

_AT_ONCE = 20  # as Mosquitto lets a client have out


def is_harmless(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


@pytest.fixture
def refusing() -> dict[str, object]:
    """The answer of an engine that chooses its words."""
    return {"code": 400, "error": HOSTILE, "detail": HOSTILE, "retryable": False}


async def test_no_command_lets_an_engine_or_a_device_steer_the_terminal(
    refusing: dict[str, object], broker: Mosquitto, tmp_path: Path
) -> None:
    async with Engine(broker.url, answer=lambda _: refusing), Agent(tmp_path / "agent", broker.url) as agent:
        told: list[tuple[int, str, str]] = []
        told.append(await agent.command("emit", "boiler-1", json.dumps(HOT), "--wait=90s"))
        assert "rejected" in told[0][1]
        told.append(await agent.command("emit", "boiler-1", json.dumps({**HOT, "n": 1}), "--wait=90s", "--json"))
        correlation = told[0][1].split()[0]
        for command in (("dead", "ls"), ("dead", "show", correlation)):
            for form in ((), ("--json",)):
                told.append(await agent.command(*command, *form))
                assert "owned" in told[-1][1]
        told.append(await agent.command("dead", "show", "\x1b[2J"))
        told.append(await agent.command("doctor"))
        assert is_harmless(agent.log)
        assert len(agent.log) < 100_000
        for code, out, err in told:
            assert is_harmless(out), (code, out[:300])
            assert is_harmless(err), err
            assert "\n0 dead letters" not in out + err
            assert len(out) < 20_000
        for _, out, _ in told:
            for line in out.splitlines():
                if line.startswith("{"):
                    json.loads(line)


async def test_what_waits_is_shown_without_steering_the_terminal(tmp_path: Path) -> None:
    async with Agent(tmp_path / "agent", "mqtt://127.0.0.1:9") as agent:
        await agent.triggered("boiler-1", HOT, Idempotency_Key="mine")
        for form in ((), ("--json",)):
            code, out, err = await agent.command("outbox", "show", "mine", *form)
            assert (code, err) == (0, "")
            assert is_harmless(out)
            assert "evil" in out


async def test_a_key_that_nobody_knows_is_told_as_text(tmp_path: Path) -> None:
    agent = Agent(tmp_path / "agent", "mqtt://127.0.0.1:9")
    agent.config_file.write_text('["\\u001b[2J\\u202e\\n"]\na = 1\n', "utf-8")
    code, out, err = await agent.command("check")
    assert (code, out) == (78, "")
    assert is_harmless(err)
    assert r"\x1b[2J\u202e" in err


async def test_a_device_cannot_fill_the_log_and_what_it_sent_is_counted_exactly(
    broker: Mosquitto, tmp_path: Path
) -> None:
    count, topic = 2000, "sensors/" + "\u00e9\u202e" * 13_000
    async with (
        Agent(tmp_path / "agent", "mqtt://127.0.0.1:9", local=broker.url) as agent,
        MqttClient(broker.url, "device") as device,
    ):
        config = agent.config_file.read_text("utf-8")
        await agent.logged("link_up")
        await agent.stop()
        agent.config_file.write_text(config.replace("sensors/+/data", "sensors/#").replace('source = "{1}"', ""))
        await agent.start()
        await agent.logged("link_up", 2)
        for first in range(0, count, _AT_ONCE):
            await asyncio.gather(*(device.publish(topic, b"%d" % (first + number)) for number in range(_AT_ONCE)))
            await agent.account(refused=first + _AT_ONCE)
    assert _told(agent.log) == count
    assert len(agent.log) < 20_000
    assert is_harmless(agent.log)


def _told(log: str) -> int:
    """How many refused messages a log tells of: those with a line of their own, and those that are counted."""
    lines = [line for line in log.splitlines() if "event=local_refused" in line]
    counted = [re.search(r"and (\d+) more like it", line) for line in lines]
    return sum(1 if found is None else int(found[1]) for found in counted)
