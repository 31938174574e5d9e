"""The earlier states of a trigger with their times, as the ledger keeps them: a short text.

One item for each state that the trigger left: its letter, and the milliseconds from the acceptance of its event to the
moment when the trigger first had this state: `p120 t345 r900`. The present state is not in it: the report has that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from edgeagent.common.times import instant, rfc3339
from edgeagent.wire.messages import State

# A workflow that is tried again and again adds two states each time: the first ones and the last ones are kept.
MAX_STEPS: Final = 16
_FIRST: Final = 4

_LETTERS: Final = {
    State.PUBLISHED: "p",
    State.TRIGGERED: "t",
    State.RUNNING: "r",
    State.SUCCEEDED: "s",
    State.FAILED: "f",
    State.ERROR: "e",
    State.REJECTED: "j",
    State.EXPIRED: "x",
    State.DROPPED: "d",
    State.MERGED: "m",
    State.UNKNOWN: "u",
}
_STATES: Final = {letter: state for state, letter in _LETTERS.items()}


class EarlierState(NamedTuple):
    """A state that a trigger had. `at`: since when, RFC 3339; None if that is not known."""

    state: State
    at: str | None


def left(steps: str, state: State, at: str, accepted_ms: int) -> str:
    """The steps of a trigger that leaves `state`, which it has had since `at` at the latest.

    A state that was noted already keeps its first time. `buffered` is not noted: it begins with the acceptance.
    """
    letter = _LETTERS.get(state)
    if letter is None:
        return steps
    items = steps.split()
    if items and items[-1].startswith(letter):
        return steps
    items.append(f"{letter}{_after_ms(at, accepted_ms)}")
    if len(items) > MAX_STEPS:
        items = items[:_FIRST] + items[_FIRST - MAX_STEPS :]
    return " ".join(items)


def earlier(steps: str, accepted_ms: int) -> Iterator[EarlierState]:
    """The states in a text that `left` made, oldest first."""
    for item in steps.split():
        state = _STATES.get(item[0])
        if state is not None:
            yield EarlierState(state, _at(item[1:], accepted_ms))


def _after_ms(at: str, accepted_ms: int) -> str:
    try:
        return str(round(instant(at).timestamp() * 1000) - accepted_ms)
    except ValueError:  # a text from a file that something else wrote
        return ""


def _at(after_ms: str, accepted_ms: int) -> str | None:
    try:
        return rfc3339(accepted_ms + int(after_ms))
    except (ValueError, OverflowError, OSError):
        return None
