from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.config import load_agent
from edgeagent.config.addresses import split_broker_url
from edgeagent.errors import ConfigError

GOOD = '[uplink]\nurl = "mqtt://broker:1883"\n'


def refusal(directory: Path, data: str | bytes) -> str:
    """What a configuration is refused for."""
    path = directory / "config.toml"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(ConfigError) as caught:
        load_agent(path, {})
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("tcp://broker:1883", "mqtt://broker:1883"),
        ("TCP://broker:1883", "mqtt://broker:1883"),
        ("ssl://broker:8883", "mqtts://broker:8883"),
        ("tls://broker", "mqtts://broker"),
        ("tcp://broker:8883", "mqtts://broker:8883"),
        ("https://broker:443/mqtt", "wss://broker:443/mqtt"),
        ("broker:1883", "mqtt://broker:1883"),
        ("broker:8883", "mqtts://broker:8883"),
        ("broker.example", "mqtt://broker.example"),
        ("192.168.1.5:1883", "mqtt://192.168.1.5:1883"),
        ("[::1]:1883", "mqtt://[::1]:1883"),
        ("//broker:1883", "mqtt://broker:1883"),
        ("mqtt:broker:1883", "mqtt://broker:1883"),
        ("mqtts:/broker", "mqtts://broker"),
        ("mqtt://broker:1883 ", "mqtt://broker:1883"),
        ("“mqtt://broker:1883”", "mqtt://broker:1883"),
    ],
)
def test_a_broker_address_of_another_kind_is_refused_with_the_one_that_was_meant(written: str, meant: str) -> None:
    with pytest.raises(ValueError, match="is not a broker address") as caught:
        split_broker_url(written)
    assert f'did you mean "{meant}"?' in str(caught.value)
    split_broker_url(meant)


def test_a_password_in_an_address_is_not_shown() -> None:
    with pytest.raises(ValueError, match='did you mean "mqtt://broker:1883"') as caught:
        split_broker_url("tcp://gw:p@ss@broker:1883")
    assert "p@ss" not in str(caught.value)


@pytest.mark.parametrize(
    "written", ["", "stomp://broker", "mqtt://", "mqtt://broker:99999", "mqtt://[::1", "mqtt://b:x", "a b", "://"]
)
def test_where_nobody_can_tell_what_was_meant_the_forms_are_named(written: str) -> None:
    with pytest.raises(ValueError, match='is not a broker address: write "mqtt://host:1883"'):
        split_broker_url(written)


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("\ufeff" + GOOD, "begins with a byte-order mark"),
        ("\ufeff" + GOOD.replace("\n", "\r\n"), "begins with a byte-order mark"),
        (GOOD.encode("utf-16"), "it is UTF-16"),
        (GOOD.encode() + b'username = "J\xfcrgen"\n', "save it as UTF-8"),
        (GOOD.replace('"', "“"), '“ is a typographic quote: write "'),
        ("[uplink]\nurl = ”mqtt://broker„\n", '” is a typographic quote: write "'),
        ("[uplink]\nurl = «mqtt://broker»\n", '« is a typographic quote: write "'),
        ("[uplink]\nkeepalive = 1,5\n", "a decimal point is a point: write 1.5"),
        ('[uplink]\nkeepalive = "1,5s"\n', 'a decimal point is a point: write "1.5s"'),
        ('[outbox]\nmax_bytes = "1,5GiB"\n', 'a decimal point is a point: write "1.5GiB"'),
        ("[uplink]\nurl: mqtt://broker\n", "a value follows its key and =: write url = …"),
        ("[uplink]\nqos 1\n", "a value follows its key and =: write qos = …"),
        ("[uplink]\nqos\n", ""),
        ("[uplink]\nurl = mqtt://broker\n", 'a text needs quotes: write "mqtt://broker"'),
        ("[uplink]\ninsecure = True\n", "write true"),
        ("[uplink]\ninsecure = off # for now\n", "write false"),
        ("[uplink]\nusername = None\n", "remove the key"),
        ('[uplink]\nca_file = "C:\\users"\n', "write single quotes"),
        ("[uplink]\nqos\u00a0= 1\n", "special space (U+00A0)"),
        ("[uplink]\rqos = 1\r", "CR alone"),
        ("[uplink]\nresponse-timeout = 5\n", "did you mean response_timeout?"),
        ("[uplnk]\n", "did you mean uplink?"),
    ],
)
def test_what_was_meant_is_said_beside_the_error(tmp_path: Path, written: str | bytes, hint: str) -> None:
    assert hint in refusal(tmp_path, written)


def test_a_text_may_hold_typographic_quotes_and_is_not_blamed_for_them(tmp_path: Path) -> None:
    assert "typographic" not in refusal(tmp_path, '[uplink]\nusername = "“quoted”" x\n')


@pytest.mark.parametrize("written", [GOOD.replace("\n", "\r\n"), GOOD.replace(" = ", "\t=\t"), "\t" + GOOD])
def test_line_ends_of_windows_and_tabs_are_no_mistake(tmp_path: Path, written: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(written.encode())
    assert load_agent(path, {}).uplink.url == "mqtt://broker:1883"
