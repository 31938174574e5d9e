"""The packages on real Debian systems: installed, run, upgraded, refused, removed, purged."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from packages.suites import MACHINES, SUITES
from tests.fakes.chroot import Chroot
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.packaged import Engine, Gateway
from tests.fakes.packages import NATIVE, PREVIOUS, Packages

pytestmark = [pytest.mark.packages, pytest.mark.timeout(1800)]

STATE = "var/lib/edgeagent"


@pytest.fixture(params=itertools.product(SUITES, MACHINES), ids="-".join)
def any_machine(request: pytest.FixtureRequest) -> Iterator[tuple[str, str, Chroot]]:
    """A fresh system of each release and each kind of machine."""
    suite, architecture = request.param
    with tempfile.TemporaryDirectory() as directory, Chroot(suite, architecture, Path(directory)) as machine:
        yield suite, architecture, machine


def version_of(machine: Chroot, package: str = "edgeagent") -> str:
    return machine.done("dpkg-query", "--show", "--showformat", "${Version} ${db:Status-Status}", package)


async def test_the_packages_install_run_answer_an_event_and_leave_nothing_of_theirs(
    any_machine: tuple[str, str, Chroot], packages: Packages, broker: Mosquitto
) -> None:
    suite, architecture, machine = any_machine
    before = machine.done("dpkg-query", "--show")
    machine.done("dpkg", "--install", *machine.copy(*packages.build(suite, architecture)))
    assert machine.done("dpkg", "--verify", "edgeagent", "edgeagent-httpx", "edgeagent-dispatcher") == ""
    told = machine.done("edgeagent", "version")
    assert "mqtt5 0.8" in told, "the codec can be imported here"
    assert f"python {'.'.join(map(str, SUITES[suite].python))}." in told
    machine.done("edgeagent", "check")
    machine.done("edgeagent", "check", "--dispatch")
    async with Engine(machine, broker.url), Gateway(machine, broker.url) as gateway:
        await gateway.succeeded(gateway.emit())
        await gateway.drained()
    machine.done("dpkg", "--purge", "edgeagent-dispatcher", "edgeagent-httpx", "edgeagent")
    assert machine.done("dpkg-query", "--show") == before
    for left in ("usr/lib/edgeagent", "etc/edgeagent", "usr/share/doc/edgeagent", STATE):
        assert not (machine.root / left).exists(), left


async def test_a_fresh_install_enables_nothing_and_an_enabled_unit_stays_so(
    machine: Chroot, packages: Packages, previous: Packages
) -> None:
    machine.done("dpkg", "--install", *machine.copy(*previous.build("bookworm", NATIVE)))
    for unit in ("edgeagent", "edgeagent-dispatch"):
        assert machine.run("systemctl", "is-enabled", unit).stdout.strip() == "disabled"
    machine.done("systemctl", "enable", "edgeagent")
    machine.done("dpkg", "--install", *machine.copy(*packages.build("bookworm", NATIVE)))
    assert machine.run("systemctl", "is-enabled", "edgeagent").stdout.strip() == "enabled"
    assert machine.run("systemctl", "is-enabled", "edgeagent-dispatch").stdout.strip() == "disabled"


async def test_an_upgrade_keeps_what_waits_and_the_configuration(
    machine: Chroot, packages: Packages, previous: Packages, tmp_path: Path, free_port: int
) -> None:
    machine.done("dpkg", "--install", *machine.copy(*previous.build("bookworm", NATIVE)))
    async with Gateway(machine, f"mqtt://127.0.0.1:{free_port}") as gateway:
        sent = {gateway.emit(f"boiler-{number}") for number in range(10)}
    config = (machine.root / "etc/edgeagent/config.toml").read_text("utf-8")
    machine.done("dpkg", "--install", "--force-confold", *machine.copy(*packages.build("bookworm", NATIVE)))
    assert version_of(machine) == f"{packages.version('bookworm')} installed"
    (library,) = (machine.root / "usr/lib/edgeagent").iterdir()
    assert library.name == packages.version("bookworm").partition("+")[0], "nothing of the older one is left"
    assert (machine.root / "etc/edgeagent/config.toml").read_text("utf-8") == config
    assert {each["correlation_id"] for each in gateway.waiting()} == sent
    async with Mosquitto(tmp_path, port=free_port) as broker, Engine(machine, broker.url), gateway:
        await gateway.drained()
        for correlation_id in sent:
            await gateway.succeeded(correlation_id)


async def test_an_agent_takes_events_while_its_package_is_upgraded_and_the_next_start_has_them_all(
    machine: Chroot, packages: Packages, previous: Packages, free_port: int
) -> None:
    machine.done("dpkg", "--install", *machine.copy(*previous.build("bookworm", NATIVE)))
    async with Gateway(machine, f"mqtt://127.0.0.1:{free_port}") as gateway:
        sent = {gateway.emit()}
        machine.done("dpkg", "--install", "--force-confold", *machine.copy(*packages.build("bookworm", NATIVE)))
        sent.add(gateway.emit("boiler-2"))
    async with gateway:  # as systemd starts it again, which is missing here
        assert {each["correlation_id"] for each in gateway.waiting()} == sent


async def test_going_back_is_refused_with_a_word_and_changes_nothing(
    machine: Chroot, packages: Packages, previous: Packages, free_port: int
) -> None:
    machine.done("dpkg", "--install", *machine.copy(*packages.build("bookworm", NATIVE)))
    async with Gateway(machine, f"mqtt://127.0.0.1:{free_port}") as gateway:
        gateway.emit()
    installed = version_of(machine)
    refused = machine.run("dpkg", "--install", *machine.copy(previous.build("bookworm", NATIVE).agent))
    assert refused.returncode != 0
    newer = packages.version("bookworm").partition("-")[0]
    assert f"edgeagent: going back from {newer} to {PREVIOUS} is refused, and nothing was changed" in refused.stdout
    assert "outbox export" in refused.stdout
    assert version_of(machine) == installed
    assert machine.done("dpkg", "--audit") == ""
    assert list(machine.root.glob("usr/lib/edgeagent/*/edgeagent/__pycache__/*.pyc")), "it is compiled again"
    assert len(gateway.waiting()) == 1
    machine.done("dpkg", "--remove", "edgeagent-dispatcher", "edgeagent-httpx", "edgeagent")
    again = machine.run("dpkg", "--install", *machine.copy(previous.build("bookworm", NATIVE).agent))
    assert "is refused" in again.stdout, "the state of the newer one is still here"


async def test_removal_keeps_state_and_configuration_and_a_purge_keeps_what_waits(
    machine: Chroot, packages: Packages, tmp_path: Path, free_port: int
) -> None:
    built = packages.build("bookworm", NATIVE)
    machine.done("dpkg", "--install", *machine.copy(*built))
    async with Gateway(machine, f"mqtt://127.0.0.1:{free_port}") as gateway:
        gateway.emit()
    machine.done("dpkg", "--remove", "edgeagent-dispatcher", "edgeagent-httpx", "edgeagent")
    assert not (machine.root / "usr/bin/edgeagent").exists()
    assert not (machine.root / "usr/lib/edgeagent").exists()
    assert (machine.root / "etc/edgeagent/config.toml").exists()
    told = machine.done("dpkg", "--purge", "edgeagent")
    assert "edgeagent: /var/lib/edgeagent is kept: triggers or dead letters wait there" in told
    assert not (machine.root / "etc/edgeagent/config.toml").exists()

    machine.done("dpkg", "--install", *machine.copy(*built))
    async with (
        Mosquitto(tmp_path, port=free_port) as broker,
        Engine(machine, broker.url),
        Gateway(machine, broker.url) as gateway,
    ):
        await gateway.drained()
    told = machine.done("dpkg", "--purge", "edgeagent-dispatcher", "edgeagent-httpx", "edgeagent")
    assert "is kept" not in told
    assert not (machine.root / STATE).exists()


async def test_a_purge_keeps_state_that_cannot_be_read_and_what_came_after_the_removal(
    machine: Chroot, packages: Packages, broker: Mosquitto
) -> None:
    agent = packages.build("bookworm", NATIVE).agent
    machine.done("dpkg", "--install", *machine.copy(agent))
    async with Gateway(machine, broker.url):
        pass
    machine.done("dpkg", "--remove", "edgeagent")
    machine.done("sh", "-c", f"touch -d tomorrow /{STATE}/outbox/later")
    assert "is kept" in machine.done("dpkg", "--purge", "edgeagent")
    assert (machine.root / STATE).exists()

    machine.done("dpkg", "--install", *machine.copy(agent))
    machine.done("sh", "-c", f"rm -r /{STATE}/outbox && touch /{STATE}/outbox")
    assert "is kept" in machine.done("dpkg", "--purge", "edgeagent")


async def test_a_purge_that_kept_the_state_does_not_open_the_way_back(
    machine: Chroot, packages: Packages, previous: Packages, free_port: int
) -> None:
    older = machine.copy(previous.build("bookworm", NATIVE).agent)
    newer = machine.copy(packages.build("bookworm", NATIVE).agent)
    machine.done("dpkg", "--install", *newer)
    async with Gateway(machine, f"mqtt://127.0.0.1:{free_port}") as gateway:
        gateway.emit()
    assert "is kept" in machine.done("dpkg", "--purge", "edgeagent")
    refused = machine.run("dpkg", "--install", *older)
    assert refused.returncode != 0
    assert f"to {PREVIOUS} is refused, and nothing was changed" in refused.stdout
    assert "To go back all the same, install " in refused.stdout
    machine.done("dpkg", "--install", *newer)
    assert len(Gateway(machine, f"mqtt://127.0.0.1:{free_port}").waiting()) == 1
    assert not (machine.root / STATE / ".kept-by").exists()
    machine.done("dpkg", "--purge", "edgeagent")
    machine.done("rm", "-r", f"/{STATE}")
    machine.done("dpkg", "--install", *older)
