"""The agent's unit under a real systemd as process 1, from its package."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from packages.suites import ROOT
from tests.fakes.booted import Booted
from tests.fakes.chroot import Chroot
from tests.fakes.documents import blocks_of
from tests.fakes.packages import NATIVE, PREVIOUS, Packages
from tests.fakes.programs import RULE
from tests.waiting import until

pytestmark = [pytest.mark.packages, pytest.mark.timeout(900)]

UNIT = "edgeagent.service"
CONFIG = f'[agent]\nid = "gw-1"\n[uplink]\nurl = "mqtt://127.0.0.1:1"\n{RULE}'
# Connects again and again, over TCP and to the Unix socket, until it is told to end; fails when it is refused.
CLIENT = """
import pathlib, socket
while not pathlib.Path("/srv/over").exists():
    for family, address in (socket.AF_INET, ("127.0.0.1", 8745)), (socket.AF_UNIX, "/run/edgeagent/agent.sock"):
        with socket.socket(family) as sock:
            sock.connect(address)
            sock.settimeout(300)
            try:
                sock.sendall(b"GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
                sock.recv(100)
            except ConnectionError:
                pass  # it was accepted by an agent that ends
    pathlib.Path("/srv/connects").touch()
"""
HOT = '{"temp": 97.1}'
# Says with which status the agent answers to a token.
ASK = """
import sys, urllib.error, urllib.request
request = urllib.request.Request("http://127.0.0.1:8745/v1/stats", headers={"Authorization": f"Bearer {sys.argv[1]}"})
try:
    print(urllib.request.urlopen(request).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


@pytest.fixture
async def system(machine: Chroot, packages: Packages) -> AsyncIterator[Booted]:
    """A system on which the agent is installed and runs; its uplink is down for ever."""
    machine.done("dpkg", "--install", *machine.copy(packages.build("bookworm", NATIVE).agent))
    (machine.root / "etc/edgeagent/config.toml").write_text(CONFIG, "utf-8")
    async with Booted(machine) as system:
        must(system, "enable", "--now", UNIT)
        yield system


def must(system: Booted, *command: str, of: str = UNIT) -> None:
    """Run systemctl; the unit's log says why if it fails."""
    done = system.run("systemctl", *command)
    assert done.returncode == 0, done.stdout + system.log(of)


def emit(system: Booted) -> str:
    (accepted,) = map(json.loads, system.done("edgeagent", "emit", "--json", "boiler-1", HOT).splitlines())
    correlation_id: str = accepted["triggers"][0]["correlation_id"]
    return correlation_id


def waiting(system: Booted) -> set[str]:
    listed: list[dict[str, Any]] = list(
        map(json.loads, system.done("edgeagent", "outbox", "ls", "--json").splitlines())
    )
    return {each["correlation_id"] for each in listed}


def drop_in(system: Booted, text: str, of: str = UNIT) -> None:
    directory = system.machine.root / f"etc/systemd/system/{of}.d"
    directory.mkdir(parents=True)
    (directory / "test.conf").write_text(f"[Service]\n{text}\n", "utf-8")
    system.done("systemctl", "daemon-reload")
    must(system, "restart", of, of=of)


async def restarted(system: Booted, before: str) -> None:
    """Wait until another process is ready in the place of `before`."""

    def another() -> bool:
        return system.property(UNIT, "ActiveState") == "active" and system.property(UNIT, "MainPID") != before

    await until(another, "another process that is ready", seen=lambda: system.log(UNIT), deadline_s=240)


async def test_a_start_is_over_when_the_agent_is_ready_and_a_restart_keeps_what_waits(system: Booted) -> None:
    assert system.property(UNIT, "SubState") == "running"
    assert "agent gw-1 runs" in system.log(UNIT)
    sent = {emit(system), emit(system)}
    system.done("systemctl", "restart", UNIT)
    assert waiting(system) == sent
    assert system.property(UNIT, "NRestarts") == "0"
    system.done("systemctl", "stop", UNIT)
    assert system.property(UNIT, "Result") == "success"
    assert waiting(system) == sent, "as the commands see it without an agent"


async def test_a_reload_tells_whether_the_rules_were_taken_over(system: Booted) -> None:
    process = system.property(UNIT, "MainPID")
    path = system.machine.root / "etc/edgeagent/config.toml"
    path.write_text(CONFIG.replace("90", "50"), "utf-8")
    system.done("systemctl", "reload", UNIT)
    path.write_text(CONFIG + "[rule]\n", "utf-8")
    assert system.run("systemctl", "reload", UNIT).returncode != 0
    assert system.property(UNIT, "ActiveState") == "active"
    assert system.property(UNIT, "MainPID") == process


async def test_what_the_unit_takes_away_is_gone_and_what_the_agent_needs_is_there(system: Booted) -> None:
    process = system.property(UNIT, "MainPID")
    status = dict(
        line.split(":\t", 1) for line in system.done("cat", f"/proc/{process}/status").splitlines() if ":\t" in line
    )
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2", "a filter"
    assert {status[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    own = system.done("id", "-u", "edgeagent").strip()
    mapped = {line.split()[1] for line in system.done("cat", f"/proc/{process}/uid_map").splitlines()}
    assert mapped == {"0", own}
    inside = ["nsenter", f"--target={process}", "--mount", "--wd=/"]
    assert "Read-only file system" in system.run(*inside, "touch", "/etc/of-the-test").stdout
    assert "Read-only file system" in system.run(*inside, "touch", "/usr/of-the-test").stdout
    assert system.done(*inside, "ls", "/home", "/root").split() == ["/home:", "/root:"]
    limits = system.done("cat", f"/proc/{process}/limits").splitlines()
    (files,) = (line.split() for line in limits if line.startswith("Max open files"))
    assert files[3] == files[4], "the soft limit was raised"
    await until(lambda: "Connection refused" in system.log(UNIT), "an attempt to connect")
    assert "Operation not permitted" not in system.log(UNIT)


async def test_credentials_of_the_unit_are_its_secrets_which_root_alone_can_read(system: Booted) -> None:
    etc = system.machine.root / "etc/edgeagent"
    (etc / "config.toml").write_text(
        CONFIG.replace("[uplink]\n", '[uplink]\nusername = "gw-1"\npassword_file = "uplink.password"\n')
        + '[http]\ntoken_file = "http.token"\n',
        "utf-8",
    )
    secrets = "/etc/edgeagent/secrets"
    system.done("install", "--directory", "--mode=700", secrets)
    (etc / "secrets/http.token").write_text("a-token-of-the-unit\n", "utf-8")
    (etc / "secrets/http.token").chmod(0o600)
    (etc / "secrets/plain").write_text("a-password-of-the-unit\n", "utf-8")
    encrypted = f"{secrets}/uplink.password.cred"
    system.done("systemd-creds", "encrypt", "--name=uplink.password", f"{secrets}/plain", encrypted)
    (etc / "secrets/plain").unlink()
    assert system.run("edgeagent", "check").returncode == 78, "nobody has given it the secrets"
    loaded = (
        f"LoadCredential=http.token:{secrets}/http.token",
        f"LoadCredentialEncrypted=uplink.password:{encrypted}",
    )
    drop_in(system, "\n".join(loaded))
    assert [system.done("python3", "-c", ASK, token).strip() for token in ("a-token-of-the-unit", "another")] == [
        "200",
        "401",
    ]
    system.done("edgeagent", "check")
    process = system.property(UNIT, "MainPID")
    for told in (system.log(UNIT), system.done("cat", f"/proc/{process}/environ")):
        assert "of-the-unit" not in told
    refused = system.run("setpriv", "--reuid=edgeagent", "--clear-groups", "cat", f"{secrets}/http.token")
    assert "Permission denied" in refused.stdout


async def test_the_dispatchers_unit_starts_without_and_with_credentials(system: Booted, packages: Packages) -> None:
    unit, secret = "edgeagent-dispatch.service", "/etc/edgeagent/broker.secret"
    built = packages.build("bookworm", NATIVE)
    system.done("dpkg", "--install", *system.machine.copy(built.httpx, built.dispatcher))
    etc = system.machine.root / "etc/edgeagent"
    config = '[broker]\nurl = "mqtt://127.0.0.1:1"\n[engine]\nkind = "dry-run"\n'
    (etc / "dispatch.toml").write_text(config, "utf-8")
    must(system, "enable", "--now", unit, of=unit)
    refused = "cannot reach the broker"
    await until(lambda: refused in system.log(unit), "an attempt to connect", seen=lambda: system.log(unit))
    login = 'username = "dispatcher"\npassword_file = "broker.password"\n'
    (etc / "dispatch.toml").write_text(config.replace("[engine]", f"{login}[engine]"), "utf-8")
    (etc / "broker.secret").write_text("a-password-of-the-unit\n", "utf-8")
    (etc / "broker.secret").chmod(0o600)
    drop_in(system, f"LoadCredential=broker.password:{secret}", of=unit)
    await until(lambda: system.log(unit).count(refused) == 2, "another attempt", seen=lambda: system.log(unit))
    system.done("edgeagent", "check", "--dispatch")
    assert "of-the-unit" not in system.log(unit)


@pytest.mark.parametrize(
    "command", ["status", "where x", "outbox ls", "dead ls", "report", "emit boiler-1 1", "reload"]
)
async def test_a_user_who_may_not_ask_the_agent_is_told_what_to_do(system: Booted, command: str) -> None:
    stranger = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "env", "HOME=/tmp")
    done = system.run(*stranger, "edgeagent", *command.split())
    assert done.returncode == 69
    (line,) = done.stdout.splitlines()
    assert "/run/edgeagent/agent.sock: permission denied" in line
    assert line.endswith("use sudo, or join the group")


async def test_a_process_that_hangs_is_ended_and_started_again_with_what_waits(system: Booted) -> None:
    drop_in(system, "WatchdogSec=10s\nTimeoutAbortSec=2s")
    sent = {emit(system)}
    process = system.property(UNIT, "MainPID")
    system.done("systemctl", "kill", "--kill-whom=main", "--signal=STOP", UNIT)
    await restarted(system, process)
    assert "Watchdog timeout" in system.log(UNIT)
    assert waiting(system) == sent


async def test_an_upgrade_refuses_no_client_of_the_sockets_that_systemd_holds(
    system: Booted, packages: Packages
) -> None:
    system.done("systemctl", "stop", UNIT)
    system.done("systemctl", "enable", "--now", "edgeagent.socket", "edgeagent-http.socket")
    system.done("systemctl", "start", UNIT)
    sent = {emit(system)}
    process = system.property(UNIT, "MainPID")
    root = system.machine.root / "srv"
    (root / "client.py").write_text(CLIENT, "utf-8")
    system.done("systemd-run", "--unit=client", "--property=RemainAfterExit=yes", "python3", "/srv/client.py")
    await until((root / "connects").exists, "the first connection", seen=lambda: system.log("client"))
    system.done("dpkg", "--install", *system.machine.copy(packages.build("bookworm", NATIVE).agent))
    await restarted(system, process)
    (root / "over").touch()
    await until(
        lambda: system.property("client", "SubState") in {"exited", "failed"}, "the client's end", deadline_s=120
    )
    assert system.property("client", "Result") == "success", system.log("client")
    assert waiting(system) == sent
    assert system.property("edgeagent-http.socket", "SubState") == "running"
    assert system.done("stat", "--format=%U %G %a", "/run/edgeagent/agent.sock").split() == ["edgeagent"] * 2 + ["660"]


async def test_an_agent_that_is_killed_at_the_limit_of_its_memory_comes_back_with_what_waits(system: Booted) -> None:
    """Another process in the unit's group takes the memory, and the kernel chooses the agent."""
    drop_in(system, "MemoryMax=64M\nOOMScoreAdjust=1000")
    sent = {emit(system)}
    process = system.property(UNIT, "MainPID")
    group = system.memory_group(UNIT)
    eater = "bytearray(60 << 20); __import__('time').sleep(600)"
    taking = f'echo 0 > {group}/cgroup.procs; exec python3 -c "x = {eater}"'
    system.done("sh", "-c", f"({taking}) > /dev/null 2>&1 &")
    await restarted(system, process)
    assert "status=9/KILL" in system.log(UNIT)
    assert waiting(system) == sent


async def test_the_documented_way_back_keeps_what_waits_and_the_configuration(
    system: Booted, previous: Packages
) -> None:
    section = (ROOT / "docs/packages.md").read_text("utf-8").partition("\n**Going back is refused**")[2]
    steps = [line.partition("  ")[0] for line in blocks_of(section)[0].text.splitlines()]
    (system.machine.root / "etc/apt/apt.conf.d/test").write_text(
        'APT::Get::Assume-Yes "true"; APT::Install-Recommends "false";', "utf-8"
    )
    system.machine.copy(previous.build("bookworm", NATIVE).agent)
    older = f"edgeagent_{previous.version('bookworm')}_{NATIVE}.deb"
    sent = {emit(system), emit(system)}
    for step in steps:
        system.done("sh", "-c", f"cd /root && {step.replace('edgeagent_OLDER.deb', older)}")
    assert PREVIOUS in system.done("edgeagent", "version")
    assert system.property(UNIT, "ActiveState") == "active"
    assert (system.machine.root / "etc/edgeagent/config.toml").read_text("utf-8") == CONFIG
    assert waiting(system) == sent
