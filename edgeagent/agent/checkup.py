"""The checks of `edgeagent doctor` for an agent, running or not: state directory, disk, brokers, files and clock.

The checks change nothing of the agent's and do not disturb a running one: it keeps its lock, and the brokers are tried
under other client ids.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from edgeagent.agent.state import agent_id, state_directory
from edgeagent.common.finding import Finding, Level, fail, ok, warn
from edgeagent.config.devices import listener_warnings
from edgeagent.config.loops import topic_warnings
from edgeagent.config.tables import AgentConfig, Uplink
from edgeagent.errors import CommandFailed, ConfigError, OutboxLocked, StorageFailed
from edgeagent.host.checkup import connection_findings, listener_findings, secret_findings, webhook_file_findings
from edgeagent.host.mosquitto import mosquitto_findings
from edgeagent.links.checkup import broker_findings
from edgeagent.links.trial import BrokerTrial
from edgeagent.listener.checkup import device_listener_findings
from edgeagent.outbox.files import Filesystem, OsFilesystem
from edgeagent.outbox.lock import reading_lock
from edgeagent.outbox.overlay import Overlay
from edgeagent.outbox.owner import acting_as_owner, user_name
from edgeagent.wire.topics import (
    AGENTS_TRIGGER,
    ON_THE_BASE_TOPIC,
    STATUS_QUERY,
    TRIGGER,
    is_unbound,
    manage_topic,
    report_of_days_topic,
    state_topic,
    with_agent,
)

SYNCS = 20
# The fastest disks that really keep what they acknowledge take longer than this; memory takes a microsecond.
REAL_SYNC_S = 30e-6
_SYNC_BYTES = 512
# edgeagent is younger than this; a clock without a battery starts in 1970, or in the year of its firmware.
_FIRST_YEAR = 2024
_MIB = 1 << 20
_OWN_BITS = stat.S_IRUSR | stat.S_IWUSR
_SHOWN_PATHS = 3


async def examine(config: AgentConfig) -> AsyncIterator[Finding]:
    """Yield the findings about an agent as they are made; an unreachable broker takes its whole timeout."""
    directory = state_directory(config)
    for finding in _machine_findings(config, directory):
        yield finding
    try:
        agent = agent_id(config, directory, Overlay())
    except (ConfigError, StorageFailed) as exc:
        yield fail("agent id", str(exc), "set agent.id, or correct the file")
        return
    uplink = config.uplink
    filters = [uplink.response_topic, *uplink.status_topics] if uplink.settle == "engine" else uplink.status_topics
    filters = [with_agent(topic_filter, agent) for topic_filter in filters]
    if uplink.settle == "engine":
        for finding in _topic_findings(uplink.trigger_topic):
            yield finding
    async for finding in broker_findings("uplink", uplink, _uplink_trial(uplink, agent, filters)):
        yield finding
    async for finding in _device_findings(config, agent):
        yield finding
    async for finding in _service_findings(config, agent):
        yield finding


async def _service_findings(config: AgentConfig, agent: str) -> AsyncIterator[Finding]:
    """The services to which the agent brings something: webhooks, a collector of spans, the store of large data."""
    if config.relay.webhook:
        from edgeagent.webhooks.checkup import webhook_findings  # noqa: PLC0415  as in the agent: few use it

        async for finding in webhook_findings("relay.webhook", config.relay.webhook):
            yield finding
    if config.tracing is not None:
        from edgeagent.tracing.checkup import collector_findings  # noqa: PLC0415  as above

        async for finding in collector_findings(config.tracing):
            yield finding
    if config.artifacts is not None:
        from edgeagent.artifacts.checkup import store_findings  # noqa: PLC0415  as above
        from edgeagent.outbox.disk import DiskThread  # noqa: PLC0415  as above

        thread = DiskThread("artifacts")
        try:
            async for finding in store_findings(config.artifacts, agent, thread):
                yield finding
        finally:
            thread.close()


def _uplink_trial(uplink: Uplink, agent: str, filters: Sequence[str]) -> BrokerTrial:
    """What the agent does at the uplink's broker."""
    publishes = [with_agent(uplink.trigger_topic, agent), state_topic(agent)]
    requests: tuple[str, ...] = ()
    if uplink.settle == "engine":
        publishes.append(STATUS_QUERY)
        requests = (manage_topic(agent),)
    if uplink.report:
        publishes.append(report_of_days_topic(agent))
    return BrokerTrial(with_agent(uplink.client_id, agent), tuple(filters), tuple(publishes), agent, requests)


async def _device_findings(config: AgentConfig, agent: str) -> AsyncIterator[Finding]:
    """The ways by which devices' messages come in over MQTT."""
    local = config.local
    if local is not None:
        trial = BrokerTrial(with_agent(local.client_id, agent), tuple(entry.topic for entry in local.subscribe))
        async for finding in broker_findings("local", local, trial):
            yield finding
    if config.mqtt is not None:
        for finding in device_listener_findings(config.mqtt, is_running=_is_running(config)):
            yield finding
    for problem in (*topic_warnings(config), *listener_warnings(config)):
        yield warn(problem.path, problem.reason, "change it if that is not what is meant")
    if local is not None:
        for finding in mosquitto_findings(local):
            yield finding


def _is_running(config: AgentConfig) -> bool:
    """Whether an agent has the state directory."""
    try:
        with reading_lock(state_directory(config)):
            return False
    except OutboxLocked:
        return True
    except StorageFailed:  # told elsewhere
        return False


def _topic_findings(trigger_topic: str) -> Iterator[Finding]:
    """Whether a dispatcher accepts triggers on the configured topic."""
    subject = f"uplink trigger topic {trigger_topic}"
    if trigger_topic == TRIGGER:
        yield ok(subject, ON_THE_BASE_TOPIC)
    elif is_unbound(trigger_topic):
        found = "a dispatcher with bind_agent = true (the default) refuses triggers that come on it"
        yield warn(subject, found, f'set uplink.trigger_topic = "{AGENTS_TRIGGER}"')


def _machine_findings(config: AgentConfig, directory: Path) -> Iterator[Finding]:
    """The findings that need no connection."""
    yield clock_finding(datetime.now(UTC))
    yield from connection_findings("uplink", config.uplink)
    if config.local is not None:
        yield from connection_findings("local", config.local)
    if config.mqtt is not None:
        yield from listener_findings(config.mqtt)
    for index, table in enumerate(config.relay.webhook):
        yield from webhook_file_findings(f"relay.webhook[{index}]", table)
    yield from secret_findings({"http.token_file": config.http.token_file})
    if config.tracing is not None:
        yield from secret_findings({"tracing.headers_file": config.tracing.headers_file})
    # A path that may not be inspected counts as missing: then its parent is what cannot be written to.
    places = (directory, *directory.absolute().parents)
    place = next(path for path in places if os.path.exists(path))  # noqa: PTH110  Path's raises there
    try:
        with acting_as_owner(directory):  # so that it sees what the agent sees, and leaves no files of root's behind
            findings = [*_state_findings(directory, place)]
    except CommandFailed as exc:
        findings = [fail(f"state directory {directory}", str(exc), "run the doctor as the user of the service")]
    yield from findings
    if any(finding.level is Level.FAIL and finding.subject.startswith("state directory") for finding in findings):
        return
    yield space_finding(directory, shutil.disk_usage(place).free, int(config.outbox.max_bytes))


def _state_findings(directory: Path, place: Path) -> Iterator[Finding]:
    state = directory_finding(directory, place)
    yield state
    if state.level is Level.FAIL:
        return
    if place == directory:
        yield files_finding(directory)
    yield sync_finding(place, OsFilesystem())


def files_finding(directory: Path) -> Finding:
    """Whether everything in the state directory belongs to its owner, is usable by it, and is closed to others."""
    subject, owner = "state files", directory.stat().st_uid
    foreign, closed, opened, count = [], [], [], 0
    for path in _paths(directory):
        try:
            found = path.lstat()
        except OSError:  # a running agent removes files
            continue
        count += 1
        if found.st_uid != owner:
            foreign.append(path)
        elif not stat.S_ISSOCK(found.st_mode) and found.st_mode & _OWN_BITS != _OWN_BITS:
            closed.append(path)
        elif stat.S_ISLNK(found.st_mode) or (found.st_mode & stat.S_IRWXO and not stat.S_ISSOCK(found.st_mode)):
            opened.append(path)
    if foreign or closed:
        name, paths = user_name(owner), foreign or closed
        what = f"do not belong to {name}, the directory's owner" if foreign else f"are closed to their owner, {name}"
        remedy = f"chown -R {name}: {directory} && chmod -R u+rwX {directory}, and start the agent again"
        return fail(subject, f"{len(paths)} {what}: {_some(paths)}", remedy)
    if opened:
        found_open = f"{len(opened)} are links, or open to everybody on this machine: {_some(opened)}"
        return warn(subject, found_open, f"chmod -R o= {directory}, and remove links")
    return ok(subject, f"all {count} belong to {user_name(owner)} and are closed to others")


def _paths(directory: Path) -> Iterator[Path]:
    for parent, directories, names in os.walk(directory):
        yield from (Path(parent) / name for name in sorted([*directories, *names]))


def _some(paths: list[Path]) -> str:
    shown = ", ".join(str(path) for path in paths[:_SHOWN_PATHS])
    return shown if len(paths) <= _SHOWN_PATHS else f"{shown}, …"


def clock_finding(now: datetime) -> Finding:
    """Whether the clock can be right: it is not before edgeagent existed."""
    if now.year < _FIRST_YEAR:
        found = f"the clock says {now:%Y-%m-%d}: events get wrong times, and certificates look as if not yet valid"
        return warn("clock", found, "have NTP set it, or a real-time clock with a battery")
    return ok("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC")


def directory_finding(directory: Path, place: Path) -> Finding:
    """Whether state can be kept in the directory, and which process uses it.

    `place`: the directory, or its nearest parent that exists.
    """
    subject = f"state directory {directory}"
    if not place.is_dir():
        return fail(subject, f"{place} is not a directory", "remove it, or choose another agent.state_dir")
    if not os.access(place, os.W_OK | os.X_OK, effective_ids=True):
        return _unwritable_finding(subject, place)
    if place != directory:
        return ok(subject, "is not there yet; `edgeagent run` makes it")
    try:
        with reading_lock(directory):
            return ok(subject, "can be written to; no agent runs on it")
    except OutboxLocked as exc:
        return ok(subject, f"can be written to; in use by {exc.holder}")
    except StorageFailed as exc:
        return warn(subject, str(exc), "run the doctor as the user of the service")


def _unwritable_finding(subject: str, place: Path) -> Finding:
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        found = f"{place} is on a disk that is read-only: an agent forwards what is on it, and takes nothing new"
        return fail(subject, found, "replace the disk or mount it for writing, and restart the agent")
    remedy = "give it to the user of the service, or run the doctor as that user"
    return fail(subject, f"{place} cannot be written to", remedy)


def sync_finding(directory: Path, filesystem: Filesystem, now_s: Callable[[], float] = time.perf_counter) -> Finding:
    """Whether a sync takes as long as a real disk needs; measured in a file that is removed again."""
    path = directory / f".doctor-{secrets.token_hex(4)}"
    try:
        median_s = statistics.median(_syncs_s(path, filesystem, now_s))
    except StorageFailed as exc:
        return fail("disk", str(exc), "free space, mount it for writing, or change the disk")
    found = f"a sync takes {_duration(median_s)} (median of {SYNCS})"
    if median_s < REAL_SYNC_S:
        found += ": syncs return before the disk has the data, or it is a RAM disk; a power cut would lose events"
        return warn("disk", found, "choose an agent.state_dir on a disk that really keeps what it acknowledges")
    return ok("disk", found)


def _syncs_s(path: Path, filesystem: Filesystem, now_s: Callable[[], float]) -> list[float]:
    took_s = []
    file = filesystem.create(path, SYNCS * _SYNC_BYTES)
    try:
        for number in range(SYNCS):
            file.write_at(number * _SYNC_BYTES, secrets.token_bytes(_SYNC_BYTES))
            began_s = now_s()
            file.sync()
            took_s.append(now_s() - began_s)
    finally:
        file.close()
        filesystem.remove(path)
    return took_s


def space_finding(directory: Path, free_bytes: int, max_bytes: int) -> Finding:
    """Whether the outbox can grow to its limit; the space that it uses already counts."""
    used_bytes = _size_bytes(directory / "outbox")
    missing_bytes = max_bytes - used_bytes - free_bytes
    found = f"{free_bytes // _MIB} MiB are free; the outbox has {used_bytes // _MIB} of {max_bytes // _MIB} MiB"
    found += ", in whole files that are made before events come"
    if missing_bytes > 0:
        remedy = f"free {-(-missing_bytes // _MIB)} MiB, or lower outbox.max_bytes"
        return warn("free space", f"{found}, so the disk is full before the outbox is", remedy)
    return ok("free space", found)


def _size_bytes(directory: Path) -> int:
    """The size of everything in a directory and below it. Files that a running agent removes meanwhile are skipped."""
    size_bytes = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                size_bytes += (Path(parent) / name).stat().st_size
    return size_bytes


def _duration(duration_s: float) -> str:
    return f"{duration_s * 1e6:.0f} us" if duration_s < 1e-3 else f"{duration_s * 1e3:.1f} ms"  # noqa: PLR2004  1 ms
