"""The parts of a chain as functions: what a name, a pattern or a `#` finds in a value.

A step gives the value, `MISSING` (the position exists, and nothing is there) or an `End`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

from edgeagent.lang.gjson.query import Test
from edgeagent.lang.gjson.syntax import Part
from edgeagent.lang.gjson.values import MISSING
from edgeagent.lang.gjson.wildcard import Wildcard

Find = Callable[[Any], Any]

_NO_INDEX = 1 << 63  # for a name: beyond every array


class End(Enum):
    """How a chain ended that found nothing."""

    NOWHERE = 0  # before its last part: the path after the pipe is not evaluated
    REACHED = 1  # at its last part: the path after the pipe is evaluated on nothing, and `@keys` of nothing is []
    NONE_FIT = 2  # at `#(…)#.name|…` without a match: [], and gjson ignores the pipe


def member(part: Part, following: Find | None) -> Find:
    """A member of an object, or an element of an array by its index."""
    name = part.name
    index = int(part.raw) if part.raw.isascii() and part.raw.isdecimal() else _NO_INDEX
    no_element = _in_array(part)

    def last(value: Any) -> Any:
        if isinstance(value, dict):
            return value.get(name, End.REACHED)
        if isinstance(value, list):
            return value[index] if index < len(value) else no_element
        return End.NOWHERE

    if following is None:
        return last

    def more(value: Any) -> Any:
        found = last(value)
        return End.NOWHERE if isinstance(found, End) else following(found)

    return more


def wild(part: Part, following: Find | None) -> Find:
    """The first member whose name matches a pattern and in which the rest of the path finds something."""
    fits = Wildcard(part.name).matches
    in_array = _in_array(part) if following is None else End.NOWHERE
    in_object = End.REACHED if following is None else End.NOWHERE

    def step(value: Any) -> Any:
        if not isinstance(value, dict):
            return in_array if isinstance(value, list) else End.NOWHERE
        end = in_object
        for name, item in value.items():
            if fits(name):
                found = item if following is None else following(item)
                if found is End.REACHED:
                    end = End.REACHED
                elif found is not End.NOWHERE:
                    return found
        return end

    return step


def _in_array(part: Part) -> End:
    """The end in an array without such an element; gjson has no escapes there, so an escaped dot is one more part."""
    return End.NOWHERE if "\\." in part.raw or "\\|" in part.raw else End.REACHED


def count(value: Any) -> Any:
    """The number of elements of an array; in an object, `#` is an ordinary name."""
    if isinstance(value, list):
        return len(value)
    return value.get("#", End.REACHED) if isinstance(value, dict) else End.NOWHERE


def collect(each: Find, *, anew: bool) -> Find:
    """What `each` finds in the elements of an array; elements in which it finds nothing are left out.

    In an object, `#` is an ordinary name. `anew`: `each` is a new path, so it is evaluated even on nothing.
    """

    def step(value: Any) -> Any:
        if isinstance(value, list):
            return [found for item in value if (found := each(item)) is not MISSING]
        if isinstance(value, dict) and (anew or "#" in value):
            return each(value.get("#", MISSING))
        return End.NOWHERE

    return step


def fitting(path: Find | None, test: Test) -> Test:
    """Whether an element matches a query. `path` None: tests the element itself, unless it is an object or array."""

    def fits(item: Any) -> bool:
        if isinstance(item, (dict, list)):
            if path is not None:
                return test(path(item))
            # As in gjson, where the path "" is the member of that name.
            return isinstance(item, dict) and test(item.get("", MISSING))
        return path is None and test(item)

    return fits


def nameless(each: Find | None, *, reached: bool, anew: bool) -> Find:
    """A query in an object: gjson takes it for a name, which no object has.

    `reached`: it can be taken for one name; `anew`: `each` is a new path, so it is evaluated even on nothing.
    """
    if reached and each is not None and anew:
        return lambda _: each(MISSING)
    end = End.REACHED if reached and each is None else End.NOWHERE
    return lambda _: end


def first_match(fits: Test, each: Find | None, in_object: Find) -> Find:
    """The first element that matches, or what `each` finds in it."""

    def step(value: Any) -> Any:
        if not isinstance(value, list):
            return in_object(value) if isinstance(value, dict) else End.NOWHERE
        for item in value:
            if fits(item):
                return item if each is None else each(item)
        return End.REACHED if each is None else End.NOWHERE

    return step


def all_matches(fits: Test, each: Find | None, in_object: Find) -> Find:
    """All elements that match, or what `each` finds in them."""

    def step(value: Any) -> Any:
        if not isinstance(value, list):
            return in_object(value) if isinstance(value, dict) else End.NOWHERE
        matches = [item for item in value if fits(item)]
        if each is None:
            return matches
        return [found for item in matches if (found := each(item)) is not MISSING] if matches else End.NONE_FIT

    return step
