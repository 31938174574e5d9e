from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from edgeagent.errors import ConfigError, DiskThreadDied
from edgeagent.listener import passwords
from edgeagent.listener.passwords import line_of, secret_of
from edgeagent.listener.reasons import Reason
from edgeagent.listener.users import MAX_WAITING, MAX_WAITING_OF_ONE, Users

pytestmark = pytest.mark.virtual_time

T = TypeVar("T")
SALT = b"sixteen bytes of"
GATEWAY = "192.0.2.1"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparing costs the least that a file may ask for: these tests are about who is compared, and when."""
    monkeypatch.setattr(passwords, "_COST", passwords._MIN_COST)


class Thread:
    """A thread that is slow: what is asked of it is done when the test lets it."""

    def __init__(self) -> None:
        self.died: Callable[[DiskThreadDied], None] = lambda _: None
        self.open = asyncio.Event()
        self.open.set()
        self.jobs = 0

    def begin(self, job: Callable[[], T], done: Callable[[T | None, BaseException | None], None]) -> None:
        """Whoever asks here waits."""
        raise NotImplementedError

    async def call(self, job: Callable[[], T]) -> T:
        """Do it when the test lets it."""
        await self.open.wait()
        self.jobs += 1
        return job()

    def close(self) -> None:
        """There is nothing to end."""


def write(path: Path, **passwords: str) -> Path:
    lines = [line_of(name.replace("_", "-"), secret_of(word.encode(), SALT)) for name, word in passwords.items()]
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    path.chmod(0o600)
    return path


async def test_a_password_lets_in_who_has_it(tmp_path: Path) -> None:
    users = Users(str(write(tmp_path / "users", plug="open", pump="sesame")), Thread())
    assert await users.check("plug", b"open", GATEWAY) is Reason.SUCCESS
    assert await users.check("pump", b"open", GATEWAY) is Reason.BAD_USER_NAME_OR_PASSWORD
    assert await users.check("nobody", b"open", GATEWAY) is Reason.BAD_USER_NAME_OR_PASSWORD
    assert await users.check("plug", b"x" * 5000, GATEWAY) is Reason.BAD_USER_NAME_OR_PASSWORD


async def test_who_was_let_in_before_comes_back_without_the_thread(tmp_path: Path) -> None:
    thread = Thread()
    users = Users(str(write(tmp_path / "users", plug="open")), thread)
    await users.check("plug", b"open", GATEWAY)
    thread.open.clear()
    assert await users.check("plug", b"open", GATEWAY) is Reason.SUCCESS
    assert thread.jobs == 1
    thread.open.set()
    assert await users.check("plug", b"else", GATEWAY) is Reason.BAD_USER_NAME_OR_PASSWORD


async def test_a_file_that_changes_is_taken_up_at_the_next_login(tmp_path: Path) -> None:
    path = write(tmp_path / "users", plug="open", pump="sesame")
    users = Users(str(path), Thread())
    assert await users.check("plug", b"open", GATEWAY) is Reason.SUCCESS
    write(path, plug="changed", pump="sesame", third="new")
    assert await users.check("plug", b"open", GATEWAY) is Reason.BAD_USER_NAME_OR_PASSWORD
    assert await users.check("plug", b"changed", GATEWAY) is Reason.SUCCESS
    assert await users.check("third", b"new", GATEWAY) is Reason.SUCCESS
    assert users.knows("third")
    assert not users.knows("fourth")


async def test_a_file_that_breaks_leaves_the_users_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "users", plug="open")
    users = Users(str(path), Thread())
    path.write_text("plug:broken\n", "utf-8")
    for _ in range(3):
        assert await users.check("plug", b"open", GATEWAY) is Reason.SUCCESS
    told = [record for record in caplog.records if getattr(record, "event", "") == "mqtt_users_unreadable"]
    assert len(told) == 1
    assert "line 1: must be name:scrypt$n$r$p$salt$hash" in told[0].getMessage()
    write(path, plug="mended")
    assert await users.check("plug", b"mended", GATEWAY) is Reason.SUCCESS


async def test_a_user_that_goes_while_the_password_is_compared_is_not_let_in(tmp_path: Path) -> None:
    path = write(tmp_path / "users", plug="open", pump="sesame")
    thread = Thread()
    users = Users(str(path), thread)
    thread.open.clear()
    login = asyncio.ensure_future(users.check("plug", b"open", GATEWAY))
    await asyncio.sleep(0)
    write(path, pump="sesame")
    other = asyncio.ensure_future(users.check("pump", b"sesame", "192.0.2.2"))  # this one reads the file again
    await asyncio.sleep(0)
    thread.open.set()
    assert await login is Reason.BAD_USER_NAME_OR_PASSWORD
    assert await other is Reason.SUCCESS


@pytest.mark.slow
async def test_a_flood_of_logins_waits_for_little_and_the_rest_is_told_at_once(tmp_path: Path) -> None:
    thread = Thread()
    users = Users(str(write(tmp_path / "users", plug="open")), thread)
    thread.open.clear()
    flood = [
        asyncio.ensure_future(users.check("plug", b"guess", f"192.0.2.{number % 20}")) for number in range(20 * 20)
    ]
    await asyncio.sleep(0)
    busy = [login for login in flood if login.done()]
    assert len(flood) - len(busy) == MAX_WAITING
    assert {login.result() for login in busy} == {Reason.SERVER_BUSY}
    thread.open.set()
    await asyncio.gather(*flood)
    assert thread.jobs == MAX_WAITING
    assert await users.check("plug", b"open", GATEWAY) is Reason.SUCCESS


async def test_one_address_does_not_take_all_places(tmp_path: Path) -> None:
    thread = Thread()
    users = Users(str(write(tmp_path / "users", plug="open")), thread)
    thread.open.clear()
    flood = [asyncio.ensure_future(users.check("plug", b"guess", "192.0.2.66")) for _ in range(100)]
    await asyncio.sleep(0)
    assert sum(not login.done() for login in flood) == MAX_WAITING_OF_ONE
    other = asyncio.ensure_future(users.check("plug", b"open", GATEWAY))
    thread.open.set()
    assert await other is Reason.SUCCESS
    await asyncio.gather(*flood)


def test_a_file_with_mistakes_is_an_error_that_names_each_line(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text("plug:x\n\npump:scrypt$1$1$1$a$b\n", "utf-8")
    with pytest.raises(ConfigError, match=r"mqtt\.users_file: line 1: .*; line 3: "):
        Users(str(path), Thread())


def test_a_file_that_is_not_there_or_no_text_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "users"
    with pytest.raises(ConfigError, match="No such file"):
        Users(str(path), Thread())
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8 at byte 0"):
        Users(str(path), Thread())


def test_a_file_that_everybody_may_read_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "users", plug="open")
    path.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        Users(str(path), Thread())
    assert [getattr(record, "event", "") for record in caplog.records] == ["mqtt_users_open"]
    os.chmod(path, 0o640)  # noqa: PTH101  the other way of saying it
    caplog.clear()
    Users(str(path), Thread())
    assert caplog.records == []
