"""Finds the triggers that a person's text names, wherever the agent keeps them, and says where each is.

The same search serves a running agent and a stopped one's directory: what differs is behind `Knowledge`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from edgeagent.agent.bloom_filter import is_correlation_id
from edgeagent.agent.course import course_of
from edgeagent.agent.facts import Flight, OpenWindow, RuleFacts, Surroundings, TriggerFacts
from edgeagent.agent.lines import RateWait
from edgeagent.agent.notes import correlation_of
from edgeagent.common.times import rfc3339
from edgeagent.errors import NotFound
from edgeagent.ledger.followed import By, Followed
from edgeagent.ledger.schema import CORRELATION_CHARS
from edgeagent.outbox.records import Leased
from edgeagent.ports.artifacts import UploadProgress
from edgeagent.ports.where import MAX_COURSES, Courses, Kind, KnownEvent, WhereQuery
from edgeagent.wire.messages import State

# In these states a trigger may still be in the outbox.
_MAY_BE_STORED: Final = frozenset({State.BUFFERED, State.PUBLISHED, State.REJECTED})
# The beginning of a correlation id must have so many digits, so that it means one trigger.
_MIN_BEGINNING: Final = 8
_BEGINNING: Final = re.compile(rf"[0-9a-f]{{{_MIN_BEGINNING},{CORRELATION_CHARS}}}", re.ASCII)
_SHORT: Final = re.compile(rf"[0-9a-f]{{1,{_MIN_BEGINNING - 1}}}", re.ASCII)
_OF_AN_ID: Final = "if this is the beginning of a correlation id, give eight digits or more"
_UNKNOWN: Final = (
    "no trigger, event, workflow or source of this name is known. An event that no rule wants, or that a rule's "
    "throttle or rearm swallows, is counted and not kept; a rule with track = false is followed only until its trigger "
    "is answered; and the oldest ended triggers are forgotten. `edgeagent status` shows the counts"
)

# The ways to read a text, the first one counts under which something is known; and how each is called in the answer.
_READINGS: Final[tuple[tuple[By, Kind], ...]] = (
    (By.EVENT, "event"),
    (By.SOURCE, "source"),
    (By.BEGINNING, "correlation_id"),
)


class Knowledge(Protocol):
    """What the parts of an agent know of triggers. Each method raises `StorageFailed` when the disk cannot be read."""

    async def followed(self, by: By, text: str, limit: int) -> list[Followed]:
        """The triggers in the ledger that the text names, newest event first."""

    async def stored(self, correlation_id: str) -> Leased | None:
        """The trigger in the outbox, or among the dead letters, with this correlation id."""

    async def matching(self, wanted: Callable[[Leased], bool], limit: int) -> list[Leased]:
        """The newest `limit` wanted triggers of each log of the outbox, without their data."""

    def flight(self, correlation_id: str) -> tuple[Flight, Leased] | None:
        """The trigger in flight with this correlation id."""

    def window(self, leased: Leased) -> OpenWindow | None:
        """The open window that a trigger in the outbox is gathered into."""

    def rate(self, leased: Leased) -> RateWait | None:
        """What a trigger in the outbox, which is not in flight, waits for because of its rule's rate."""

    def upload(self, leased: Leased) -> UploadProgress | None:
        """How far the data of a trigger in the outbox is on the way to the store; None if it is not."""

    def of_rule(self, name: str) -> RuleFacts:
        """What a rule says of its triggers."""

    def around(self) -> Surroundings:
        """What is around all triggers."""

    def now_ms(self) -> int:
        """The wall clock."""


class _Known:
    """What is known of one trigger by its correlation id, while the search goes on."""

    __slots__ = ("followed", "stored")

    def __init__(self) -> None:
        self.followed: Followed | None = None
        self.stored: Leased | None = None

    @property
    def accepted_ms(self) -> int:
        if self.followed is not None:
            return self.followed.life.accepted_ms
        return self.stored.record.accepted_ms if self.stored is not None else 0


class Where:
    """Answers `GET /v1/where/{id}`. It owns nothing, and must never change anything."""

    def __init__(self, knowledge: Knowledge) -> None:
        self._knowledge = knowledge

    async def find(self, asked: WhereQuery) -> Courses:
        """The courses of the triggers that a text names, newest event first.

        Raises:
            NotFound: nothing is known by this name; the reason says what is never kept.
            StorageFailed: the disk cannot be read now.
        """
        text = asked.id
        if is_correlation_id(text) and (found := await self._one(text)):
            return self._courses(text, "correlation_id", found)
        if found := await self._of_workflow(text):
            return self._courses(text, "workflow", found)
        stored = await self._knowledge.matching(lambda leased: _reading(leased, text) is not None, MAX_COURSES)
        for by, kind in _READINGS:
            if by is By.BEGINNING and not _BEGINNING.fullmatch(text):
                continue
            found = _joined(
                await self._knowledge.followed(by, text, MAX_COURSES),
                [leased for leased in stored if _reading(leased, text) is by],
            )
            if found:
                return self._courses(text, kind, found)
        raise NotFound(text, f"{_OF_AN_ID}; {_UNKNOWN}" if _SHORT.fullmatch(text) else _UNKNOWN)

    async def _of_workflow(self, text: str) -> Mapping[str, _Known]:
        followed = await self._knowledge.followed(By.WORKFLOW, text, MAX_COURSES)
        if followed:
            return _joined(followed, [])
        # The name of a workflow that was not started yet ends with the correlation id, too.
        _, dash, name = text.rpartition("-")
        return await self._one(name) if dash and is_correlation_id(name) else {}

    async def _one(self, correlation_id: str) -> Mapping[str, _Known]:
        followed = await self._knowledge.followed(By.CORRELATION, correlation_id, 1)
        stored = None
        if self._knowledge.flight(correlation_id) is None and _may_be_stored(followed):
            stored = await self._knowledge.stored(correlation_id)
            # It may have been published, or answered, during the search.
            followed = await self._knowledge.followed(By.CORRELATION, correlation_id, 1)
        found = _joined(followed, [stored] if stored is not None else [])
        if not found and self._knowledge.flight(correlation_id) is not None:
            return {correlation_id: _Known()}
        return found

    def _courses(self, text: str, kind: Kind, found: Mapping[str, _Known]) -> Courses:
        around, now_ms = self._knowledge.around(), self._knowledge.now_ms()
        all_facts = [self._facts(name, known) for name, known in found.items()]
        courses = [course_of(facts, around, now_ms) for facts in all_facts]
        courses.sort(key=lambda course: str(course.steps[0].at), reverse=True)
        event = _event(all_facts[0]) if kind != "source" else None
        return Courses(text, kind, courses[:MAX_COURSES], event)

    def _facts(self, correlation_id: str, known: _Known) -> TriggerFacts:
        flying = self._knowledge.flight(correlation_id)
        flight, stored = flying if flying is not None else (None, known.stored)
        if known.followed is not None:
            rule = known.followed.life.report.rule
        else:
            rule = stored.rule if stored is not None else ""
        return TriggerFacts(
            correlation_id,
            rule,
            known.followed,
            stored,
            flight,
            self._knowledge.window(stored) if stored is not None and flight is None else None,
            self._knowledge.rate(stored) if stored is not None and flight is None else None,
            self._knowledge.of_rule(rule),
            self._knowledge.upload(stored) if stored is not None and flight is None else None,
        )


def _may_be_stored(followed: Iterable[Followed]) -> bool:
    return all(each.life.report.state in _MAY_BE_STORED for each in followed)


def _reading(leased: Leased, text: str) -> By | None:
    """As what a text names a trigger in the outbox."""
    record = leased.record
    if record.id == text or text in record.events:
        return By.EVENT
    if record.source == text:
        return By.SOURCE
    return By.BEGINNING if correlation_of(leased).startswith(text) else None


def _joined(followed: Iterable[Followed], stored: Iterable[Leased]) -> dict[str, _Known]:
    """What is known of each trigger, newest event first, at most `MAX_COURSES`."""
    found: dict[str, _Known] = {}
    for each in followed:
        found.setdefault(each.life.report.correlation_id, _Known()).followed = each
    for leased in stored:
        found.setdefault(correlation_of(leased), _Known()).stored = leased
    newest = sorted(found, key=lambda name: found[name].accepted_ms, reverse=True)
    return {name: found[name] for name in newest[:MAX_COURSES]}


def _event(facts: TriggerFacts) -> KnownEvent | None:
    if facts.stored is not None:
        record = facts.stored.record
        return KnownEvent(record.id, record.source, record.type, record.time, rfc3339(record.accepted_ms))
    if facts.followed is not None:
        report = facts.followed.life.report
        return KnownEvent(report.event_id, report.source, None, None, rfc3339(facts.followed.life.accepted_ms))
    return None
