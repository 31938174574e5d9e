"""What a load is made of: the events that devices send, and how a load process is asked and answers.

Devices, and whoever receives upstream, are processes of their own, so that they share no interpreter with what is
measured nor with each other. Such a process reads requests from its standard input, one JSON object a line, and
answers each with one line. Times are of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import msgspec

SOURCE = "boiler-1"
TOPIC = f"sensors/{SOURCE}/data"
TEMPERATURE = 97.1

EVENT_BYTES = 200
_MARK = b'"@'
_DIGITS = 8
_HEAD = b'{"temp":%.1f,"n":' % TEMPERATURE + _MARK
_MIDDLE = b'","filler":"'
_END = b'"}'
_FILLER = b"x" * (EVENT_BYTES - len(_HEAD) - _DIGITS - len(_MIDDLE) - len(_END))
_EVENT = _HEAD + b"%08d" + _MIDDLE + _FILLER + _END

_LARGEST_REQUEST_BYTES = 1 << 20


def event(number: int) -> bytes:
    """An event of 200 bytes of JSON that can be told from all others by its number, below 10**8."""
    return _EVENT % number


def number_in(payload: bytes) -> int:
    """The number of the event that this message carries: the event itself, or the trigger with its `n` in it."""
    begin = payload.index(_MARK) + len(_MARK)
    return int(payload[begin : begin + _DIGITS])


async def requests() -> AsyncIterator[dict[str, Any]]:
    """What this load process is asked for, until its standard input ends."""
    reader = asyncio.StreamReader(_LARGEST_REQUEST_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield msgspec.json.decode(line)


def answer(**members: Any) -> None:
    """Answer a request of `requests`, or tell that this process is ready."""
    sys.stdout.buffer.write(msgspec.json.encode(members) + b"\n")
    sys.stdout.buffer.flush()
