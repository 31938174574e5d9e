"""Parsers for addresses in the configuration."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import unquote, urlsplit

import msgspec

_DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443, "amqp": 5672, "amqps": 5671}
_PUBSUB = "pubsub://"
_HTTPS_PORT = 443
_PUBSUB_PLACE = re.compile(r"pubsub://([a-z][-a-z0-9]{4,28}[a-z0-9])/([A-Za-z][-A-Za-z0-9._~+]{2,254})")
_LISTENER_SCHEME = re.compile(r"(?:(tls|wss?)://)?(.*)", re.DOTALL)
_LISTENER_FORMS = (
    'write "127.0.0.1:1883", or "tls://0.0.0.0:8883" for TLS; for WebSocket "ws://127.0.0.1:9001" or '
    '"wss://0.0.0.0:9443", without a path'
)
_FORMS = (
    'write "mqtt://host:1883" or "mqtts://host:8883", "ws://host:80/mqtt" or "wss://host:443/mqtt", or '
    '"amqp://host:5672/vhost" or "amqps://host:5671/vhost"'
)
_SECRETS = re.compile(r"(?<=//)[^/]*@")  # user and password, which no error may show
_BLANK = re.compile(r"\s")
_WEBSOCKET_SCHEMES = frozenset({"ws", "wss"})
_AMQP_SCHEMES = frozenset({"amqp", "amqps"})
_VIRTUAL_HOST_MAX_BYTES = 255
_PROXY_PORTS = {"http": 3128, "socks4": 1080, "socks5": 1080}


def split_address(listen: str) -> tuple[str, int]:
    """Split `"127.0.0.1:8745"` or `"[::1]:8745"` into host and port.

    Raises:
        ValueError: it is not of that form.
    """
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004  the largest port
        raise ValueError(f'{listen!r} is not an address: write "127.0.0.1:8745"')
    return host, int(port)


class ListenAddress(msgspec.Struct, frozen=True):
    """Where devices connect to."""

    host: str
    port: int
    is_tls: bool
    is_websocket: bool = False


def split_listener(listen: str) -> ListenAddress:
    """`"127.0.0.1:1883"`, or `"tls://0.0.0.0:8883"` for TLS; with `ws://` or `wss://` it is WebSocket.

    Raises:
        ValueError: it is not of that form; the text says what is expected.
    """
    match = _LISTENER_SCHEME.fullmatch(listen)
    assert match is not None  # noqa: S101  it takes every text
    scheme, rest = match.groups()
    try:
        host, port = split_address(rest)
        usable = "/" not in host and not _BLANK.search(host) and (":" not in host or _is_ip(host))
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"{listen!r} is no address to listen on: {_LISTENER_FORMS}")
    return ListenAddress(host, port, scheme in {"tls", "wss"}, scheme in _WEBSOCKET_SCHEMES)


def split_broker_url(url: str) -> tuple[str, str, int]:
    """Split `"mqtts://broker.example"` into scheme, host and port (by default the scheme's).

    Of `"pubsub://PROJECT/TOPIC"` the project stands for the host.

    Raises:
        ValueError: it does not have that form; the text says what is expected.
    """
    if is_pubsub(url):
        if (place := _PUBSUB_PLACE.fullmatch(url)) is None:
            raise ValueError(
                f'{url!r} names no topic: write "pubsub://PROJECT/TOPIC", with the project\'s id (6 to 30 characters) '
                "and the topic's (3 to 255), which both begin with a letter"
            )
        return "pubsub", place[1], _HTTPS_PORT
    try:
        parts = urlsplit(url)
        port, usable = parts.port, parts.scheme in _DEFAULT_PORTS and bool(parts.hostname) and not _BLANK.search(url)
    except ValueError:  # a port that is not a number or too large, or an unterminated IPv6 address
        usable = False
    if not usable:
        from edgeagent.config.meant import broker_url_hint  # noqa: PLC0415  only for an error

        url = _SECRETS.sub("", url)
        meant = broker_url_hint(url)
        raise ValueError(f"{url!r} is not a broker address: " + (f'did you mean "{meant}"?' if meant else _FORMS))
    if parts.scheme in _WEBSOCKET_SCHEMES and parts.username is None and not parts.fragment:
        pass  # a path and a query may be part of it
    elif parts.scheme in _AMQP_SCHEMES and parts.username is None and not parts.query and not parts.fragment:
        if "/" in parts.path[1:] or len(virtual_host(url).encode()) > _VIRTUAL_HOST_MAX_BYTES:
            raise ValueError(f"{url!r}: the path is one virtual host; a '/' in its name is written %2F")
    elif parts.username is not None or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError("only scheme, host and port belong in a broker address; use username and password_file")
    if port == 0:
        raise ValueError(f"{url!r}: a broker's port cannot be 0")
    return parts.scheme, str(parts.hostname), port or _DEFAULT_PORTS[parts.scheme]


def is_pubsub(url: str) -> bool:
    """Whether an address is one of Google Pub/Sub."""
    return url.startswith(_PUBSUB)


def messaging_system(url: str) -> str:
    """What OpenTelemetry calls the kind of broker at this address."""
    if is_pubsub(url):
        return "gcp_pubsub"
    return "rabbitmq" if is_amqp(url) else "mqtt"


def websocket_path(url: str) -> str | None:
    """The path and query of a WebSocket address, by default `/mqtt`; None for other addresses."""
    parts = urlsplit(url)
    if parts.scheme not in _WEBSOCKET_SCHEMES:
        return None
    path = parts.path if parts.path not in {"", "/"} else "/mqtt"
    return f"{path}?{parts.query}" if parts.query else path


def is_amqp(url: str) -> bool:
    """Whether a broker's address is one of AMQP."""
    return urlsplit(url).scheme in _AMQP_SCHEMES


def virtual_host(url: str) -> str:
    """The virtual host in an address of AMQP: its path, by default `/`."""
    return unquote(urlsplit(url).path[1:], errors="replace") or "/"


def split_proxy_url(url: str) -> tuple[str, str, int]:
    """Split `"socks5://10.0.0.1:1080"` into scheme, host and port (by default the scheme's usual one).

    Raises:
        ValueError: it does not have that form; the text says what is expected.
    """
    parts = urlsplit(url)
    if parts.scheme not in _PROXY_PORTS or not parts.hostname or parts.port == 0:
        raise ValueError(
            f'{url!r} is not a proxy: write "http://host:3128", "socks5://host:1080" or "socks4://host:1080"'
        )
    if parts.username is not None or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError("only scheme, host and port belong in a proxy's address; a password is not supported")
    return parts.scheme, parts.hostname, parts.port or _PROXY_PORTS[parts.scheme]


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a listener on this host can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
