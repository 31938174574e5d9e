"""What a person watches: `GET /v1/stream`, news as server-sent events (WHATWG HTML, section 9.2); series; devices."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from edgeagent.errors import MessageError
from edgeagent.httpapi.plan import Plan, parameters_of
from edgeagent.httpapi.problem import Answer, Refused, json_answer, retry_after
from edgeagent.httpapi.request import Request
from edgeagent.ports.watch import StreamQuery, StreamUpdate, WatchPlace, WatchPort

# Over all listeners: each costs a connection, and what its client does not read at once.
MAX_STREAMS: Final = 16
# How soon a browser tries again when the connection ends.
_RETRY_MS: Final = 3000
_FULL_RETRY_S: Final = 10
_MEDIA_TYPE: Final = b"text/event-stream"
_HEADERS: Final = ((b"cache-control", b"no-store"), (b"x-accel-buffering", b"no"))
# The limit of a list of devices, as they are and as text.
_DEVICES_BYTES: Final = 512 << 10
_NUMBER = re.compile(r"[0-9]{1,16}", re.ASCII)


class WatchRoutes:
    """The calls of the watch port. Owns the open streams of all listeners, and bounds their number."""

    def __init__(self, watch: WatchPort) -> None:
        self._watch = watch
        self._open: set[EventStream] = set()

    def plans(self) -> dict[str, Mapping[str, Plan]]:
        """The plans by path."""
        return {
            "/v1/stream": {"GET": Plan(self._stream)},
            "/v1/series": {"GET": Plan(self._series)},
            "/v1/devices": {"GET": Plan(self._devices, work_bytes=_DEVICES_BYTES)},
        }

    async def _series(self, _request: Request, _body: bytes) -> Answer:
        return json_answer(await self._watch.series())

    async def _devices(self, _request: Request, _body: bytes) -> Answer:
        return json_answer({"devices": await self._watch.devices()})

    async def _stream(self, request: Request, _body: bytes) -> Answer:
        parameters = parameters_of(request, {"source"})
        last = request.text("Last-Event-ID") or ""
        if last and not _NUMBER.fullmatch(last):
            raise MessageError("request", "Last-Event-ID", "must be the id of an event of this stream")
        if len(self._open) >= MAX_STREAMS:
            raise Refused(503, f"{MAX_STREAMS} streams are open, which is the limit", retry_after(_FULL_RETRY_S))
        query = StreamQuery(parameters.get("source", ""), int(last) if last else None)

        def follow(wake: Callable[[], None]) -> EventStream:
            stream = EventStream(self._watch.subscribe(query, wake), self._open.discard)
            self._open.add(stream)
            return stream

        return Answer(200, b"retry: %d\n\n" % _RETRY_MS, _MEDIA_TYPE, _HEADERS, follow)


class EventStream:
    """The text of one stream; see `Follower`. It owns the subscription."""

    def __init__(self, subscription: WatchPlace, left: Callable[[EventStream], None]) -> None:
        self._subscription = subscription
        self._left = left

    def take(self) -> bytes:
        """The news as text; see `Follower`."""
        return b"".join(map(_text, self._subscription.take()))

    def beat(self) -> bytes:
        """A comment, which subscribers do not see; see `Follower`."""
        return b":\n\n"

    def last_words(self, reason: str) -> bytes:
        """The event `end` with a reason; see `Follower`."""
        return b"event: end\ndata: %b\n\n" % msgspec.json.encode({"reason": reason})

    def close(self) -> None:
        """End the subscription; see `Follower`."""
        self._subscription.close()
        self._left(self)


def _text(news: StreamUpdate) -> bytes:
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (news.number, news.kind.encode(), news.data)
