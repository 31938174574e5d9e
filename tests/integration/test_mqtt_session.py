from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import mqtt5
import pytest

from edgeagent.common.units import Duration
from edgeagent.config.tables import Connection, FilePath
from edgeagent.errors import Denied
from edgeagent.links.session import keep_connected
from edgeagent.ports.link import Link, Subscription
from tests.ending import end
from tests.fakes.listener import Listener
from tests.fakes.mosquitto import MqttClient
from tests.waiting import DEADLINE_S, until

OK = mqtt5.ConnAckPacket().write()
KEPT = mqtt5.ConnAckPacket(session_present=True).write()
BUSY = mqtt5.ConnAckPacket(reason_code=mqtt5.ConnAckReasonCode.SERVER_BUSY).write()
GRANTED = mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE]).write()
TAKEN_OVER = mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER).write()


@contextlib.asynccontextmanager
async def scripted_broker(port: int, answer: bytes) -> AsyncIterator[str]:
    """A broker that answers each CONNECT with these bytes and then closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(answer)
        writer.close()

    async with Listener(serve, port):
        yield f"mqtt://127.0.0.1:{port}"


async def waits(
    url: str, count: int, caplog: pytest.LogCaptureFixture, **numbers: Any
) -> tuple[list[float], list[int]]:
    """The first waits between attempts, and the failures counted before each."""
    caplog.set_level(logging.DEBUG, "edgeagent.links.session")
    client = MqttClient(url, "gw")
    session = asyncio.create_task(
        keep_connected(Connection(url=url), client, client_id="gw", **{"base_s": 0.001, "cap_s": 0.002, **numbers})
    )
    await client.wait_down(count)
    await end(session)
    seen = [vars(record) for record in caplog.records if vars(record).get("event") == "mqtt_reconnect_wait"]
    return [entry["wait_s"] for entry in seen], [entry["failures"] for entry in seen]


async def test_a_broker_that_drops_every_connection_is_tried_less_and_less(
    free_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with scripted_broker(free_port, OK) as url:
        _, failures = await waits(url, 4, caplog)
    assert failures[:3] == [1, 2, 3]


async def test_a_connection_that_lasted_starts_the_backoff_anew(
    free_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with scripted_broker(free_port, OK) as url:
        _, failures = await waits(url, 4, caplog, stable_s=0)
    assert failures[:3] == [1, 1, 1]


async def test_after_another_client_took_the_session_we_stay_away_for_long(
    free_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with scripted_broker(free_port, OK + TAKEN_OVER) as url:
        waits_s, _ = await waits(url, 2, caplog, taken_over_s=0.05)
    assert waits_s[0] == 0.05


async def test_a_refused_subscription_ends_the_attempt_and_is_told(free_port: int) -> None:
    refused = mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode.NOT_AUTHORIZED]).write()
    async with scripted_broker(free_port, OK + refused) as url:
        client = MqttClient(url, "gw", "secret/#")
        client.start()
        error = await client.wait_down()
        await client.stop()
    assert isinstance(error, Denied)
    assert "secret/#" in str(error)
    assert client.ups == []


async def test_a_host_that_is_no_name_is_told_and_does_not_end_the_loop() -> None:
    client = MqttClient("mqtt://a..b", "gw")
    client.start()
    assert "mqtt://a..b" in str(await client.wait_down(2))
    await client.stop()


@pytest.mark.parametrize("answer", [b"", OK])
async def test_cancellation_ends_it_promptly_even_when_the_broker_says_nothing(free_port: int, answer: bytes) -> None:
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(answer)
        arrived.set()
        await reader.read()
        gone.set()
        writer.close()

    async with Listener(serve, free_port):
        client = MqttClient(f"mqtt://127.0.0.1:{free_port}", "gw", connect_timeout=Duration(60))
        client.start()
        await arrived.wait()
        if answer:
            await client.wait_up()
        async with asyncio.timeout(DEADLINE_S):
            await client.stop()
            await gone.wait()
    assert client.downs == []


async def test_a_password_that_no_connect_can_carry_is_denied(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b"x" * 70_000)
    client = MqttClient("mqtt://127.0.0.1:1", "gw", username="gw", password_file=FilePath(file))
    client.start()
    error = await client.wait_down()
    await client.stop()
    assert isinstance(error, Denied)
    assert "no CONNECT can be made" in str(error)
    assert "xxx" not in str(error)


class _Sessions(MqttClient):
    """Keeps what each connection was told of its session."""

    def __init__(self, url: str) -> None:
        super().__init__(url, "gw")
        self.present: list[bool] = []

    def on_up(self, link: Link, *, session_present: bool) -> None:
        """See `LinkOwner`."""
        self.present.append(session_present)
        super().on_up(link, session_present=session_present)


@pytest.mark.parametrize(
    ("first", "present"),
    [
        # A flooded broker carries out a CONNECT whose sender has given up: that session is a new one.
        pytest.param(b"", False, id="not answered in time"),
        pytest.param(b"\x20", True, id="closed by the broker"),
        pytest.param(OK, False, id="a new session, and gone before the subscriptions"),
        pytest.param(KEPT, True, id="the old session, and gone before the subscriptions"),
        pytest.param(BUSY, True, id="refused"),
    ],
)
async def test_a_session_that_a_failed_attempt_may_have_begun_is_not_taken_for_the_old_one(
    free_port: int, first: bytes, present: bool
) -> None:
    answers = [first, KEPT + GRANTED]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        writer.write(answer)
        if not answer:
            await reader.read()  # until the client gives up
        writer.close()

    async with Listener(serve, free_port):
        url = f"mqtt://127.0.0.1:{free_port}"
        client = _Sessions(url)
        connection = Connection(url=url, connect_timeout=Duration(DEADLINE_S if first else 0.2))
        subscriptions = [Subscription("a")]
        session = asyncio.create_task(
            keep_connected(connection, client, client_id="gw", subscriptions=subscriptions, base_s=0.001, cap_s=0.002)
        )
        await until(lambda: client.present)
        await end(session)
    assert client.present[0] is present
