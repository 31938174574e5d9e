"""Large data over HTTP: the body of one request goes to the spool as it comes, and so do the parts of a resumed upload.

`POST /v1/events/{source}` with a body over `artifacts.inline_max`, and `PUT /v1/events/{source}?id=ID`, whose parts
(`Content-Range`) may come in many requests. The upload is named by source and id, which are those of its event. What
came of it stays in the spool for an hour after the last part, or after a restart of the agent. What an answer says came
is synced.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from edgeagent.common.digests import blake2b
from edgeagent.errors import Draining, EdgeAgentError, MessageError, OutboxError, SpoolFull
from edgeagent.events.artifact import Artifact
from edgeagent.events.event import Draft
from edgeagent.httpapi.events import event_id, large_draft, large_head
from edgeagent.httpapi.problem import Answer, Headers, Refused, json_answer, retry_after
from edgeagent.httpapi.reception import Reception
from edgeagent.httpapi.request import Request
from edgeagent.ports.device import Accepted, DevicePort
from edgeagent.ports.large import Arrival, LargeDataPort

_ACCEPTED = 202
_RESUME = 308  # as other services of resumable uploads use it
_CONFLICT = 409
_NOT_SATISFIABLE = 416
# How long an upload is kept after its last part, and how many of them. Each counts in the limit of the outbox.
UPLOAD_KEPT_S: Final = 3600.0
MAX_UPLOADS: Final = 64
# So many answers to complete uploads are kept, for who did not hear them.
_KEPT_ANSWERS = 256
_FULL_RETRY_S = 60
_KEY_BYTES: Final = 20
_RANGE = re.compile(r"bytes (?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18})", re.ASCII)


class _Part(NamedTuple):
    """What one request brings: bytes from `first` on to `end` (excluded) of `total`; nothing if both are the same."""

    first: int
    end: int
    total: int


class _Upload:
    """An upload in parts: its arrival, until all of it came; then its artifact, until its event is decided."""

    def __init__(self, arrival: Arrival, total: int) -> None:
        self.arrival = arrival
        self.total = total
        self.artifact: Artifact | None = None
        self.draft: Draft | None = None  # the event of that, without its data
        self.owner: _PartReception | None = None  # the request that brings data now
        self.expiry: asyncio.TimerHandle | None = None
        self.went_back_to = -1


class LargeEvents:
    """The events of devices whose data is large. Owns the uploads that are not complete.

    Promises that an event is answered 202 only when its data and its record are synced, and that what is not stored
    leaves nothing behind.
    """

    def __init__(self, device: DevicePort, port: LargeDataPort) -> None:
        self._device = device
        self._port = port
        self._uploads: dict[str, _Upload] = {}
        self._answers: OrderedDict[str, tuple[int, Accepted]] = OrderedDict()
        for key, total, arrival in port.left():
            self._uploads[key] = _Upload(arrival, total)
            self.rests(key, self._uploads[key])

    @property
    def inline_bytes(self) -> int:
        """A body up to this size stays in its event."""
        return self._port.inline_bytes

    def begin(self, request: Request, source: str, size: int | None, wake: Callable[[], None]) -> Reception:
        """The body of a request begins, of this size (None: not announced). It is refused now if it ever will be.

        Raises:
            MessageError: the head is no event's.
            RecordTooLarge, SpoolFull, Refused: it is not taken.
        """
        head = large_head(request, source)
        if request.method == "PUT":
            head.id = event_id(request, head)
            part = _part(request, size)
            if part is not None:
                return self._begin_part(head, part, wake)
        return _WholeReception(self, head, self._port.begin(size, wake))

    async def accept(self, draft: Draft, artifact: Artifact) -> Accepted:
        """Store the event of an artifact that is held. The hold ends when the outcome is known, whoever waits for it.

        Raises:
            EdgeAgentError: it is not stored.
        """
        return await asyncio.shield(asyncio.ensure_future(self._store(draft, artifact)))

    async def finish(self, key: str, upload: _Upload, draft: Draft) -> Answer:
        """All parts came: store the event. If it may be stored later, the upload stays, and a later request tries it.

        Raises:
            EdgeAgentError: it is not stored.
        """
        if upload.artifact is None:
            upload.draft = draft
            try:
                upload.artifact = await upload.arrival.finish(draft.datacontenttype or "")
            except EdgeAgentError:
                self._forget(key, upload)
                raise
        self._uploads.pop(key, None)
        self._end_expiry(upload)
        return await asyncio.shield(asyncio.ensure_future(self._store_upload(key, upload, upload.artifact)))

    async def _store(self, draft: Draft, artifact: Artifact) -> Accepted:
        try:
            return (await self._device.accept([large_draft(draft, artifact)]))[0]
        finally:
            if (task := asyncio.current_task()) is None or not task.cancelling():  # else the outcome is not known
                self._port.let_go(artifact)

    async def _store_upload(self, key: str, upload: _Upload, artifact: Artifact) -> Answer:
        assert upload.draft is not None  # noqa: S101  it came with the last part, as the artifact did
        try:
            [accepted] = await self._device.accept([large_draft(upload.draft, artifact)])
        except (OutboxError, Draining):
            self._uploads[key] = upload
            upload.owner = None
            self.rests(key, upload)
            raise
        except EdgeAgentError:
            self._port.let_go(artifact)
            raise
        self._port.let_go(artifact)
        total, earlier = self._answers.get(key, (0, accepted))
        if accepted.duplicate and total == upload.total:
            accepted = earlier
        self._answers[key] = upload.total, accepted
        if len(self._answers) > _KEPT_ANSWERS:
            self._answers.popitem(last=False)
        return accepted_answer(accepted)

    def rests(self, key: str, upload: _Upload) -> None:
        """A request of an upload ended: the next one may come for a while."""
        if self._uploads.get(key) is upload:
            self._end_expiry(upload)
            loop = asyncio.get_running_loop()
            upload.expiry = loop.call_later(UPLOAD_KEPT_S, lambda: self._expire(key, upload))

    def close(self) -> None:
        """Let go of the uploads: they can go on when the agent has started again."""
        for key, upload in self._uploads.items():
            self._end_expiry(upload)
            if upload.artifact is not None:
                self._port.put_back(upload.artifact, key)
            else:
                upload.arrival.leave()
        self._uploads.clear()

    def _begin_part(self, draft: Draft, part: _Part, wake: Callable[[], None]) -> Reception:
        key = _key(draft)
        upload = self._uploads.get(key)
        if upload is not None and upload.total != part.total:
            if part.first or part.first == part.end:
                raise Refused(_CONFLICT, f"Content-Range: {upload.total} bytes were announced before")
            self._forget(key, upload)
            upload = None
        if upload is not None and not self._goes_on(key, upload):
            upload = None
        known = self._answers.get(key)
        begins = part.first == 0 < part.end  # perhaps with other data, which nobody has seen before it is all here
        if upload is None and known is not None and known[0] == part.total and not begins:
            return _KnownReception(accepted_answer(known[1]))
        if upload is None:
            if part.first == part.end:
                self._port.admit(part.total)
                return _KnownReception(_progress(0, part.total))
            if part.first:
                raise Refused(_NOT_SATISFIABLE, "Content-Range: nothing came before; begin at byte 0")
            if len(self._uploads) >= MAX_UPLOADS:
                raise Refused(503, f"{MAX_UPLOADS} uploads are not complete", retry_after(_FULL_RETRY_S))
            upload = _Upload(self._port.begin(part.total, wake, key), part.total)
            self._uploads[key] = upload
        return _PartReception(self, key, upload, draft, part, wake)

    def _goes_on(self, key: str, upload: _Upload) -> bool:
        """Whether an upload goes on: what the disk refused, it may take now. If it refuses again, all begins anew."""
        error, kept_bytes = upload.arrival.error, upload.arrival.kept_bytes
        if error is None or upload.artifact is not None:
            return True
        if upload.went_back_to == kept_bytes and not isinstance(error, SpoolFull):
            self._forget(key, upload)
            return False
        upload.went_back_to = kept_bytes
        upload.arrival.back()
        return True

    def _forget(self, key: str, upload: _Upload) -> None:
        if self._uploads.get(key) is upload:
            del self._uploads[key]
        self._end_expiry(upload)
        if upload.artifact is not None:
            self._port.let_go(upload.artifact)
        else:
            upload.arrival.abandon()

    def _expire(self, key: str, upload: _Upload) -> None:
        if upload.owner is not None:  # data still comes, or its connection would have ended
            self.rests(key, upload)
        else:
            self._forget(key, upload)

    def _end_expiry(self, upload: _Upload) -> None:
        if upload.expiry is not None:
            upload.expiry.cancel()
            upload.expiry = None


class _WholeReception:
    """The body of a request that has all of the data."""

    def __init__(self, events: LargeEvents, draft: Draft, arrival: Arrival) -> None:
        self._events = events
        self._draft = draft
        self._arrival = arrival

    @property
    def is_congested(self) -> bool:
        return self._arrival.is_congested

    @property
    def error(self) -> EdgeAgentError | None:
        return self._arrival.error

    def take(self, data: bytes | bytearray) -> None:
        self._arrival.write(data)

    async def answer(self) -> Answer:
        artifact = await self._arrival.finish(self._draft.datacontenttype or "")
        return accepted_answer(await self._events.accept(self._draft, artifact))

    def abandon(self) -> None:
        self._arrival.abandon()


class _KnownReception:
    """A request whose answer is known from its head: its body says nothing new."""

    is_congested = False
    error: EdgeAgentError | None = None

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def take(self, data: bytes | bytearray) -> None:
        pass

    async def answer(self) -> Answer:
        return self._answer

    def abandon(self) -> None:
        pass


class _PartReception:
    """The body of a request that has a part of the data. A later request takes the upload over from an earlier one."""

    def __init__(
        self,
        events: LargeEvents,
        key: str,
        upload: _Upload,
        draft: Draft,
        part: _Part,
        wake: Callable[[], None],
    ) -> None:
        self._events = events
        self._key = key
        self._upload = upload
        self._draft = draft
        self._part = part
        self._position = part.first
        if part.first > upload.arrival.received_bytes:
            raise Refused(
                _NOT_SATISFIABLE,
                f"Content-Range: only {upload.arrival.received_bytes} bytes came before",
                _range_headers(upload.arrival.kept_bytes),
            )
        upload.owner = self
        upload.arrival.wake = wake
        events.rests(key, upload)

    @property
    def is_congested(self) -> bool:
        return self._upload.arrival.is_congested

    @property
    def error(self) -> EdgeAgentError | None:
        return self._upload.arrival.error

    def take(self, data: bytes | bytearray) -> None:
        self._check_owner()
        arrival = self._upload.arrival
        if self._position + len(data) > self._part.end:
            raise MessageError("request", "Content-Range", "the body has more bytes")
        new = data[max(arrival.received_bytes - self._position, 0) :]
        self._position += len(data)
        if new:
            arrival.write(new)

    async def answer(self) -> Answer:
        self._check_owner()
        if self._position < self._part.end:
            raise MessageError("request", "Content-Range", "the body has fewer bytes")
        received = self._upload.arrival.received_bytes
        if received < self._upload.total:
            self._upload.owner = None
            self._events.rests(self._key, self._upload)
            await self._upload.arrival.secure()
            return _progress(received, self._upload.total)
        return await self._events.finish(self._key, self._upload, self._draft)

    def abandon(self) -> None:
        if self._upload.owner is self:
            self._upload.owner = None
            self._upload.arrival.wake = lambda: None
            self._upload.arrival.rest()
            self._events.rests(self._key, self._upload)

    def _check_owner(self) -> None:
        if self._upload.owner is not self:
            raise Refused(_CONFLICT, "another request goes on with this upload")


def accepted_answer(accepted: Accepted) -> Answer:
    """The answer to an event that is accepted."""
    return json_answer({"accepted": [accepted]}, _ACCEPTED)


def _progress(received: int, total: int) -> Answer:
    """The answer to a part that is not the last one: how much came so far."""
    answer = json_answer({"received": received, "size": total}, _RESUME)
    return msgspec.structs.replace(answer, headers=_range_headers(received))


def _range_headers(received: int) -> Headers:
    return ((b"range", b"bytes=0-%d" % (received - 1)),) if received else ()


def _key(draft: Draft) -> str:
    """What names an upload: source and id are those of its event, and neither has this character."""
    return blake2b(f"{draft.source}\0{draft.id}".encode(), digest_size=_KEY_BYTES).hexdigest()


def _part(request: Request, size: int | None) -> _Part | None:
    """The part of the data that a request brings; None if it brings all of it."""
    text = request.text("Content-Range")
    if text is None:
        return None
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise MessageError("request", "Content-Range", "must be bytes FIRST-LAST/TOTAL or bytes */TOTAL")
    total = int(match[3])
    if match[1] is None:
        if size:
            raise MessageError("request", "Content-Range", "asks how much came, and has a body")
        return _Part(0, 0, total)
    first, end = int(match[1]), int(match[2]) + 1
    if not first < end <= total:
        raise MessageError("request", "Content-Range", "must be within the total")
    if size is not None and size != end - first:
        raise MessageError("request", "Content-Range", f"names {end - first} bytes, and the body has {size}")
    return _Part(first, end, total)
