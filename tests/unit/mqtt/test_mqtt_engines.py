"""Which engine is chosen for a connection, and what is said of it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest

from edgeagent.config.tables import Connection, Uplink
from edgeagent.mqtt import engines
from edgeagent.mqtt.checkup import _engine_finding


@pytest.fixture
def broken_codec(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A codec that was compiled for another machine."""

    def import_module(name: str) -> Any:
        raise ImportError(f"{name}.so:\n wrong ELF class: ELFCLASS32")

    engines.codec_fault.cache_clear()
    monkeypatch.setattr(importlib, "import_module", import_module)
    yield
    engines.codec_fault.cache_clear()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"url": "mqtt://b"}, "mqtt5: MQTT 5 by mqtt://"),
        ({"url": "mqtts://b"}, "mqtt5: MQTT 5 by mqtts://"),
        ({"url": "wss://b"}, "aiomqtt: MQTT 5 by wss://"),
        ({"url": "mqtt://b", "proxy": "http://p:3128"}, "aiomqtt: MQTT 5 through a proxy"),
        ({"url": "mqtt://b", "version": "3.1.1"}, "aiomqtt: MQTT 3.1.1"),
    ],
)
def test_each_connection_has_its_engine_and_a_reason(keys: dict[str, Any], said: str) -> None:
    (choice,) = engines.choices(Connection(**keys))
    assert str(choice) == said
    assert not choice.is_fallback


def test_addresses_of_different_kinds_may_have_different_engines() -> None:
    connection = Connection(urls=("mqtt://a", "ws://a", "mqtt://b"))
    assert [choice.engine for choice in engines.choices(connection)] == ["mqtt5", "aiomqtt"]


@pytest.mark.usefixtures("broken_codec")
def test_a_codec_for_another_machine_is_as_good_as_none_and_its_fault_is_told_in_one_line() -> None:
    (choice,) = engines.choices(Connection(url="mqtts://b"))
    assert str(choice) == ("aiomqtt: mqtt5 cannot be imported on this machine (mqtt5.so: wrong ELF class: ELFCLASS32)")
    assert choice.is_fallback
    finding = _engine_finding("local", Connection(), choice)
    assert (finding.level, finding.subject) == ("warn", "local MQTT engine")


@pytest.mark.usefixtures("broken_codec")
def test_without_the_codec_qos_2_and_only_qos_2_cannot_be_had() -> None:
    assert engines.qos_problem(Uplink(qos=1)) is None
    problem = engines.qos_problem(Uplink(qos=2))
    assert problem is not None
    assert problem.path == "uplink.qos"
    assert "needs the MQTT engine mqtt5" in problem.reason


def test_with_the_codec_qos_2_is_no_problem() -> None:
    assert engines.qos_problem(Uplink(qos=2)) is None
