"""How far the final statuses of a namespace are published: the cursor that a group of dispatchers shares.

The cursor is an instant: every final status of a workflow that finished before it was accepted by the broker, and its
ConfigMap, if one is configured, was applied or given up. A new leader publishes everything that finished since then,
less `MARGIN_S`, so that no final status is missed while no dispatcher was running.

It is kept as a retained message on the broker. A file would need a volume in each pod and be known to one dispatcher
only; an object in Kubernetes would need rights that the dispatcher does not have otherwise. The broker is available
whenever anything can be published, and all dispatchers see it. Only a broker that stores nothing on disk loses the
cursor when it restarts: then too much is published, never too little.

Why a margin: workflows are not seen in the order of their `finishedAt`. The controller writes that time first and
stores the workflow afterwards, perhaps after some retries; several controllers have several clocks; a list is older
than the changes that are watched in parallel. A minute covers all of these.
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
    """The cursor in a message, in Unix seconds; None if it is missing or cannot be read."""
    try:
        return unix_s(msgspec.json.decode(payload, type=_Cursor).finished)
    except (ValueError, RecursionError):
        return None


def unix_s(text: str | None) -> float | None:
    """An RFC 3339 instant as Unix seconds; None if it is not one from 1970 on. Without a zone it is taken as UTC."""
    try:
        instant = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    since_s = (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()
    return since_s if since_s >= 0 else None


class Run(msgspec.Struct, gc=False):
    """A run of a workflow that has ended and was reported: which run, and when it ended, in Unix seconds."""

    uid: str
    started_at: str | None
    ended_s: float

    def is_later(self, uid: str, started_at: str | None) -> bool:
        """Whether the given run of the same name follows this one. Argo writes one form of UTC, so texts compare."""
        return uid != self.uid or (started_at or "") > (self.started_at or "")


class Finished:
    """Owns the ended runs of one namespace reported since the cursor, by workflow name, and the cursor itself.

    It holds the runs that the broker has not accepted, and those within the margin before the cursor, which must be
    distinguished from runs never reported. Earlier runs are forgotten: they count as reported.
    """

    def __init__(self, cursor_s: float | None) -> None:
        """Begin with no run reported.

        Args:
            cursor_s: as it was kept; None: everything is still to be reported.
        """
        self._cursor_s = cursor_s
        self._newest_s = cursor_s
        self._runs: dict[str, Run] = {}
        self._untaken: dict[str, float] = {}

    def run(self, name: str) -> Run | None:
        """The run of this name that was reported last; None if there is none or it is forgotten."""
        return self._runs.get(name)

    def is_reported(self, ended_s: float) -> bool:
        """Whether a run that is not known here ended so early that it was reported before."""
        return self._cursor_s is not None and ended_s < self._cursor_s - MARGIN_S

    def report(self, name: str, uid: str, started_at: str | None, ended_s: float) -> None:
        """Note that a final status is on its way."""
        self._runs[name] = Run(uid, started_at, ended_s)
        self._untaken[name] = ended_s

    def report_deleted(self, name: str, uid: str, started_at: str | None) -> None:
        """Note that a deleted workflow's status is on its way. Without a `finishedAt`, it does not move the cursor."""
        self._runs[name] = Run(uid, started_at, self._newest_s or 0.0)
        self._untaken.pop(name, None)

    def taken(self, name: str, started_at: str | None) -> None:
        """Note that the broker has accepted (or refused) the final status of this run."""
        run = self._runs.get(name)
        if run is None or run.started_at != started_at:
            return
        ended_s = self._untaken.pop(name, None)
        if ended_s is not None:
            self._newest_s = max(ended_s, ended_s if self._newest_s is None else self._newest_s)

    def move(self, wall_s: float) -> float | None:
        """Move the cursor as far as allowed, forget the runs it leaves behind, and return it; None while there is none.

        It may go back, if a workflow turns up that finished earlier and whose status is not yet accepted. It is never
        later than now, or one workflow with a wrong time would hide all that finish in the meantime.

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
