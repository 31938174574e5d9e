from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from edgeagent.config.tables import FilePath
from edgeagent.errors import Denied, UplinkError
from tests.fakes.mosquitto import Mosquitto, MqttClient


class Certificates:
    """A CA in `ca.pem`, a certificate for 127.0.0.1 in `server.*`, one for a gateway in `client.*`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(directory / "ca.pem"))
        trustme.CA().cert_pem.write_to_path(str(directory / "other-ca.pem"))
        for name, host in (("server", "127.0.0.1"), ("misnamed", "other.example"), ("client", "gw-042.example")):
            issued = authority.issue_cert(host)
            issued.cert_chain_pems[0].write_to_path(str(directory / f"{name}.pem"))
            issued.private_key_pem.write_to_path(str(directory / f"{name}.key"))

    def file(self, name: str) -> FilePath:
        """One of them."""
        return FilePath(self.directory / name)

    @property
    def client(self) -> dict[str, Any]:
        """Keys of a connection that trusts the CA and shows the gateway's certificate."""
        return {
            "ca_file": self.file("ca.pem"),
            "cert_file": self.file("client.pem"),
            "key_file": self.file("client.key"),
        }

    def listener(self, name: str = "server") -> list[str]:
        """A listener that wants a client certificate."""
        return [
            "allow_anonymous true",
            "require_certificate true",
            f"cafile {self.file('ca.pem')}",
            f"certfile {self.file(f'{name}.pem')}",
            f"keyfile {self.file(f'{name}.key')}",
        ]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
async def tls_broker(tmp_path: Path, certificates: Certificates) -> AsyncIterator[Mosquitto]:
    async with Mosquitto(tmp_path, listener=certificates.listener(), scheme="mqtts") as broker:
        yield broker


async def first_failure(url: str, **connection: Any) -> UplinkError:
    client = MqttClient(url, "gw", **connection)
    client.start()
    try:
        return await client.wait_down()
    finally:
        await client.stop()


async def test_messages_pass_over_tls_with_a_client_certificate(
    tls_broker: Mosquitto, certificates: Certificates
) -> None:
    async with MqttClient(tls_broker.url, "gw", "a", **certificates.client) as client:
        large = bytes(300_000)
        assert (await client.publish("a", large)).reason_code == 0
        assert (await client.message()).payload == large


async def test_a_broker_of_another_ca_is_denied(tls_broker: Mosquitto, certificates: Certificates) -> None:
    wrong = {**certificates.client, "ca_file": certificates.file("other-ca.pem")}
    error = await first_failure(tls_broker.url, **wrong)
    assert isinstance(error, Denied)
    assert "its certificate is not trusted" in str(error)
    assert "ca_file" in str(error)


async def test_a_broker_with_another_name_is_denied_unless_insecure(tmp_path: Path, certificates: Certificates) -> None:
    async with Mosquitto(tmp_path, listener=certificates.listener("misnamed"), scheme="mqtts") as broker:
        error = await first_failure(broker.url, **certificates.client)
        assert isinstance(error, Denied)
        assert "IP address mismatch" in str(error)
        async with MqttClient(broker.url, "gw", insecure=True, **certificates.client) as client:
            assert client.downs == []


async def test_a_missing_client_certificate_is_denied(tls_broker: Mosquitto, certificates: Certificates) -> None:
    error = await first_failure(tls_broker.url, ca_file=certificates.file("ca.pem"))
    assert isinstance(error, Denied)
    assert "check cert_file and key_file" in str(error)


async def test_a_port_that_speaks_no_tls_is_told(broker: Mosquitto) -> None:
    error = await first_failure(broker.url.replace("mqtt:", "mqtts:"))
    assert "does this port speak TLS?" in str(error)


async def test_tls_where_plain_mqtt_is_spoken_to_it_is_told(tls_broker: Mosquitto) -> None:
    error = await first_failure(tls_broker.url.replace("mqtts:", "mqtt:"))
    assert "does it speak MQTT 5 here?" in str(error)


async def test_a_certificate_file_that_is_gone_is_told_and_tried_again(
    tls_broker: Mosquitto, certificates: Certificates, tmp_path: Path
) -> None:
    moved = tmp_path / "moved.pem"
    client = MqttClient(tls_broker.url, "gw", **{**certificates.client, "cert_file": FilePath(moved)})
    client.start()
    try:
        assert "moved.pem" in str(await client.wait_down())
        moved.symlink_to(certificates.file("client.pem"))
        await client.wait_up()
    finally:
        await client.stop()
