"""The agent's requests about workflows, from their making to their answer (contract section 15). Pure.

Times are the wall clock's, Unix milliseconds, as they must mean the same after a restart; `next_try_ms` is not kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from edgeagent.common.times import rfc3339
from edgeagent.errors import RequestsFull
from edgeagent.ports.manage import ManagedRequest, RequestState
from edgeagent.wire.manage import ManageRequest, ManageResponse
from edgeagent.workflows.names import is_too_deep

MAX_WAITING = 100
MAX_ENDED = 100  # the newest are kept to be asked about
MAX_READS_ENDED = 4  # their answers may be large
# An answer that does not come is asked for again: the dispatcher knows the request by its id.
RESEND_MS = 60_000
NO_SUBSCRIBER_MS = 30_000
# A broker may end the connection over each publish that it does not allow: then the uplink must have its peace.
MAX_CUT_REST_MS = 8 * RESEND_MS
_FREE_CUTS = 1  # a line that breaks once says nothing about the request
# A workflow whose trigger is still on its way to the engine.
NOT_STARTED_MS = 5_000
_READS = frozenset({"get", "list"})
_SUCCESS, _NOT_FOUND = 200, 404


class Entry(msgspec.Struct, omit_defaults=True):
    """One request. `until_ms`: when it expires. Kept on disk, unless it only reads."""

    request: ManageRequest
    made_ms: int
    until_ms: int
    state: RequestState = "waiting"
    why: str = ""
    answer: ManageResponse | None = None

    @property
    def is_kept(self) -> bool:
        """Whether it must survive a restart: one that only reads is simply asked again."""
        return self.request.operation not in _READS

    @property
    def subject(self) -> str:
        """What it is about, in messages: a workflow, a trigger, or for `list` a namespace."""
        return self.request.workflow_id or self.request.correlation_id or self.request.namespace

    def managed(self) -> ManagedRequest:
        """What the operator sees of it."""
        request, answer = self.request, self.answer
        return ManagedRequest(
            request.request_id,
            request.operation,
            request.namespace,
            self.state,
            rfc3339(self.made_ms),
            rfc3339(self.until_ms),
            request.workflow_id,
            request.correlation_id,
            self.why,
            msgspec.to_builtins(answer) if answer is not None else None,
        )


class Requests:
    """Owns the requests that wait, and the last ones that ended, in the order in which they were made.

    Attributes:
        counts: what was made (`made`), and how it ended (its state), by operation, since the start.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        """Begin with what was kept; everything that waits is sent again."""
        self._entries = {entry.request.request_id: entry for entry in entries}
        self.counts: Counter[tuple[str, str]] = Counter()
        self._next_try_ms: dict[str, int] = {}
        self._unkept: set[str] = set()  # those that the disk does not have yet: they are not sent
        self._cuts: Counter[str] = Counter()  # how often a connection ended while it had one unacknowledged

    @property
    def waiting(self) -> int:
        """How many wait to be sent or to be answered."""
        return sum(1 for _ in self._waiting())

    def kept(self) -> list[Entry]:
        """The entries for the disk."""
        return [entry for entry in self._entries.values() if entry.is_kept]

    def add(self, entry: Entry) -> None:
        """Add a new request, which is not sent before `promise`.

        Raises:
            RequestsFull: too many wait.
        """
        if self.waiting >= MAX_WAITING:
            raise RequestsFull(MAX_WAITING)
        self._entries[entry.request.request_id] = entry
        self._unkept.add(entry.request.request_id)

    def promise(self, request_id: str) -> None:
        """Note that a new request is kept, or need not be: it may be sent."""
        self._unkept.discard(request_id)
        if (entry := self._entries.get(request_id)) is not None:
            self.counts[entry.request.operation, "made"] += 1

    def remove(self, request_id: str) -> None:
        """Forget a request, which could not be kept."""
        self._entries.pop(request_id, None)
        self._unkept.discard(request_id)
        self._forget_tries(request_id)

    def find(self, request_id: str) -> Entry | None:
        """A request by its id."""
        return self._entries.get(request_id)

    def newest(self) -> Iterator[Entry]:
        """All of them, newest first."""
        return reversed(self._entries.values())

    def connected(self) -> None:
        """Send what waits as soon as possible: what was sent on an earlier connection may be lost.

        What connections end over goes on resting.
        """
        self._next_try_ms = {key: at for key, at in self._next_try_ms.items() if self._cuts[key] > _FREE_CUTS}

    def due(self, now_ms: int) -> list[Entry]:
        """Those that are to be sent now."""
        return [entry for entry in self._sendable() if self._try_ms(entry) <= now_ms]

    def next_ms(self, now_ms: int) -> int | None:
        """When one is to be sent next, or expires; None if none waits."""
        times = [min(entry.until_ms, max(self._try_ms(entry), now_ms)) for entry in self._sendable()]
        return min(times, default=None)

    def expires_ms(self) -> int | None:
        """When one expires next; None if none waits."""
        return min((entry.until_ms for entry in self._waiting()), default=None)

    def sent(self, request_id: str, now_ms: int) -> None:
        """Note that it was published."""
        self._rest(request_id, now_ms + RESEND_MS, "it was sent, and no answer has come yet")

    def survived(self) -> None:
        """Note that the broker answered one and kept the connection: so none needs to rest over one that ended."""
        for request_id, cuts in self._cuts.items():
            if cuts > _FREE_CUTS:
                self._next_try_ms.pop(request_id, None)
        self._cuts.clear()

    def cut_off(self, request_id: str, now_ms: int, why: str) -> None:
        """Note that the connection ended before the broker had acknowledged it, perhaps because of it.

        After the first time it goes again at once, then ever more slowly.
        """
        self._cuts[request_id] += 1
        again = self._cuts[request_id] - _FREE_CUTS
        rest_ms = min(RESEND_MS << (again - 1), MAX_CUT_REST_MS) if again > 0 else 0
        self._rest(request_id, now_ms + rest_ms, why)

    def not_taken(self, request_id: str, now_ms: int, why: str) -> None:
        """Note that the broker did not pass it on: it goes again later."""
        self._rest(request_id, now_ms + NO_SUBSCRIBER_MS, why)

    def answered(self, response: ManageResponse, now_ms: int) -> bool:
        """Take an answer; returns whether a request has ended by it."""
        entry = self._entries.get(response.request_id)
        if entry is None or entry.state != "waiting":
            return False
        said = ": ".join(text for text in (response.error, response.detail) if text)
        if response.retryable:
            wait_ms = max(int(response.retry_after_s * 1000), NOT_STARTED_MS)
            self._rest(response.request_id, now_ms + wait_ms, f"{response.code} {said}")
            return False
        if response.code == _NOT_FOUND and not entry.request.workflow_id:
            # The trigger may be behind this request, which overtook it.
            self._rest(response.request_id, now_ms + NOT_STARTED_MS, f"{response.code} {said}")
            return False
        if entry.is_kept or is_too_deep(response.object):
            # Only reading brings objects and lists, and what no JSON can be made of again brings nobody anything.
            response = msgspec.structs.replace(response, object=None, workflows=None)
        entry.answer = response
        self._end(entry, "done" if response.code == _SUCCESS else "refused", said or response.status)
        return True

    def expire(self, now_ms: int) -> list[Entry]:
        """End those whose time is over; returns them."""
        late = [entry for entry in self._waiting() if entry.until_ms <= now_ms]
        for entry in late:
            self._end(entry, "expired", entry.why or "it could not be sent in time")
        return late

    def _waiting(self) -> Iterator[Entry]:
        return (entry for entry in self._entries.values() if entry.state == "waiting")

    def _sendable(self) -> Iterator[Entry]:
        return (entry for entry in self._waiting() if entry.request.request_id not in self._unkept)

    def _try_ms(self, entry: Entry) -> int:
        return self._next_try_ms.get(entry.request.request_id, 0)

    def _rest(self, request_id: str, until_ms: int, why: str) -> None:
        if (entry := self._entries.get(request_id)) is not None and entry.state == "waiting":
            self._next_try_ms[request_id] = until_ms
            entry.why = why

    def _forget_tries(self, request_id: str) -> None:
        self._next_try_ms.pop(request_id, None)
        self._cuts.pop(request_id, None)

    def _end(self, entry: Entry, state: RequestState, why: str) -> None:
        entry.state, entry.why = state, why
        self.counts[entry.request.operation, state] += 1
        self._forget_tries(entry.request.request_id)
        for kept, most in ((True, MAX_ENDED), (False, MAX_READS_ENDED)):
            ended = [each for each in self._entries.values() if each.state != "waiting" and each.is_kept == kept]
            for oldest in ended[: max(len(ended) - most, 0)]:
                del self._entries[oldest.request.request_id]
