"""Agent and dispatcher without `httpx`, as on a machine with no more than `pip install edgeagent` brings."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.fetching import CONTENT, claim
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.programs import Agent, Dispatcher
from tests.fakes.without import without

HOT = {"temp": 97.1}
# `httpx` and what only it needs.
LIBRARIES = ("httpx", "httpcore", "anyio", "certifi", "idna")


@pytest.fixture(autouse=True)
def _programs_cannot_import_httpx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(LIBRARIES, tmp_path / "without-httpx", monkeypatch)


async def run(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "edgeagent", *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_an_event_is_answered_by_a_rehearsing_dispatcher(broker: Mosquitto, tmp_path: Path) -> None:
    agent = Agent(tmp_path / "agent", broker.url, tables={"uplink": "accept_dry_run = true"})
    async with Dispatcher(tmp_path / "d1", broker.url), agent:
        correlation = await agent.triggered("boiler-1", HOT)
        await agent.state(correlation, "succeeded")
        await agent.account(accepted=1, settled=1, pending=0)


async def test_every_command_has_its_help_and_the_doctors_examine(broker: Mosquitto, tmp_path: Path) -> None:
    code, out, err = await run("--help")
    assert (code, err) == (0, "")
    assert "dispatch" in out
    agent = Agent(tmp_path / "agent", broker.url)
    dispatcher = Dispatcher(tmp_path / "d1", broker.url)
    assert (await run("doctor", "-c", str(agent.config_file)))[::2] == (0, "")
    assert (await run("doctor", "--dispatch", "-c", str(dispatcher.config_file)))[::2] == (0, "")


async def test_a_dispatcher_with_argo_ends_with_a_word_about_what_to_install(tmp_path: Path) -> None:
    config = tmp_path / "dispatch.toml"
    engine = '[engine]\nkind = "argo"\nurl = "https://argo.example:2746"\n'
    allow = '[[allow]]\nagents = ["gw-*"]\nnamespaces = ["plant"]\ntemplates = ["inspect"]\n'
    config.write_text(f'[broker]\nurl = "mqtt://127.0.0.1:1"\n{engine}{allow}', "utf-8")
    code, _, err = await run("dispatch", "-c", str(config))
    told = "needs the extra: pip install 'edgeagent[dispatch]'; with Debian's packages: apt install edgeagent-httpx"
    assert (code, err.splitlines()) == (78, [f'edgeagent: {config}: engine.kind: "argo" {told}'])


async def test_fetch_says_what_to_install_and_reads_files_without_it(tmp_path: Path) -> None:
    (tmp_path / "frame.jpg").write_bytes(CONTENT)
    code, _, err = await run("fetch", claim("https://store.example/frame.jpg"))
    assert code == 1
    assert "this needs the extra: pip install 'edgeagent[artifacts]'; with Debian's packages: apt install" in err
    target = str(tmp_path / "in.jpg")
    code, _, err = await run(
        "fetch", claim(f"file://{tmp_path}/frame.jpg"), f"--allow=file://{tmp_path}", "--output", target
    )
    assert (code, err) == (0, "")
