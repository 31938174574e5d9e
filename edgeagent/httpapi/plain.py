"""The plain request: a POST with its length, whole in one read, with only ordinary fields in its head.

Nearly every device sends nothing else, and h11, a state machine for all of HTTP, takes 25 times as long to read it. It
is kept for the row "single POSTs" of `benchmarks http`: without it an event costs twice the processor time (ADR 8).
Anything else, down to one unusual byte, is left to h11. It must never decide differently from h11: a property test
compares both.
"""

from __future__ import annotations

import re

import msgspec

from edgeagent.httpapi.request import MAX_HEAD_BYTES, Request, request_head

# Linear time: no byte can both end a name or a value and continue it, except blanks at a value's end.
_HEAD = re.compile(rb"POST (/[!-~]*) HTTP/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: ?[!-~](?:[ -~]*[!-~])?\r\n)+)\r\n")
_FIELD = re.compile(rb"([^:]+): ?([^\r]+)\r\n")
# These decide how the message is framed, or whether the connection stays open: h11 handles them.
_NEVER_PLAIN = frozenset({b"expect", b"transfer-encoding", b"upgrade"})
_KEEP_ALIVE = b"keep-alive"


class PlainRequest(msgspec.Struct, frozen=True):
    """A plain request, complete."""

    head: Request
    body: bytes


def plain_request(data: bytes) -> PlainRequest | None:
    """The plain request that makes up all of `data`; None if `data` is anything else."""
    match = _HEAD.match(data)
    if match is None or match.end() > MAX_HEAD_BYTES:
        return None
    fields = _FIELD.findall(match[2])
    request = request_head(b"POST", match[1], fields)
    headers = request.headers
    if len(headers) < len(fields) or b"host" not in headers or not _NEVER_PLAIN.isdisjoint(headers):
        return None
    if headers.get(b"content-length") != b"%d" % (len(data) - match.end()):
        return None
    if headers.get(b"connection", _KEEP_ALIVE).lower() != _KEEP_ALIVE:
        return None
    return PlainRequest(request, data[match.end() :])
