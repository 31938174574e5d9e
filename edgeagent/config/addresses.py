"""Addresses as the configuration writes them."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from edgeagent.config.meant import broker_url_hint

_DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
_FORMS = 'write "mqtt://host:1883" or "mqtts://host:8883", or "ws://host:80/mqtt" or "wss://host:443/mqtt"'
_SECRETS = re.compile(r"(?<=//)[^/]*@")  # user and password, which no error may show
_BLANK = re.compile(r"\s")
_WEBSOCKET_SCHEMES = frozenset({"ws", "wss"})
_PROXY_PORTS = {"http": 3128, "socks4": 1080, "socks5": 1080}


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
    try:
        parts = urlsplit(url)
        port, usable = parts.port, parts.scheme in _DEFAULT_PORTS and bool(parts.hostname) and not _BLANK.search(url)
    except ValueError:  # a port that is no number or too large, or an IPv6 address without its end
        usable = False
    if not usable:
        url = _SECRETS.sub("", url)
        meant = broker_url_hint(url)
        raise ValueError(f"{url!r} is no broker address: " + (f'did you mean "{meant}"?' if meant else _FORMS))
    if parts.scheme in _WEBSOCKET_SCHEMES and parts.username is None and not parts.fragment:
        pass  # a path and a query may be part of it
    elif parts.username is not None or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError("only scheme, host and port belong in a broker address; use username and password_file")
    if port == 0:
        raise ValueError(f"{url!r}: 0 is no port of a broker")
    return parts.scheme, str(parts.hostname), port or _DEFAULT_PORTS[parts.scheme]


def websocket_path(url: str) -> str | None:
    """What is asked for at a WebSocket address, `/mqtt` where it names nothing; None for other addresses."""
    parts = urlsplit(url)
    if parts.scheme not in _WEBSOCKET_SCHEMES:
        return None
    path = parts.path if parts.path not in {"", "/"} else "/mqtt"
    return f"{path}?{parts.query}" if parts.query else path


def split_proxy_url(url: str) -> tuple[str, str, int]:
    """`"socks5://10.0.0.1:1080"` as scheme, host and port (the scheme's usual one where absent).

    Raises:
        ValueError: it is not of that form; the text says what is expected.
    """
    parts = urlsplit(url)
    if parts.scheme not in _PROXY_PORTS or not parts.hostname or parts.port == 0:
        raise ValueError(f'{url!r} is no proxy: write "http://host:3128", "socks5://host:1080" or "socks4://host:1080"')
    if parts.username is not None or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError("only scheme, host and port belong in a proxy's address; a password is not supported")
    return parts.scheme, parts.hostname, parts.port or _PROXY_PORTS[parts.scheme]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener on this host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
