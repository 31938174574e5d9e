"""Messages to systemd (sd_notify) and settings from it (directories, watchdog). Does nothing without systemd."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from edgeagent.errors import ConfigError, ListenFailed, Problem

# FileDescriptorName= of the socket units: the listener that a socket is for.
HTTP_SOCKETS = "http"
MQTT_SOCKETS = "mqtt"
UNIX_SOCKETS = "socket"
# The descriptors begin behind those of input, output and errors (SD_LISTEN_FDS_START).
_FIRST_DESCRIPTOR = 3
SYSTEM_STATE_DIRECTORY = Path("/var/lib/edgeagent")
# READY=1 must not be lost because systemd is busy; a hanging systemd must not block the loop for long.
_SEND_TIMEOUT_S = 1.0
# For so many intervals of the watchdog a thread may be busy with one disk operation: twice WatchdogSec=.
_PATIENCE = 4

log = logging.getLogger(__name__)


def notify(state: str, env: Mapping[str, str] = os.environ) -> None:
    """Send a state such as `READY=1` to `$NOTIFY_SOCKET`; do nothing if that is not set.

    If the manager cannot be reached, that is logged and ignored: a notification never stops the work.
    """
    address = env.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # abstract: a name without a file
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.settimeout(_SEND_TIMEOUT_S)
            sock.sendto(state.encode(), address)
    except OSError as exc:
        log.warning(
            "cannot notify systemd on $NOTIFY_SOCKET: %s",
            exc,
            extra={"event": "systemd_notify_failed", "state": state.partition("=")[0]},
        )


def ready(env: Mapping[str, str] = os.environ) -> None:
    """Report that the start is complete: events are accepted from now on."""
    notify("READY=1", env)


def reloading(env: Mapping[str, str] = os.environ) -> None:
    """Report that the configuration is being read again; `ready` must follow, whether it was accepted or not."""
    microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000  # by it systemd tells new notices from old ones
    notify(f"RELOADING=1\nMONOTONIC_USEC={microseconds}", env)


def stopping(env: Mapping[str, str] = os.environ) -> None:
    """Report that the process is stopping."""
    notify("STOPPING=1", env)


def status(text: str, env: Mapping[str, str] = os.environ) -> None:
    """Report what the process is doing, in one line for `systemctl status`."""
    notify("STATUS=" + " ".join(text.split()), env)


def watchdog(env: Mapping[str, str] = os.environ) -> None:
    """Report that the process is alive; to be called every `watchdog_interval_s()`."""
    notify("WATCHDOG=1", env)


async def keep_watchdog(interval_s: float, threads: Mapping[str, Callable[[], Awaitable[object]]]) -> None:
    """Report every `interval_s` that the event loop runs and that its threads answer, until cancelled.

    `threads`: by name, how to ask one for a sign of life; it may wait for the work before it. One that gives none for
    `_PATIENCE` intervals is stuck, as on a disk that does not answer. Then nothing is reported until it is back, and
    systemd ends the process.
    """
    import asyncio  # noqa: PLC0415  whoever only asks for a directory decides later how asyncio is loaded

    loop = asyncio.get_running_loop()
    asked: dict[str, tuple[asyncio.Future[object], float]] = {}
    stuck: set[str] = set()
    try:
        while True:
            for name, ask in threads.items():
                if name not in asked or asked[name][0].done():
                    stuck.discard(name)
                    sign: asyncio.Future[object] = asyncio.ensure_future(ask())
                    sign.add_done_callback(lambda done: done.cancelled() or done.exception())  # others tell of it
                    asked[name] = sign, loop.time()
                elif name not in stuck and loop.time() - asked[name][1] >= _PATIENCE * interval_s:
                    stuck.add(name)
                    _log_stuck(name, loop.time() - asked[name][1])
            if not stuck:
                watchdog()
            await asyncio.sleep(interval_s)
    finally:
        for sign, _ in asked.values():
            sign.cancel()


def _log_stuck(name: str, seconds: float) -> None:
    log.critical(
        "the thread %s has not come back for %.0f s, as when a disk does not answer: systemd is no longer told that "
        "the process is alive, and will end it; what was accepted is on disk",
        name,
        seconds,
        extra={"event": "thread_stuck", "thread_name": name},
    )


def watchdog_interval_s(env: Mapping[str, str] = os.environ, pid: int | None = None) -> float | None:
    """How often to call `watchdog`, in seconds: half of the time after which systemd considers the process hung.

    None if systemd does not watch it, or watches another process (`$WATCHDOG_PID`, inherited by mistake).
    """
    usec = env.get("WATCHDOG_USEC", "")
    watched = env.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or int(usec) == 0:
        return None
    if watched and watched != str(os.getpid() if pid is None else pid):
        return None
    return int(usec) / 2_000_000


def passed_sockets(env: Mapping[str, str] = os.environ, pid: int | None = None) -> dict[str, list[socket.socket]]:
    """The sockets on which systemd listens for this process, by the name of the listener that each is for.

    They were there before the process and stay after it, so that a client that connects in between waits and is not
    refused. To be called once: the descriptors are owned by what is returned. See sd_listen_fds(3).

    Raises:
        ListenFailed: a descriptor has another name, or is no stream socket that listens.
    """
    count = env.get("LISTEN_FDS", "")
    if env.get("LISTEN_PID") != str(os.getpid() if pid is None else pid) or not count.isdecimal():
        return {}
    names = env.get("LISTEN_FDNAMES", "").split(":")
    passed: dict[str, list[socket.socket]] = {HTTP_SOCKETS: [], MQTT_SOCKETS: [], UNIX_SOCKETS: []}
    for place in range(int(count)):
        descriptor, name = _FIRST_DESCRIPTOR + place, names[place] if place < len(names) else ""
        if name not in passed:
            remedy = f"set FileDescriptorName= of its .socket unit to one of {', '.join(sorted(passed))}"
            raise ListenFailed(f"descriptor {descriptor}", f"systemd passes it under the name {name!r}", remedy)
        passed[name].append(_listening(descriptor, name))
    return passed


def _listening(descriptor: int, name: str) -> socket.socket:
    try:
        sock = socket.socket(fileno=descriptor)
        if sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.set_inheritable(False)
            sock.setblocking(False)
            return sock
        sock.close()
        reason = "is no stream socket that listens"
    except OSError as exc:
        reason = os.strerror(exc.errno or 0).lower()
    raise ListenFailed(
        f"descriptor {descriptor}", f"{name}: {reason}", "use ListenStream= and Accept=no in the .socket unit"
    )


def state_directory(configured: str, env: Mapping[str, str] = os.environ, uid: int | None = None) -> Path:
    """The state directory: `agent.state_dir`, `$STATE_DIRECTORY`, `/var/lib/edgeagent` for root, else the user's own.

    Raises:
        ConfigError: none is configured and the environment names no home directory.
    """
    if configured:
        return Path(configured)
    if given := _first_directory(env, "STATE_DIRECTORY"):
        return given
    if (os.getuid() if uid is None else uid) == 0:
        return SYSTEM_STATE_DIRECTORY
    if os.path.isabs(state_home := env.get("XDG_STATE_HOME", "")):  # noqa: PTH117  XDG says to ignore a relative one
        return Path(state_home) / "edgeagent"
    if home := env.get("HOME"):
        return Path(home) / ".local/state/edgeagent"
    raise ConfigError(
        "environment", [Problem("HOME", "is not set, so there is no directory for the state; set agent.state_dir")]
    )


def runtime_directory(state_dir: Path, env: Mapping[str, str] = os.environ) -> Path:
    """The directory of the agent's socket: `$RUNTIME_DIRECTORY`, otherwise the state directory."""
    return _first_directory(env, "RUNTIME_DIRECTORY") or state_dir


def _first_directory(env: Mapping[str, str], name: str) -> Path | None:
    """The first of the directories that systemd lists in a variable, separated by colons."""
    first = env.get(name, "").partition(":")[0]
    return Path(first) if first else None
