"""Secrets as credentials of systemd, which only the service has: the operator's shell has none of them."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from tests.fakes.engine import Engine
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.programs import Agent

HOT = {"temp": 97.1}


def add_user(users: Path) -> None:
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(users), "gw", "s3cret"], check=True)


async def done(agent: Agent, *command: str) -> None:
    code, _, err = await agent.command(*command)
    assert (code, err) == (0, ""), command


@pytest.mark.slow
async def test_an_agent_logs_in_with_a_credential_and_commands_need_none(tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    users, credentials = tmp_path / "broker" / "users", tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "uplink.password").write_text("s3cret\n", "utf-8")
    await asyncio.to_thread(add_user, users)
    guarded = Mosquitto(tmp_path / "broker", listener=(f"password_file {users}", "allow_anonymous false"))
    tables = {"uplink": 'username = "gw"\npassword_file = "uplink.password"'}
    async with guarded as broker:
        agent = Agent(tmp_path / "agent", broker.url, tables=tables)
        agent.environment["CREDENTIALS_DIRECTORY"] = str(credentials)
        engine = Engine(broker.url, username="gw", password_file=str(credentials / "uplink.password"))
        async with engine, agent:
            await agent.logged("link_up")
            await agent.state(await agent.triggered("boiler-1", HOT), "triggered")
            for command in (("where", "boiler-1"), ("reload",)):
                await done(agent, *command)
        for command in (("outbox", "ls"), ("config", "show")):
            await done(agent, *command)
        code, _, err = await agent.command("check")
        assert code == 78
        assert "uplink.password_file: no such file" in err
