"""What a webhook's receiver gets beside the body: the event's attributes, and the signature.

The attributes are those of CloudEvents 1.0 in the binary form of its HTTP protocol binding (`ce-id`, `ce-type`, …).

The signature is that of Standard Webhooks (`webhook-id`, `webhook-timestamp`, `webhook-signature: v1,…`): HMAC-SHA256
over id, time and body, so that a recorded request cannot be sent again later, nor another body under its id. It was
chosen because receivers have libraries for it in every language, which compare in constant time and check the time.
GitHub's `X-Hub-Signature-256` signs no time, and HTTP Message Signatures (RFC 9421) are rarely verified anywhere.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from hashlib import blake2b, sha256
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from edgeagent.wire.messages import Report, State, Status

TYPE_PREFIX: Final = "io.edgeagent."
SECRET_PREFIX: Final = b"whsec_"
# Of Standard Webhooks, in bytes.
MIN_SECRET_BYTES: Final = 24
MAX_SECRET_BYTES: Final = 64
# One that is used, and one that is being replaced; more make the header long.
MAX_SECRETS: Final = 4
# What a body may name of a report, with `agent`, and of a status, with `state`: the status in a report's words.
REPORT_NAMES: Final = (*(field.encode_name for field in msgspec.structs.fields(Report)), "agent")
STATUS_NAMES: Final = (*(field.encode_name for field in msgspec.structs.fields(Status)), "state")
REPORT_STATES: Final = tuple(str(state) for state in State)
STATUS_STATES: Final = ("pending", "running", "succeeded", "failed", "error")
_PORTS = {"http": 80, "https": 443}
_NO_URL = 'is not the address of a receiver: write "https://host/path"'
MAX_URL_CHARS: Final = 2048
_ID_BYTES = 16
_FIRST_VISIBLE, _LAST_VISIBLE = 0x21, 0x7E
_ENCODED = frozenset('"%')

Header = tuple[str, str]


class WebhookTarget(NamedTuple):
    """Where a webhook's requests go. `target`: path and query, as they are in the request."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def is_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """The value of the header `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """For logs and people: without path and query, which may hold a token."""
        return f"{self.scheme}://{self.authority}" + ("/…" if self.target != "/" else "/")


def receiver(url: str) -> WebhookTarget:
    """The receiver that a URL names.

    Raises:
        ValueError: it names none; the message does not repeat it, because it may hold a token.
    """
    if len(url) > MAX_URL_CHARS:
        raise ValueError(f"has {len(url)} characters, at most {MAX_URL_CHARS} are taken")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(
            "must be printable ASCII without spaces; other characters are percent-encoded, or xn-- in a host"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:  # not a port, or an unterminated IPv6 address
        raise ValueError(_NO_URL) from exc
    if parts.scheme not in _PORTS or not parts.hostname or port == 0 or "%" in parts.hostname:
        raise ValueError(_NO_URL)
    if parts.username is not None or parts.fragment:
        raise ValueError("must hold no user, password or fragment (#)")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return WebhookTarget(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], target)


def receiver_names(urls: Sequence[str]) -> list[str]:
    """A name for the receiver of each URL, by which its deliveries are kept: the same after others came or went."""
    digests = [blake2b(url.encode(), digest_size=_ID_BYTES).hexdigest() for url in urls]
    return [f"{digest}-{digests[:index].count(digest)}" for index, digest in enumerate(digests)]


class EventAttributes(NamedTuple):
    """The attributes of the event that a request reports. `time`: RFC 3339, "" for none; `subject`: "" for none."""

    id: str
    type: str
    source: str
    subject: str
    time: str


def message_id(payload: bytes) -> str:
    """The id of a message: the same for the same payload, however often and from wherever it is sent."""
    return blake2b(payload, digest_size=_ID_BYTES).hexdigest()


def event_headers(event: EventAttributes) -> list[Header]:
    """The attributes as headers; characters that no header may have are percent-encoded, as CloudEvents says."""
    named = (*event._asdict().items(), ("specversion", "1.0"))
    return [(f"ce-{name}", _header_value(value)) for name, value in named if value]


def trace_headers(traceparent: str) -> list[Header]:
    """The header of W3C Trace Context; "" has none."""
    return [("traceparent", traceparent)] if traceparent else []


def _header_value(text: str) -> str:
    return "".join(sign if _is_plain(sign) else _percent(sign) for sign in text)


def _is_plain(sign: str) -> bool:
    return _FIRST_VISIBLE <= ord(sign) <= _LAST_VISIBLE and sign not in _ENCODED


def _percent(sign: str) -> str:
    return "".join(f"%{byte:02X}" for byte in sign.encode("utf-8", "replace"))


def parse_secrets(text: bytes) -> list[bytes]:
    """The keys in a file of secrets, one on a line: `whsec_` and 24 to 64 bytes in base64.

    Raises:
        ValueError: it has none, or one that is none; the message tells nothing of it.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not 1 <= len(lines) <= MAX_SECRETS:
        raise ValueError(f"must hold 1 to {MAX_SECRETS} secrets, one on a line; has {len(lines)}")
    return [_secret(line, number) for number, line in enumerate(lines, 1)]


def _secret(line: bytes, number: int) -> bytes:
    try:
        if line.startswith(SECRET_PREFIX):
            key = base64.b64decode(line.removeprefix(SECRET_PREFIX), validate=True)
            if MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
                return key
    except binascii.Error:
        pass
    raise ValueError(
        f"line {number} is not whsec_ and {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes in base64; make one with: "
        'echo "whsec_$(head -c 32 /dev/urandom | base64)"'
    )


def signature_headers(secrets: Sequence[bytes], message: str, time_s: int, body: bytes) -> list[Header]:
    """The headers of Standard Webhooks; with several secrets a signature by each, so that one can be replaced.

    Args:
        secrets: the keys; none: no signature.
        message: the message's id.
        time_s: when it is sent, Unix seconds.
        body: what is sent.
    """
    signed = f"{message}.{time_s}.".encode() + body
    made = [base64.b64encode(hmac.digest(secret, signed, sha256)).decode() for secret in secrets]
    headers = [("webhook-id", message), ("webhook-timestamp", str(time_s))]
    return [*headers, ("webhook-signature", " ".join(f"v1,{each}" for each in made))] if made else headers
