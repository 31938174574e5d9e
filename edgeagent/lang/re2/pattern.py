r"""Patterns of string filters: regular expressions with RE2's meaning, searched in linear time.

Argo Events compiles them with Go's `regexp`, which is RE2. Python's `re` reads some of them differently (`$`, `\d`,
`\Z`, `(?i)`) and can take for ever, so they are parsed and searched here. A pattern that is only text, perhaps anchored
by `^` and `$`, is compared as text; most patterns are of this kind.
"""

from __future__ import annotations

from collections.abc import Callable

from edgeagent.lang.re2.automaton import Automaton
from edgeagent.lang.re2.refused import PatternRefused
from edgeagent.lang.re2.syntax import Assertion, Node, Sequence, Signs, parse

__all__ = ["PatternRefused", "compile_pattern"]


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """A function that says whether a text has a match of the pattern anywhere.

    Raises:
        PatternRefused: the pattern is too large or too complex, or uses something unsupported.
        ValueError: it is not RE2. Both texts name the fault, and say what to write instead.
    """
    try:
        node = parse(pattern)
        return _text_search(node) or Automaton(node).search
    except ValueError as exc:
        raise type(exc)(f"{pattern!r} {exc}") from None


def _text_search(node: Node) -> Callable[[str], bool] | None:
    """The search for a pattern that is plain text, perhaps anchored; None for any other."""
    parts = list(node.parts) if isinstance(node, Sequence) else [node]
    at_start = bool(parts) and parts[0] == Assertion("start")
    at_end = len(parts) > at_start and parts[-1] == Assertion("end")
    literal = ""
    for part in parts[at_start : len(parts) - at_end]:
        if not isinstance(part, Signs) or len(part.ranges) != 1 or part.ranges[0][0] != part.ranges[0][1]:
            return None
        literal += chr(part.ranges[0][0])
    if at_start and at_end:
        return lambda text: text == literal
    if at_start:
        return lambda text: text.startswith(literal)
    if at_end:
        return lambda text: text.endswith(literal)
    return lambda text: literal in text
