"""What an agent reports about its days: the arguments and the result of `edgeagent report` and `GET /v1/report`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec

By = Literal["day", "rule", "source"]
# The rest is put together in the line `other`.
MAX_LINES: Final = 1000


class ReportQuery(msgspec.Struct, frozen=True):
    """Which days, and by what. `since`: `7d` for the last seven days with today, or the first day."""

    since: Annotated[
        str,
        msgspec.Meta(
            pattern=r"\A([1-9][0-9]{0,2}d|[0-9]{4}-[0-9]{2}-[0-9]{2})\Z",
            description="must be a number of days, such as 7d, or the first day, such as 2026-11-01",
        ),
    ] = "7d"
    by: Annotated[By, msgspec.Meta(description="must be day, rule or source")] = "day"


class ReportLine(msgspec.Struct, frozen=True):
    """The sums of one day, rule or source; None where that is only known for all together.

    `name`: the day (UTC), the rule, the source, or empty for the total. `events` and those that follow up to
    `conflicts` count events, `accepted` the triggers that were stored for them; the others count triggers that were
    published, or ended without. `rejected`: dead letters. Times in seconds, from the event's acceptance to the engine's
    answer and to the workflow's end. `offline_s`, `online_s`: the agent ran without and with its uplink.
    """

    name: str
    events: int | None
    duplicates: int | None
    filtered: int | None
    throttled: int | None
    refused: int | None
    conflicts: int | None
    accepted: int | None
    triggers: int
    succeeded: int
    failed: int
    unknown: int
    rejected: int
    merged: int
    expired: int
    dropped: int | None
    discarded: int | None
    damaged: int | None
    answer_median_s: float | None
    answer_p95_s: float | None
    end_median_s: float | None
    end_p95_s: float | None
    offline_s: float | None
    online_s: float | None

    @property
    def open(self) -> int:
        """Triggers that have not ended; below 0 where more of earlier days ended than came.

        With those that ended, in whatever way, these are `triggers`.
        """
        ended = self.succeeded + self.failed + self.unknown + self.rejected + self.merged + self.expired
        return self.triggers - ended


class DaysReport(msgspec.Struct, frozen=True):
    """The report of an agent. `since`, `until`: the first and the last day, in UTC, both included."""

    agent: str
    by: By
    since: str
    until: str
    total: ReportLine
    lines: Sequence[ReportLine]
