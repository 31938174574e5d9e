from __future__ import annotations

from typing import Any

import pytest

from edgeagent.config.tables import Mqtt, MqttAllow
from edgeagent.listener.access import DeviceIdentity, Permissions, Rights, admission
from edgeagent.listener.packets import Connect
from edgeagent.listener.reasons import Reason
from edgeagent.ports.event_topics import EventSubscription

RELAY = "edgeagent/status/{source}"


def rights(user: str | None = None, client_id: str = "c", relay: str = RELAY, **mqtt: Any) -> Rights:
    return Permissions(Mqtt(**mqtt), relay).of(user, client_id)


def connect(user: str | None = None) -> Connect:
    return Connect(5, "c", clean_start=True, user=user, password=b"secret")


@pytest.mark.parametrize(
    ("user", "is_local", "has_users", "certificate", "expected"),
    [
        (None, True, False, None, DeviceIdentity(None)),
        ("plug", True, False, None, DeviceIdentity(None)),  # a name that nobody checks is none
        (None, True, True, None, DeviceIdentity(None)),
        ("plug", True, True, None, DeviceIdentity("plug", asks=True)),
        ("plug", False, True, None, DeviceIdentity("plug", asks=True)),
        (None, False, True, None, DeviceIdentity(None, Reason.NOT_AUTHORIZED)),
        ("plug", False, False, None, DeviceIdentity(None, Reason.NOT_AUTHORIZED)),
        (None, False, True, "valve", DeviceIdentity("valve")),
        ("plug", False, True, "valve", DeviceIdentity("valve")),
    ],
)
def test_who_comes_in_and_under_which_name(
    user: str | None, is_local: bool, has_users: bool, certificate: str | None, expected: DeviceIdentity
) -> None:
    found = admission(connect(user), is_local=is_local, has_users=has_users, certificate_user=certificate)
    assert found == expected


def test_by_default_a_device_publishes_events_and_nothing_else() -> None:
    for user in (None, "plug"):
        mine = rights(user)
        assert mine.may_publish("events/boiler-1")
        assert not mine.may_publish("events/boiler-1/x")
        assert not mine.may_publish("cmnd/boiler-1")
        assert not mine.may_publish("edgeagent/status/boiler-1")
        assert not mine.may_subscribe("events/boiler-1")


def test_by_default_who_has_no_name_reads_every_status_and_who_has_one_reads_its_own() -> None:
    assert rights().may_subscribe("edgeagent/status/#")
    assert rights().may_subscribe("edgeagent/status/boiler-1")
    assert not rights().may_subscribe("edgeagent/#")
    assert not rights().may_subscribe("#")
    mine = rights("plug-7", "tasmota_ABC")
    assert mine.may_subscribe("edgeagent/status/plug-7")
    assert mine.may_subscribe("edgeagent/status/tasmota_ABC")
    assert not mine.may_subscribe("edgeagent/status/plug-8")
    assert not mine.may_subscribe("edgeagent/status/+")
    assert not mine.may_subscribe("edgeagent/status/#")


@pytest.mark.parametrize(
    ("topic", "source", "status", "others"),
    [
        ("plant/+/telemetry", None, "edgeagent/status/plant/me/telemetry", "edgeagent/status/plant/you/telemetry"),
        ("plant/+/+/x", "{2}", "edgeagent/status/me", "edgeagent/status/you"),
        ("plant/+/+/x", "{1}-{2}", "edgeagent/status/+-me", "edgeagent/status/you"),
        ("devices/#", None, "edgeagent/status/devices/me", "edgeagent/status/devices/you"),
        ("alarm", None, "edgeagent/status/alarm", "edgeagent/status/me"),
    ],
)
def test_what_is_its_own_follows_from_how_sources_are_made(
    topic: str, source: str | None, status: str, others: str
) -> None:
    mine = rights("me", "", subscribe=[EventSubscription(topic=topic, source=source)])
    assert mine.may_subscribe(status) == ("+-" not in status)
    assert not mine.may_subscribe(others)


def test_a_table_says_all_that_is_allowed_to_those_that_it_names() -> None:
    tables = [
        MqttAllow(users=("plug-*",), publish=("tele/{user}/#", "stat/{client}/+"), subscribe=("cmnd/{user}/#",)),
        MqttAllow(users=("hub",), publish=("#",), subscribe=("#",)),
    ]
    plug = rights("plug-7", "c7", allow=tables)
    assert plug.may_publish("tele/plug-7/LWT")
    assert plug.may_publish("stat/c7/POWER")
    assert not plug.may_publish("tele/plug-8/LWT")
    assert not plug.may_publish("events/plug-7")  # not in the tables
    assert plug.may_subscribe("cmnd/plug-7/+")
    assert not plug.may_subscribe("cmnd/+/POWER")
    hub = rights("hub", allow=tables)
    assert hub.may_publish("anything/at/all")
    assert hub.may_subscribe("+/plug-7/#")
    for nobody in (rights(None, allow=tables), rights("stranger", allow=tables)):
        assert not nobody.may_publish("tele/plug-7/LWT")
        assert not nobody.may_subscribe("cmnd/plug-7/POWER")


@pytest.mark.parametrize("name", ["+", "#", "a/b", "a/+", "", "$SYS", "x\0", "plug-7/#"])
def test_a_name_never_widens_a_right(name: str) -> None:
    table = [MqttAllow(publish=("tele/{user}/x", "{user}"), subscribe=("{user}/#", "cmnd/{client}"))]
    mine = rights(name, name, allow=table)
    for topic in ("tele/plug-7/x", "tele/a/b/x", f"tele/{name}/x", "a", "$SYS", "plug-7"):
        assert not mine.may_publish(topic)
    for topic_filter in ("#", "+/#", "cmnd/plug-7", "cmnd/+", f"cmnd/{name}", "$SYS/#", "a/b/#", "plug-7/#"):
        assert not mine.may_subscribe(topic_filter)


def test_a_name_that_looks_like_a_pattern_is_a_name() -> None:
    table = [MqttAllow(publish=("a/{user}", "b/{client}"))]
    assert not rights("{client}", "victim", allow=table).may_publish("a/victim")
    assert rights("{client}", "victim", allow=table).may_publish("a/{client}")


@pytest.mark.parametrize("topic", ["edgeagent/status/boiler-1", "edgeagent/state/gw", "argo/workflows/trigger"])
def test_our_own_topics_take_a_pattern_that_names_them(topic: str) -> None:
    for pattern in ("#", "+/#", "+/+/+", "{user}/#", "{client}/status/boiler-1", "argo/#"):
        assert not rights("edgeagent", "edgeagent", allow=[MqttAllow(publish=(pattern,))]).may_publish(topic)
    first = "/".join(topic.split("/")[:2])
    assert rights(allow=[MqttAllow(publish=(f"{first}/#",))]).may_publish(topic)


def test_a_client_that_tries_ever_new_topics_takes_no_memory() -> None:
    mine = rights()
    for number in range(1000):
        assert not mine.may_publish(f"x/{number}")
    assert len(mine._known) <= 64
    assert mine.may_publish("events/x")
