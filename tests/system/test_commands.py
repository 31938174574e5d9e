from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import edgeagent
from tests.fakes.engine import Engine
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.programs import Agent, Dispatcher
from tests.waiting import DEADLINE_S


async def run(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "edgeagent",
        *arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_emit_waits_for_success_and_says_so(broker: Mosquitto, tmp_path: Path) -> None:
    async with (
        Dispatcher(tmp_path / "d1", broker.url),
        Agent(tmp_path / "agent", broker.url, tables={"uplink": "accept_dry_run = true"}) as agent,
    ):
        code, out, err = await agent.command("emit", "boiler-1", '{"temp": 97.1}', "--wait=90s")
        assert (code, err) == (0, "")
        assert "succeeded" in out
        code, out, _ = await agent.command("emit", "boiler-1", '{"temp": 20}')
        assert code == 0
        assert "no rule wants it" in out


async def test_emit_takes_a_line_an_event_from_stdin(tmp_path: Path, free_port: int) -> None:
    async with Agent(tmp_path / "agent", f"mqtt://127.0.0.1:{free_port}") as agent:
        lines = b"".join(json.dumps({"temp": 90 + n}).encode() + b"\n" for n in range(250))
        code, out, err = await run("emit", "boiler-1", "--json", "-c", str(agent.config_file), stdin=lines)
        assert (code, err) == (0, "")
        assert len({json.loads(line)["triggers"][0]["correlation_id"] for line in out.splitlines()}) == 250
        await agent.account(stored=250, pending=250)


async def test_emit_fails_when_a_trigger_does_not_succeed_in_time(tmp_path: Path, free_port: int) -> None:
    async with Agent(tmp_path / "agent", f"mqtt://127.0.0.1:{free_port}") as agent:
        code, out, err = await agent.command("emit", "boiler-1", '{"temp": 97}', "--wait=200ms")
        assert code == 1
        assert "buffered" in out
        assert re.match(r"edgeagent: 1 of 1 trigger had not ended after \d+\.\d s: the uplink is down: .+; see `", err)
        assert err.count("\n") == 1
        lines = b'{"temp": 98}\n{"temp": 99}\n'
        code, out, err = await run("emit", "boiler-1", "--wait=200ms", "-c", str(agent.config_file), stdin=lines)
        assert (code, out.count("buffered"), err.count("2 of 2 triggers")) == (1, 2, 1)
        code, _, err = await agent.command("emit", "boiler-1", "{")
        assert code == 1
        assert "is not JSON" in err
        assert "Traceback" not in err


async def test_emit_and_doctor_say_what_keeps_a_trigger_from_being_taken(broker: Mosquitto, tmp_path: Path) -> None:
    async with Agent(tmp_path / "agent", broker.url) as agent:
        await agent.logged("link_up")
        code, _, err = await agent.command("emit", "boiler-1", '{"temp": 97}', "--wait=8s")
        assert code == 1
        assert " s: nobody subscribes to argo/workflows/trigger; is `edgeagent dispatch` running?\n" in err
        _, out, _ = await agent.command("doctor")
        assert "warn  triggers: 1 waits: nobody subscribes to argo/workflows/trigger; is `edgeagent dispatch`" in out
        async with Dispatcher(tmp_path / "d1", broker.url):
            code, _, err = await agent.command("emit", "boiler-1", '{"temp": 98}', "--wait=8s")
            assert code == 1
            assert "only a dry-run dispatcher answers, and its answers do not count" in err
            assert "set uplink.accept_dry_run = true" in err
            _, out, _ = await agent.command("doctor")
            assert "warn  triggers: 2 wait: only a dry-run dispatcher answers" in out


@pytest.mark.parametrize(
    ("settle", "answers", "why"),
    [
        ("engine", False, "the engine has not answered yet; see `edgeagent doctor`"),
        ("engine", True, "the engine took them, and their workflows have not ended yet"),
        (
            "broker",
            False,
            'the broker has them, and with uplink.settle = "broker" nothing reports what the engine does',
        ),
    ],
)
async def test_emit_says_how_far_a_trigger_came_that_did_not_end_in_time(
    broker: Mosquitto, tmp_path: Path, settle: str, answers: bool, why: str
) -> None:
    engine = Engine(broker.url) if answers else Engine(broker.url, answer=lambda _: None)
    async with engine, Agent(tmp_path / "agent", broker.url, tables={"uplink": f'settle = "{settle}"'}) as agent:
        await agent.logged("link_up")
        code, _, err = await agent.command("emit", "boiler-1", '{"temp": 97}', "--wait=8s")
        assert code == 1
        assert re.match(r"edgeagent: 1 of 1 trigger had not ended after \d+\.\d s: ", err)
        assert err.endswith(f" s: {why}\n")


async def test_emit_without_an_agent_exits_69_in_one_line(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[agent]\nstate_dir = "{tmp_path}/state"\n')
    code, out, err = await run("emit", "boiler-1", "{}", "-c", str(config))
    assert (code, out) == (69, "")
    assert err.startswith("edgeagent: ")
    assert err.count("\n") == 1


async def test_a_second_agent_on_the_same_directory_exits_75_and_names_the_first(
    tmp_path: Path, free_port: int
) -> None:
    async with Agent(tmp_path / "agent", f"mqtt://127.0.0.1:{free_port}") as agent:
        code, _, err = await agent.command("run")
        assert code == 75
        assert "is in use by process" in err
        assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["run", "check", "dispatch"])
async def test_a_bad_configuration_exits_78_and_tells_everything_at_once(tmp_path: Path, command: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[log]\nlevel = "loud"\nshape = "round"\n[uplink]\nqos = "one"\n[broker]\nurl = 5\n')
    code, out, err = await run(command, "-c", str(config))
    assert (code, out) == (78, "")
    assert "log.level" in err
    assert "log.shape" in err
    assert len(err.splitlines()) >= 3
    assert all(line.startswith(f"edgeagent: {config}: ") for line in err.splitlines())


async def test_a_missing_configuration_exits_78(tmp_path: Path) -> None:
    code, _, err = await run("run", "-c", str(tmp_path / "none.toml"))
    assert code == 78
    assert "no such file" in err


async def test_check_says_what_a_configuration_means() -> None:
    root = Path(__file__).parents[2]
    code, out, err = await run("check", "-c", str(root / "config.example.toml"))
    assert (code, err) == (0, "")
    assert "ok" in out
    code, out, err = await run("check", "--dispatch", "-c", str(root / "dispatch.example.toml"))
    assert (code, err) == (0, "")
    assert "dry-run" in out


async def test_usage_errors_exit_2() -> None:
    for arguments in ([], ["fly"], ["emit"], ["emit", "boiler-1", "{}", "--wait=soon"]):
        code, _, err = await run(*arguments)
        assert code == 2, arguments
        assert "usage:" in err


async def test_version_names_what_a_report_of_a_fault_needs() -> None:
    code, out, _ = await run("version", "--json")
    assert code == 0
    assert json.loads(out).keys() >= {"edgeagent", "python", "mqtt5", "msgspec"}


async def test_the_version_alone_is_one_line() -> None:
    assert await run("--version") == (0, f"edgeagent {edgeagent.__version__}\n", "")


async def test_emit_says_that_it_reads_from_the_terminal(tmp_path: Path, free_port: int) -> None:
    """Without data it waits for lines; somebody who does not know that sees a command that hangs."""
    async with Agent(tmp_path / "agent", f"mqtt://127.0.0.1:{free_port}") as agent:
        ours, terminal = os.openpty()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "edgeagent", "emit", "boiler-1", "-c", str(agent.config_file)),
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        os.close(terminal)
        assert process.stderr is not None
        async with asyncio.timeout(DEADLINE_S):
            assert await process.stderr.readline() == (
                b"reading events from the terminal, one JSON value a line; end with Ctrl-D\n"
            )
            os.write(ours, b'{"temp": 97}\n\x04')
            out, err = await process.communicate()
        os.close(ours)
        assert (process.returncode, err) == (0, b"")
        assert b"overheat  event" in out


async def test_a_busy_port_is_told_in_one_line(tmp_path: Path, free_port: int) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", free_port)
    async with server:
        config = tmp_path / "config.toml"
        config.write_text(f'[agent]\nstate_dir = "{tmp_path}/state"\n[http]\nlisten = "127.0.0.1:{free_port}"\n')
        code, _, err = await run("run", "-c", str(config))
    assert code == 1
    assert "in use" in err
    assert "Traceback" not in err
