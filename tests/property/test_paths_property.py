"""Compiled paths against a naive reading of the same paths, kept as trees and never as text."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgeagent.lang.gjson.path import MISSING, compile_path, lookup
from tests.profiles import examples


class Name(NamedTuple):
    """A member or, when it is digits, perhaps an element."""

    name: str

    def __str__(self) -> str:
        return "".join(f"\\{sign}" if sign in ".*@#" else sign for sign in self.name)


class Pattern(NamedTuple):
    """A name with wildcards."""

    pattern: str

    def __str__(self) -> str:
        return self.pattern


class Query(NamedTuple):
    """`#(path operator value)`; without a path it is about the element."""

    path: tuple[Any, ...]
    sign: str
    value: int | str
    every: bool

    def __str__(self) -> str:
        value = f'"{self.value}"' if isinstance(self.value, str) else self.word
        return f"#({text(self.path)}{self.sign}{value})" + "#" * self.every

    @property
    def word(self) -> str:
        """The value as it is compared with a text."""
        return str(self.value).lower() if isinstance(self.value, bool) else str(self.value)


class All(NamedTuple):
    """`#`: each element, or at the end of a path how many there are."""

    def __str__(self) -> str:
        return "#"


def text(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))


def find(value: Any, path: tuple[Any, ...]) -> Any:
    """What a path finds, by the plain words of the documentation."""
    if not path or value is MISSING:
        return value
    if isinstance(value, dict):
        return find_in_object(value, path[0], path[1:])
    return find_in_array(value, path[0], path[1:]) if isinstance(value, list) else MISSING


def find_in_object(value: dict[str, Any], head: Any, rest: tuple[Any, ...]) -> Any:
    if isinstance(head, Name):
        return find(value.get(head.name, MISSING), rest)
    if isinstance(head, Pattern):
        found = (find(item, rest) for name, item in value.items() if fits(name, head.pattern))
        return next((item for item in found if item is not MISSING), MISSING)
    return MISSING


def find_in_array(value: list[Any], head: Any, rest: tuple[Any, ...]) -> Any:
    if isinstance(head, Name):
        return find(value[int(head.name)], rest) if head.name.isdecimal() and int(head.name) < len(value) else MISSING
    if isinstance(head, Pattern):
        return MISSING
    if isinstance(head, All) and not rest:
        return len(value)
    chosen = [item for item in value if isinstance(head, All) or holds(item, head)]
    if isinstance(head, Query) and not head.every:
        return find(chosen[0], rest) if chosen else MISSING
    return [found for item in chosen if (found := find(item, rest)) is not MISSING]


def holds(item: Any, query: Query) -> bool:
    value = find(item, query.path)
    compare = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, ">=": operator.ge}[query.sign]
    if isinstance(value, str):
        return bool(compare(value, query.word))
    if isinstance(value, bool):
        word = "true" if value else "false"
        ordered = value if query.sign == ">=" else word == "false" and query.word == "true"
        return bool(compare(word, query.word)) if query.sign in {"==", "!="} else ordered
    number = query.value if type(query.value) is int else 0
    return isinstance(value, (int, float)) and bool(compare(value, number))


def fits(name: str, pattern: str) -> bool:
    if not pattern:
        return not name
    if pattern[0] == "*":
        return fits(name, pattern[1:]) or (bool(name) and fits(name[1:], pattern))
    return bool(name) and pattern[0] in {"?", name[0]} and fits(name[1:], pattern[1:])


LETTERS = ["a", "b", "ab", "a.b", "@keys", "#", "0", "1"]
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([1.5, "", "a", "b", "2", "é"])
MEMBERS = st.sampled_from(["a", "b", "ab", "a.b"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, min_size=1, max_size=4) | st.dictionaries(MEMBERS, inner, min_size=1, max_size=4),
    max_leaves=25,
)
DATA = st.lists(VALUES, max_size=5) | st.dictionaries(MEMBERS, VALUES, max_size=4)
NAMES = st.sampled_from(["a", "a", "b", "0", "0", *LETTERS]).map(Name)
PATTERNS = st.sampled_from(["*", "a*", "?", "*b", "a?b", "**", "*a*b*"]).map(Pattern)
PLAIN = st.lists(NAMES, min_size=1, max_size=2).map(tuple)


def queries(paths: st.SearchStrategy[tuple[Any, ...]]) -> st.SearchStrategy[Query]:
    values = st.integers(-3, 3) | st.sampled_from(["a", "b", "é"]) | st.booleans()
    return st.builds(Query, paths, st.sampled_from(["==", "!=", "<", ">="]), values, st.booleans())


QUERIES = queries(PLAIN | st.tuples(queries(PLAIN)) | st.tuples(NAMES, st.builds(All)))
PATHS = st.lists(NAMES | st.builds(All) | QUERIES, min_size=1, max_size=4).map(tuple)
WILD_PATHS = st.lists(NAMES | PATTERNS, min_size=1, max_size=4).map(tuple)


def same(found: Any, expected: Any) -> bool:
    """Equal, and of the same types: 1 is not true."""
    return repr(found) == repr(expected)


@pytest.mark.slow
@settings(max_examples=examples(400))
@given(DATA, PATHS)
@example([{"a": [1, 2]}, {"a": []}], (All(), Name("a"), All()))
def test_a_path_finds_what_its_words_say(data: Any, path: tuple[Any, ...]) -> None:
    assert same(lookup(compile_path(text(path)), data), find(data, path))


@given(DATA, WILD_PATHS)
@example({"ab": 1, "a": {"b": 2}}, (Pattern("a*"), Name("b")))
@example({"ab": {}, "a": {"b": 2}}, (Pattern("a*"), Name("b")))
def test_a_pattern_finds_the_first_way_through(data: Any, path: tuple[Any, ...]) -> None:
    assert same(lookup(compile_path(text(path)), data), find(data, path))


@given(DATA, PATHS, PLAIN)
def test_a_pipe_is_about_the_whole_of_what_was_found(data: Any, left: tuple[Any, ...], right: tuple[Any, ...]) -> None:
    found = lookup(compile_path(text(left)), data)
    if found == []:  # gjson drops the pipe behind a query that none fits
        return
    assert same(lookup(compile_path(f"{text(left)}|{text(right)}"), data), find(found, right))


@given(DATA, st.lists(PATHS, min_size=1, max_size=3))
def test_a_multipath_is_its_paths_one_by_one(data: Any, paths: list[tuple[Any, ...]]) -> None:
    found = [lookup(compile_path(text(path)), data) for path in paths]
    array = lookup(compile_path(f"[{','.join(map(text, paths))}]"), data)
    assert same(array, [item for item in found if item is not MISSING])
    members = ",".join(f'"n{index}":{text(path)}' for index, path in enumerate(paths))
    object_ = lookup(compile_path(f"{{{members}}}"), data)
    assert same(object_, {f"n{index}": item for index, item in enumerate(found) if item is not MISSING})


@given(DATA, PLAIN)
def test_a_plain_path_is_the_same_walked_or_compiled(data: Any, path: tuple[Any, ...]) -> None:
    assert same(lookup(compile_path(text(path)), data), lookup(compile_path(f"@this|{text(path)}"), data))
