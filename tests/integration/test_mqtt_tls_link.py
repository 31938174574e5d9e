from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import mqtt5
import pytest

from edgeagent.config.tables import FilePath
from edgeagent.errors import Denied, UplinkError
from tests.fakes.certificates import Certificates
from tests.fakes.link import code_of
from tests.fakes.listener import Listener
from tests.fakes.mosquitto import Mosquitto, MqttClient


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
        assert code_of(await client.publish("a", large)) == 0
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


async def test_an_encrypted_key_is_opened_with_its_password_file(tmp_path: Path) -> None:
    own = Certificates(tmp_path)
    own.encrypt_key("client", "open sesame")
    async with Mosquitto(tmp_path, listener=own.listener(), scheme="mqtts") as broker:
        keys = {**own.client, "key_password_file": own.file("client.password")}
        async with MqttClient(broker.url, "gw", **keys) as client:
            assert client.downs == []


async def test_the_hosts_name_and_the_configured_protocol_are_in_the_handshake(
    free_port: int, certificates: Certificates
) -> None:
    """What a front on port 443 needs to find the broker behind it."""
    names: list[str | None] = []
    protocols: list[str | None] = []
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.file("server.pem"), certificates.file("server.key"))
    context.set_alpn_protocols(["http/1.1", "mqtt"])

    def note_name(_connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        names.append(name)

    context.sni_callback = note_name

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        protocols.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await reader.read(1024)
        writer.write(mqtt5.ConnAckPacket().write())
        await reader.read()
        writer.close()

    async with Listener(serve, free_port, context):
        url = f"mqtts://localhost:{free_port}"
        async with MqttClient(url, "gw", ca_file=certificates.file("ca.pem"), alpn="mqtt"):
            pass
    assert (names, protocols) == (["localhost"], ["mqtt"])
