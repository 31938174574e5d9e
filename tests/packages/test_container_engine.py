"""The image as Podman builds and runs it, by the commands of the documents; collected where there is a Podman."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from packages.suites import ROOT
from tests.fakes.chroot import base
from tests.fakes.containerfile import stages
from tests.fakes.documents import blocks_of
from tests.fakes.mosquitto import Mosquitto, free_port
from tests.fakes.packaged import DEADLINE_S, HOT
from tests.fakes.packages import NATIVE
from tests.fakes.podman import Podman
from tests.fakes.programs import RULE
from tests.waiting import until

pytestmark = [pytest.mark.packages, pytest.mark.timeout(1800)]

AGENT, DISPATCHER = "edgeagent", "edgeagent-dispatch"


def documented() -> list[list[str]]:
    """The commands of docs/packages.md that build the image, run the agent, ask after it, and run the dispatcher."""
    section = (ROOT / "docs/packages.md").read_text("utf-8").partition("\n## As a container\n")[2]
    lines = blocks_of(section)[0].text.replace("\\\n", " ").splitlines()
    commands = [shlex.split(line) for line in lines]
    assert {command[0] for command in commands} == {"podman"}
    return [command[1:] for command in commands]


@pytest.fixture
def podman() -> Iterator[Podman]:
    """The engine with the image, which it has built."""
    (build, *options), *_ = documented()
    with tempfile.TemporaryDirectory() as directory, Podman(Path(directory)) as engine:
        engine.take(base("trixie", NATIVE), stages()[-1][0].value.split()[-1])
        engine.done(build, "--pull=never", *engine.authorities(), *options, cwd=ROOT)
        yield engine


def write(directory: Path, broker: str) -> None:
    """Write both configurations to where the commands mount them from."""
    agent = f'[agent]\nid = "gw-1"\n[uplink]\nurl = "{broker}"\naccept_dry_run = true\n'
    agent += f'[http]\nlisten = "127.0.0.1:{free_port()}"\n{RULE}'
    (directory / "config.toml").write_text(agent, "utf-8")
    dispatcher = f'[broker]\nurl = "{broker}"\n[engine]\nkind = "dry-run"\n'
    (directory / "dispatch.toml").write_text(dispatcher, "utf-8")


async def test_the_documented_commands_build_and_run_it(podman: Podman, broker: Mosquitto, tmp_path: Path) -> None:
    _, run, health, dispatch = documented()
    write(tmp_path, broker.url)

    def log() -> str:
        ended = podman.run("logs", AGENT)
        return ended.stdout + ended.stderr

    def inside(*command: str) -> str:
        return podman.done("exec", AGENT, *command)

    async def started() -> None:
        podman.done(*run, cwd=tmp_path)
        await until(lambda: not podman.run(*health).returncode, "a healthy agent", seen=log, deadline_s=DEADLINE_S)

    def stopped(name: str) -> None:
        podman.done("stop", "--time", "30", name)
        assert podman.done("inspect", "--format", "{{.State.ExitCode}}", name) == "0\n", log()
        podman.done("rm", "--volumes", name)

    missing = podman.run("run", "--rm", "--read-only", "edgeagent")
    assert missing.returncode == 78
    assert "/etc/edgeagent/config.toml: no such file" in missing.stderr

    await started()
    assert inside("id", "-u") == "10001\n"
    assert podman.run("exec", AGENT, "touch", "/usr/new").returncode == 1
    (accepted,) = map(json.loads, inside("edgeagent", "emit", "--json", "boiler-1", HOT).splitlines())
    trigger = accepted["triggers"][0]["correlation_id"]
    stopped(AGENT)  # nobody has taken the trigger: it is in the volume

    await started()
    assert trigger in inside("edgeagent", "outbox", "ls", "--json")
    podman.done(*dispatch, cwd=tmp_path)

    def course() -> str:
        return inside("edgeagent", "where", trigger)

    await until(lambda: "succeeded" in course(), "the end of the rehearsal", seen=course, deadline_s=DEADLINE_S)
    stopped(DISPATCHER)
    stopped(AGENT)
