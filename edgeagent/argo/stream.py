"""An incremental parser for the body of a watch.

Argo writes server-sent events: `data: {"result": ...} ` and three line ends for a change, `:` and a line end to keep
the connection alive. If the right Accept header is missing, perhaps removed by a proxy, it writes one JSON object a
line instead; both are understood.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from edgeagent.argo.failures import not_json
from edgeagent.argo.wire import StreamItem
from edgeagent.errors import EngineUnavailable

MAX_ITEM_BYTES = 4 * 1024 * 1024

_IGNORED_FIELDS = frozenset({b"event", b"id", b"retry"})  # part of server-sent events; Argo gives them no meaning
_ITEM = msgspec.json.Decoder(StreamItem)


class WatchParser:
    """Turns bytes into items, however the bytes are cut. After an error it must not be used again."""

    def __init__(self, url: str, max_item_bytes: int = MAX_ITEM_BYTES) -> None:
        """Begin a body.

        Args:
            url: names the watch in errors.
            max_item_bytes: the largest item, including its line ends and field names.
        """
        self._url = url
        self._max_item_bytes = max_item_bytes
        self._line = bytearray()  # the incomplete line, and whatever follows it
        self._scanned_bytes = 0  # the part of it known to contain no line end
        self._data: list[bytes] = []  # the lines of an item that is not complete
        self._data_bytes = 0

    def feed(self, data: bytes) -> Iterator[StreamItem]:
        """The items that these bytes complete.

        Raises:
            EngineUnavailable: the body is not a watch, or an item is too large.
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
        """Check that the body may end here.

        Raises:
            EngineUnavailable: it ends in the middle of an item, or of something else.
        """
        rest = b"".join([*self._data, self._line])
        if rest.strip():
            raise not_json(self._url, rest, "it ends in the middle of an item")

    def _take(self, line: bytes) -> StreamItem | None:
        """The item that this line completes, if any."""
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
            raise not_json(self._url, line, "not a line of a watch")
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
