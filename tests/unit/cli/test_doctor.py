from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.agent import checkup
from edgeagent.agent.checkup import clock_finding, directory_finding, space_finding, sync_finding
from edgeagent.argo.client import ArgoSettings
from edgeagent.argo.date import server_time
from edgeagent.cli.doctor import _print, dead_finding, outbox_finding, stopped_finding
from edgeagent.common.certificates import expiries
from edgeagent.common.finding import Finding, Level, fail
from edgeagent.config.tables import AgentConfig, AgentTable, MadePath
from edgeagent.errors import EngineUnavailable
from edgeagent.host.checkup import certificate_findings, secret_findings
from edgeagent.outbox.files import Filesystem, OsFilesystem
from edgeagent.outbox.overlay import Overlay
from edgeagent.outbox.records import NORMAL
from edgeagent.outbox.segment import segment_path
from edgeagent.outbox.store import Store
from edgeagent.outbox.verify import overview
from edgeagent.ports.verification import DeadHealth
from tests.fakes.argo_failures import Answer, Failure
from tests.fakes.argo_server import FakeArgo
from tests.fakes.faulty_filesystem import FaultyFilesystem
from tests.fakes.stores import A_SEGMENT, BOOT, LIMITS, fill

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
AUTHORITY = trustme.CA()


def certificate(ends: datetime) -> bytes:
    begins = min(ends, NOW) - timedelta(days=400)
    return AUTHORITY.issue_cert("gw-1.example", not_before=begins, not_after=ends).cert_chain_pems[0].bytes()


REAL = ssl.PEM_cert_to_DER_cert(certificate(NOW).decode())


def judged(file: Path) -> Finding:
    (finding,) = certificate_findings({"uplink.cert_file": str(file)}, NOW)
    return finding


# Certificates.


@pytest.mark.parametrize(
    "ends", [datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2051, 1, 2, 3, 4, 5, tzinfo=UTC)]
)
def test_the_end_of_a_certificate_is_read_in_both_ways_of_writing_it(ends: datetime) -> None:
    assert expiries(b"a comment\n" + certificate(NOW) + certificate(ends)) == [NOW, ends]


def test_an_authority_s_own_certificate_is_read_too() -> None:
    (ends,) = expiries(AUTHORITY.cert_pem.bytes())
    assert ends > NOW


@given(position=st.integers(0, 500), put=st.binary(max_size=4), cut=st.integers(0, 600))
def test_a_damaged_certificate_is_a_value_error_and_nothing_worse(position: int, put: bytes, cut: int) -> None:
    der = bytearray(REAL)
    der[position : position + len(put)] = put
    with contextlib.suppress(ValueError):
        expiries(ssl.DER_cert_to_PEM_cert(bytes(der[:cut])).encode())


def test_a_certificate_that_is_cut_off_or_something_else_is_told() -> None:
    for der in (b"", b"0", REAL[:100], b"\x02" + REAL[1:], b"0\x80" + REAL[2:]):
        with pytest.raises(ValueError, match="a certificate in it"):
            expiries(ssl.DER_cert_to_PEM_cert(der).encode())


@pytest.mark.parametrize(
    ("days", "level", "words"),
    [
        (400, Level.OK, "in 400 days"),
        (31, Level.OK, "in 31 days"),
        (29, Level.WARN, "ends on 2026-06-30, in 29 days"),
        (-3, Level.FAIL, "ended on 2026-05-29, 3 days ago"),
    ],
)
def test_a_certificate_is_judged_by_the_days_that_are_left(tmp_path: Path, days: int, level: Level, words: str) -> None:
    file = tmp_path / "client.pem"
    file.write_bytes(certificate(NOW + timedelta(days=days)))
    finding = judged(file)
    assert finding.level is level
    assert words in finding.found
    assert bool(finding.remedy) == (level is not Level.OK)


def test_one_old_certificate_among_good_ones_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "bundle.pem"
    file.write_bytes(certificate(NOW - timedelta(days=1)) + certificate(NOW + timedelta(days=900)))
    finding = judged(file)
    assert (finding.level, "first of its 2" in finding.found) == (Level.WARN, True)


def test_a_file_without_a_certificate_fails(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(AUTHORITY.issue_cert("gw-1.example").private_key_pem.bytes())
    assert judged(file).level is Level.FAIL
    file.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert judged(file).level is Level.FAIL
    file.unlink()
    assert "cannot be read" in judged(file).found
    assert list(certificate_findings({"uplink.cert_file": ""})) == []


# Secrets.


@pytest.mark.parametrize(
    ("mode", "level"), [(0o600, Level.OK), (0o440, Level.OK), (0o644, Level.WARN), (0o602, Level.WARN)]
)
def test_a_secret_that_everybody_may_read_or_change_is_a_warning(tmp_path: Path, mode: int, level: Level) -> None:
    file = tmp_path / "broker.password"
    file.write_text("correct horse")
    file.chmod(mode)
    findings = list(secret_findings({"uplink.password_file": str(file), "uplink.key_file": ""}))
    assert [finding.level for finding in findings] == [level]
    assert "correct horse" not in str(findings)


def test_a_secret_that_is_gone_fails(tmp_path: Path) -> None:
    (finding,) = secret_findings({"uplink.password_file": str(tmp_path / "none")})
    assert finding.level is Level.FAIL


# The disk.


def clock(step_s: float) -> Callable[[], float]:
    """A clock that goes on by a step each time that it is read."""
    ticks = itertools.count(0.0, step_s)
    return lambda: next(ticks)


def test_syncs_that_cost_nothing_are_a_warning_and_real_ones_are_not(tmp_path: Path) -> None:
    quick = sync_finding(tmp_path, OsFilesystem(), clock(10e-6))
    assert quick.level is Level.WARN
    assert "a sync takes 10 us" in quick.found
    assert "before the disk has the data" in quick.found
    real = sync_finding(tmp_path, OsFilesystem(), clock(2.5e-3))
    assert (real.level, "2.5 ms" in real.found) == (Level.OK, True)
    assert list(tmp_path.iterdir()) == [], "nothing is left"


def test_twenty_new_writes_are_synced_each(tmp_path: Path) -> None:
    disk = FaultyFilesystem()
    sync_finding(tmp_path, disk)
    assert sum(disk.syncs.values()) == checkup.SYNCS


def test_a_disk_that_refuses_fails_and_nothing_is_left(tmp_path: Path) -> None:
    disk = FaultyFilesystem()
    disk.fail(5, "sync")
    finding = sync_finding(tmp_path, disk)
    assert finding.level is Level.FAIL
    assert "the disk failed: sync" in finding.found
    assert list(tmp_path.iterdir()) == []


def test_the_outbox_must_have_room_to_its_limit_and_what_it_has_counts(tmp_path: Path) -> None:
    mib = 1 << 20
    assert space_finding(tmp_path, 300 * mib, 256 * mib).level is Level.OK
    assert "in whole files that are made before events come" in space_finding(tmp_path, 300 * mib, 256 * mib).found
    short = space_finding(tmp_path, 200 * mib, 256 * mib)
    assert short.level is Level.WARN
    assert short.remedy.startswith("free 56 MiB")
    (tmp_path / "outbox" / "normal").mkdir(parents=True)
    with (tmp_path / "outbox" / "normal" / "segment").open("wb") as segment:
        segment.truncate(64 * mib)
    assert space_finding(tmp_path, 200 * mib, 256 * mib).level is Level.OK


# The state directory.


def test_a_directory_that_is_not_there_is_made_later(tmp_path: Path) -> None:
    finding = directory_finding(tmp_path / "state", tmp_path)
    assert (finding.level, "run` makes it" in finding.found) == (Level.OK, True)
    assert not (tmp_path / "state").exists()


def test_a_file_in_its_place_fails(tmp_path: Path) -> None:
    file = tmp_path / "state"
    file.write_text("")
    assert directory_finding(file, file).level is Level.FAIL


def test_a_directory_that_cannot_be_written_to_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # root may write everywhere
    finding = directory_finding(tmp_path, tmp_path)
    assert (finding.level, "cannot be written to" in finding.found) == (Level.FAIL, True)


def test_a_running_agent_is_named_and_keeps_its_lock(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        lock.write("process 4711\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        finding = directory_finding(tmp_path, tmp_path)
        assert finding.found == "can be written to; in use by process 4711"
        assert finding.level is Level.OK
    assert "no agent runs" in directory_finding(tmp_path, tmp_path).found
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


async def test_an_agent_id_that_is_none_fails(tmp_path: Path) -> None:
    (tmp_path / "agent-id").write_text("No Such Id\n")
    config = AgentConfig(agent=AgentTable(state_dir=MadePath(str(tmp_path))))
    findings = [finding async for finding in checkup.examine(config)]
    assert findings[-1].subject == "agent id"
    assert findings[-1].level is Level.FAIL


def test_a_clock_from_before_this_existed_is_a_warning() -> None:
    assert clock_finding(datetime(1970, 1, 1, 0, 0, 40, tzinfo=UTC)).level is Level.WARN
    assert clock_finding(NOW).level is Level.OK


@pytest.mark.parametrize(
    "sent", ["", "yesterday", "Mon, 01 Jan 99999999999999 00:00:00 GMT", "Mon, 01 Jan 2024 25:00:00 GMT"]
)
async def test_a_server_that_does_not_tell_its_time_is_not_judged_by_it(sent: str) -> None:
    async with FakeArgo() as argo:
        argo.fail_next(Failure("answer", Answer(401, b"{}", (("Date", sent),))))
        assert await server_time(ArgoSettings(argo.url)) is None


async def test_a_server_s_time_is_read_over_tls_whatever_it_answers(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
    ca_file = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(ca_file))
    async with FakeArgo(tls=context) as argo:
        answer = Answer(403, b"no", (("Date", "Mon, 01 Jun 2026 12:00:00 GMT"),))
        argo.fail_next(Failure("answer", answer))
        assert await server_time(ArgoSettings(argo.url, ca_file=str(ca_file))) == NOW
        with pytest.raises(EngineUnavailable, match="not trusted"):
            await server_time(ArgoSettings(argo.url))
    with pytest.raises(EngineUnavailable):
        await server_time(ArgoSettings(argo.url, ca_file=str(ca_file)))


# What is printed.


async def test_what_a_server_says_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    async def findings() -> AsyncIterator[Finding]:
        yield fail("engine", "\x1b[2Jall is well\nok    broker", "look")

    assert await _print(findings(), [], as_json=False) == 1
    assert await _print(findings(), [], as_json=True) == 1
    line, written = capsys.readouterr().out.splitlines()
    assert line == "fail  engine: \\x1b[2Jall is well\\nok    broker; look"
    assert "\\u001b[2J" in written


def test_an_outbox_that_lost_something_fails_and_an_old_loss_is_a_warning(tmp_path: Path) -> None:
    directory = tmp_path / "outbox"

    def opened(filesystem: Filesystem) -> Store:
        salts = itertools.count(7)
        return Store(filesystem, directory, LIMITS, boot=BOOT, new_salt=lambda: next(salts), now_ms=lambda: 1_000)

    def found() -> Finding:
        overlay = Overlay()
        return outbox_finding(overview(opened(overlay), overlay, directory))

    fill(opened(OsFilesystem()), A_SEGMENT + 1)  # and killed
    assert (found().level, found().found) == (Level.OK, "5 triggers wait; nothing is known to be lost")
    segment_path(directory / NORMAL, 2).unlink()
    assert found().level is Level.FAIL
    assert "log normal: 1 trigger is lost, seq 5 to 5" in found().found
    assert "how much that was, if anything, is unknown" in found().found
    opened(OsFilesystem()).close()
    assert found().level is Level.WARN
    assert "1 trigger was lost with damaged records" in found().found


def test_an_agent_that_does_not_run_while_triggers_wait_is_a_warning_with_the_command() -> None:
    finding = stopped_finding(1200)
    assert finding.level is Level.WARN
    assert finding.found == "does not run, and 1,200 triggers wait in its outbox"
    assert "systemctl start edgeagent" in finding.remedy


def test_dead_letters_wait_for_a_decision_however_few() -> None:
    assert dead_finding(DeadHealth(max_count=10_000, max_bytes=1 << 20)).level is Level.OK
    finding = dead_finding(DeadHealth(count=1, max_count=10_000, max_bytes=1 << 20))
    assert finding.level is Level.WARN
    assert "1 of at most 10,000" in finding.found
    assert "edgeagent dead ls" in finding.remedy
