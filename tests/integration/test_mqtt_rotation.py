from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.common.units import Duration
from edgeagent.config.tables import Connection
from edgeagent.errors import Denied
from edgeagent.links.rotation import Rotation
from edgeagent.links.session import keep_connected
from edgeagent.ports.link import Subscription, Will
from tests.ending import end
from tests.fakes.certificates import Certificates
from tests.fakes.link import code_of
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.waiting import until


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    directory = tmp_path / "certificates"
    directory.mkdir()
    made = Certificates(directory)
    made.issue("client", common_name="first")
    return made


@pytest.fixture
async def tls_broker(tmp_path: Path, certificates: Certificates) -> AsyncIterator[Mosquitto]:
    """It takes the common name of a client's certificate for its user name, and logs it."""
    listener = [*certificates.listener(), "use_identity_as_username true"]
    async with Mosquitto(tmp_path, listener=listener, scheme="mqtts") as broker:
        yield broker


@contextlib.asynccontextmanager
async def kept(broker: Mosquitto, **keys: Any) -> AsyncIterator[tuple[MqttClient, Rotation]]:
    """A client that looks at its certificates all the time."""
    connection = Connection(url=broker.url, session_expiry=Duration(100), **keys)
    rotation = Rotation(connection)
    client = MqttClient(broker.url, "gw")
    session = asyncio.create_task(
        keep_connected(
            connection,
            client,
            client_id="gw",
            subscriptions=[Subscription("a")],
            will=Will("gone", b"gw"),
            rotation=rotation,
            base_s=0.02,
            cap_s=0.2,
            check_s=0.02,
        )
    )
    try:
        await client.wait_up()
        yield client, rotation
    finally:
        await end(session)


def connections(broker: Mosquitto) -> list[tuple[str, str]]:
    """Client id and user name of each that the broker let in."""
    return re.findall(r"New client connected from \S+ as (\S+) \(.*u'(.*)'\)", broker.log_file.read_text("utf-8"))


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Why new certificates were refused, as the operator was told."""
    return [record.message for record in caplog.records if vars(record).get("event") == "certificate_refused"]


async def test_a_new_certificate_is_tried_beside_the_first_connection_and_then_used(
    tls_broker: Mosquitto, certificates: Certificates
) -> None:
    async with kept(tls_broker, **certificates.client) as (client, _):
        certificates.issue("client", common_name="second")
        await client.wait_up(2)
        assert code_of(await client.publish("a", b"1")) == 0
        await client.message("a")
    assert [str(error).partition(": ")[2] for error in client.downs] == [
        "the certificates were changed, connecting again with the new ones"
    ]
    (first, trial, second) = connections(tls_broker)
    assert (first, second) == (("gw", "first"), ("gw", "second"))
    assert re.fullmatch(r"gw-trial-[0-9a-f]{8}", trial[0])
    assert trial[1] == "second"


async def test_the_session_outlives_the_exchange_and_the_will_is_not_published(
    tls_broker: Mosquitto, certificates: Certificates
) -> None:
    certificates.issue("watcher", common_name="watcher")
    watcher_keys = {
        **certificates.client,
        "cert_file": certificates.file("watcher.pem"),
        "key_file": certificates.file("watcher.key"),
    }
    async with MqttClient(tls_broker.url, "watcher", "gone", **watcher_keys) as watcher:
        async with kept(tls_broker, **certificates.client) as (client, _):
            certificates.issue("client", common_name="second")
            await client.wait_up(2)
            assert client.ups[-1] is True
        await watcher.publish("gone", b"nobody is")  # whatever came before this would be there
        assert [(await watcher.message()).payload] == [b"nobody is"]


async def test_a_certificate_that_the_broker_does_not_take_changes_nothing_but_is_told(
    tls_broker: Mosquitto, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    async with kept(tls_broker, **certificates.client) as (client, _):
        certificates.issue("client", common_name="stranger", trusted=False)
        await until(lambda: bool(told(caplog)))
        assert client.downs == []
        assert code_of(await client.publish("a", b"1")) == 0
        assert "the old ones stay in use" in told(caplog)[0]
        assert "check cert_file and key_file" in told(caplog)[0]

        # Also after the connection was lost: the old one is still the one that works.
        await tls_broker.restart()
        await client.wait_up(2)
        assert connections(tls_broker)[-1] == ("gw", "first")

        # And a good one is taken up as soon as it is there.
        certificates.issue("client", common_name="second")
        await until(lambda: ("gw", "second") in connections(tls_broker))


async def test_a_key_that_does_not_fit_yet_costs_nothing(
    tls_broker: Mosquitto, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    certificates.issue("next", common_name="second")
    async with kept(tls_broker, **certificates.client) as (client, _):
        certificates.copy("next.pem", "client.pem")
        await until(lambda: bool(told(caplog)))
        assert "client.key cannot be used" in told(caplog)[0]
        assert client.downs == []
        certificates.copy("next.key", "client.key")
        await until(lambda: ("gw", "second") in connections(tls_broker))


async def test_files_that_are_gone_do_not_keep_us_away(tls_broker: Mosquitto, certificates: Certificates) -> None:
    async with kept(tls_broker, **certificates.client) as (client, _):
        certificates.remove("ca.pem", "client.pem", "client.key")
        assert client.link is not None
        client.link.abort()  # type: ignore[attr-defined]  # the engine's, for the session
        await client.wait_up(2)
    assert any(isinstance(error, Denied) and "cannot be used" in str(error) for error in client.downs)


async def test_the_days_left_of_the_certificate_in_use_are_known(
    tls_broker: Mosquitto, certificates: Certificates
) -> None:
    async with kept(tls_broker, **certificates.client) as (_, rotation):
        assert rotation.days_left is not None
        assert rotation.days_left > 365
