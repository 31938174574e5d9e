"""docs/devices.md: its examples can be used as they stand, and let the devices do what they do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgeagent.config import load_agent
from edgeagent.config.devices import listener_warnings
from edgeagent.config.loops import topic_warnings
from edgeagent.config.tables import AgentConfig
from edgeagent.listener.access import Permissions, Rights
from edgeagent.wire.topics import matches, source_from_topic
from tests.architecture.source import ROOT

SECTION = re.compile(r"^###? (.+)$", re.MULTILINE)
TOML = re.compile(r"^```toml\n(.+?)^```", re.MULTILINE | re.DOTALL)


def examples() -> dict[str, str]:
    """The configuration of each section that has one."""
    parts = SECTION.split((ROOT / "docs/devices.md").read_text("utf-8"))
    found = {"": TOML.findall(parts[0])} | {
        title: TOML.findall(text) for title, text in zip(parts[1::2], parts[2::2], strict=True)
    }
    return {title: "\n".join(blocks) for title, blocks in found.items() if blocks}


def config_of(title: str, directory: Path) -> AgentConfig:
    text = examples()[title]
    for name in ("mqtt.users", "gateway.pem", "gateway.key"):
        (directory / name).touch()
    path = directory / "config.toml"
    path.write_text(f'[uplink]\nurl = "mqtt://cloud.example"\n{"" if "[mqtt]" in text else "[mqtt]"}\n{text}', "utf-8")
    return load_agent(path, {})


def rights(config: AgentConfig, user: str | None) -> Rights:
    assert config.mqtt is not None
    return Permissions(config.mqtt, config.relay.topic).of(user, "c")


def source(config: AgentConfig, topic: str) -> str | None:
    """The source of an event on this topic; None where it is no event."""
    assert config.mqtt is not None
    found = (source_from_topic(each.source, topic) for each in config.mqtt.events if matches(each.topic, topic))
    return next(found, None)


@pytest.mark.parametrize("title", examples())
def test_each_example_can_be_used(title: str, tmp_path: Path) -> None:
    config = config_of(title, tmp_path)
    if title not in {"", "Who may do what"}:  # those are parts of a whole
        assert [*topic_warnings(config), *listener_warnings(config)] == []


@pytest.mark.parametrize(
    ("title", "user", "will", "event", "made", "listens"),
    [
        ("Tasmota", "plug-7", "tele/plug-7/LWT", "tele/plug-7/SENSOR", "plug-7", ["cmnd/plug-7/#", "cmnd/tasmotas/#"]),
        ("ESPHome", "boiler-1", "boiler-1/status", "boiler-1/sensor/flow/state", "boiler-1/flow", ["boiler-1/#"]),
        (
            "Shelly, second generation and later",
            "meter-3",
            "meter-3/online",
            "meter-3/status/switch:0",
            "meter-3/switch:0",
            ["meter-3/rpc", "meter-3/command", "shellies/command"],
        ),
        (
            "Zigbee2MQTT",
            None,
            "zigbee2mqtt/bridge/state",
            "zigbee2mqtt/Living Room",
            "Living Room",
            ["zigbee2mqtt/+/set", "zigbee2mqtt/bridge/request/#", "homeassistant/status"],
        ),
        (
            "Sparkplug",
            "line-4",
            "spBv1.0/plant/NDEATH/line-4",
            "spBv1.0/plant/DDATA/line-4/pump",
            "plant/line-4/pump",
            ["spBv1.0/plant/NCMD/line-4/#", "spBv1.0/STATE/host"],
        ),
        ("A PLC", "press-2", "plc/press-2/state", "plc/press-2/event", "press-2", ["edgeagent/status/press-2"]),
    ],
)
def test_a_device_may_do_what_it_does_and_what_it_reports_is_an_event(
    title: str, user: str | None, will: str, event: str, made: str, listens: list[str], tmp_path: Path
) -> None:
    config = config_of(title, tmp_path)
    mine = rights(config, user)
    assert mine.may_publish(will)
    assert mine.may_publish(event)
    assert source(config, will) is None or title == "Zigbee2MQTT"
    assert source(config, event) == made
    for topic_filter in listens:
        assert mine.may_subscribe(topic_filter), topic_filter
    if user is not None:
        other = rights(config, user[:-1] + "9")
        assert not other.may_publish(event)
        assert not other.may_subscribe(event)
    assert not mine.may_publish("edgeagent/status/x")
