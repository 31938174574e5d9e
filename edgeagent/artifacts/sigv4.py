"""AWS Signature Version 4 for S3: what a request must carry so that the service knows who sent it. Pure.

Source: "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)", Amazon S3 API Reference.
The XML API of Google Cloud Storage takes the same signatures, with its HMAC keys.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple
from urllib.parse import quote

_ALGORITHM: Final = "AWS4-HMAC-SHA256"


class AccessKey(NamedTuple):
    """Who signs. `secret` is never shown."""

    id: str
    secret: str

    def __repr__(self) -> str:
        return f"AccessKey(id={self.id!r})"


def access_key(text: str) -> AccessKey:
    """The key in an `access_key_file`: its id and its secret, on two lines.

    Raises:
        ValueError: it is none; the text does not repeat it.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) != 2 or not all(line.isascii() and line.isprintable() and " " not in line for line in lines):  # noqa: PLR2004
        raise ValueError("must have two lines, the id of the key and the secret, without spaces")
    return AccessKey(*lines)


def encoded(text: str, *, is_path: bool = False) -> str:
    """Percent-encoded as signatures want it: all but letters, digits and `-._~`; in paths the `/` stays too."""
    return quote(text, safe="/~" if is_path else "~")


class S3Request(NamedTuple):
    """A request to sign. `path`: encoded, from `/`. `payload_sha256`: of its body, in hexadecimal digits."""

    method: str
    host: str
    path: str
    query: Mapping[str, str]
    payload_sha256: str

    @property
    def target(self) -> str:
        """Path and query, as they are sent and signed."""
        pairs = sorted((encoded(name), encoded(value)) for name, value in self.query.items())
        text = "&".join(f"{name}={value}" for name, value in pairs)
        return f"{self.path}?{text}" if text else self.path


def signed_headers(
    request: S3Request, headers: Mapping[str, str], key: AccessKey, region: str, at: datetime
) -> dict[str, str]:
    """All headers of a request: those given, in lower case, with those that S3 wants and the signature over all.

    Args:
        request: what is asked.
        headers: others, which are signed too.
        key: who asks.
        region: of the bucket.
        at: now, in UTC; S3 refuses what is 15 minutes off its own time.
    """
    stamp = at.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    signed = {
        **{name.lower(): " ".join(value.split()) for name, value in headers.items()},
        "host": request.host,
        "x-amz-content-sha256": request.payload_sha256,
        "x-amz-date": stamp,
    }
    names = ";".join(sorted(signed))
    path, _, query = request.target.partition("?")
    lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    canonical = f"{request.method}\n{path}\n{query}\n{lines}\n{names}\n{request.payload_sha256}"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    signature = f"AWS4{key.secret}".encode()
    for part in (stamp[:8], region, "s3", "aws4_request"):
        signature = _mac(signature, part)
    mac = _mac(signature, f"{_ALGORITHM}\n{stamp}\n{scope}\n{digest}").hex()
    signed["authorization"] = f"{_ALGORITHM} Credential={key.id}/{scope},SignedHeaders={names},Signature={mac}"
    return signed


def _mac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
