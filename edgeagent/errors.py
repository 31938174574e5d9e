"""Every error of edgeagent, in one tree. Data sits in attributes, the sentence in `__str__`.

    EdgeAgentError                    exit 1
    ├── ConfigError                   exit 78  a configuration file cannot be used
    ├── OutboxError
    │   ├── OutboxFull                the byte limit is reached; nothing was stored
    │   ├── SpoolFull                 no room for this large data, in the limit or on the disk; nothing was stored
    │   ├── DeadLettersFull           somebody must discard or replay some
    │   ├── RecordTooLarge            this event can never be stored
    │   ├── OutboxLocked              exit 75  another agent owns the state directory
    │   ├── StorageFailed             the disk is unwell; nothing was stored
    │   │   └── DiskReadOnly          it can only be read: what is there is forwarded, and nothing is kept
    │   └── DiskThreadDied            a defect ended a thread of ours; the process ends too
    ├── UplinkError
    │   ├── Unavailable               exit 69  the broker cannot be reached, or the connection ended
    │   └── Denied                    exit 69  the broker refused us (password, client id, policy)
    ├── EngineError
    │   ├── EngineUnavailable         exit 69  the engine cannot be reached, or is not able to answer now
    │   ├── EngineRefused             the engine answered with an error that the same request would bring again
    │   └── WatchExpired              the engine no longer knows the changes since a resource version
    ├── WebhookFailed                 a receiver of webhooks took no request now
    ├── StoreError
    │   ├── StoreFailed               a store did not take an artifact now
    │   ├── StoreRefused              a store can never take this artifact
    │   │   └── ArtifactGone          its file is not there
    │   ├── UploadPaused              no bandwidth is given to uploads at this time of day
    │   ├── SourceUnavailable         exit 69  an artifact cannot be fetched now
    │   ├── FetchRefused              an artifact is not there, or may not be fetched
    │   └── WrongContent              what came is not what the claim says
    ├── AgentUnreachable              exit 69  no running agent answers
    ├── EventConflict                 the same source and id came before with other data
    ├── Draining                      the agent is stopping and takes no new events
    ├── MessageError                  an event, response or status is malformed
    ├── NotFound                      there is no trigger of this name
    └── CommandFailed                 a command did not do what was asked

Foreign exceptions are translated once, at the adapter that knows them, with `raise ... from exc`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import NamedTuple


class EdgeAgentError(Exception):
    """Root of the tree. Its text is one line for a person: what, where, what to do."""

    exit_code = 1


class _Failed(EdgeAgentError):
    """Something that failed, and why. `what`: as people are shown it. `reason`: in words for a person."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what = what
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}"


class Problem(NamedTuple):
    """One thing wrong in a configuration: the key's path (`uplink.qos`, `rule[2].name`) and the reason."""

    path: str
    reason: str


class ConfigError(EdgeAgentError):
    """A configuration cannot be used. Carries every problem found, not only the first."""

    exit_code = 78

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        super().__init__(file, problems)
        self.file = file
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "; ".join(
            f"{self.file}: {path}: {reason}" if path else f"{self.file}: {reason}" for path, reason in self.problems
        )


class ConfigRefused(EdgeAgentError):
    """A configuration that was on trial does not work, so the next start uses the one before."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"the configuration on trial is given up: {self.reason}; from the next start the one before is used again"
        )


class OutboxError(EdgeAgentError):
    """The outbox cannot do what was asked."""


class OutboxFull(OutboxError):
    """No room under `outbox.max_bytes`. Nothing was stored; try again when triggers have been settled."""

    def __init__(self, used_bytes: int, max_bytes: int) -> None:
        super().__init__(used_bytes, max_bytes)
        self.used_bytes = used_bytes
        self.max_bytes = max_bytes

    def __str__(self) -> str:
        return f"the outbox is full: {self.used_bytes} of {self.max_bytes} bytes (outbox.max_bytes)"


class SpoolFull(OutboxError):
    """No room for the data of this event; nothing of it was kept. Its text names the bound, or the disk."""


class DeadLettersFull(OutboxError):
    """No place for another dead letter. Nothing was stored, or the trigger stays where it is. `reason`: the bound."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the dead letters are full: {self.reason}; discard or replay some (`edgeagent dead`)"


class RecordTooLarge(OutboxError):
    """This event, or this batch, can never be stored: it is larger than is taken. `key`: the limit's."""

    def __init__(self, size_bytes: int, limit_bytes: int, key: str = "outbox.max_event_bytes") -> None:
        super().__init__(size_bytes, limit_bytes, key)
        self.size_bytes, self.limit_bytes, self.key = size_bytes, limit_bytes, key

    def __str__(self) -> str:
        return f"{self.size_bytes} bytes are too many, at most {self.limit_bytes} are taken ({self.key})"


class RequestsFull(OutboxError):
    """Too many requests about workflows wait already. Nothing was stored; try again when some have been answered."""

    def __init__(self, waiting: int) -> None:
        super().__init__(waiting)
        self.waiting = waiting

    def __str__(self) -> str:
        return f"{self.waiting} requests about workflows wait already; see `edgeagent workflow requests`"


class OutboxLocked(OutboxError):
    """Another process owns the state directory."""

    exit_code = 75

    def __init__(self, directory: str, holder: str, why: str = "") -> None:
        super().__init__(directory, holder, why)
        self.directory = directory
        self.holder = holder
        self.why = why or ": stop it first, or choose another agent.state_dir"

    def __str__(self) -> str:
        return f"{self.directory} is in use by {self.holder}{self.why}"


class StorageFailed(OutboxError):
    """The disk refused a read, a write or a sync. Nothing that was asked for is stored."""

    def __init__(self, operation: str, path: str, reason: str) -> None:
        super().__init__(operation, path, reason)
        self.operation = operation
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"the disk failed: {self.operation} {self.path}: {self.reason}"

    @property
    def is_read_only(self) -> bool:
        """Whether the disk can be read all the same."""
        return self.reason == os.strerror(errno.EROFS)


class DiskReadOnly(StorageFailed):
    """The state directory is on a disk that can only be read: the agent forwards what is there, and takes nothing."""

    def __str__(self) -> str:
        return (
            f"the disk is read-only ({self.operation} {self.path}: {self.reason}): what is on it is forwarded, and "
            "nothing new is taken; replace it or mount it for writing, then restart the agent"
        )


class DiskThreadDied(OutboxError):
    """A defect ended the thread that works on the disk. Nothing that was asked for is known to be stored."""

    def __init__(self, name: str, defect: str) -> None:
        super().__init__(name, defect)
        self.name = name
        self.defect = defect

    def __str__(self) -> str:
        return f"the {self.name} thread has died, and the process ends: {self.defect}"


class UplinkError(EdgeAgentError):
    """A broker connection did not do what was asked."""

    exit_code = 69

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(address, reason)
        self.address = address
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.address}: {self.reason}"


class Unavailable(UplinkError):
    """The broker cannot be reached, or the connection ended. Always worth another try."""


class NameInUse(Unavailable):
    """The broker refused the connection because another one by our name is open, which may be a dead one of ours.

    `remedy`: what to do if it is not.
    """

    def __init__(self, address: str, reason: str, remedy: str) -> None:
        super().__init__(address, reason)
        self.args = (address, reason, remedy)  # so that it can be copied
        self.remedy = remedy


class Denied(UplinkError):
    """The broker refused the connection or a subscription. Somebody must change something, then it works again."""

    def __str__(self) -> str:
        return f"{self.address}: refused: {self.reason}"


class EngineError(_Failed):
    """A workflow engine did not do what was asked."""


class EngineUnavailable(EngineError):
    """The engine cannot be reached, or answer now (408, 429, 5xx). `retry_after_s`: what it asked for, or None."""

    exit_code = 69

    def __init__(self, url: str, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(url, reason)
        self.retry_after_s = retry_after_s


class EngineRefused(EngineError):
    """The engine refused a request: its HTTP status and its own words."""

    def __init__(self, url: str, status: int, message: str) -> None:
        super().__init__(url, message)
        self.args = (url, status, message)  # so that it can be copied
        self.url = url
        self.status = status
        self.message = message

    def __str__(self) -> str:
        return f"{self.url}: {self.status}: {self.message}"


class WatchExpired(EngineError):
    """A watch cannot go on where it was: list again and start anew."""

    def __init__(self, url: str) -> None:
        super().__init__(url, "the changes since then are no longer known")
        self.args = (url,)  # so that it can be copied


class StoreError(_Failed):
    """An artifact did not get into its store, or out of it. `what`: the store; or the url, without its query."""


class StoreFailed(StoreError):
    """A store did not take an artifact. Worth another try.

    `needs_somebody`: the same try fails until somebody changes something, so it is made seldom. `retry_after_s`: what
    the store asked for, 0 when it did not.
    """

    def __init__(self, store: str, reason: str, *, needs_somebody: bool = False, retry_after_s: float = 0.0) -> None:
        super().__init__(store, reason)
        self.needs_somebody = needs_somebody
        self.retry_after_s = retry_after_s


class StoreRefused(StoreError):
    """This artifact can never be in the store: it is too large for it, or its file is not what it was."""


class ArtifactGone(StoreRefused):
    """The artifact's file is not there: it is lost, or its event has left the outbox."""


class UploadPaused(StoreError):
    """No bandwidth is given to uploads at this time of day. The upload is continued, or begun again, later."""


class AgentUnreachable(_Failed):
    """No running agent answers on its socket or address."""

    exit_code = 69

    def __str__(self) -> str:
        return f"no agent answers on {self.what}: {self.reason}; is `edgeagent run` running with this configuration?"


class ListenFailed(EdgeAgentError):
    """An address cannot be listened on."""

    def __init__(self, address: str, reason: str, remedy: str) -> None:
        super().__init__(address, reason, remedy)
        self.address = address
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.address}: {self.reason}: {self.remedy}"


class EventConflict(EdgeAgentError):
    """An event with this source and id was accepted before, with different data. Nothing was stored."""

    def __init__(self, source: str, event_id: str) -> None:
        super().__init__(source, event_id)
        self.source = source
        self.event_id = event_id

    def __str__(self) -> str:
        return f"source {self.source} sent id {self.event_id} before, with different data"


class Draining(EdgeAgentError):
    """The agent is stopping: it takes no new events. Nothing was stored."""

    def __str__(self) -> str:
        return "the agent is stopping; send the event again when it is back"


class MessageError(EdgeAgentError):
    """An event, a response or a status is malformed. `member` names the part at fault."""

    def __init__(self, what: str, member: str, reason: str) -> None:
        super().__init__(what, member, reason)
        self.what = what
        self.member = member
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.what}: {self.member}: {self.reason}" if self.member else f"{self.what}: {self.reason}"


class NotFound(_Failed):
    """What was asked for by its name is not there; `reason` says what was looked for."""


class WebhookFailed(_Failed):
    """A request could not be made, or got no answer; it may have arrived all the same. `reason`: for a person."""


class CollectorFailed(_Failed):
    """A request with spans could not be made, or got no answer. `reason`: for a person."""


class SourceUnavailable(StoreError):
    """Where the artifact is cannot be reached, or cannot answer now. Worth another try, which goes on where it was."""

    exit_code = 69


class FetchRefused(StoreError):
    """The artifact is not there, or may not be fetched: by its store, or because nobody allowed its url."""


class WrongContent(StoreError):
    """What came has another size or hash than the claim says. It was thrown away."""


class CommandFailed(EdgeAgentError):
    """A command did not do what was asked; the text says what and why."""
