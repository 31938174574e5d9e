"""What cannot be right in `[artifacts]`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

from edgeagent.common.foreign import shown
from edgeagent.common.units import BitRate
from edgeagent.config.tables import ArtifactsTable, OutboxTable
from edgeagent.errors import Problem

HTTP_SCHEMES: Final = frozenset({"http", "https"})
# Stores whose objects belong to a bucket or a container.
BUCKET_SCHEMES: Final = frozenset({"s3", "gs", "az"})
MAX_SPANS: Final = 24
_MAX_URL_CHARS = 2048
# A slower one would not even send the head of a request.
MIN_BYTES_PER_S: Final = 1000
_CLOCK = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]", re.ASCII)
_BUCKET = re.compile(r"[a-z0-9][-._a-z0-9]{1,220}[a-z0-9]", re.ASCII)
_REGION = re.compile(r"[-a-z0-9]{1,64}", re.ASCII)
_FORMS = 'write "file:///mnt/shared", "https://host/path", "s3://bucket/prefix", "gs://bucket" or "az://container"'
# Which keys have a meaning for which stores.
_KEYS_OF = {
    "presign_url": HTTP_SCHEMES,
    "username": HTTP_SCHEMES,
    "password_file": HTTP_SCHEMES,
    "token_file": HTTP_SCHEMES,
    "cert_file": HTTP_SCHEMES,
    "key_file": HTTP_SCHEMES,
    "access_key_file": BUCKET_SCHEMES,
    "endpoint": BUCKET_SCHEMES,
    "region": frozenset({"s3"}),
    "ca_file": HTTP_SCHEMES | {"s3", "gs"},
}


def artifacts_problems(table: ArtifactsTable, outbox: OutboxTable) -> Iterator[Problem]:
    """What is wrong in `[artifacts]`."""
    for key, reason in _table_problems(table, outbox):
        yield Problem(f"artifacts.{key}", reason)


def _table_problems(table: ArtifactsTable, outbox: OutboxTable) -> Iterator[tuple[str, str]]:
    if not 1 <= table.inline_max <= outbox.max_event_bytes:
        yield "inline_max", "must be 1 byte to outbox.max_event_bytes: smaller data goes with its event"
    if table.max_bytes < table.inline_max:
        yield "max_bytes", "must be at least artifacts.inline_max"
    yield from _bandwidth_problems(table)
    if problem := _url_problem(table.store, HTTP_SCHEMES | BUCKET_SCHEMES | {"file"}):
        yield "store", problem
        return
    yield from _store_problems(table, urlsplit(table.store).scheme)


def _store_problems(table: ArtifactsTable, scheme: str) -> Iterator[tuple[str, str]]:
    path = unquote(urlsplit(table.store).path)
    if ".." in path.split("/"):
        yield "store", "must have no '..' in its path"
    if scheme == "file":
        if urlsplit(table.store).netloc or not PurePosixPath(path).is_absolute():
            yield "store", 'names no directory of this machine: write "file:///mnt/shared"'
    elif scheme in BUCKET_SCHEMES and not _BUCKET.fullmatch(urlsplit(table.store).netloc):
        yield "store", f'names no bucket: write "{scheme}://bucket/prefix"'
    for key, schemes in _KEYS_OF.items():
        if getattr(table, key) and scheme not in schemes:
            yield key, f"has no meaning for a store by {scheme}://"
    if scheme in BUCKET_SCHEMES and not table.access_key_file:
        yield "access_key_file", f"is missing: a store by {scheme}:// needs a key, its id and the secret on two lines"
    if table.region and not _REGION.fullmatch(table.region):
        yield "region", f"must be letters, digits and '-', is {shown(table.region)!r}"
    yield from _address_problems(table, scheme)
    yield from _credential_problems(table)


def _address_problems(table: ArtifactsTable, scheme: str) -> Iterator[tuple[str, str]]:
    for key in ("public_url", "presign_url", "endpoint"):
        url = getattr(table, key)
        schemes = HTTP_SCHEMES if key != "public_url" else HTTP_SCHEMES | BUCKET_SCHEMES | {"file"}
        if url and (problem := _url_problem(url, schemes, has_query=key == "presign_url")):
            yield key, problem
    if table.endpoint and urlsplit(table.endpoint).path not in {"", "/"}:
        yield "endpoint", "must have no path: the bucket and the prefix are in artifacts.store"
    addresses = [table.store, table.presign_url] if scheme in HTTP_SCHEMES else [table.endpoint]
    if (table.ca_file or table.cert_file) and any(url.startswith("http://") for url in addresses):
        yield "ca_file" if table.ca_file else "cert_file", "has no meaning without TLS (http://); use https://"


def _credential_problems(table: ArtifactsTable) -> Iterator[tuple[str, str]]:
    if bool(table.cert_file) != bool(table.key_file):
        yield "cert_file", "cert_file and key_file belong together"
    if bool(table.username) != bool(table.password_file):
        yield "username", "username and password_file belong together"
    if table.username and table.token_file:
        yield "token_file", "is one way to log in, and username another: leave one of them out"


def _bandwidth_problems(table: ArtifactsTable) -> Iterator[tuple[str, str]]:
    if table.bandwidth is not None and (problem := _rate_problem(table.bandwidth)):
        yield "bandwidth", problem
    if len(table.bandwidth_at) > MAX_SPANS:
        yield "bandwidth_at", f"has {len(table.bandwidth_at)} tables, at most {MAX_SPANS} are taken"
        return
    for index, span in enumerate(table.bandwidth_at):
        for key, text in (("from", span.start), ("to", span.stop)):
            if not _CLOCK.fullmatch(text):
                yield f"bandwidth_at[{index}].{key}", f'must be a time of day, such as "06:30", is {shown(text)!r}'
        if span.start == span.stop:
            yield f"bandwidth_at[{index}].to", "is the same as from: for the whole day there is artifacts.bandwidth"
        if problem := _rate_problem(span.rate):
            yield f"bandwidth_at[{index}].rate", problem
    if table.timezone:
        try:
            ZoneInfo(table.timezone)
        except (ValueError, KeyError, OSError):  # a path, a missing file, a directory
            yield (
                "timezone",
                f'{shown(table.timezone)!r} is no time zone: write "Europe/Berlin", or leave it out for UTC',
            )


def _rate_problem(rate: BitRate) -> str | None:
    if rate and rate < MIN_BYTES_PER_S:
        return f"must be at least {MIN_BYTES_PER_S} bytes a second (8kbit/s), or 0bit/s for none"
    return None


def _url_problem(url: str, schemes: frozenset[str], *, has_query: bool = False) -> str | None:
    """Why this is no address that can be used; it is not repeated, because it may hold a secret."""
    if len(url) > _MAX_URL_CHARS:
        return f"has {len(url)} characters, at most {_MAX_URL_CHARS} are taken"
    if not url.isascii() or not url.isprintable() or " " in url:
        return "must be printable ASCII without spaces; other characters are percent-encoded"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in schemes and (parts.scheme == "file" or bool(parts.hostname)) and parts.port != 0
    except ValueError:  # not a port, or an unterminated IPv6 address
        usable = False
    if not usable:
        return (
            f"is not an address for this: {_FORMS}" if "file" in schemes else 'must be "https://host" or "http://host"'
        )
    if parts.username is not None or parts.fragment or (parts.query and not has_query):
        return "must hold no user, password, query or fragment; credentials are in files"
    return None
