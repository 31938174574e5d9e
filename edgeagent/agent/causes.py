"""Why a trigger rests, and what shows that the reason is gone. Without I/O.

A cause has a scope: that one namespace has room again says nothing about another one. What the broker or the engine
does with one trigger disproves the causes for which others rest, within its own scope.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

import msgspec

_SUCCESS = 200
_FORBIDDEN = 403
_MISSING = 404
# These codes mean that the engine cannot be reached or is busy, whatever the trigger is (contract section 7).
_AWAY = frozenset({408, 429})
_SERVER_ERRORS = 500


class CauseKind(Enum):
    """The kind of reason for which a trigger rests."""

    UNHEARD = "nobody subscribes to the triggers"
    BUSY = "the broker refuses for now"
    SILENT = "no answer comes in time"
    REHEARSAL = "a dry-run dispatcher answers"
    ENGINE = "the engine is away"
    FORBIDDEN = "the engine forbids it: a quota or a permission"
    MISSING = "the engine misses something of the rule: its template"
    OTHER = "the engine asks for another try"


class Cause(msgspec.Struct, frozen=True):
    """A kind of cause and its scope: a namespace (`FORBIDDEN`), a rule (`MISSING`, `OTHER`), or "" for all triggers."""

    kind: CauseKind
    scope: str = ""


UNHEARD, BUSY, SILENT, REHEARSAL, ENGINE = map(
    Cause, (CauseKind.UNHEARD, CauseKind.BUSY, CauseKind.SILENT, CauseKind.REHEARSAL, CauseKind.ENGINE)
)


def of_answer(code: int, namespace: str, rule: str) -> Cause:
    """The cause for which the engine asks to try a trigger of this rule and namespace again."""
    if _is_away(code):
        return ENGINE
    if code == _FORBIDDEN:
        return Cause(CauseKind.FORBIDDEN, namespace)
    return Cause(CauseKind.MISSING if code == _MISSING else CauseKind.OTHER, rule)


def disproved_by(code: int, namespace: str, rule: str, *, rehearsal: bool = False) -> Iterator[Cause]:
    """The causes that an answer with this code, to a trigger of this rule and namespace, shows to be gone.

    `rehearsal`: the answer comes from a dry-run dispatcher, and says nothing about the engine.
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
