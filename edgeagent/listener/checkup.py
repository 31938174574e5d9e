"""What `edgeagent doctor` sees of the listener: are its addresses free, do its certificates and users work?"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from edgeagent.common.finding import Finding, fail, ok, warn
from edgeagent.common.plural import counted
from edgeagent.config.addresses import split_listener
from edgeagent.config.tables import Mqtt
from edgeagent.errors import ConfigError
from edgeagent.listener.passwords import read_users
from edgeagent.listener.sockets import bound_sockets
from edgeagent.listener.tls import ServerCertificates

_IS_TAKEN = "another program listens there, perhaps a Mosquitto"
_MAKE_ROOM = "stop it (`systemctl disable --now mosquitto`), or give mqtt.listen another port"


def device_listener_findings(mqtt: Mqtt, *, is_running: bool) -> Iterator[Finding]:
    """What can be seen without a device. `is_running`: an agent runs here, and has the addresses itself."""
    for listen in mqtt.listeners:
        yield _address_finding(listen, is_running=is_running)
    if any(split_listener(listen).is_tls for listen in mqtt.listeners):
        try:
            ServerCertificates(mqtt).load()
        except ConfigError as exc:
            yield fail("mqtt certificate", str(exc), "correct the file; a running agent goes on with the one before")
        else:
            yield ok("mqtt certificate", f"{mqtt.cert_file} and its key work")
    if mqtt.users_file:
        yield from _users_findings(mqtt.users_file)


def _address_finding(listen: str, *, is_running: bool) -> Finding:
    subject = f"mqtt.listen {listen}"
    try:
        sockets = bound_sockets(split_listener(listen), [])
    except OSError as exc:
        if exc.errno != errno.EADDRINUSE:
            reason = os.strerror(exc.errno).lower() if exc.errno is not None and exc.errno > 0 else str(exc)
            return fail(subject, reason, "set mqtt.listen to an address of this machine")
        if is_running:
            return ok(subject, "in use, by the agent that runs")
        return fail(subject, _IS_TAKEN, _MAKE_ROOM)
    for sock in sockets:
        sock.close()
    return warn(subject, "free, although an agent runs", "restart the agent") if is_running else ok(subject, "is free")


def _users_findings(file: str) -> Iterator[Finding]:
    try:
        users, problems = read_users(Path(file).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "is no UTF-8"
        yield fail("mqtt users", f"{file}: {reason}", "let the user of the service read it")
        return
    if problems:
        yield fail("mqtt users", f"{file}: {'; '.join(problems)}", "set the passwords again with `edgeagent passwd`")
    elif not users:
        yield warn("mqtt users", f"{file} has no users: nobody comes in by a password", "`edgeagent passwd`")
    else:
        yield ok("mqtt users", f"{file} has {counted(len(users), 'user')}")
