from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest

from edgeagent.common.certificate_ends import Ends
from edgeagent.common.certificates import first_to_end
from edgeagent.config.tables import Connection
from edgeagent.errors import Denied, Unavailable
from edgeagent.links.rotation import Rotation
from edgeagent.links.tls import Identity
from tests.fakes.certificates import Certificates

pytestmark = pytest.mark.virtual_time

ADDRESS = "mqtts://broker.example:8883"
REFUSED = Denied(ADDRESS, "the TLS handshake failed (certificate unknown)")
AWAY = Unavailable(ADDRESS, "the connection failed (Connection refused)")


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


async def connected(certificates: Certificates) -> tuple[Rotation, Identity]:
    """A session that is connected with what is on disk."""
    rotation = Rotation(Connection(**certificates.client))
    identity = await rotation.choose(ADDRESS)
    rotation.worked()
    return rotation, identity


async def test_without_a_change_every_attempt_reads_what_is_on_disk(certificates: Certificates) -> None:
    rotation, first = await connected(certificates)
    for _ in range(3):
        identity = await rotation.choose(ADDRESS)
        assert identity.files == first.files
        rotation.failed(AWAY)
    assert not await rotation.changed()


async def test_new_and_old_take_turns_while_neither_gets_through(certificates: Certificates) -> None:
    rotation, old = await connected(certificates)
    certificates.issue("client", "gw-042.example")
    chosen = []
    for _ in range(4):
        chosen.append(await rotation.choose(ADDRESS) is old)
        rotation.failed(AWAY)
    assert chosen == [False, True, False, True]


async def test_what_was_refused_waits_behind_what_worked_but_gets_its_turn(certificates: Certificates) -> None:
    """So that one that was refused too early is used when the old one has run out."""
    rotation, old = await connected(certificates)
    certificates.issue("client", "gw-042.example")
    assert await rotation.changed()
    rotation.refuse(REFUSED)
    assert not await rotation.changed()
    chosen = []
    for _ in range(4):
        chosen.append(await rotation.choose(ADDRESS) is old)
        rotation.failed(AWAY)
    assert chosen == [True, False, True, False]


async def test_one_that_is_refused_when_we_come_back_with_it_is_not_tried_again_beside_the_old_one(
    certificates: Certificates,
) -> None:
    rotation, old = await connected(certificates)
    certificates.issue("client", "gw-042.example")
    assert await rotation.choose(ADDRESS) is not old
    rotation.failed(REFUSED)
    assert await rotation.choose(ADDRESS) is old
    rotation.worked()
    assert not await rotation.changed()


async def test_after_a_trial_that_came_to_nothing_there_is_another(
    certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    rotation, _ = await connected(certificates)
    certificates.issue("client", "gw-042.example")
    for _ in range(3):
        assert await rotation.changed()
        rotation.refuse(AWAY)
    assert len(caplog.records) == 1  # told once


async def test_a_later_exchange_that_fails_for_the_same_reason_is_told_too(
    certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    rotation, _ = await connected(certificates)
    for exchanges in (1, 2):
        certificates.issue("client", "gw-042.example")
        assert await rotation.changed()
        rotation.refuse(REFUSED)
        assert [vars(record)["event"] for record in caplog.records] == ["certificate_refused"] * exchanges


async def test_what_is_half_written_is_denied_and_the_old_one_follows(certificates: Certificates) -> None:
    rotation, old = await connected(certificates)
    certificates.issue("other", "gw-042.example")
    certificates.copy("other.key", "client.key")
    with pytest.raises(Denied, match="cannot be used"):
        await rotation.choose(ADDRESS)
    assert await rotation.choose(ADDRESS) is old


@pytest.mark.parametrize(("days", "level"), [(29, logging.WARNING), (-1, logging.WARNING), (31, None)])
async def test_a_certificate_that_ends_soon_is_told_once_a_day(
    certificates: Certificates, caplog: pytest.LogCaptureFixture, days: int, level: int | None
) -> None:
    certificates.issue("client", "gw-042.example", ends=datetime.now(UTC) + timedelta(days=days, hours=1))
    rotation, _ = await connected(certificates)
    assert rotation.days_left == days
    with mock.patch("edgeagent.links.rotation.time.monotonic") as now_s:
        for hour in range(72):
            now_s.return_value = 1e9 + 3600 * hour
            rotation.warn_when_due(ADDRESS)
    told = [record for record in caplog.records if vars(record)["event"] == "certificate_ends"]
    assert [record.levelno for record in told[1:]] == ([level] * 3 if level else [])
    assert all("client.pem" in record.message and "without a restart" in record.message for record in told)


async def test_there_are_no_days_left_to_tell_without_a_client_certificate(certificates: Certificates) -> None:
    rotation = Rotation(Connection(ca_file=certificates.file("ca.pem")))
    assert rotation.days_left is None
    await rotation.choose(ADDRESS)
    assert rotation.days_left is None


async def test_the_last_day_of_a_certificate_is_told_in_plain_words(
    certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    certificates.issue("client", "gw-042.example", ends=datetime.now(UTC) + timedelta(days=1, hours=1))
    await connected(certificates)
    assert "ends in 1 day:" in caplog.text


async def test_the_ends_are_those_of_the_certificates_in_use(certificates: Certificates) -> None:
    rotation, identity = await connected(certificates)
    assert rotation.ends == identity.ends
    assert rotation.ends.own is not None
    assert rotation.ends.authority is not None
    assert Rotation(Connection()).ends == Ends(None, None), "nothing is known before the first attempt"


async def test_a_client_without_a_certificate_knows_until_when_its_authority_is_of_use(
    certificates: Certificates,
) -> None:
    rotation = Rotation(Connection(ca_file=certificates.file("ca.pem")))
    await rotation.choose(ADDRESS)
    assert rotation.ends.own is None
    assert rotation.ends.authority is not None


@pytest.mark.parametrize(
    ("ends", "first"), [([], None), ([1, 3], 1), ([9, 7, 8], 7), ([1, 2, 9], 9), ([2, 1], 2), ([5], 5)]
)
def test_of_authorities_the_first_to_end_counts_that_has_not_ended_yet(ends: list[int], first: int | None) -> None:
    now = datetime(2030, 1, 6, tzinfo=UTC) if ends != [1, 3] else datetime(2029, 1, 1, tzinfo=UTC)
    days = [datetime(2030, 1, day, tzinfo=UTC) for day in ends]
    assert first_to_end(days, now) == (datetime(2030, 1, first, tzinfo=UTC) if first is not None else None)
