"""Why a trigger rests, and what shows that this reason is gone. Without I/O.

A cause has a scope: that a namespace has room again says nothing about another one. What the broker or the engine does
with one trigger disproves the causes for which others rest, as far as their scope goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

_SUCCESS = 200
_FORBIDDEN = 403
_MISSING = 404
# The engine cannot be reached or is busy; whatever the trigger is (contract section 7).
_AWAY = frozenset({408, 429})
_SERVER_ERRORS = 500


class CauseKind(Enum):
    """What kind of reason a trigger rests for."""

    UNHEARD = "nobody subscribes to the triggers"
    BUSY = "the broker refuses for now"
    SILENT = "no answer comes in time"
    REHEARSAL = "a dry-run dispatcher answers"
    ENGINE = "the engine is away"
    FORBIDDEN = "the engine forbids it: a quota or a permission"
    MISSING = "the engine misses something of the rule: its template"
    OTHER = "the engine asks for another try"


class Cause(NamedTuple):
    """A kind, and whom it concerns: a namespace (`FORBIDDEN`), a rule (`MISSING`, `OTHER`), or everybody ("")."""

    kind: CauseKind
    scope: str = ""


UNHEARD, BUSY, SILENT, REHEARSAL, ENGINE = map(
    Cause, (CauseKind.UNHEARD, CauseKind.BUSY, CauseKind.SILENT, CauseKind.REHEARSAL, CauseKind.ENGINE)
)


def of_answer(code: int, namespace: str, rule: str) -> Cause:
    """Why the engine asks for another try of a rule's trigger for this namespace."""
    if _is_away(code):
        return ENGINE
    if code == _FORBIDDEN:
        return Cause(CauseKind.FORBIDDEN, namespace)
    return Cause(CauseKind.MISSING if code == _MISSING else CauseKind.OTHER, rule)


def disproved_by(code: int, namespace: str, rule: str, *, rehearsal: bool = False) -> Iterator[Cause]:
    """What an answer with this code, to a rule's trigger for this namespace, shows to be over.

    `rehearsal`: it comes from a dry-run dispatcher, and does not count as the engine's.
    """
    yield SILENT
    if rehearsal:
        return
    yield REHEARSAL
    if not _is_away(code):
        yield ENGINE
    if code == _SUCCESS:
        yield Cause(CauseKind.FORBIDDEN, namespace)
        yield Cause(CauseKind.MISSING, rule)
        yield Cause(CauseKind.OTHER, rule)


def _is_away(code: int) -> bool:
    return code in _AWAY or code >= _SERVER_ERRORS
