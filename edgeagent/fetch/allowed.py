"""Which urls a claim may name. Pure.

A claim comes from outside: who may send a trigger, or fill a parameter, chooses its url. It must not make the reader
open a file of its own machine, ask a service that only this machine can reach, or send a credential to a stranger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from edgeagent.common.foreign import shown
from edgeagent.common.hosts import Address, AllowedHosts, plain, special
from edgeagent.wire.claim import MAX_CLAIM_URL_CHARS

WEB: Final = {"http": 80, "https": 443}
OBJECTS: Final = frozenset({"s3", "gs", "az"})
_SCHEMES: Final = ("file", *WEB, *sorted(OBJECTS))


class SourceUrl(NamedTuple):
    """A url in parts.

    Attributes:
        scheme: `file`, `http`, `https`, `s3`, `gs` or `az`.
        host: a host's name or address; the bucket of an object; "" for a file.
        port: 0 where a scheme has none.
        segments: the path between its slashes, decoded: none is "." or "..", or has a slash of its own.
        target: path and query as they are in a request.
    """

    scheme: str
    host: str
    port: int
    segments: tuple[str, ...]
    target: str

    @property
    def path(self) -> str:
        """The path, decoded, without the first slash."""
        return "/".join(self.segments)

    @property
    def authority(self) -> str:
        """The value of the header `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port in {0, WEB.get(self.scheme)} else f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """For people: without the query, which may hold a token."""
        return shown(f"{self.scheme}://{self.authority}/{self.path}")

    @property
    def origin(self) -> tuple[str, str, int]:
        """What a credential is meant for."""
        return self.scheme, self.host, self.port


def source_url(text: str) -> SourceUrl:
    """The parts of a url from which an artifact can be fetched.

    Raises:
        ValueError: there is nothing to fetch from it; the text says why, and does not repeat it.
    """
    if len(text) > MAX_CLAIM_URL_CHARS:
        raise ValueError(f"has {len(text)} characters, at most {MAX_CLAIM_URL_CHARS} are taken")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be printable ASCII without spaces; other characters are percent-encoded")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as exc:  # not a port, or an unterminated IPv6 address
        raise ValueError(f"is no url ({exc})") from exc
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"must begin with one of {', '.join(f'{scheme}://' for scheme in _SCHEMES)}")
    if parts.username is not None or parts.fragment:
        raise ValueError("must hold no user, password or fragment (#)")
    host = parts.hostname or ""
    if parts.scheme == "file":
        if host not in {"", "localhost"} or parts.query:
            raise ValueError("must be file:///path, without a host or a query")
        host = ""
    elif not host or "%" in host or (port == 0 and parts.scheme in WEB):
        raise ValueError(f"names no {'bucket' if parts.scheme in OBJECTS else 'host'}")
    if parts.scheme in OBJECTS and (port is not None or parts.query):
        raise ValueError(f"must be {parts.scheme}://bucket/name, without a port or a query")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return SourceUrl(parts.scheme, host, port or WEB.get(parts.scheme, 0), _segments(parts.path), target)


def _segments(path: str) -> tuple[str, ...]:
    segments = tuple(unquote(segment, errors="strict") for segment in path.removeprefix("/").split("/"))
    for segment in segments:
        if segment in {".", ".."} or not {"/", "\\", "\0"}.isdisjoint(segment):
            raise ValueError("must have no segment in its path that is '.' or '..', or has a slash or NUL in it")
    return segments


class AllowedUrls:
    """What the caller allows: everything below one of some prefixes; without any, what leads to an ordinary host."""

    def __init__(self, prefixes: Sequence[str]) -> None:
        """`prefixes`: such as `file:///mnt/shared`, `https://store.example/plant`, `s3://bucket`.

        Raises:
            ValueError: one of them is no url.
        """
        self._prefixes: list[SourceUrl] = []
        for text in prefixes:
            try:
                self._prefixes.append(source_url(text))
            except ValueError as exc:
                raise ValueError(f"{shown(text)}: {exc}") from exc
        self._hosts = AllowedHosts([prefix.host for prefix in self._prefixes if prefix.scheme in WEB])

    def problem(self, url: SourceUrl) -> str:
        """Why nothing may be fetched from a url, judged by the url alone; "" if it may."""
        if any(_is_below(prefix, url) for prefix in self._prefixes):
            return ""
        if self._prefixes:
            return f"{url.shown} is below no --allow"
        return f"{url.shown} is a file here: allow its directory, --allow file:///DIR" if url.scheme == "file" else ""

    def directories(self) -> list[str]:
        """The directories below which files may be read."""
        return [f"/{prefix.path}" for prefix in self._prefixes if prefix.scheme == "file"]

    def address_problem(self, url: SourceUrl, address: Address) -> str:
        """Why no request may go to this address, which the url's host stands for; "" if it may."""
        if self._prefixes:
            return self._hosts.address_problem(url.host, address)
        what = special(plain(address))
        return f"{shown(url.host)} is at {address}, {what}: give --allow if it is meant" if what else ""


def _is_below(prefix: SourceUrl, url: SourceUrl) -> bool:
    above = prefix.segments if prefix.segments[-1] else prefix.segments[:-1]
    return prefix.origin == url.origin and url.segments[: len(above)] == above
