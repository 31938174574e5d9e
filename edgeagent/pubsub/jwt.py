"""A self-signed JWT for Google's APIs: RFC 7519 and 7515, and AIP-4111. Pure; the signature is the caller's.

With it a service account needs no token request: it is sent as the bearer itself.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Final

import msgspec

# The longest that the service accepts, and how long before its end another one is made.
LIFETIME_S: Final = 3600
RENEW_BEFORE_S: Final = 300
AUDIENCE = "https://pubsub.googleapis.com/"


class ServiceAccountKey(msgspec.Struct, frozen=True):
    """The members of a service account's key file that are used. `private_key`: PEM, PKCS #8. Never to be shown."""

    type: str
    client_email: str
    private_key: str
    private_key_id: str = ""

    def __repr__(self) -> str:
        return f"ServiceAccountKey({self.client_email!r})"


def read_key(text: bytes) -> ServiceAccountKey:
    """The key in a service account's key file.

    Raises:
        ValueError: it is no such file; the reason shows nothing of it.
    """
    try:
        key = msgspec.json.decode(text, type=ServiceAccountKey)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ValueError('is not the JSON key of a service account ("type", "client_email", "private_key")') from exc
    if key.type != "service_account":
        raise ValueError(
            'has another "type" than "service_account": use such a key, or let another program renew a token_file'
        )
    if "-----BEGIN" not in key.private_key or not key.client_email:
        raise ValueError("has no private_key in PEM, or no client_email")
    return key


def signing_input(key: ServiceAccountKey, now_s: float) -> bytes:
    """What is signed: header and claims, valid for an hour from `now_s` (Unix time)."""
    header = {"alg": "RS256", "typ": "JWT"} | ({"kid": key.private_key_id} if key.private_key_id else {})
    issued_s = int(now_s)
    claims = {
        "iss": key.client_email,
        "sub": key.client_email,
        "aud": AUDIENCE,
        "iat": issued_s,
        "exp": issued_s + LIFETIME_S,
    }
    return b".".join(_base64url(msgspec.json.encode(part)) for part in (header, claims))


def signed(key: ServiceAccountKey, now_s: float, sign: Callable[[str, bytes], bytes]) -> bytes:
    """The token. `sign`: makes the RS256 signature of bytes with a PEM key."""
    text = signing_input(key, now_s)
    return text + b"." + _base64url(sign(key.private_key, text))


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
