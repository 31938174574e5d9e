"""Where the bearer for Pub/Sub comes from: a service account's key, a token file, or the metadata server.

Nothing here is ever logged. A bearer is made once and kept until shortly before its end, until its file changes, or
until the service refuses it.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Protocol

import httpx
import msgspec

from edgeagent.config.secretfile import FileState, secret_in, state_of_file, why_unusable
from edgeagent.errors import Denied, Unavailable
from edgeagent.pubsub import jwt

EMULATOR_HOST = "PUBSUB_EMULATOR_HOST"
METADATA_URL = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"
_METADATA_TIMEOUT_S = 5.0
_SIGN_TIMEOUT_S = 10.0
# A `Date` has whole seconds and is as old as its answer: a smaller difference is none.
_TRUSTED_S: Final = 10.0
_FIRST_YEAR, _LAST_YEAR = 1970, 3000
_OPENSSL = "openssl"
_MAX_TOKEN_BYTES = 16 << 10


class ServiceClock:
    """Unix time as the service has it: our own clock, corrected by its `Date` where that says something else.

    A gateway without a battery for its clock starts in the past, where its tokens would not be valid yet.
    """

    def __init__(self) -> None:
        self._offset_s = 0.0

    def note(self, date: str) -> None:
        """Compare with the `Date` header of an answer; what is none is ignored."""
        try:
            found = parsedate_to_datetime(date)
        except (ValueError, OverflowError):
            return
        if not _FIRST_YEAR <= found.year < _LAST_YEAR:  # near the calendar's end no time could be counted from it
            return
        offset_s = found.replace(tzinfo=found.tzinfo or UTC).timestamp() - time.time()
        self._offset_s = offset_s if abs(offset_s) > _TRUSTED_S else 0.0

    @property
    def offset_s(self) -> float:
        """By how much the service's clock is ahead of ours; 0 if they agree."""
        return self._offset_s

    def now_s(self) -> float:
        """Unix time in seconds."""
        return time.time() + self._offset_s

    def now(self) -> datetime:
        """The same as a date."""
        return datetime.fromtimestamp(self.now_s(), UTC)


class Credentials(Protocol):
    """Makes bearers."""

    async def authorization(self) -> bytes:
        """The value of the Authorization header; empty for none.

        Raises:
            Denied: a file or program is at fault; the text says which, and nothing of a secret.
            Unavailable: the metadata server does not answer.
        """

    def refused(self) -> None:
        """Note that the service did not accept the last one: the next is made anew."""

    def source(self) -> str:
        """Where bearers come from, in words."""


class NoCredentials:
    """For an emulator, which asks for none."""

    async def authorization(self) -> bytes:
        """Nothing."""
        return b""

    def refused(self) -> None:
        """Nothing can be renewed."""

    def source(self) -> str:
        """In words."""
        return f"none, because {EMULATOR_HOST} names an emulator"


class KeyFile:
    """Tokens that we sign ourselves with a service account's key, one an hour."""

    def __init__(self, address: str, file: str, clock: ServiceClock) -> None:
        self._address = address
        self._file = file
        self._clock = clock
        self._bearer = b""
        self._until_s = 0.0
        self._state: FileState = None

    async def authorization(self) -> bytes:
        """See `Credentials`."""
        state = await asyncio.to_thread(state_of_file, self._file)
        now_s = self._clock.now_s()
        if not self._bearer or state != self._state or not self._until_s - jwt.LIFETIME_S <= now_s < self._until_s:
            self._bearer = b"Bearer " + await asyncio.to_thread(self._made, now_s)
            self._state, self._until_s = state, now_s + jwt.LIFETIME_S - jwt.RENEW_BEFORE_S
        return self._bearer

    def refused(self) -> None:
        """See `Credentials`."""
        self._bearer = b""

    def source(self) -> str:
        """In words."""
        return f"a token signed with credentials_file {self._file}"

    def _made(self, now_s: float) -> bytes:
        try:
            key = jwt.read_key(secret_in(self._file))
            return jwt.signed(key, now_s, sign)
        except (OSError, ValueError) as exc:
            raise Denied(self._address, f"credentials_file {self._file}: {why_unusable(exc)}") from exc


class RenewedTokenFile:
    """A token that another program renews in a file."""

    def __init__(self, address: str, file: str) -> None:
        self._address = address
        self._file = file

    async def authorization(self) -> bytes:
        """See `Credentials`."""
        try:
            token = await asyncio.to_thread(secret_in, self._file)
        except OSError as exc:
            raise Denied(self._address, f"token_file {self._file}: {why_unusable(exc)}") from exc
        token = token.strip().removeprefix(b"Bearer ")
        if not token or len(token) > _MAX_TOKEN_BYTES or not all(0x21 <= sign <= 0x7E for sign in token):  # noqa: PLR2004  RFC 9110, section 5.5
            raise Denied(self._address, f"token_file {self._file} does not hold a token, and nothing else")
        return b"Bearer " + token

    def refused(self) -> None:
        """The file is read for each request anyway."""

    def source(self) -> str:
        """In words."""
        return f"token_file {self._file}"


class _Token(msgspec.Struct):
    access_token: str
    expires_in: float


class MetadataServer:
    """Tokens of the machine's own service account, on Google's machines."""

    def __init__(self, address: str, url: str = METADATA_URL) -> None:
        self._address = address
        self._url = url
        self._bearer = b""
        self._until_s = 0.0

    async def authorization(self) -> bytes:
        """See `Credentials`."""
        now_s = time.monotonic()
        if not self._bearer or now_s >= self._until_s:
            token = await self._asked()
            self._bearer = b"Bearer " + token.access_token.encode("ascii")
            self._until_s = now_s + max(token.expires_in - jwt.RENEW_BEFORE_S, 1.0)
        return self._bearer

    def refused(self) -> None:
        """See `Credentials`."""
        self._bearer = b""

    def source(self) -> str:
        """In words."""
        return "the metadata server of this machine"

    async def _asked(self) -> _Token:
        what = "the metadata server gives no token"
        hint = "set credentials_file or token_file on machines that are not Google's"
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=_METADATA_TIMEOUT_S) as client:
                answer = await client.get(self._url, headers={"Metadata-Flavor": "Google"})
            if answer.status_code != httpx.codes.OK:
                raise Unavailable(self._address, f"{what} ({answer.status_code}): has this machine a service account?")
            token = msgspec.json.decode(answer.content, type=_Token)
            if not token.access_token.isascii() or not token.access_token.isprintable():
                raise Unavailable(self._address, f"{what}: its answer is none")
        except (httpx.HTTPError, OSError) as exc:
            raise Unavailable(self._address, f"{what} ({type(exc).__name__}); {hint}") from exc
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise Unavailable(self._address, f"{what}: its answer is none") from exc
        return token


def sign(pem: str, data: bytes) -> bytes:
    """The RS256 signature of the data, by the program `openssl` (docs/adr/0012-signatures-by-openssl.md).

    The key goes to it through a pipe, and is never in a file or on a command line.

    Raises:
        ValueError: it cannot be made; the text says why, and shows nothing of the key.
    """
    key, key_in = os.pipe()
    try:
        try:
            os.set_blocking(key_in, False)
            os.write(key_in, pem.encode())  # a key has 2 to 4 KB, a pipe holds 64
        except OSError as exc:
            raise ValueError("holds a private key that is too large") from exc
        finally:
            os.close(key_in)
        command = [_OPENSSL, "dgst", "-sha256", "-sign", f"/proc/self/fd/{key}"]
        found = subprocess.run(  # noqa: S603  nothing of it comes from outside
            command, input=data, capture_output=True, pass_fds=(key,), timeout=_SIGN_TIMEOUT_S, check=False
        )
    except FileNotFoundError as exc:
        raise ValueError(
            "cannot be used without the program openssl: install it (Debian: apt install openssl)"
        ) from exc
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ValueError(f"could not be used to sign: openssl failed ({type(exc).__name__})") from exc
    finally:
        os.close(key)
    if found.returncode != 0 or not found.stdout:
        raise ValueError("holds a private key that openssl cannot use")
    return found.stdout


def choose(
    address: str, *, credentials_file: str, token_file: str, clock: ServiceClock, environ: Mapping[str, str]
) -> Credentials:
    """The source that is configured; without any, the metadata server."""
    if environ.get(EMULATOR_HOST):
        return NoCredentials()
    if credentials_file:
        return KeyFile(address, credentials_file, clock)
    if token_file:
        return RenewedTokenFile(address, token_file)
    return MetadataServer(address)
