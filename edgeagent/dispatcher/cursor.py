"""How far the final statuses of a namespace are published: the cursor that a group of dispatchers keeps.

The cursor is an instant: every final status of a workflow that finished before it has been taken by the broker, and
its ConfigMap, where that is asked for, is applied or given up. A new leader publishes everything that finished since
then, less `MARGIN_S`, so that no final status is missed while no dispatcher was there.

It is kept as a retained message on the broker. A file would need a volume in each pod and be known to one dispatcher
only; an object in Kubernetes would need rights that the dispatcher does not have otherwise. The broker is there
whenever something can be published at all, and all dispatchers see it. Only a broker that keeps nothing on disk loses
it when it restarts: then too much is published, never too little.

The margin: workflows are not seen in the order of their `finishedAt`. The controller writes that time first and stores
the workflow after it, at once or after some retries; several controllers have several clocks; a list is older than the
changes that are watched beside it. A minute covers all of these.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from edgeagent.common.times import rfc3339

MARGIN_S = 60.0


class _Cursor(msgspec.Struct, frozen=True):
    """The payload of a cursor message."""

    finished: str


def cursor_payload(cursor_s: float) -> bytes:
    """The retained message for a cursor, in Unix seconds."""
    return msgspec.json.encode(_Cursor(rfc3339(int(cursor_s * 1000))))


def parse_cursor(payload: bytes) -> float | None:
    """The cursor in a message, in Unix seconds; None when there is none that can be read."""
    try:
        return unix_s(msgspec.json.decode(payload, type=_Cursor).finished)
    except (ValueError, RecursionError):
        return None


def unix_s(text: str | None) -> float | None:
    """Unix seconds of an RFC 3339 instant, None when it is none from 1970 on. One without a zone is taken as UTC."""
    try:
        instant = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    since_s = (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()
    return since_s if since_s >= 0 else None


class Run(msgspec.Struct, gc=False):
    """A run of a workflow that has ended and was told: which one, and when it ended, in Unix seconds."""

    uid: str
    started_at: str | None
    ended_s: float

    def is_later(self, uid: str, started_at: str | None) -> bool:
        """Whether another run of the same name comes after this one. Argo writes one form of UTC: texts compare."""
        return uid != self.uid or (started_at or "") > (self.started_at or "")


class Finished:
    """The ended runs of one namespace that were told since the cursor, by workflow name, and how the cursor moves.

    It holds those that the broker has not taken, and those of the margin before the cursor, which are needed to tell
    them from others that were never told. What ended before that is forgotten: it counts as told.
    """

    def __init__(self, cursor_s: float | None) -> None:
        """Nothing told yet.

        Args:
            cursor_s: as it was kept; None: everything is still to be told.
        """
        self._cursor_s = cursor_s
        self._newest_s = cursor_s
        self._runs: dict[str, Run] = {}
        self._untaken: dict[str, float] = {}

    def run(self, name: str) -> Run | None:
        """The run of this name that was told last, None when there is none or it is forgotten."""
        return self._runs.get(name)

    def is_told(self, ended_s: float) -> bool:
        """Whether a run that is not known here ended so early that it was told before."""
        return self._cursor_s is not None and ended_s < self._cursor_s - MARGIN_S

    def tell(self, name: str, uid: str, started_at: str | None, ended_s: float) -> None:
        """A final status is on its way."""
        self._runs[name] = Run(uid, started_at, ended_s)
        self._untaken[name] = ended_s

    def tell_deleted(self, name: str, uid: str, started_at: str | None) -> None:
        """The status of a deleted workflow is on its way. It has no `finishedAt`, so it does not move the cursor."""
        self._runs[name] = Run(uid, started_at, self._newest_s or 0.0)
        self._untaken.pop(name, None)

    def taken(self, name: str, started_at: str | None) -> None:
        """The broker has taken (or refused) the final status of this run."""
        run = self._runs.get(name)
        if run is None or run.started_at != started_at:
            return
        ended_s = self._untaken.pop(name, None)
        if ended_s is not None:
            self._newest_s = max(ended_s, ended_s if self._newest_s is None else self._newest_s)

    def move(self, wall_s: float) -> float | None:
        """Move the cursor as far as it may, forget what it leaves behind, and return it; None while there is none.

        It may go back, when something that finished before it turns up and is not yet taken. It is never later than
        now, or one workflow with a wrong time would hide all that finish in the meantime.

        Args:
            wall_s: the wall clock, Unix seconds.
        """
        if self._newest_s is None:
            return None
        self._cursor_s = min(self._newest_s, wall_s, *self._untaken.values())
        kept_from_s = self._cursor_s - MARGIN_S
        self._runs = {
            name: run for name, run in self._runs.items() if run.ended_s >= kept_from_s or name in self._untaken
        }
        return self._cursor_s
