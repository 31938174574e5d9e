from __future__ import annotations

import pytest

from edgeagent.config.addresses import is_loopback, split_address, split_broker_url, split_proxy_url, websocket_path


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:8745", ("127.0.0.1", 8745)),
        ("[::1]:80", ("::1", 80)),
        ("localhost:0", ("localhost", 0)),
        ("gateway.example:65535", ("gateway.example", 65535)),
    ],
)
def test_an_address_to_listen_on(listen: str, address: tuple[str, int]) -> None:
    assert split_address(listen) == address


@pytest.mark.parametrize(
    "listen", ["", "8745", ":8745", "localhost", "localhost:", "localhost:http", "h:65536", "h:-1"]
)
def test_what_is_no_address_to_listen_on(listen: str) -> None:
    with pytest.raises(ValueError, match=r'is not an address: write "127\.0\.0\.1:8745"'):
        split_address(listen)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("mqtt://broker", ("mqtt", "broker", 1883)),
        ("mqtts://broker", ("mqtts", "broker", 8883)),
        ("mqtts://broker:443/", ("mqtts", "broker", 443)),
        ("mqtt://[::1]:1884", ("mqtt", "::1", 1884)),
        ("MQTT://broker", ("mqtt", "broker", 1883)),
    ],
)
def test_a_brokers_address(url: str, parts: tuple[str, str, int]) -> None:
    assert split_broker_url(url) == parts


@pytest.mark.parametrize(
    "url",
    [
        "",
        "broker",
        "mqtt:",
        "mqtt://",
        "http://b",
        "ws://",
        "ws://u@b",
        "wss://b/mqtt#f",
        "mqtt://u@b",
        "mqtt://:p@b",
        "mqtt://b/path",
        "mqtt://b?q",
        "mqtt://b#f",
        "mqtt://b:0",
        "mqtt://b:65536",
        "mqtt://b:x",
        "mqtt://[::1",
    ],
)
def test_what_is_no_brokers_address(url: str) -> None:
    with pytest.raises(ValueError, match=r"is not a broker|only scheme|not in this version|[Pp]ort|IPv6"):
        split_broker_url(url)


def test_a_refused_address_never_shows_the_password_in_it() -> None:
    with pytest.raises(ValueError, match="use username and password_file") as caught:
        split_broker_url("mqtt://me:secret@broker")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_what_only_this_machine_can_reach(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example", ""])  # noqa: S104  that is the point
def test_what_others_can_reach(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("ws://b", "/mqtt"),
        ("wss://b:443/", "/mqtt"),
        ("wss://b/broker/ws?key=1", "/broker/ws?key=1"),
        ("mqtt://b", None),
    ],
)
def test_what_is_asked_for_at_a_websocket_address(url: str, path: str | None) -> None:
    assert websocket_path(url) == path
    assert split_broker_url(url)[1] == "b"


def test_a_proxys_address_has_the_usual_port_of_its_kind() -> None:
    assert split_proxy_url("http://p") == ("http", "p", 3128)
    assert split_proxy_url("socks5://[::1]:9050") == ("socks5", "::1", 9050)


@pytest.mark.parametrize(
    "url", ["", "p:1080", "https://p", "socks5://", "socks5://me:secret@p", "http://p/x", "http://p:0"]
)
def test_what_is_no_proxys_address_is_told_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"is not a proxy|only scheme") as caught:
        split_proxy_url(url)
    assert "secret" not in str(caught.value)
