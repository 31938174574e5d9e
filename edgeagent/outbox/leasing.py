"""Converts the frames read from a log into the triggers that they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from edgeagent.events.artifact import Artifact
from edgeagent.outbox.frame import Frame
from edgeagent.outbox.log import Log
from edgeagent.outbox.reader import Damage
from edgeagent.outbox.records import Leased, decode


def boots_of(log: Log, reopened_seq: int, boot: bytes) -> Callable[[int], bytes]:
    """Tells in which boot the record with a seq was stored: from `reopened_seq` on, in the present one, `boot`."""
    return lambda seq: boot if seq >= reopened_seq else log.boot_of(seq)


def triggers_of(
    name: str,
    log: Log,
    items: Sequence[Frame | Damage],
    boot_of: Callable[[int], bytes],
    damaged: Callable[[Damage], None],
    lacking: Callable[[Artifact], str],
) -> Iterator[Leased]:
    """The triggers in these items that are not released, in order.

    `boot_of` gives the boot of the record with a seq; `damaged` is called with each range that cannot be read, or whose
    data is not there: `lacking` says so of an artifact, and why.
    """
    for item in items:
        content = decode(item) if isinstance(item, Frame) else None
        if isinstance(item, Frame) and content is not None:
            record, moved = content
            if record.artifact is not None and (reason := lacking(record.artifact)):
                damaged(Damage(item.seq, item.seq + item.count, None, 0, 0, reason))
                continue
            boot = moved.boot if moved is not None else boot_of(item.seq)
            for seq, rule in enumerate(record.rules, item.seq):
                if seq not in log.released:
                    yield Leased(name, seq, rule, record, boot, moved)
        else:
            damaged(item if isinstance(item, Damage) else Damage(item.seq, item.seq + item.count, None, 0, 0))
