"""Who owns the state: commands that run as root, and an agent that finds files that it may not open."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.as_user import IS_ROOT, NOBODY, give, take
from tests.fakes.cards import mounted, remount
from tests.fakes.engine import Engine, success
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.programs import Agent

HOT = {"temp": 97.1}
NOWHERE = "mqtt://127.0.0.1:9"
OWNER = NOBODY if IS_ROOT else os.getuid()
# Seven of these events fill a segment.
SMALL = {"outbox": 'max_bytes = "4MiB"\nsegment_bytes = "64KiB"\nmax_event_bytes = "16KiB"'}
FILLER = "x" * 9000


class AgentOfAnother(Agent):
    """An agent that runs as another user; its commands run as root, or as whoever runs the tests."""

    module = "tests.fakes.as_user"

    def __init__(self, directory: Path, uplink: str) -> None:
        super().__init__(directory, uplink, tables=SMALL)

    @property
    def state_directory(self) -> Path:
        """Where its state is."""
        return self.directory / "state"

    def owners(self) -> set[int]:
        """Whose everything in its state directory is."""
        return {path.lstat().st_uid for path in (self.state_directory, *self.state_directory.rglob("*"))}

    def errors(self) -> list[str]:
        """What it logged as an error."""
        return [line for line in self.log.splitlines() if " ERROR " in line or " CRITICAL " in line]


async def sent(agent: Agent, count: int, begin: int = 0) -> set[str]:
    """Post so many events; the names of their workflows."""
    data = [{**HOT, "n": number, "filler": FILLER} for number in range(begin, begin + count)]
    return {f"overheat-{await agent.triggered('boiler-1', each)}" for each in data}


async def test_what_root_does_on_a_stopped_agent_leaves_nothing_that_the_agent_cannot_open(
    broker: Mosquitto, place: Path, tmp_path: Path
) -> None:
    async with Engine(broker.url, answer=lambda _: {"code": 400, "error": "no", "retryable": False}) as engine:
        agent = AgentOfAnother(place / "agent", broker.url)
        give(agent.directory)
        async with agent:
            await sent(agent, 12)
            await agent.account(dead=12, pending=0)
        assert agent.owners() == {OWNER}
        for command in (
            ("dead", "replay", "--all"),
            ("outbox", "verify"),
            ("outbox", "export", str(tmp_path / "export")),
            ("outbox", "import", str(tmp_path / "export")),
            ("dead", "ls"),
            ("doctor",),
        ):
            code, out, err = await agent.command(*command)
            assert (code, err) == (0, ""), (command, code, out, err)
            assert agent.owners() == {OWNER}, command
        assert (tmp_path / "export").stat().st_uid == os.getuid(), "what the operator named is the operator's"
        engine.answer = success
        known = len(agent.errors())
        async with agent:
            await agent.account(pending=0, dead=0)
        assert agent.errors()[known:] == []


FILES = (
    "lock",
    "ledger.db",
    "outbox/cursor",
    "outbox/recent",
    "outbox/normal/00000000000000000001.seg",
    "outbox/normal/00000000000000000002.seg",
    "outbox/normal/00000000000000000003.seg",
    "outbox/normal",
    "outbox",
)


@pytest.mark.parametrize("file", FILES)
async def test_an_agent_starts_whatever_it_may_not_open_and_loses_nothing_of_it(
    file: str, broker: Mosquitto, place: Path, free_port: int
) -> None:
    agent = AgentOfAnother(place / "agent", f"mqtt://127.0.0.1:{free_port}")
    give(agent.directory)
    async with agent:
        promised = await sent(agent, 20)
    agent.config_file.write_text(agent.config_file.read_text().replace(str(free_port), str(broker.port)))
    path = agent.state_directory / file
    take(path)
    async with Engine(broker.url) as engine:
        async with agent:
            promised |= await sent(agent, 10, 100)
            await agent.account(pending=0)
            assert (await agent.get("/v1/stats"))["account"]["triggers"]["damaged"] == 0
            if file != "lock":  # which says nothing, so that another one does as well
                (line,) = [line for line in agent.errors() if "event=unreadable_file" in line]
                assert f"{path} cannot be opened" in line
                assert f"`chown -R {user()}: {agent.state_directory}`" in line
            assert not any("outbox_damaged" in line for line in agent.errors())
            code, out, _ = await agent.command("doctor")
            assert code == int(file != "lock")
            assert (f"chown -R {user()}: {agent.state_directory}" in out) is (file != "lock")
        async with agent:  # it stays as it is until somebody mends it
            promised |= await sent(agent, 1, 200)
            await agent.account(pending=0)
        give(agent.state_directory)
        async with agent:
            promised |= await sent(agent, 1, 300)
            await engine.received(len(promised))
            stats = await agent.account(pending=0)
            assert stats["account"]["triggers"]["damaged"] == 0
            assert set(engine.started) == promised
            assert not any("outbox_damaged" in line for line in agent.errors())
            code, out, _ = await agent.command("doctor")
            assert "state files: all" in out


async def test_the_newest_segment_of_a_killed_agent_is_not_told_as_lost_while_it_lies_aside(
    broker: Mosquitto, place: Path, free_port: int
) -> None:
    agent = AgentOfAnother(place / "agent", f"mqtt://127.0.0.1:{free_port}")
    give(agent.directory)
    async with agent:
        promised = await sent(agent, 20)
        await agent.kill()
    agent.config_file.write_text(agent.config_file.read_text().replace(str(free_port), str(broker.port)))
    take(max((agent.state_directory / "outbox" / "normal").iterdir()))
    async with Engine(broker.url) as engine:
        async with agent:
            stats = await agent.account(pending=0)
            assert (stats["account"]["triggers"]["damaged"], stats["outbox"]["lost"]) == (0, [])
            assert "outbox_end_lost" not in agent.log
            code, out, _ = await agent.command("outbox", "verify")
            assert (code, "nothing is wrong" in out) == (0, True)
        give(agent.state_directory)
        async with agent:
            await engine.received(len(promised))
            assert set(engine.started) == promised
            assert (await agent.account(pending=0))["outbox"]["lost"] == []


@pytest.fixture
def card(place: Path) -> Iterator[Path]:
    with mounted(place / "agent" / "state") as directory:
        yield directory


@pytest.mark.soak
@pytest.mark.parametrize("file", ["lock", "ledger.db", "outbox/cursor", "outbox/normal/00000000000000000002.seg"])
async def test_a_read_only_card_with_a_file_that_may_not_be_read_is_drained_of_the_others(
    file: str, broker: Mosquitto, place: Path, card: Path, free_port: int
) -> None:
    agent = AgentOfAnother(place / "agent", f"mqtt://127.0.0.1:{free_port}")
    give(place)
    async with agent:
        promised = await sent(agent, 20)
        await agent.kill()
    agent.config_file.write_text(agent.config_file.read_text().replace(str(free_port), str(broker.port)))
    take(card / file)
    remount(card, "ro")
    async with Engine(broker.url) as engine:
        agent.spawn()
        await engine.received(12 if file.endswith(".seg") else 20)
        assert not any("outbox_damaged" in line or "outbox_end_lost" in line for line in agent.errors())
        told = [line for line in agent.errors() if "event=unreadable_file" in line]
        assert len(told) == int(file.startswith("outbox/"))
        assert await agent.stop() == 0
        remount(card, "rw")
        give(card)
        async with agent:
            await engine.received(len(promised))
            assert set(engine.started) == promised
            assert (await agent.account(pending=0))["account"]["triggers"]["damaged"] == 0


async def test_a_state_directory_of_somebody_else_is_told_with_the_command_that_mends_it(place: Path) -> None:
    agent = AgentOfAnother(place / "agent", NOWHERE)
    give(agent.directory)
    async with agent:
        await sent(agent, 1)
    take(agent.state_directory)
    agent.spawn()
    assert await agent.exit_code() == 1
    assert agent.log.splitlines()[-1].startswith("edgeagent: ")
    assert f"chown -R {user()}: {agent.state_directory}" in agent.log
    assert "Traceback" not in agent.log


async def test_a_link_in_place_of_a_file_is_not_followed(place: Path) -> None:
    agent = AgentOfAnother(place / "agent", NOWHERE)
    give(agent.directory)
    async with agent:
        await sent(agent, 1)
    victim = place / "victim"
    names = ("lock", "ledger.db", "outbox/cursor", "outbox/recent")
    for name in names:
        victim.write_bytes(b"precious")
        (agent.state_directory / name).unlink()
        (agent.state_directory / name).symlink_to(victim)
    give(place)
    async with agent:
        await sent(agent, 1, 1)
    assert victim.read_bytes() == b"precious"
    assert not any((agent.state_directory / name).is_symlink() for name in names)


async def test_everything_in_the_state_directory_is_closed_to_others_whatever_the_umask_says(place: Path) -> None:
    before = os.umask(0)
    try:
        agent = AgentOfAnother(place / "agent", NOWHERE)
        give(agent.directory)
        async with agent:
            await sent(agent, 1)
            await agent.get("/v1/triggers?limit=1")
            files = [path for path in agent.state_directory.rglob("*") if path.is_file()]
            assert {"lock", "ledger.db", "ledger.db-wal", "ledger.db-shm"} <= {path.name for path in files}
            assert {path.name: oct(path.stat().st_mode & 0o777) for path in files} == {
                path.name: "0o640" for path in files
            }
    finally:
        os.umask(before)


def user() -> str:
    return pwd.getpwuid(OWNER).pw_name
