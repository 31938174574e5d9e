r"""Searches a text for a pattern, in time linear in the text, whatever text and pattern are.

A position is one set of characters in the pattern, with repetitions written out. A set of positions is the bits of an
integer: those that the last character matched. What may follow a set is computed once for each kind of gap between two
characters (Glushkov's construction, with the assertions `^ $ \b` decided by the gap). The sets in a search become
states of a deterministic automaton, remembered with their transitions: for a character that was seen before in a state
the cost is one look-up in a dict, for a new one it depends only on the pattern. The memory of transitions is bounded;
when it is full it is cleared.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Final, Literal

from edgeagent.lang.re2.classes import WORD, Ranges
from edgeagent.lang.re2.refused import PatternRefused
from edgeagent.lang.re2.syntax import Alternation, Assertion, Node, Repeat, Sequence, Signs

_MAX_TRANSITIONS = 4096
# The number of different ways to continue that a pattern may have; each costs time at every new character.
_MAX_JUMPS = 64

# The characters on one side of a gap.
Side = Literal["edge", "newline", "word", "other"]
_WORD_SIGNS = frozenset(chr(code) for low, high in WORD for code in range(low, high + 1))


class _State(dict[str, "_State"]):
    """A state of a search: maps the next character to the next state, and "" (the text's end) to the result."""

    __slots__ = ("_step", "before", "positions")

    def __init__(self, step: Callable[[_State, str], _State], positions: int, before: Side) -> None:
        super().__init__()
        self._step = step
        self.positions = positions
        self.before: Side = before

    def __missing__(self, sign: str) -> _State:
        return self._step(self, sign)


def _stay(state: _State, _sign: str) -> _State:
    return state


_FOUND: Final = _State(_stay, 0, "other")
_NEVER: Final = _State(_stay, 0, "other")


class Automaton:
    """A compiled pattern and the transitions found by searches; it owns both. It never takes more than linear time."""

    def __init__(self, node: Node) -> None:
        """Prepare a parsed pattern.

        Raises:
            ValueError: the pattern has too many ways to continue.
        """
        kinds = _gaps_in(node)
        self._sees_words = bool(kinds & {"word", "no word"})
        self._sees_lines = bool(kinds & {"line start", "line end"})
        sides: list[Side] = ["edge", "other"]
        sides += ["word"] if self._sees_words else []
        sides += ["newline"] if self._sees_lines else []
        self._links = {(before, after): _Links(node, before, after) for before in sides for after in sides}
        self._bounds, self._takers = _takers(self._links["edge", "edge"].signs)
        # Whether a match can begin after the first character: otherwise a search may end when no position is left.
        later = [links for (before, _), links in self._links.items() if before != "edge"]
        self._begins_later = any(links.first or links.empty for links in later)
        self._states: dict[tuple[int, Side], _State] = {}
        self._transitions = 0
        self._start = _State(self._step, 0, "edge")

    def search(self, text: str) -> bool:
        """Whether the pattern matches anywhere in the text."""
        state = self._start
        for sign in text:
            state = state[sign]
            if state is _FOUND:
                return True
            if state is _NEVER:
                return False
        return state[""] is _FOUND

    def _step(self, state: _State, sign: str) -> _State:
        """Compute the transition of a state for a character, or for the end (""), and remember it."""
        if self._transitions >= _MAX_TRANSITIONS:
            self._forget()
        self._transitions += 1
        after = self._side(sign)
        links = self._links[state.before, after]
        if links.empty or state.positions & links.last:
            target = _FOUND
        elif not sign:
            target = _NEVER
        else:
            takers = self._takers[bisect_right(self._bounds, ord(sign))]
            target = self._state((links.first | links.after(state.positions)) & takers, after)
        state[sign] = target
        return target

    def _state(self, positions: int, before: Side) -> _State:
        if not positions and not self._begins_later:
            return _NEVER
        state = self._states.get((positions, before))
        if state is None:
            state = self._states[positions, before] = _State(self._step, positions, before)
        return state

    def _forget(self) -> None:
        for state in (self._start, *self._states.values()):
            state.clear()
        self._states.clear()
        self._transitions = 0

    def _side(self, sign: str) -> Side:
        """The kind of a character for a gap beside it, as far as the pattern distinguishes kinds."""
        if not sign:
            return "edge"
        if self._sees_words and sign in _WORD_SIGNS:
            return "word"
        return "newline" if self._sees_lines and sign == "\n" else "other"


class _Links:
    """The positions that can begin, follow one another and end, across a gap between two given kinds of character.

    `first`, `last`: positions as bits. `empty`: the pattern matches the empty text in such a gap. `signs`: the
    characters of each position, the same for every gap.
    """

    def __init__(self, node: Node, before: Side, after: Side) -> None:
        self._before: Side = before
        self._after: Side = after
        self.signs: list[Ranges] = []
        self._following: list[int] = []
        self.empty, self.first, self.last = self._add(node)
        # Most positions lead to the next one: those are followed all at once, by a shift.
        self._shifting = 0
        jumps: dict[int, int] = {}
        for position, following in enumerate(self._following):
            here, following_here = 1 << position, 2 << position
            if following & following_here:
                self._shifting |= here
            if others := following & ~following_here:
                jumps[others] = jumps.get(others, 0) | here
        if len(jumps) > _MAX_JUMPS:
            raise PatternRefused(
                f"has more than {_MAX_JUMPS} different ways to go on; make it simpler, or several values"
            )
        self._jumps = tuple((sources, targets) for targets, sources in jumps.items())

    def after(self, positions: int) -> int:
        """The positions that can follow any of these."""
        result = (positions & self._shifting) << 1
        for sources, targets in self._jumps:
            if positions & sources:
                result |= targets
        return result

    def _add(self, node: Node) -> tuple[bool, int, int]:
        """Number and link the positions of a node; returns whether it can be empty, its first and last positions."""
        if isinstance(node, Signs):
            here = 1 << len(self.signs)
            self.signs.append(node.ranges)
            self._following.append(0)
            return False, here, here
        if isinstance(node, Assertion):
            return self._holds(node), 0, 0
        if isinstance(node, Sequence):
            whole = True, 0, 0
            for part in node.parts:
                whole = self._join(whole, self._add(part))
            return whole
        if isinstance(node, Alternation):
            empty, first, last = False, 0, 0
            for part in node.parts:
                one = self._add(part)
                empty, first, last = empty or one[0], first | one[1], last | one[2]
            return empty, first, last
        return self._repeat(node)

    def _repeat(self, node: Repeat) -> tuple[bool, int, int]:
        """`x{2,}` is `xx+`, and `x{1,3}` is `x(x(x)?)?`."""
        count = node.most if node.most is not None else max(1, node.least)
        copies = [self._add(node.part) for _ in range(count)]
        if not copies:
            return True, 0, 0
        if node.most is None:
            self._link(copies[-1][2], copies[-1][1])
        can_be_empty = copies[0][0]
        # A copy that can be empty may be omitted instead, so it need not be empty.
        least = 0 if can_be_empty else node.least
        whole = True, 0, 0
        for number in range(count, 0, -1):
            _, first, last = copies[number - 1]
            _, first, last = self._join((False, first, last), whole)
            whole = number > least, first, last
        return whole

    def _join(self, left: tuple[bool, int, int], right: tuple[bool, int, int]) -> tuple[bool, int, int]:
        self._link(left[2], right[1])
        first = left[1] | right[1] if left[0] else left[1]
        last = left[2] | right[2] if right[0] else right[2]
        return left[0] and right[0], first, last

    def _link(self, positions: int, following: int) -> None:
        while following and positions:
            lowest = positions & -positions
            self._following[lowest.bit_length() - 1] |= following
            positions ^= lowest

    def _holds(self, assertion: Assertion) -> bool:
        """Whether an assertion holds in this gap."""
        if assertion.kind in {"start", "line start"}:
            return self._before == "edge" or (assertion.kind == "line start" and self._before == "newline")
        if assertion.kind in {"end", "line end"}:
            return self._after == "edge" or (assertion.kind == "line end" and self._after == "newline")
        return ((self._before == "word") != (self._after == "word")) is (assertion.kind == "word")


def _gaps_in(node: Node) -> set[str]:
    if isinstance(node, Assertion):
        return {node.kind}
    if isinstance(node, (Sequence, Alternation)):
        return set[str]().union(*map(_gaps_in, node.parts))
    return _gaps_in(node.part) if isinstance(node, Repeat) else set()


def _takers(signs: list[Ranges]) -> tuple[list[int], list[int]]:
    """The positions that take a character, by its code point's rank among the bounds (`bisect_right`)."""
    by_ranges: dict[Ranges, int] = {}
    for position, ranges in enumerate(signs):
        by_ranges[ranges] = by_ranges.get(ranges, 0) | 1 << position
    changes: dict[int, int] = {}
    for ranges, positions in by_ranges.items():
        for low, high in ranges:
            changes[low] = changes.get(low, 0) ^ positions
            changes[high + 1] = changes.get(high + 1, 0) ^ positions
    takers = [0]
    for bound in sorted(changes):
        takers.append(takers[-1] ^ changes[bound])
    return sorted(changes), takers
