from __future__ import annotations

import asyncio
import logging

import pytest

from edgeagent.agent.addressing import first_wait_s
from edgeagent.agent.notices import ConnectionNotices
from edgeagent.common.elapsed import Instant
from edgeagent.config.tables import Connection, Uplink
from edgeagent.errors import Denied
from edgeagent.links import session
from edgeagent.links.session import keep_connected
from tests.ending import end
from tests.fakes.mosquitto import MqttClient
from tests.fakes.turned_clock import TurnedLoop
from tests.waiting import turns

JUST_BOOTED_S = 20.0


def test_after_a_power_cut_each_gateway_waits_its_own_time() -> None:
    uplink = Uplink(url="mqtts://broker.example")
    waits_s = {first_wait_s(uplink, f"gw-{number}", JUST_BOOTED_S) for number in range(20)}
    assert len(waits_s) == 20
    assert all(0 <= wait_s < 10 for wait_s in waits_s)


@pytest.mark.parametrize("urls", [["mqtt://127.0.0.1"], ["mqtt://localhost:1884", "mqtt://[::1]"]])
def test_a_broker_on_this_machine_is_not_waited_for(urls: list[str]) -> None:
    assert first_wait_s(Uplink(urls=tuple(urls)), "gw-042", JUST_BOOTED_S) == 0


def test_a_restart_by_hand_is_not_slowed() -> None:
    assert first_wait_s(Uplink(url="mqtts://broker.example"), "gw-042", uptime_s=3600) == 0


@pytest.mark.parametrize(
    ("url", "base_s"), [("mqtt://127.0.0.1", 1.0), ("mqtt://localhost", 1.0), ("mqtts://broker.example", 5.0)]
)
def test_a_broker_that_a_fleet_shares_is_given_more_time(url: str, base_s: float) -> None:
    assert session._backoff_base_s(Connection(url=url)) == base_s


async def test_the_first_attempt_comes_after_the_wait_and_the_next_ones_do_not_wait_for_it(
    free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    time, client = TurnedLoop(monkeypatch), MqttClient("", "gw")
    connected = asyncio.create_task(
        keep_connected(
            Connection(url=f"mqtt://127.0.0.1:{free_port}"),
            client,
            client_id="gw",
            first_wait_s=600.0,
            base_s=0.001,
            cap_s=0.001,
        )
    )
    await turns()
    time.turn(540)
    await turns()
    assert client.downs == []
    time.turn(61)
    await client.wait_down(4)
    await end(connected)


def test_what_somebody_must_correct_is_an_error_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    told = ConnectionNotices("uplink", ["mqtts://broker.example"], "retrying", lambda: Instant(0, 0, b""))
    for _ in range(3):
        told.down(Denied("mqtts://broker.example", "another client uses the id gw-042: give each its own client_id"))
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "another client uses the id gw-042" in record.message
