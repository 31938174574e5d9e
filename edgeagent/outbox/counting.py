"""The account over all logs, and what a checkpoint holds of them.

Triggers that came in an export file were in no log of ours before. A checkpoint counts them as a log of their own,
`import`, that has no files and all of whose seqs went on to other logs; in memory the logs that took them count them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from edgeagent.outbox.cursor import LogState
from edgeagent.outbox.log import Log
from edgeagent.outbox.records import (
    DAMAGED,
    DEAD,
    DISCARDED,
    DROPPED,
    EVENT_LOGS,
    EXPIRED,
    EXPORTED,
    IMPORT,
    IMPORTED,
    LEASED_LOGS,
    MERGED,
    SETTLED,
)
from edgeagent.ports.account import Account


def account_of(logs: Mapping[str, Log]) -> Account:
    """The account as the logs have it now."""
    ways: Counter[str] = Counter()
    for log in logs.values():
        ways.update(log.ways)
    return Account(
        accepted=sum(logs[name].next_seq - 1 - logs[name].moved_in for name in EVENT_LOGS),
        imported=_imported(logs),
        settled=ways[SETTLED],
        pending=sum(logs[name].pending for name in LEASED_LOGS),
        dead=logs[DEAD].pending,
        discarded=ways[DISCARDED],
        expired=ways[EXPIRED],
        dropped=ways[DROPPED],
        merged=ways[MERGED],
        exported=ways[EXPORTED],
        damaged=ways[DAMAGED],
    )


def states_of(logs: Mapping[str, Log]) -> dict[str, LogState]:
    """What a checkpoint holds of the logs."""
    states = {name: log.state() for name, log in logs.items()}
    if count := _imported(logs):
        states[IMPORT] = LogState(count + 1, count + 1, [], {IMPORTED: count}, 0, 1, 0)
    return states


def _imported(logs: Mapping[str, Log]) -> int:
    return sum(log.imported for log in logs.values())
