"""`[mqtt]`, `[[mqtt.subscribe]]` and `[[mqtt.allow]]`: what is read, what is refused, and what `check` says of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgeagent.__main__ import main
from edgeagent.config import load_agent
from edgeagent.config.addresses import ListenAddress, split_listener
from edgeagent.config.tables import AgentConfig
from edgeagent.errors import ConfigError

UPLINK = '[uplink]\nurl = "mqtt://cloud.example"\n'
RULE = '[[rule]]\nname = "r"\nnamespace = "plant"\ntemplate = "t"\n'
FILES = ("users", "ca.pem", "cert.pem", "key.pem")


def written(directory: Path, mqtt: str, before: str = UPLINK) -> Path:
    for name in FILES:
        (directory / name).touch()
    path = directory / "config.toml"
    path.write_text(f"{before}[mqtt]\n{mqtt}\n", "utf-8")
    return path


def loaded(directory: Path, mqtt: str, before: str = UPLINK) -> AgentConfig:
    return load_agent(written(directory, mqtt, before), {})


def problems(directory: Path, mqtt: str, before: str = UPLINK) -> dict[str, str]:
    """What it is refused for: by key path, the reasons one after the other."""
    with pytest.raises(ConfigError) as caught:
        loaded(directory, mqtt, before)
    found: dict[str, str] = {}
    for path, reason in caught.value.problems:
        found[path] = f"{found[path]}; {reason}" if path in found else reason
    return found


def test_without_the_table_there_is_no_listener(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(UPLINK, "utf-8")
    assert load_agent(path, {}).mqtt is None


def test_an_empty_table_listens_on_loopback_for_what_is_below_events(tmp_path: Path) -> None:
    mqtt = loaded(tmp_path, "").mqtt
    assert mqtt is not None
    assert mqtt.listeners == ("127.0.0.1:1883",)
    assert [(each.topic, each.source) for each in mqtt.events] == [("events/+", "{1}")]


def test_one_address_or_several(tmp_path: Path) -> None:
    text = 'listen = ["127.0.0.1:1883", "[::1]:1883", "tls://0.0.0.0:8883"]\nca_file = "ca.pem"\n'
    mqtt = loaded(tmp_path, text + 'cert_file = "cert.pem"\nkey_file = "key.pem"').mqtt
    assert mqtt is not None
    assert [split_listener(each) for each in mqtt.listeners] == [
        ListenAddress("127.0.0.1", 1883, is_tls=False),
        ListenAddress("::1", 1883, is_tls=False),
        ListenAddress("0.0.0.0", 8883, is_tls=True),  # noqa: S104  an example
    ]


def test_addresses_for_websocket(tmp_path: Path) -> None:
    text = 'listen = ["127.0.0.1:1883", "ws://127.0.0.1:9001", "wss://[::]:9443"]\nca_file = "ca.pem"\n'
    mqtt = loaded(tmp_path, text + 'cert_file = "cert.pem"\nkey_file = "key.pem"').mqtt
    assert mqtt is not None
    assert [split_listener(each) for each in mqtt.listeners] == [
        ListenAddress("127.0.0.1", 1883, is_tls=False),
        ListenAddress("127.0.0.1", 9001, is_tls=False, is_websocket=True),
        ListenAddress("::", 9443, is_tls=True, is_websocket=True),
    ]


def test_websocket_without_its_library_is_an_error_that_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wsproto", None)
    told = "WebSocket needs the extra: pip install 'edgeagent[websocket]'"
    text = 'listen = ["127.0.0.1:1883", "ws://127.0.0.1:9001"]'
    assert problems(tmp_path, text) == {"mqtt.listen[1]": told}
    assert main(["check", "-c", str(written(tmp_path, text, UPLINK + RULE))]) != 0
    assert told in "".join(capsys.readouterr())
    assert loaded(tmp_path, 'listen = "127.0.0.1:1883"').mqtt is not None


@pytest.mark.parametrize(
    "text",
    [
        *("1883", "mqtt://127.0.0.1:1883", "tls:127.0.0.1:1883", "tls://", "a b:1", "h:99999"),
        *("ws://127.0.0.1:9001/mqtt", "ws://127.0.0.1", "WS://127.0.0.1:9001", "tls://ws://127.0.0.1:1"),
    ],
)
def test_what_is_no_address_is_told_with_what_one_is(text: str, tmp_path: Path) -> None:
    assert 'write "127.0.0.1:1883", or "tls://0.0.0.0:8883"' in problems(tmp_path, f'listen = "{text}"')["mqtt.listen"]


@pytest.mark.parametrize(
    ("mqtt", "path", "reason"),
    [
        ("listen = []", "mqtt.listen", "names no address"),
        ('listen = "0.0.0.0:1883"', "mqtt.listen", "can be reached from other machines: set mqtt.users_file"),
        ('listen = "tls://0.0.0.0:8883"', "mqtt.listen", "needs mqtt.cert_file"),
        ('listen = "wss://0.0.0.0:9443"', "mqtt.listen", "needs mqtt.cert_file"),
        ('listen = "ws://0.0.0.0:9001"', "mqtt.listen", "can be reached from other machines: set mqtt.users_file"),
        ('listen = ["127.0.0.1:1", "127.0.0.1:1"]', "mqtt.listen[1]", "twice"),
        ('listen = "127.0.0.1:8745"', "mqtt.listen", "the port of http.listen"),
        ('cert_file = "cert.pem"', "mqtt.cert_file", "belong together"),
        ('ca_file = "ca.pem"', "mqtt.ca_file", "is for TLS"),
        ('key_password_file = "users"', "mqtt.key_password_file", "no key_file"),
        ("max_connections = 0", "mqtt.max_connections", "1 to 10000"),
        ('max_packet = "1GiB"', "mqtt.max_packet", "4096 to 16777216"),
        ("max_retained = -1", "mqtt.max_retained", "0 to 100000"),
        ("session_queue = 0", "mqtt.session_queue", "1 to 10000"),
        ('[[mqtt.subscribe]]\ntopic = "a/#/b"', "mqtt.subscribe[0].topic", "last level"),
        ('[[mqtt.subscribe]]\ntopic = "a/#"\n[[mqtt.subscribe]]\ntopic = "a/b"', "mqtt.subscribe[1].topic", "overlaps"),
        ("[[mqtt.allow]]", "mqtt.allow[0].publish", "allows nothing"),
        ('[[mqtt.allow]]\nusers = []\npublish = ["a"]', "mqtt.allow[0].users", "names nobody"),
        ('[[mqtt.allow]]\npublish = ["a", "b/x{user}+"]', "mqtt.allow[0].publish[1]", "whole level"),
        ('[[mqtt.allow]]\nsubscribe = ["a/{source}"]', "mqtt.allow[0].subscribe[0]", "only {user} and {client}"),
        ("port = 1883", "mqtt.port", "unknown key"),
    ],
)
def test_what_cannot_be_right_is_told(mqtt: str, path: str, reason: str, tmp_path: Path) -> None:
    assert reason in problems(tmp_path, mqtt)[path]


def test_certificates_do_not_guard_an_address_without_tls(tmp_path: Path) -> None:
    text = 'listen = ["tls://0.0.0.0:8883", "0.0.0.0:1883"]\nca_file = "ca.pem"\ncert_file = "cert.pem"\n'
    assert problems(tmp_path, text + 'key_file = "key.pem"') == {
        "mqtt.listen[1]": "0.0.0.0 can be reached from other machines: set mqtt.users_file"
    }


@pytest.mark.parametrize("url", ["mqtt://127.0.0.1:1883", "mqtt://localhost", "mqtt://[::1]:1883"])
@pytest.mark.parametrize("table", ["uplink", "local"])
def test_the_agent_does_not_connect_to_itself(url: str, table: str, tmp_path: Path) -> None:
    other = "" if table == "uplink" else UPLINK
    found = problems(tmp_path, "", f'{other}[{table}]\nurl = "{url}"\n')
    assert f"is where {table}.url leads to" in found["mqtt.listen"]


def test_a_local_broker_and_a_listener_stand_side_by_side(tmp_path: Path) -> None:
    config = loaded(tmp_path, 'listen = "127.0.0.1:1884"', UPLINK + "[local]\n")
    assert config.local is not None
    assert config.mqtt is not None


def test_check_says_who_may_come_in_and_what_is_an_event(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    allow = '[[mqtt.allow]]\nusers = ["plug-*"]\npublish = ["events/{user}"]\nsubscribe = ["cmnd/#"]\n'
    path = written(tmp_path, f'users_file = "users"\n{allow}{RULE}')
    assert main(["check", "-c", str(path)]) == 0
    lines = capsys.readouterr().out
    nameless = "without any name, as they are on this machine"
    assert f"mqtt      127.0.0.1:1883: devices come in by name and password or {nameless}\n" in lines
    assert "mqtt      events are on events/+\n" in lines
    assert "mqtt      plug-* may publish events/{user} and subscribe cmnd/#\n" in lines
    assert "WARN" not in lines


def test_check_says_for_each_address_who_comes_in_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = 'listen = ["127.0.0.1:1883", "0.0.0.0:1884", "tls://0.0.0.0:8883"]\nusers_file = "users"\n'
    path = written(tmp_path, f'{keys}ca_file = "ca.pem"\ncert_file = "cert.pem"\nkey_file = "key.pem"\n{RULE}')
    assert main(["check", "-c", str(path)]) == 0
    lines = capsys.readouterr().out
    assert "127.0.0.1:1883: devices come in by name and password or without any name, as they" in lines
    assert "0.0.0.0:1884: devices come in by name and password\n" in lines
    assert "tls://0.0.0.0:8883: devices come in by name and password or by certificate\n" in lines


def test_check_says_what_is_allowed_where_nothing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "-c", str(written(tmp_path, RULE))]) == 0
    lines = capsys.readouterr().out
    assert "mqtt      127.0.0.1:1883: devices come in without a password\n" in lines
    assert "without [[mqtt.allow]] a device may publish every event" in lines


@pytest.mark.parametrize(
    ("mqtt", "warning"),
    [
        ('listen = "0.0.0.0:1883"\nusers_file = "users"', "WARN: mqtt.listen: has no TLS: passwords and data"),
        ('max_packet = "64KiB"', "WARN: mqtt.max_packet: is less than outbox.max_event_bytes"),
        ('[[mqtt.allow]]\npublish = ["tele/#"]', "WARN: mqtt.allow: lets nobody publish on events/+"),
        ('[[mqtt.subscribe]]\ntopic = "edgeagent/x"', "WARN: mqtt.subscribe[0].topic: brings no events"),
        ('[[mqtt.subscribe]]\ntopic = "a/+/+"\nsource = "{1}"', "WARN: mqtt.subscribe[0].source: leaves out level 2"),
    ],
)
def test_check_warns_of_what_may_not_be_meant(
    mqtt: str, warning: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "-c", str(written(tmp_path, f"{mqtt}\n{RULE}"))]) == 0
    assert warning in capsys.readouterr().out
