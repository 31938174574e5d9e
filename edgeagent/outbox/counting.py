"""The account summed over all logs, and the state of each log that a checkpoint keeps.

Triggers imported from an export file were never in a log of this outbox. A checkpoint counts them as a log of their
own, `import`, which has no files and whose seqs all moved on to other logs; in memory each log counts those it took.

A log that this version does not know, of a later one, counts as its last checkpoint has it, and stays so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from edgeagent.outbox.cursor import Checkpoint, LogState
from edgeagent.outbox.frame import Batch
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
    LOGS,
    MERGED,
    SETTLED,
)
from edgeagent.ports.account import Account, EventCounts


def later_logs(checkpoint: Checkpoint | None) -> dict[str, LogState]:
    """The states of logs that this version does not know."""
    states = checkpoint.logs if checkpoint is not None else {}
    return {name: state for name, state in states.items() if name not in LOGS and name != IMPORT}


def account_of(logs: Mapping[str, Log], later: Mapping[str, LogState]) -> Account:
    """The current account over these logs; what waits in later ones is pending."""
    ways: Counter[str] = Counter()
    for log in logs.values():
        ways.update(log.ways)
    for state in later.values():
        ways.update(state.released)
    return Account(
        accepted=sum(logs[name].next_seq - 1 - logs[name].moved_in for name in EVENT_LOGS),
        imported=_imported(logs),
        settled=ways[SETTLED],
        pending=sum(logs[name].pending for name in LEASED_LOGS) + sum(state.pending for state in later.values()),
        dead=logs[DEAD].pending,
        discarded=ways[DISCARDED],
        expired=ways[EXPIRED],
        dropped=ways[DROPPED],
        merged=ways[MERGED],
        exported=ways[EXPORTED],
        damaged=ways[DAMAGED],
    )


def states_of(logs: Mapping[str, Log], later: Mapping[str, LogState]) -> dict[str, LogState]:
    """The state of each log as a checkpoint keeps it; those of later ones stay as they are."""
    states = {**later, **{name: log.state() for name, log in logs.items()}}
    if count := _imported(logs):
        states[IMPORT] = LogState(count + 1, count + 1, [], {IMPORTED: count}, 0, 1, 0)
    return states


def _imported(logs: Mapping[str, Log]) -> int:
    return sum(log.imported for log in logs.values())


def batch_of(number: int, events: EventCounts) -> Batch:
    """A batch of this number with the counters in events as they are."""
    return Batch(number, 0, *msgspec.structs.astuple(events))
