"""What cannot be right in `[tracing]`, and what its keys mean."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from edgeagent.config.secretfile import secret_in, why_unusable
from edgeagent.config.tables import TracingTable
from edgeagent.errors import Problem

_PATH: Final = "/v1/traces"
_MAX_HEADERS: Final = 16
_TOKEN: Final = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
# What the request says itself.
_RESERVED: Final = frozenset({"host", "content-type", "content-length", "content-encoding", "transfer-encoding"})


def traces_url(endpoint: str) -> str:
    """Where spans are posted: the endpoint is a collector's, as OTEL_EXPORTER_OTLP_ENDPOINT, or the whole address."""
    return endpoint if endpoint.endswith(_PATH) else endpoint.rstrip("/") + _PATH


def collector_headers(text: bytes) -> Iterator[tuple[str, str]]:
    """The headers in a file: `Name: value`, one on a line.

    Raises:
        ValueError: there is something else; the message repeats none of it.
    """
    lines = [each.strip() for each in text.decode().splitlines() if each.strip()]
    if len(lines) > _MAX_HEADERS:
        raise ValueError(f"has {len(lines)} headers, at most {_MAX_HEADERS} are taken")
    for number, each in enumerate(lines, 1):
        name, colon, value = each.partition(":")
        value = value.strip()
        if not colon or not name or not _TOKEN.issuperset(name) or not (value.isascii() and value.isprintable()):
            raise ValueError(f"line {number} is not a header: write Name: value")
        if name.lower() in _RESERVED:
            raise ValueError(f"line {number} is a header that the request has itself")
        yield name.lower(), value


def tracing_problems(table: TracingTable) -> Iterator[Problem]:
    """What is wrong in `[tracing]`."""
    for key, reason in _problems(table):
        yield Problem(f"tracing.{key}", reason)


def _problems(table: TracingTable) -> Iterator[tuple[str, str]]:
    if not 0 <= table.sample <= 1:
        yield "sample", "must be from 0 to 1: the part of the traces that is told"
    try:
        parts = urlsplit(table.endpoint)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or not table.endpoint.isascii() or not table.endpoint.isprintable() or " " in table.endpoint:
        yield "endpoint", 'is not the address of a collector: write "http://127.0.0.1:4318"'
        return
    if parts.username is not None or parts.query or parts.fragment:
        yield "endpoint", "must hold no user, password, query or fragment: secrets go into headers_file"
    if table.ca_file and parts.scheme != "https":
        yield "endpoint", "has no TLS (http://), but ca_file is set; use https://"
    if table.headers_file:
        try:
            list(collector_headers(secret_in(table.headers_file)))
        except (OSError, ValueError) as exc:
            yield "headers_file", f"{table.headers_file}: {why_unusable(exc)}"
