"""The last warnings and errors, kept in memory for a person who asks what is wrong."""

from __future__ import annotations

import logging
from collections import OrderedDict
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from edgeagent.common.foreign import line
from edgeagent.common.times import rfc3339
from edgeagent.host.log import message_of

MAX_KINDS: Final = 20
_MAX_CHARS: Final = 300


class Kind(msgspec.Struct, frozen=True):
    """Records of one kind are kept as one: the last of them, and how many there were."""

    logger: str
    level: int
    event: str


class Noted(msgspec.Struct, frozen=True):
    """The last record of a kind.

    `at_ms`: when, Unix milliseconds. `times`: how many there were, since the kind was forgotten if it was.
    """

    at_ms: int
    message: str
    times: int


class LastTroubles(logging.Handler):
    """Keeps the last record of each of the last `MAX_KINDS` kinds at WARNING and above, however often each comes.

    As a context manager it receives everything that is logged in this process. Must never fail a logging call.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._kinds: OrderedDict[Kind, Noted] = OrderedDict()
        self._warnings = 0
        self._errors = 0

    def __enter__(self) -> Self:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger().removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        kind = Kind(record.name, record.levelno, str(getattr(record, "event", record.name)))
        before = self._kinds.pop(kind, None)
        times = before.times + 1 if before is not None else 1
        try:
            message = line(message_of(record), _MAX_CHARS)
        except (TypeError, ValueError):  # its arguments do not fit; the handler that writes the log reports that
            message = "(a message that cannot be shown)"
        self._kinds[kind] = Noted(round(record.created * 1000), message, times)
        if len(self._kinds) > MAX_KINDS:
            self._kinds.popitem(last=False)
        if record.levelno >= logging.ERROR:
            self._errors += 1
        else:
            self._warnings += 1

    def stats(self) -> dict[str, Any]:
        """How many there were since the start, and the last of each kind, newest first; ready for JSON."""
        self.acquire()
        try:
            noted = [*reversed(self._kinds.items())]
        finally:
            self.release()
        last = [
            {
                "at": rfc3339(each.at_ms),
                "level": logging.getLevelName(kind.level).lower(),
                "event": kind.event,
                "message": each.message,
                "count": each.times,
            }
            for kind, each in noted
        ]
        return {"warnings": self._warnings, "errors": self._errors, "last": last}
