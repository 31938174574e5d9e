"""The body of one request while it arrives: within its plan's bounds, and within the room that is reserved for it."""

from __future__ import annotations

from collections.abc import Callable

from edgeagent.httpapi.coding import coding_of, uncompressed
from edgeagent.httpapi.plan import Plan
from edgeagent.httpapi.problem import too_large
from edgeagent.httpapi.request import Request


class Body:
    """See the module. `reserve` brings what the request holds to so many bytes, or raises."""

    __slots__ = ("_coding", "_data", "_plan", "_reserve", "_room_bytes")

    def __init__(self, head: Request, plan: Plan, reserve: Callable[[int], None]) -> None:
        """Reserve the room for the length that the head announces.

        Raises:
            Refused: 413, 415 or 503.
        """
        self._room_bytes = int(head.headers.get(b"content-length", b"0"))
        if self._room_bytes > plan.max_body_bytes:
            raise too_large(self._room_bytes, plan.max_body_bytes)
        self._coding = coding_of(head.headers.get(b"content-encoding"))
        self._plan = plan
        self._reserve = reserve
        self._data: bytes | bytearray = b""
        reserve(plan.work_bytes + self._room_bytes)

    def take(self, data: bytes | bytearray) -> None:
        """A part of it came; where no length was announced the room for it is reserved as it grows.

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
            self._data = bytearray()
        self._data += data

    def take_all(self, data: bytes) -> None:
        """All of it came at once, as long as was announced."""
        self._data = data

    def whole(self) -> bytes:
        """All of it, without its coding, when there is room for what will be made of it.

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
