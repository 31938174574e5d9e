"""Decides which requests over TCP are admitted: those with the bearer token, and none from a web page in a browser.

The Unix socket needs none of this: the mode of its file decides which users may connect.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from edgeagent.common.browsers import is_known_host, is_own_origin, own_names
from edgeagent.errors import ConfigError, Problem
from edgeagent.httpapi.page import PAGE_PATHS
from edgeagent.httpapi.problem import Refused
from edgeagent.httpapi.request import Request

_log = logging.getLogger(__name__)

_OPEN_PATHS = frozenset({"/healthz", "/readyz"}) | PAGE_PATHS
_SAFE_METHODS = frozenset({"GET", "HEAD"})
_MAX_TOKEN_BYTES = 4096
# `Sec-Fetch-Site` for a page of this server, and for an address that a person typed.
_OWN_SITES = frozenset({b"none", b"same-origin"})


class TokenFile:
    """The token in a file, read again when the file changes.

    It owns the token. While a changed file cannot be read the previous token stays valid, with a warning in the log. It
    must never log the token.
    """

    def __init__(self, path: str) -> None:
        """Read the file.

        Raises:
            ConfigError: the file cannot be read, or holds no token.
        """
        import hmac  # noqa: PLC0415  3 MiB, which an agent without a token does without

        self._equal = hmac.compare_digest
        self._path = Path(path)
        self._stale = False
        try:
            self._stamp = self._read_stamp()
            self._token = self._read_token()
        except (OSError, ValueError) as exc:
            raise ConfigError(path, [Problem("", f"cannot be used as http.token_file: {_reason(exc)}")]) from exc

    def matches(self, token: bytes) -> bool:
        """Whether this is the token; the comparison takes the same time wherever the two differ."""
        self._refresh()
        return self._equal(token, self._token)

    def _refresh(self) -> None:
        try:
            stamp = self._read_stamp()
            if stamp == self._stamp and not self._stale:
                return
            token = self._read_token()
        except (OSError, ValueError) as exc:
            if not self._stale:
                _log.warning(
                    "the token file %s cannot be used any more (%s): the previous token stays valid",
                    self._path,
                    _reason(exc),
                    extra={"event": "http_token_unreadable", "path": str(self._path)},
                )
            self._stale = True
            return
        self._stamp, self._token, self._stale = stamp, token, False

    def _read_stamp(self) -> tuple[int, int, int]:
        stat = self._path.stat()
        return stat.st_mtime_ns, stat.st_ino, stat.st_size

    def _read_token(self) -> bytes:
        with self._path.open("rb") as stream:
            token = stream.read(_MAX_TOKEN_BYTES + 1).strip()
        if not token:
            raise ValueError("it is empty")
        if len(token) > _MAX_TOKEN_BYTES:
            raise ValueError(f"it holds more than {_MAX_TOKEN_BYTES} bytes")
        return token


class Admission:
    """The checks that a request over TCP must pass before anything else is read. They never read the body.

    A web page open in a browser on this machine can send requests to loopback. Three headers reveal it: its POSTs carry
    `Origin`; `Sec-Fetch-Site` says that it belongs to another site, or to another port of this one; and after a DNS
    rebinding, when the browser takes it for the same origin, `Host` is still the page's own name.
    """

    def __init__(self, listen_host: str, token: TokenFile | None, hosts: Sequence[str] = ()) -> None:
        """`hosts`: the names of this machine, beside the one it listens on."""
        self._names = own_names(listen_host, hosts)
        self._token = token

    def check(self, request: Request) -> None:
        """Admit a request.

        Raises:
            Refused: 403 or 401, the request is not admitted.
        """
        headers = request.headers
        host = headers.get(b"host")
        if self._token is None and host is not None and not is_known_host(host, self._names):
            raise Refused(403, "Host: must be localhost, an IP address, or a name in http.listen or http.hosts")
        site = headers.get(b"sec-fetch-site")
        if site is not None and site.lower() not in _OWN_SITES and request.path not in PAGE_PATHS:
            raise Refused(403, "Sec-Fetch-Site: pages of other sites may neither ask nor send anything here")
        origin = headers.get(b"origin")
        if origin is not None and request.method not in _SAFE_METHODS and not is_own_origin(origin, host):
            raise Refused(403, "Origin: pages of other servers may not send events")
        if self._token is not None and request.path not in _OPEN_PATHS:
            scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
            if scheme.lower() != b"bearer" or not self._token.matches(token.strip()):
                raise Refused(
                    401,
                    "Authorization: must be Bearer and the token in http.token_file",
                    ((b"www-authenticate", b"Bearer"),),
                )


def _reason(exc: Exception) -> str:
    return (exc.strerror if isinstance(exc, OSError) else None) or str(exc)
