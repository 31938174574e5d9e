from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edgeagent.errors import ConfigError
from edgeagent.host import systemd
from tests.waiting import DEADLINE_S


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    """A socket as systemd's, and the environment that names it."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(DEADLINE_S)
        yield sock, {"NOTIFY_SOCKET": str(tmp_path / "notify")}


def test_each_notification_is_one_datagram_in_systemds_words(manager: tuple[socket.socket, dict[str, str]]) -> None:
    sock, env = manager
    systemd.ready(env)
    before_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    systemd.reloading(env)
    systemd.status("uplink is down;\n3 events on disk", env)
    systemd.watchdog(env)
    systemd.stopping(env)
    assert sock.recv(1024) == b"READY=1"
    reloading, _, instant = sock.recv(1024).partition(b"\nMONOTONIC_USEC=")
    assert reloading == b"RELOADING=1"
    assert before_us <= int(instant) < before_us + 60_000_000
    assert [sock.recv(1024) for _ in range(3)] == [
        b"STATUS=uplink is down; 3 events on disk",
        b"WATCHDOG=1",
        b"STOPPING=1",
    ]


def test_a_status_from_outside_cannot_add_a_second_assignment(manager: tuple[socket.socket, dict[str, str]]) -> None:
    sock, env = manager
    systemd.status("broker said: x\nMAINPID=1", env)
    assert b"\n" not in sock.recv(1024)


def test_an_abstract_socket_is_reached_too() -> None:
    name = f"edgeagent-test-{os.getpid()}"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as sock:
        sock.bind("\0" + name)
        sock.settimeout(DEADLINE_S)
        systemd.ready({"NOTIFY_SOCKET": "@" + name})
        assert sock.recv(1024) == b"READY=1"


def test_without_systemd_nothing_happens(caplog: pytest.LogCaptureFixture) -> None:
    systemd.ready({})
    systemd.ready({"NOTIFY_SOCKET": ""})
    assert not caplog.records


def test_a_manager_that_is_gone_is_a_warning_and_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    systemd.ready({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.__dict__["event"] == "systemd_notify_failed"


@pytest.mark.parametrize(
    ("env", "interval_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "43"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
    ],
)
def test_the_watchdog_is_fed_twice_in_its_time_and_only_by_the_process_it_watches(
    env: dict[str, str], interval_s: float | None
) -> None:
    assert systemd.watchdog_interval_s(env, pid=42) == interval_s


def test_the_watchdog_means_this_process_when_its_own_id_is_named() -> None:
    assert systemd.watchdog_interval_s({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}) == 1.0


@pytest.mark.parametrize(
    ("configured", "env", "uid", "expected"),
    [
        ("/srv/state", {"STATE_DIRECTORY": "/var/lib/x"}, 0, "/srv/state"),
        ("", {"STATE_DIRECTORY": "/var/lib/x", "HOME": "/h"}, 1000, "/var/lib/x"),
        ("", {"STATE_DIRECTORY": "/var/lib/x:/var/lib/y"}, 0, "/var/lib/x"),
        ("", {"XDG_STATE_HOME": "/x", "HOME": "/h"}, 0, "/var/lib/edgeagent"),
        ("", {"XDG_STATE_HOME": "/x", "HOME": "/h"}, 1000, "/x/edgeagent"),
        ("", {"HOME": "/h"}, 1000, "/h/.local/state/edgeagent"),
        ("", {"XDG_STATE_HOME": "relative", "HOME": "/h"}, 1000, "/h/.local/state/edgeagent"),
        ("", {"XDG_STATE_HOME": "", "HOME": "/h"}, 1000, "/h/.local/state/edgeagent"),
    ],
)
def test_the_state_directory_is_the_configured_one_or_systemds_or_roots_or_the_users(
    configured: str, env: dict[str, str], uid: int, expected: str
) -> None:
    assert systemd.state_directory(configured, env, uid) == Path(expected)


def test_without_a_home_the_error_names_the_key_to_set() -> None:
    with pytest.raises(ConfigError, match=r"HOME: is not set.*agent\.state_dir"):
        systemd.state_directory("", {}, 1000)


def test_the_socket_lives_in_the_runtime_directory_or_beside_the_state() -> None:
    state = Path("/var/lib/edgeagent")
    assert systemd.runtime_directory(state, {"RUNTIME_DIRECTORY": "/run/edgeagent:/run/other"}) == Path(
        "/run/edgeagent"
    )
    assert systemd.runtime_directory(state, {}) == state
