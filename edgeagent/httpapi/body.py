"""The body of one request while it arrives, within the limits of its plan and the memory reserved for it."""

from __future__ import annotations

from collections.abc import Callable

from edgeagent.httpapi.coding import coding_of, uncompressed
from edgeagent.httpapi.plan import Plan
from edgeagent.httpapi.problem import too_large
from edgeagent.httpapi.request import Request


def whole_body(head: Request, plan: Plan, reserve: Callable[[int], None], data: bytes) -> bytes:
    """The body of a request that arrived in one piece; as `Body` gives it, with one reservation if it is not coded.

    Raises:
        Refused: 413, 415 or 503.
        MessageError: it cannot be decoded.
    """
    if b"content-encoding" in head.headers:
        body = Body(head, plan, reserve)
        body.take(data)
        return body.whole()
    if len(data) > plan.max_body_bytes:
        raise too_large(len(data), plan.max_body_bytes)
    reserve(plan.work_bytes + len(data) + (plan.weigh(data) if plan.weigh is not None else 0))
    return data


class Body:
    """The part of one body that has arrived. It never holds more than its plan allows, nor more than is reserved.

    `reserve` raises the request's reservation to this many bytes in total, or raises an error.
    """

    __slots__ = ("_coding", "_data", "_plan", "_reserve", "_room_bytes")

    def __init__(self, head: Request, plan: Plan, reserve: Callable[[int], None]) -> None:
        """Reserve room for the length that the head announces.

        Raises:
            Refused: 413, 415 or 503.
        """
        headers = head.headers
        room_bytes = int(headers.get(b"content-length", b"0"))
        if room_bytes > plan.max_body_bytes:
            raise too_large(room_bytes, plan.max_body_bytes)
        self._coding = coding_of(headers[b"content-encoding"]) if b"content-encoding" in headers else ""
        self._plan = plan
        self._reserve = reserve
        self._data: bytes | bytearray = b""
        self._room_bytes = room_bytes
        reserve(plan.work_bytes + room_bytes)

    def take(self, data: bytes | bytearray) -> None:
        """Add a part that arrived. If the head announced no length, memory is reserved as the body grows.

        Raises:
            Refused: 413 or 503.
        """
        size_bytes = len(self._data) + len(data)
        if size_bytes > self._plan.max_body_bytes:
            raise too_large(size_bytes, self._plan.max_body_bytes)
        if size_bytes > self._room_bytes:
            self._reserve(self._plan.work_bytes + size_bytes)
            self._room_bytes = size_bytes
        if not self._data:
            self._data = data  # nearly always this is the whole body
            return
        if isinstance(self._data, bytes):
            self._data = bytearray(self._data)
        self._data += data

    @property
    def size_bytes(self) -> int:
        """How much has arrived."""
        return len(self._data)

    def hand_over(self) -> bytes | bytearray:
        """What has arrived, for somebody else: this is of no use any more."""
        data, self._data = self._data, b""
        return data

    def whole(self) -> bytes:
        """The complete body, decompressed; also reserves memory for the events that will be made of it.

        Raises:
            Refused: 413 or 503.
            MessageError: it cannot be decoded.
        """
        plan, body = self._plan, bytes(self._data)
        self._data = b""
        if self._coding and plan.max_body_bytes:
            self._reserve(plan.work_bytes + len(body) + plan.max_body_bytes)
            body = uncompressed(self._coding, body, plan.max_body_bytes)
            self._reserve(plan.work_bytes + len(body))
        if plan.weigh is not None:
            self._reserve(plan.work_bytes + len(body) + plan.weigh(body))
        return body
