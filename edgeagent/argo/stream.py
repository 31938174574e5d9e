"""The body of a watch, parsed as it comes.

Argo writes server-sent events: `data: {"result": ...} ` and three line ends for a change, `:` and a line end to keep
the connection alive. Asked without the right Accept header, which a proxy may take away, it writes one JSON object a
line instead; both are understood.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from edgeagent.argo.failures import not_json
from edgeagent.argo.wire import StreamItem
from edgeagent.errors import EngineUnavailable

MAX_ITEM_BYTES = 4 * 1024 * 1024

_IGNORED_FIELDS = frozenset({b"event", b"id", b"retry"})  # server-sent events have them, Argo gives them no meaning
_ITEM = msgspec.json.Decoder(StreamItem)


class WatchParser:
    """Bytes in, items out, however the bytes are cut. After an error it is of no more use."""

    def __init__(self, url: str, max_item_bytes: int = MAX_ITEM_BYTES) -> None:
        """At the beginning of a body.

        Args:
            url: names the watch in errors.
            max_item_bytes: what an item may have at most, its lines and field names counted.
        """
        self._url = url
        self._max_item_bytes = max_item_bytes
        self._line = bytearray()  # and what follows it
        self._scanned_bytes = 0  # so much of it holds no line end
        self._data: list[bytes] = []  # the lines of an item that is not complete
        self._data_bytes = 0

    def feed(self, data: bytes) -> Iterator[StreamItem]:
        """Every item that these bytes complete.

        Raises:
            EngineUnavailable: this is no watch, or an item is too large.
        """
        self._line += data
        while (end := self._line.find(b"\n", self._scanned_bytes)) >= 0:
            line = bytes(self._line[:end])
            del self._line[: end + 1]
            self._scanned_bytes = 0
            self._check_size(len(line))
            item = self._take(line.strip())
            if item is not None:
                yield item
        self._scanned_bytes = len(self._line)
        self._check_size(len(self._line))

    def finish(self) -> None:
        """The body has ended.

        Raises:
            EngineUnavailable: in the middle of an item, or of something else that is none.
        """
        rest = b"".join([*self._data, self._line])
        if rest.strip():
            raise not_json(self._url, rest, "it ends in the middle of an item")

    def _take(self, line: bytes) -> StreamItem | None:
        """The item that this line completes."""
        if not line:
            return self._complete()
        if line.startswith(b":"):
            return None
        if line.startswith(b"{"):
            return self._decode(line)
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value)
            self._data_bytes += len(line)
        elif name not in _IGNORED_FIELDS:
            raise not_json(self._url, line, "no line of a watch")
        return None

    def _complete(self) -> StreamItem | None:
        if not self._data:
            return None
        data = b"\n".join(self._data)
        self._data.clear()
        self._data_bytes = 0
        return self._decode(data)

    def _decode(self, data: bytes) -> StreamItem:
        try:
            return _ITEM.decode(data)
        except (ValueError, RecursionError) as exc:  # msgspec's errors are ValueErrors
            raise not_json(self._url, data, str(exc)) from exc

    def _check_size(self, line_bytes: int) -> None:
        if self._data_bytes + line_bytes > self._max_item_bytes:
            raise EngineUnavailable(self._url, f"an item of the watch has more than {self._max_item_bytes} bytes")
