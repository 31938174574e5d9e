"""Access to the Argo Server: the token and the TLS context, renewed when their files change.

Kubernetes rotates a mounted token by swapping a symlink, and certificates are renewed: so a file is checked (time,
size, inode) before a request, at most once a second. After a change that cannot be used, every request fails with the
reason until the file is corrected; the earlier content is not used any longer, so that a mistake shows at once.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from edgeagent.errors import EngineUnavailable

T = TypeVar("T")

_CHECK_EVERY_S = 1.0
_MAX_TOKEN_BYTES = 16 * 1024  # tokens of a single sign-on are some KB
# The schemes that may precede the token, as Argo expects them written.
_SCHEMES = {b"bearer": b"Bearer", b"basic": b"Basic"}
# The characters of a header's value, without the space: RFC 9110, section 5.5.
_FIRST_VISIBLE, _LAST_VISIBLE = 0x21, 0x7E


class ArgoAccess:
    """Owns the token and the TLS context for one server, always those of the present files. Not thread-safe."""

    def __init__(
        self,
        url: str,
        *,
        token_file: str = "",
        ca_file: str = "",
        cert_file: str = "",
        key_file: str = "",
        insecure: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create the access; no file is read yet.

        Args:
            url: names the server in errors.
            token_file: holds the token, optionally after `Bearer ` (or `Basic `); "": no token is sent.
            ca_file: the only authorities that are trusted; "": the system's.
            cert_file: the client's certificate and the intermediate ones; "": none.
            key_file: the certificate's key; "": it is in `cert_file`.
            insecure: check neither the server's certificate nor its host name.
            clock: monotonic seconds.
        """
        self._token = _FromFiles(url, [token_file] if token_file else [], lambda: _read_token(token_file), clock)
        self._context = _FromFiles(
            url,
            [file for file in (ca_file, cert_file, key_file) if file],
            lambda: _client_context(ca_file, cert_file, key_file, insecure=insecure),
            clock,
        )

    def authorization(self) -> bytes:
        """The value of the Authorization header; empty if none is sent.

        Raises:
            EngineUnavailable: the token file cannot be used.
        """
        return self._token.get()

    def context(self) -> ssl.SSLContext:
        """The TLS context: the same object until a file changes.

        Raises:
            EngineUnavailable: a file cannot be used.
        """
        return self._context.get()


class _FromFiles(Generic[T]):
    """A value made from files, and made again when one of them changes."""

    def __init__(self, url: str, files: list[str], make: Callable[[], T], clock: Callable[[], float]) -> None:
        self._url = url
        self._files = files
        self._make = make
        self._clock = clock
        self._check_at_s = float("-inf")
        self._stamp: list[tuple[int, int, int]] | None = None
        self._value: T | None = None
        self._problem = ""

    def get(self) -> T:
        """The value for the files as they are, or were up to a second ago.

        Raises:
            EngineUnavailable: it cannot be made.
        """
        now = self._clock()
        if now >= self._check_at_s:
            self._check_at_s = now + _CHECK_EVERY_S
            self._check()
        if self._value is None:
            raise EngineUnavailable(self._url, self._problem)
        return self._value

    def _check(self) -> None:
        try:
            stamp = [_stamp(file) for file in self._files]
            if stamp == self._stamp:
                return
            self._value = self._make()
            self._stamp = stamp
        except OSError as exc:
            self._refuse(f"{exc.filename} cannot be read ({exc.strerror})")
        except ValueError as exc:
            self._refuse(str(exc))

    def _refuse(self, problem: str) -> None:
        self._stamp, self._value, self._problem = None, None, problem


def _stamp(file: str) -> tuple[int, int, int]:
    found = os.stat(file)  # noqa: PTH116  before each request: Path costs several times as much
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read_token(file: str) -> bytes:
    """The header's value for the token in a file; empty without a file. No error reveals any part of the token."""
    if not file:
        return b""
    with Path(file).open("rb") as stream:
        text = stream.read(_MAX_TOKEN_BYTES + 1).strip()
    if len(text) > _MAX_TOKEN_BYTES:
        raise ValueError(f"token_file {file} holds more than {_MAX_TOKEN_BYTES} bytes: is it the token alone?")
    word, _, rest = text.partition(b" ")
    scheme = _SCHEMES.get(word.lower())
    token = text if scheme is None else rest.strip()
    if not token:
        raise ValueError(f"token_file {file} holds no token")
    if not all(_FIRST_VISIBLE <= letter <= _LAST_VISIBLE for letter in token):
        raise ValueError(
            f"token_file {file} has a line break, a space or another character that no token contains: "
            "it must hold the token alone"
        )
    return (scheme or b"Bearer") + b" " + token


def _client_context(ca_file: str, cert_file: str, key_file: str, *, insecure: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif ca_file:
            context.load_verify_locations(ca_file)
        else:
            context.load_default_certs()
    except (OSError, ValueError) as exc:
        raise ValueError(f"ca_file {ca_file} cannot be used ({_reason(exc)})") from exc
    if cert_file:
        try:
            # Always a callback: without one OpenSSL would ask on the terminal for the password of an encrypted key.
            context.load_cert_chain(cert_file, key_file or None, password=lambda: b"")
        except (OSError, ValueError) as exc:
            files = f"cert_file {cert_file}" + (f" and key_file {key_file}" if key_file else "")
            raise ValueError(f"{files} cannot be used ({_reason(exc)}); the key must not be encrypted") from exc
    return context


def _reason(exc: Exception) -> str:
    if isinstance(exc, ssl.SSLError):
        return (exc.reason or str(exc)).replace("_", " ").lower()
    return (exc.strerror if isinstance(exc, OSError) else None) or str(exc)
