"""Addresses as the configuration writes them."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}


def split_address(listen: str) -> tuple[str, int]:
    """`"127.0.0.1:8745"` or `"[::1]:8745"` as host and port.

    Raises:
        ValueError: it is not of that form.
    """
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004  the largest port
        raise ValueError(f'{listen!r} is no address: write "127.0.0.1:8745"')
    return host, int(port)


def split_broker_url(url: str) -> tuple[str, str, int]:
    """`"mqtts://broker.example"` as scheme, host and port (the scheme's default where absent).

    Raises:
        ValueError: it is not of that form; the text says what is expected.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname:
        if parts.scheme in {"ws", "wss"}:
            raise ValueError(f"{url!r}: WebSocket is not in this version; use mqtt:// or mqtts://")
        raise ValueError(f'{url!r} is no broker address: write "mqtt://host:1883" or "mqtts://host:8883"')
    if parts.username is not None or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError("only scheme, host and port belong in a broker address; use username and password_file")
    if parts.port == 0:
        raise ValueError(f"{url!r}: 0 is no port of a broker")
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener on this host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
