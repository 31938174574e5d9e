from __future__ import annotations

import asyncio
import shutil
import socket
import sys
from pathlib import Path

import pytest

from edgeagent.demo import broker
from edgeagent.demo.child import Child, ChildFailed
from edgeagent.errors import CommandFailed
from tests.waiting import DEADLINE_S


def python(text: str, directory: Path) -> Child:
    return Child("program", [sys.executable, "-c", text], directory)


async def test_a_program_that_ends_by_itself_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    child = python("print(*range(100), sep='\\n'); raise SystemExit(3)", tmp_path)
    watch = asyncio.create_task(child.watch())
    await child.start()
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(ChildFailed) as failed:
            await watch
    assert "the program has ended by itself (exit code 3)" in str(failed.value)
    assert failed.value.tail[-1] == "99"
    assert len(failed.value.tail) < 20


async def test_a_program_that_is_killed_on_purpose_and_started_again_is_no_failure(tmp_path: Path) -> None:
    child = python("print('up', flush=True); import time; time.sleep(60)", tmp_path)
    watch = asyncio.create_task(child.watch())
    await child.start()
    await child.ready(lambda: child.logged("up"), DEADLINE_S)
    first = await child.kill()
    await child.start()
    await child.ready(lambda: child.logged("up\nup"), DEADLINE_S)
    assert not watch.done()
    assert await child.kill() != first
    watch.cancel()
    await asyncio.wait([watch])


async def test_a_program_that_is_never_ready_is_told(tmp_path: Path) -> None:
    child = python("import time; time.sleep(60)", tmp_path)
    await child.start()
    with pytest.raises(ChildFailed, match=r"is not ready after 0\.1 s"):
        await child.ready(lambda: child.logged("up"), 0.1)
    await child.stop()


async def test_a_program_that_ends_before_it_is_ready_is_told_at_once(tmp_path: Path) -> None:
    child = python("raise SystemExit(78)", tmp_path)
    await child.start()
    with pytest.raises(ChildFailed, match=r"has ended at once \(exit code 78\)"):
        await child.ready(lambda: child.logged("up"), DEADLINE_S)


async def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ChildFailed, match="cannot be started"):
        await Child("program", [str(tmp_path / "nothing")], tmp_path).start()


def test_mosquitto_is_taken_when_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: "/usr/sbin/mosquitto")
    assert broker.choose(None, 1, tmp_path).name == "Mosquitto"
    assert "listener 1 127.0.0.1" in (tmp_path / "mosquitto.conf").read_text("utf-8")


def test_without_mosquitto_the_broker_of_the_extra_is_taken_on_loopback_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    assert broker.choose(None, 1, tmp_path).name == "rumqttd (iotcore)"
    text = (tmp_path / "rumqttd.toml").read_text("utf-8")
    assert text.count("listen =") == 1
    assert 'listen = "127.0.0.1:1"' in text


def test_without_any_broker_the_message_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(broker, "find_spec", lambda _: None)
    with pytest.raises(CommandFailed, match=r"apt-get install mosquitto.*edgeagent\[demo\]"):
        broker.choose(None, 1, tmp_path)


def test_free_ports_are_all_different_and_none_that_the_kernel_may_give_to_a_connection_meanwhile() -> None:
    ports = broker.free_ports(20)
    assert len(set(ports)) == 20
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split()[0])
    assert max(ports) < first


def test_a_port_on_which_something_listens_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        monkeypatch.setattr(broker, "_PORTS", range(taken, taken + 1))
        with pytest.raises(CommandFailed, match="needs 1 free ports"):
            broker.free_ports(1)
