"""The findings of verifying an outbox, as data that passes from the disk to the operator."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from edgeagent.events.artifact import Artifact
from edgeagent.ports.account import Account


class DamagedRange(msgspec.Struct, frozen=True):
    """Records that cannot be read: seqs `first_seq` to `last_seq` of a log, bytes `offset` to `end` of `file`.

    `file` is empty if the bytes are missing from the disk. `pending`: how many of the seqs were not released. `reason`:
    what is wrong with records that can be read.
    """

    log: str
    first_seq: int
    last_seq: int
    pending: int
    file: str
    offset: int
    end: int
    reason: str = ""


class TornTail(msgspec.Struct, frozen=True):
    """Bytes behind the last frame of a log, as a power cut leaves them. An honest disk had not yet synced them."""

    file: str
    bytes: int


class LogExtent(msgspec.Struct, frozen=True):
    """The seqs of a log that have records on disk, `first_seq` to `end_seq` (excluded), and how many are pending."""

    first_seq: int
    end_seq: int
    pending: int


class DeadHealth(msgspec.Struct, frozen=True):
    """How many dead letters there are, and their limits. `full`: why no more are accepted, empty while there is room.

    `oldest_ms`: when the oldest became a dead letter (wall clock, Unix milliseconds), 0 if there is none.
    """

    count: int = 0
    max_count: int = 0
    used_bytes: int = 0
    max_bytes: int = 0
    oldest_ms: int = 0
    full: str = ""


class VerifiedPart(msgspec.Struct, frozen=True):
    """A part of a log: good records, triggers in them, damage. `next_seq`: the next part's, None at the end.

    `artifacts`: those of records that are not released, whose data is there in full length.
    """

    records: int
    triggers: int
    damaged: tuple[DamagedRange, ...]
    next_seq: int | None
    artifacts: tuple[Artifact, ...] = ()


class SpoolExtent(msgspec.Struct, frozen=True):
    """The spool: its files and what they count for, and how many of them no record refers to, None if not known yet."""

    files: int
    bytes: int
    orphans: int | None


class Overview(msgspec.Struct, frozen=True):
    """What is known before any log is read.

    `cursor`: the cursor file's state, a sentence; `cursor_good`: a checkpoint can be read, or none was ever needed.
    `foreign`: files in the logs' directories that the outbox did not write. `lost`: the losses found on opening the
    outbox, a sentence each. `problems`: where the account does not add up. `read_only`: why nothing can be changed;
    empty if it can. `spool`: None if there is none.
    """

    cursor: str
    cursor_good: bool
    torn: tuple[TornTail, ...]
    foreign: tuple[str, ...]
    lost: tuple[str, ...]
    account: Account
    problems: tuple[str, ...]
    logs: dict[str, LogExtent]
    read_only: str = ""
    dead: DeadHealth = DeadHealth()
    spool: SpoolExtent | None = None

    def faults(self) -> Iterator[str]:
        """Everything that is wrong, a sentence each. A torn tail is not a fault: every crash may leave one."""
        if not self.cursor_good:
            yield f"cursor file: {self.cursor}"
        for path in self.foreign:
            yield f"{path} is not a file of this outbox; it is left alone"
        yield from self.lost
        for problem in self.problems:
            yield f"the account does not add up: {problem}"
