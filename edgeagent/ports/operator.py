"""The interface that the agent offers to the operator of its machine: the table of calls, and their data.

`CALLS` is everything that the HTTP server, its client, the running agent and the commands on a stopped one share about
a call. A method of `Operator` does the work, or of `OperatorService` if it needs a running agent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta

from edgeagent.errors import MessageError
from edgeagent.events.artifact import LARGEST_BYTES, SHA256
from edgeagent.ports.call import A, Call, R
from edgeagent.ports.manage import ManagedRequest, ManagedRequests, ManageOrder, RequestQuery
from edgeagent.ports.report import DaysReport, ReportQuery
from edgeagent.ports.transfer import ExportedTrigger
from edgeagent.ports.verification import Overview, VerifiedPart
from edgeagent.ports.where import Courses, WhereQuery

# The limits of a body: a list of correlation ids or of ranges of seqs; a part of an export file, a line of which may
# be as large as an event.
_MAX_LIST_BYTES = 1 << 20
_MAX_IMPORT_BYTES = 16 << 20
DATA_PIECE_BYTES = 1 << 20
# The memory for the names of all dead letters.
_MAX_NAMES_BYTES = 2 << 20
# The memory for a page of dead letters, or for a single large one: as records, as text and as the answer.
_DEAD_BYTES = 4 << 20
# The memory for the courses of `MAX_COURSES` triggers, as records, as values and as text.
_WHERE_BYTES = 2 << 20
_MAX_ORDER_BYTES = 16 << 10
_MANAGED_BYTES = 4 << 20
_LOG_BYTES = 1 << 20
_REPORT_BYTES = 8 << 20
_MAX_PAGE = 1000
_MAX_SEQ = (1 << 63) - 1
_LOG_NAMES = ("dead", "high", "limited", "normal", "parked", "windows")
_EVENT_LOG_NAMES = ("high", "normal")


def _one_of(names: Sequence[str]) -> Meta:
    return Meta(pattern=rf"^(?:{'|'.join(names)})\Z", description=f"must be one of {', '.join(names)}")


_Seq = Annotated[int, Meta(ge=1, le=_MAX_SEQ)]
_From = Annotated[int, Meta(ge=0, le=_MAX_SEQ, description="must be a whole number")]
_Offset = Annotated[int, Meta(ge=0, le=LARGEST_BYTES, description="must be a whole number")]
_Sha256 = Annotated[str, Meta(pattern=SHA256, description="must be a SHA-256 in 64 hexadecimal digits")]
_AnyLog = Annotated[str, _one_of(_LOG_NAMES)]
_EventLog = Annotated[str, _one_of(_EVENT_LOG_NAMES)]


class NoArguments(msgspec.Struct, frozen=True):
    """The arguments of calls without any."""


class NamedTriggers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Triggers named by their correlation ids."""

    correlation_ids: Annotated[list[str], Meta(description="must be a list of correlation ids")]


class NamedTrigger(msgspec.Struct, frozen=True):
    """One trigger named by its correlation id."""

    correlation_id: Annotated[str, Meta(description="must be a correlation id")]


class DeadLetter(msgspec.Struct, frozen=True):
    """A trigger that was given up, with everything needed to send it again.

    `reason`: why, in words. `code`: the answer's code, 0 without an answer. `attempts`: how often it was published by
    the process that gave it up. `at`: when, RFC 3339 UTC. `data`: the event's data as text (JSON unchanged, anything
    else as base64).
    """

    correlation_id: str
    event_id: str
    source: str
    type: str
    rule: str
    reason: str
    code: int
    attempts: int
    at: str
    time: str
    data: str


class DeadQuery(msgspec.Struct, frozen=True):
    """Which dead letters: from `seq` on."""

    seq: _From = msgspec.field(default=0, name="from")


class DeadLetterList(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page of dead letters, oldest first. `next_seq`: the next page's, left out when this is the last one."""

    dead: list[DeadLetter]
    next_seq: int | None = None


class DeadNames(msgspec.Struct, frozen=True):
    """The correlation ids of every dead letter, oldest first."""

    correlation_ids: list[str]


class DeadReplayed(msgspec.Struct, frozen=True):
    """The correlation ids of the dead letters that were found and put back to be sent."""

    replayed: list[str]


class DeadDiscarded(msgspec.Struct, frozen=True):
    """The correlation ids of the dead letters that were found and discarded."""

    discarded: list[str]


class WaitingQuery(msgspec.Struct, frozen=True):
    """Which waiting triggers to list: those of `log`, from `seq` on, at most `limit`."""

    log: _AnyLog = "normal"
    seq: _From = msgspec.field(default=0, name="from")
    limit: Annotated[int, Meta(ge=1, le=_MAX_PAGE, description=f"must be 1 to {_MAX_PAGE}")] = 100


class Waiting(msgspec.Struct, frozen=True):
    """A trigger in the outbox. `in_flight`: it was handed out to be sent. `reason`: why it was moved to its log."""

    seq: int
    log: str
    correlation_id: str
    in_flight: bool
    data_bytes: int
    reason: str
    trigger: ExportedTrigger


class WaitingPage(msgspec.Struct, frozen=True):
    """Some waiting triggers of a log; `waiting`: how many there are. `next_seq`: the next page's, None at the end."""

    log: str
    waiting: int
    triggers: Sequence[Waiting]
    next_seq: int | None


class FindQuery(msgspec.Struct, frozen=True):
    """What a person knows of a trigger: its correlation id, the beginning of that, or its event's id."""

    id: Annotated[
        str, Meta(min_length=1, description="is missing: a correlation id, the beginning of one, or an event's id")
    ]


class FoundTriggers(msgspec.Struct, frozen=True):
    """The triggers that match, from all logs: a few at most."""

    found: list[Waiting]


class ExportedRanges(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of an export file: for each log ranges of seqs, ends excluded."""

    ranges: Annotated[Mapping[str, Sequence[tuple[_Seq, _Seq]]], Meta(description="must be ranges of seqs by log")]

    def __post_init__(self) -> None:
        """Raises `MessageError` for a log that does not exist."""
        if not self.ranges.keys() <= set(_LOG_NAMES):
            raise MessageError("exported", "ranges", f"the logs are {', '.join(_LOG_NAMES)}")


class ExportReleased(msgspec.Struct, frozen=True):
    """How many exported triggers were released; those handed out to be sent in the meantime are not."""

    released: int


class ImportPart(msgspec.Struct, frozen=True):
    """Consecutive triggers of the export file with this digest; `number` is the first one's, counted from 1."""

    digest: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z", description="must be the digest of the export file")]
    number: Annotated[int, Meta(ge=1, le=_MAX_SEQ, description="must be the number of the first trigger, from 1 on")]
    triggers: Annotated[Sequence[ExportedTrigger], Meta(description="must be a trigger")]


class Imported(msgspec.Struct, frozen=True):
    """`stored`: how many triggers were stored; `known`: how many had been imported from the same file before."""

    stored: int
    known: int


class LogPlace(msgspec.Struct, frozen=True):
    """A position in a log to read from: `log`, from `seq` on."""

    log: _AnyLog = "normal"
    seq: _From = msgspec.field(default=0, name="from")


class DataPlace(msgspec.Struct, frozen=True):
    """A place in the data of an artifact: that with this SHA-256, from `offset` on."""

    sha256: _Sha256
    offset: _Offset = 0


class DataPiece(msgspec.Struct, frozen=True):
    """Data from there on, at most `DATA_PIECE_BYTES`, empty at its end; `size`: of all of it."""

    data: bytes
    size: int


class DataPart(msgspec.Struct, frozen=True):
    """A piece of the data of an artifact that is imported: from `offset` on, of `size` bytes in total."""

    sha256: _Sha256
    offset: _Offset
    size: _Offset
    data: Annotated[bytes, Meta(description="must be base64")]


class DataTaken(msgspec.Struct, frozen=True):
    """How much of the data is here by now."""

    received: int


class EventPlace(msgspec.Struct, frozen=True):
    """A position in a log of events to read from."""

    log: _EventLog = "normal"
    seq: _From = msgspec.field(default=0, name="from")


class RecordedPage(msgspec.Struct, frozen=True):
    """Events that are still in a log, however they ended: each as the trigger of the first rule it matched.

    `next_seq`: the next page's first seq; None on the last page.
    """

    triggers: Sequence[ExportedTrigger]
    next_seq: int | None


class Reloaded(msgspec.Struct, frozen=True):
    """What a reload changed: how many rules of `file` are enabled now, and the names of those that differ.

    `restart`: the tables that changed as well and take effect only after a restart.
    """

    file: str
    rules: int
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    restart: tuple[str, ...]


class LogLines(msgspec.Struct, frozen=True):
    """The last lines of the agent's log, oldest first, as they are written for a person."""

    lines: list[str]


DEAD_LETTERS = Call("dead_letters", "GET", "/v1/dead", DeadQuery, DeadLetterList, work_bytes=_DEAD_BYTES, for_page=True)
DEAD_NAMES = Call("dead_names", "GET", "/v1/dead/names", NoArguments, DeadNames, work_bytes=_MAX_NAMES_BYTES)
DEAD_LETTER = Call(
    "dead_letter", "GET", "/v1/dead/{correlation_id}", NamedTrigger, DeadLetter, work_bytes=_DEAD_BYTES, for_page=True
)
REPLAY = Call(
    "replay",
    "POST",
    "/v1/dead/replay",
    NamedTriggers,
    DeadReplayed,
    changes=True,
    max_body_bytes=_MAX_LIST_BYTES,
    for_page=True,
)
DISCARD = Call(
    "discard",
    "POST",
    "/v1/dead/discard",
    NamedTriggers,
    DeadDiscarded,
    changes=True,
    max_body_bytes=_MAX_LIST_BYTES,
    for_page=True,
)
WAITING = Call("waiting", "GET", "/v1/outbox/waiting", WaitingQuery, WaitingPage)
FIND = Call("find", "GET", "/v1/outbox/find", FindQuery, FoundTriggers)
RELEASE_EXPORTED = Call(
    "release_exported",
    "POST",
    "/v1/outbox/exported",
    ExportedRanges,
    ExportReleased,
    changes=True,
    max_body_bytes=_MAX_LIST_BYTES,
)
TAKE_IN = Call(
    "take_in",
    "POST",
    "/v1/outbox/import",
    ImportPart,
    Imported,
    changes=True,
    max_body_bytes=_MAX_IMPORT_BYTES,
    lines="triggers",
)
OVERVIEW = Call("overview", "GET", "/v1/outbox/overview", NoArguments, Overview)
DATA = Call("data", "GET", "/v1/outbox/data", DataPlace, DataPiece, work_bytes=4 * DATA_PIECE_BYTES)
TAKE_DATA = Call(
    "take_data",
    "POST",
    "/v1/outbox/import-data",
    DataPart,
    DataTaken,
    changes=True,
    max_body_bytes=2 * DATA_PIECE_BYTES,
)
VERIFY = Call("verify", "GET", "/v1/outbox/verify", LogPlace, VerifiedPart)
RECORDED = Call("recorded", "GET", "/v1/outbox/recorded", EventPlace, RecordedPage)
RELOAD = Call("reload", "POST", "/v1/reload", NoArguments, Reloaded)
LOG_LINES = Call("log_lines", "GET", "/v1/log", NoArguments, LogLines, work_bytes=_LOG_BYTES)
REPORT = Call("report", "GET", "/v1/report", ReportQuery, DaysReport, on_tcp=True, work_bytes=_REPORT_BYTES)
WHERE = Call("where", "GET", "/v1/where/{id}", WhereQuery, Courses, on_tcp=True, work_bytes=_WHERE_BYTES)
MANAGE = Call("manage", "POST", "/v1/manage", ManageOrder, ManagedRequest, max_body_bytes=_MAX_ORDER_BYTES)
MANAGED = Call("managed", "GET", "/v1/managed/{request_id}", RequestQuery, ManagedRequest, work_bytes=_MANAGED_BYTES)
REQUESTS = Call("requests", "GET", "/v1/managed", NoArguments, ManagedRequests, work_bytes=_MANAGED_BYTES)

CALLS: tuple[Call[Any, Any], ...] = (
    *(DEAD_LETTERS, DEAD_NAMES, DEAD_LETTER, REPLAY, DISCARD),
    *(WAITING, FIND, RELEASE_EXPORTED, TAKE_IN, OVERVIEW, VERIFY, RECORDED, DATA, TAKE_DATA),
    *(RELOAD, LOG_LINES, REPORT, WHERE),
    *(MANAGE, MANAGED, REQUESTS),
)


class OperatorPort(Protocol):
    """What the agent offers to the operator of its machine, on the Unix socket, and on TCP the calls `on_tcp`.

    A change is synced on return.
    """

    async def perform(self, call: Call[A, R], arguments: A) -> R:
        """Perform a call of `CALLS`. Its changes are synced when this returns.

        Raises:
            NotFound: the trigger does not exist, or nothing of this name is known.
            MessageError, RecordTooLarge: an imported trigger can never be stored.
            OutboxFull, StorageFailed, Draining: try again later; triggers already imported are recognised then.
            ConfigError: the configuration to be loaded is invalid; the old rules stay in force.
        """
