"""What the log says of devices that are not let in, or may not do what they try."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from edgeagent.listener import passwords
from edgeagent.listener.users import Users
from edgeagent.outbox.disk import DiskThread
from tests.fakes.mqtt_bytes import connect, publish, text
from tests.unit.listener.test_listener_server import V311, scene
from tests.unit.listener.test_users import write
from tests.waiting import until

WITH_NAME_AND_PASSWORD = 0xC2
ENDED, REFUSED = "mqtt_connection_ended", "mqtt_refused_device"


def told(caplog: pytest.LogCaptureFixture, event: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if getattr(record, "event", "") == event]


async def test_a_device_with_a_wrong_password_is_named_with_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "_COST", passwords._MIN_COST)
    caplog.set_level(logging.INFO)
    file, thread = write(tmp_path / "users", plug="open"), DiskThread("passwords")
    async with scene(tmp_path, users=Users(str(file), thread)) as it:
        device = await it.stranger()
        await device.says(connect(V311, "", text("pl\u202eg"), text("wrong"), flags=WITH_NAME_AND_PASSWORD))
        await device.is_cut_off()
        await until(lambda: told(caplog, ENDED))
    thread.close()
    who = "a device without a client id (user pl\\u202eg)"
    (refused,), (ended,) = told(caplog, REFUSED), told(caplog, ENDED)
    assert refused == (
        f"{who} from this machine is refused: a wrong name or password; correct them on the device, or set the "
        f"password: edgeagent passwd {file} pl\\u202eg"
    )
    assert ended == f"the connection of {who} from this machine ended: a wrong name or password"


async def test_a_device_on_a_topic_of_no_event_is_told_which_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with scene(tmp_path, allow=[]) as it:
        device = await it.device("plug")
        await device.says(publish(V311, "sensors/plug", b"{}", qos=1, packet_id=1))
        await until(lambda: told(caplog, "mqtt_denied"))
    (denied,) = told(caplog, "mqtt_denied")
    assert denied == (
        "plug may not publish on sensors/plug: the message is dropped; without [[mqtt.allow]] only events are taken; "
        "the topics of events are events/+ ([[mqtt.subscribe]])"
    )


@pytest.mark.parametrize(
    ("said", "reason", "words"),
    [
        (connect(V311, "plug").replace(b"MQTT\x04", b"MQTT\x06"), "unsupported_protocol_version", "protocol level 6"),
        (connect(V311, "", flags=0), "client_id_not_valid", "client id"),
        (bytes.fromhex("16030100a5010000a10303"), "malformed_packet", "a TLS handshake, where TLS is not spoken"),
        (publish(V311, "events/plug", b"{}", qos=0), "protocol_error", "a packet of type 3 before CONNECT"),
    ],
)
async def test_a_device_whose_connect_cannot_be_taken_is_counted_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, said: bytes, reason: str, words: str
) -> None:
    caplog.set_level(logging.INFO)
    async with scene(tmp_path) as it:
        device = await it.stranger()
        await device.says(said)
        await device.is_cut_off()
        await until(lambda: told(caplog, ENDED))
        stats = it.listener.stats()
        assert (stats["connects_refused"], stats["connects_refused_by"]) == (1, {reason: 1})
    (refused,) = told(caplog, REFUSED)
    assert refused.startswith("a device that did not say who it is from this machine is refused: ")
    assert words in refused


async def test_who_connects_and_says_nothing_is_not_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with scene(tmp_path) as it:
        device = await it.stranger()
        device.writer.close()
        await until(lambda: told(caplog, ENDED))
        await it.stranger()  # is there when the listener stops
    assert it.listener.stats()["connects_refused"] == 0
    assert not told(caplog, REFUSED)
