"""Triggers whose artifact is not in the store yet: they wait here, and all others go on. Without I/O of its own.

They take no place in flight, so a store that is slow or away keeps only them. A trigger leaves, into flight, when its
upload has ended, or when it ends otherwise: it is too old, its rule is gone, or a newer one stands for it. One whose
rule has a strict order keeps the later ones of its rule and source here, too.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from edgeagent.agent.ahead import Ahead
from edgeagent.agent.inflight import lane_of
from edgeagent.common.foreign import line
from edgeagent.events.artifact import Artifact
from edgeagent.events.event import Record
from edgeagent.events.object_name import object_name
from edgeagent.outbox.records import HIGH, Leased
from edgeagent.ports.artifacts import Turn, UploadProgress, Uploads, UploadState
from edgeagent.rules.ruleset import Rule
from edgeagent.wire.claim import Claim

# How many wait at most, each some KB. When there are more, nothing else is taken up before one of them leaves.
MAX_WAITING: Final = 20_000
# How often it is looked for those that need not wait any more.
RECHECK_S: Final = 30.0
# How many uploads the statistics name.
_MAX_SHOWN: Final = 20

_encode = msgspec.json.Encoder().encode


class Uploading:
    """Owns the triggers that wait for an upload, and which uploads are wanted.

    Promises that a trigger goes on into flight once, and only when its artifact is in the store, can never be there
    (`refusal`), or need not be because the trigger ends. All calls happen in the loop's thread; none waits.

    Attributes:
        more_to_send: the hook that is called when one may go on. The composition root connects it with `Sender.wake`.
        upload_ended: the hook that is called when an upload has ended; connected with `Windows.uploaded`.
        taken: how many were ever taken up to wait.
        ahead: the uploads that were asked for before their triggers were taken up.
    """

    def __init__(self, uploads: Uploads, path: Callable[[Artifact], str]) -> None:
        """`path`: the file that holds an artifact."""
        self.more_to_send: Callable[[], None] = lambda: None
        self.upload_ended: Callable[[], None] = lambda: None
        self.ahead = Ahead()
        self._uploads = uploads
        self._path = path
        self._waiting: dict[str, list[Leased]] = {}  # by the object's name
        self._lanes: dict[str, deque[Leased]] = {}  # of rules with a strict order; the first one waits for its upload
        self._ready: deque[Leased] = deque()
        # How many triggers of each artifact are here or in flight, by the object's name. A name has two artifacts when
        # a device uses an id again, so late that it is no duplicate: the object is the first one's, while needed.
        self._live: dict[str, Counter[Artifact]] = {}
        self._by_rule: Counter[str] = Counter()  # of those that are here
        self._seqs: dict[str, set[int]] = {}  # of those that are here, by their log
        self.taken = 0
        self._count = 0
        self._recheck_at = 0.0

    def __len__(self) -> int:
        """How many wait."""
        return self._count

    @property
    def untaken(self) -> int:
        """How many uploads were asked for ahead whose triggers were not taken up yet."""
        return sum(name not in self._live for name in self.ahead.names)

    @property
    def is_full(self) -> bool:
        """Whether no more should be taken up."""
        return self._count >= MAX_WAITING

    def concerns(self, leased: Leased, rule: Rule | None) -> bool:
        """Whether a trigger has large data, or goes behind one that waits."""
        if leased.record.artifact is not None:
            return True
        return bool(self._lanes) and rule is not None and lane_of(leased, rule) in self._lanes

    def has_lane(self, lane: str) -> bool:
        """Whether triggers of this strict order wait."""
        return lane in self._lanes

    def waiting_of(self, rule: str) -> int:
        """How many triggers of a rule are here."""
        return self._by_rule[rule]

    def seqs_of(self, log: str) -> frozenset[int]:
        """The seqs of the triggers here that are in this log."""
        return frozenset(self._seqs.get(log, ()))

    def join(self, leased: Leased) -> None:
        """Note that a trigger goes into flight which waits for nothing."""
        if leased.record.artifact is not None:
            self._enliven(name_of(leased.record), leased.record.artifact)

    def take(self, leased: Leased, rule: Rule | None) -> bool:
        """Take up a leased trigger; False if it can go into flight at once."""
        lane = lane_of(leased, rule) if rule is not None else None
        is_behind = lane in self._lanes
        if leased.record.artifact is None:
            if not is_behind:
                return False
        else:
            name = name_of(leased.record)
            self._enliven(name, leased.record.artifact)
            has_ended = self._want(name, leased.record.artifact, _turn_of(leased, rule))
            if has_ended and not is_behind:
                return self._is_kept_back(leased)
            if lane is None:
                self._waiting.setdefault(name, []).append(leased)
        if lane is not None:
            self._lanes.setdefault(lane, deque()).append(leased)
        self._count += 1
        self._enter(leased)
        return True

    def ended(self, name: str) -> None:
        """Note that an upload has ended, either way: the callback of `Uploads`."""
        waiting = self._waiting.pop(name, [])
        if others := [leased for leased in waiting if not self._has_ended(leased.record)]:
            self._waiting[name] = others
        self._leave([leased for leased in waiting if self._has_ended(leased.record)])
        for lane in [lane for lane, queue in self._lanes.items() if _is_of(queue[0], name)]:
            self._advance(lane)
        self.upload_ended()
        if self._ready:
            self.more_to_send()

    def take_member(self, leased: Leased, rule: Rule) -> None:
        """Ask for the upload of an event that joins a window, and keep it until `left_member`."""
        if leased.record.artifact is not None:
            name = name_of(leased.record)
            self._enliven(name, leased.record.artifact)
            self._want(name, leased.record.artifact, _turn_of(leased, rule))
            self._seqs.setdefault(leased.log, set()).add(leased.seq)
            self._count += 1

    def left_member(self, leased: Leased, *, for_good: bool) -> None:
        """Note that an event has left its window; see `left`."""
        if leased.record.artifact is not None:
            self._seqs[leased.log].discard(leased.seq)
            self._count -= 1
            self.left(leased, for_good=for_good)

    def has_ended(self, leased: Leased) -> bool:
        """Whether a trigger waits for no upload, or for none any more."""
        return leased.record.artifact is None or self._has_ended(leased.record)

    def ready(self, most: int) -> list[Leased]:
        """Those that go into flight now, in order, at most `most`."""
        ready = [self._ready.popleft() for _ in range(min(most, len(self._ready)))]
        for leased in ready:
            self._seqs[leased.log].discard(leased.seq)
            self._by_rule[leased.rule] -= 1
        return ready

    def recheck(self, now: float, is_over: Callable[[Leased], bool]) -> None:
        """From time to time, let go of those that will not be sent in any case."""
        if now < self._recheck_at:
            return
        self._recheck_at = now + RECHECK_S
        for name, waiting in list(self._waiting.items()):
            self._waiting[name] = self._without(waiting, is_over)
            if not self._waiting[name]:
                del self._waiting[name]
        for lane, queue in list(self._lanes.items()):
            self._lanes[lane] = deque(self._without(queue, is_over))
            self._advance(lane)

    @property
    def recheck_at(self) -> float | None:
        """When to look again; None while nothing waits."""
        return self._recheck_at if self._count else None

    def left(self, leased: Leased, *, for_good: bool) -> None:
        """Note that a trigger has left those in flight. Not `for_good`: it is parked, and will be tried again."""
        if leased.record.artifact is None:
            return
        name = name_of(leased.record)
        first = self._first(name)
        self._end_life(name, leased.record.artifact)
        following = self._first(name)
        if following is None and for_good and not self.ahead.left(name, leased):
            self._uploads.forget(name)
        if following is not None and following != first and self._want(name, following):
            self.ended(name)

    def is_there(self, leased: Leased) -> bool:
        """Whether a trigger may be published: its data is in the store, or it has none that is large.

        If it is not, it is asked for.
        """
        artifact = leased.record.artifact
        return artifact is None or (self._want(name_of(leased.record), artifact) and not self.refusal(leased))

    def put_back(self, leased: Leased, rule: Rule) -> None:
        """Take up again a trigger from flight, which it entered because it seemed not to need its data in the store."""
        if leased.record.artifact is not None:
            self._end_life(name_of(leased.record), leased.record.artifact)
        if not self.take(leased, rule):
            self._ready.append(leased)
            self._enter(leased)

    def want_ahead(self, leased: Leased, turn: Turn) -> None:
        """Ask for the upload of a trigger that is not taken up yet, which `ahead` has."""
        if leased.record.artifact is not None:
            self._want(name_of(leased.record), leased.record.artifact, turn)

    def is_of_another(self, leased: Leased) -> bool:
        """Whether the object of a trigger is the one of another artifact yet, of which a trigger is here."""
        return self._first(name_of(leased.record)) not in {None, leased.record.artifact}

    def leave(self, name: str) -> None:
        """Note that an upload that was asked for ahead has ended: until its trigger is taken up, the disk knows it."""
        if name not in self._live:
            self._uploads.leave(name)

    def forget_ahead(self, name: str) -> None:
        """Note that an upload that was asked for ahead is not needed."""
        if name not in self._live:
            self._uploads.forget(name)

    def refusal(self, leased: Leased) -> str:
        """Why the artifact of a trigger can never be in the store; "" if it can, or if there is none."""
        found = self._upload_of(leased.record)
        if found is None or found.state is not UploadState.REFUSED:
            return ""
        return f"its data cannot be put into the store: {line(found.reason)}"

    def is_stored(self, leased: Leased) -> bool:
        """Whether a trigger has large data that is in the store."""
        return self._state(leased) is UploadState.DONE

    def is_under_way(self, leased: Leased) -> bool:
        """Whether a trigger has large data that is in the store, or of which something is being sent."""
        return self._state(leased) in {UploadState.SENDING, UploadState.DONE}

    def progress(self, leased: Leased) -> UploadProgress | None:
        """How far the upload is that a trigger waits for, or that is made ahead of it; None if there is none."""
        if leased.record.artifact is None:
            return None
        waits = leased.seq in self._seqs.get(leased.log, ()) or name_of(leased.record) in self.ahead
        return self._upload_of(leased.record) if waits else None

    def claimed(self, leased: Leased, rule: Rule) -> Leased:
        """The trigger as it is rendered: its data is the claim. For a rule with a window, of this one event."""
        member, record = self.member(leased), leased.record
        if record.artifact is None or rule.window is None:
            return member
        whole = msgspec.structs.replace(member.record, data=b"[%b]" % member.record.data, events=(record.id,))
        return msgspec.structs.replace(member, record=whole)

    def member(self, leased: Leased) -> Leased:
        """The trigger with its claim as its data."""
        record, artifact = leased.record, leased.record.artifact
        if artifact is None:
            return leased
        claim = Claim(self._uploads.url(name_of(record)), artifact.size, artifact.sha256, artifact.content_type)
        whole = msgspec.structs.replace(record, data=_encode(claim), is_json=True)
        return msgspec.structs.replace(leased, record=whole)

    def shown(self) -> list[dict[str, Any]]:
        """The uploads that have not ended, those under way first, the first few; ready for JSON."""
        names = [
            *self._waiting,
            *(name_of(queue[0].record) for queue in self._lanes.values() if queue[0].record.artifact),
            *self.ahead.names,
        ]
        found = [(name, progress) for name in dict.fromkeys(names) if (progress := self._uploads.progress(name))]
        found.sort(key=lambda each: each[1].state is not UploadState.SENDING)
        return [
            {
                "name": name,
                "state": progress.state.value,
                "sent_bytes": progress.sent_bytes,
                "size": progress.size,
                "reason": progress.reason,
                "next_try_s": progress.next_try_s,
            }
            for name, progress in found[:_MAX_SHOWN]
        ]

    def _is_kept_back(self, leased: Leased) -> bool:
        """Let a trigger whose upload was refused before go the way of those that waited for it: it is given up."""
        if not self.refusal(leased):
            return False
        self._ready.append(leased)
        self._enter(leased)
        self.more_to_send()
        return True

    def _enter(self, leased: Leased) -> None:
        self._seqs.setdefault(leased.log, set()).add(leased.seq)
        self._by_rule[leased.rule] += 1
        self.taken += 1

    def _state(self, leased: Leased) -> UploadState | None:
        found = self._upload_of(leased.record)
        return found.state if found is not None else None

    def _enliven(self, name: str, artifact: Artifact) -> None:
        self._live.setdefault(name, Counter())[artifact] += 1

    def _end_life(self, name: str, artifact: Artifact) -> None:
        live = self._live[name]
        live[artifact] -= 1
        if not live[artifact]:
            del live[artifact]
        if not live:
            del self._live[name]

    def _first(self, name: str) -> Artifact | None:
        """The artifact that the object of this name is, or will be; None if no trigger needs one."""
        return next(iter(self._live.get(name, ())), None)

    def _upload_of(self, record: Record) -> UploadProgress | None:
        """The upload of a record's data; None if there is none, or none yet."""
        if record.artifact is None:
            return None
        name = name_of(record)
        return self._uploads.progress(name) if self._first(name) in {None, record.artifact} else None

    def _want(self, name: str, artifact: Artifact, turn: Turn = Turn.NORMAL) -> bool:
        """Ask for an upload, unless its object is another one's yet; returns whether it has ended, either way."""
        if self._first(name) not in {None, artifact}:
            return False
        if self._uploads.want(name, artifact, self._path(artifact), turn):
            return True
        found = self._uploads.progress(name)
        return found is not None and found.state.has_ended

    def _advance(self, lane: str) -> None:
        """Let go of the first ones of a lane, up to one that waits for its own upload."""
        queue = self._lanes[lane]
        while queue and (queue[0].record.artifact is None or self._has_ended(queue[0].record)):
            self._leave([queue.popleft()])
        if not queue:
            del self._lanes[lane]

    def _has_ended(self, record: Record) -> bool:
        found = self._upload_of(record)
        return found is not None and found.state.has_ended

    def _without(self, triggers: Iterable[Leased], is_over: Callable[[Leased], bool]) -> list[Leased]:
        """Let go of those that are over; returns the others."""
        kept: list[Leased] = []
        for leased in triggers:
            if is_over(leased):
                self._leave([leased])
            else:
                kept.append(leased)
        return kept

    def _leave(self, triggers: Sequence[Leased]) -> None:
        self._ready.extend(triggers)
        self._count -= len(triggers)


def name_of(record: Record) -> str:
    """The name of the object that holds the data of an event."""
    return object_name(record.agent, record.source, record.accepted_ms, record.id)


def is_high(leased: Leased, rule: Rule | None) -> bool:
    """Whether a trigger, and so its upload, goes before those of normal priority."""
    return leased.log == HIGH or (rule is not None and rule.high)


def _turn_of(leased: Leased, rule: Rule | None) -> Turn:
    return Turn.HIGH if is_high(leased, rule) else Turn.NORMAL


def _is_of(leased: Leased, name: str) -> bool:
    return leased.record.artifact is not None and name_of(leased.record) == name
