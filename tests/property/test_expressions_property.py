"""A compiled expression gives what a naive interpreter of its tree gives; and no text makes anything else happen."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgeagent.lang.govaluate.expression import ExpressionError, compile_expression

# From the loosest to the tightest, as the manual of govaluate and its planner have them.
PRECEDENCE = [
    ["?", ":", "??"],
    ["||"],
    ["&&"],
    ["==", "!=", "<", "<=", ">", ">=", "in", "=~", "!~"],
    ["|", "&", "^"],
    ["<<", ">>"],
    ["+", "-"],
    ["*", "/", "%"],
    ["**"],
]
TIGHTNESS = {sign: level for level, signs in enumerate(PRECEDENCE) for sign in signs}
PLAIN = [sign for signs in PRECEDENCE for sign in signs if sign not in {"in", "=~", "!~"}]
VALUES: dict[str, Any] = {
    "yes": True,
    "no": False,
    "none": None,
    "n": 3,
    "x": -2.5,
    "zero": 0,
    "t": "ab",
    "members": [3, "ab", None, True],
    "object": {"n": 3},
}

Tree = tuple[Any, ...]  # (sign, part, …), ("name", name) or ("constant", text, value)


class Undecided(Exception):
    """The naive interpreter cannot go on."""


def render(tree: Tree, outside: int = 0) -> str:
    """A tree's text, with no more parentheses than it needs."""
    kind, *rest = tree
    if kind in {"name", "constant"}:
        return str(rest[0])
    if kind == "list":
        return f"({', '.join(render(part) for part in rest)})"
    if kind == "prefix":
        sign, part = rest
        text = render(part)
        bare = part[0] == "name" or (part[0] == "constant" and text[0].isalnum())
        return f"{sign}{text}" if bare else f"{sign}({text})"
    level = TIGHTNESS[kind]
    text = f"{render(rest[0], level)} {kind} {render(rest[1], level + 1)}"
    return f"({text})" if level < outside else text


def naive(tree: Tree) -> Any:
    """A tree's value on `VALUES`."""
    match tree:
        case ("name", name):
            value = VALUES[name]
            return float(value) if type(value) is int else value
        case ("constant", _, value):
            return value
        case ("list", *parts):
            first, *others = [naive(part) for part in parts]
            return (first if isinstance(first, list) else [first]) + others
        case ("prefix", sign, part):
            return naive_prefix(sign, naive(part))
        case (sign, left, right):
            return naive_binary(sign, left, right)
    raise AssertionError(tree)


def naive_binary(sign: str, left: Tree, right: Tree) -> Any:
    if sign in {"&&", "||"}:
        first = need(bool, naive(left))
        return first if first is (sign == "||") else need(bool, naive(right))
    if sign == "?":
        return naive(right) if need(bool, naive(left)) else None
    if sign in {":", "??"}:
        value = naive(left)
        return naive(right) if value is None else value
    return naive_operator(sign, naive(left), naive(right))


def need(kind: type, *values: Any) -> Any:
    if any(type(value) is not kind for value in values):
        raise Undecided
    return values[0]


def naive_prefix(sign: str, value: Any) -> Any:
    if sign == "!":
        return not need(bool, value)
    return -need(float, value) if sign == "-" else float(~whole(need(float, value)))


def naive_operator(sign: str, left: Any, right: Any) -> Any:
    if sign in {"==", "!="}:
        return equal(left, right) is (sign == "==")
    if sign == "in":
        need(list, right)
        if any(isinstance(left, list | dict) and type(left) is type(member) for member in right):
            raise Undecided
        return any(equal(left, member) for member in right)
    if sign in {"=~", "!~"}:
        return (right in need(str, left)) is (sign == "=~")
    if sign in {"<", "<=", ">", ">="}:
        need(str if isinstance(left, str) else float, left, right)
        return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[sign]
    if sign == "+" and str in {type(left), type(right)}:
        return written(left) + written(right)
    need(float, left, right)
    return (bitwise if sign in {"|", "&", "^", "<<", ">>"} else arithmetic)(sign, left, right)


def equal(left: Any, right: Any) -> bool:
    left, right = (float(value) if type(value) is int else value for value in (left, right))
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    return type(left) is type(right) and bool(left == right)


def written(value: Any) -> str:
    if isinstance(value, list | dict):
        raise Undecided
    if isinstance(value, float):
        return go_text(value)
    names = {None: "<nil>", True: "true", False: "false"}
    return value if isinstance(value, str) else names[value]


def go_text(value: float) -> str:
    """Python's shortest digits, set as Go's %g sets them."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")
    for digits in range(17):
        scientific = f"{value:.{digits}e}"
        if float(scientific) == value:
            break
    exponent = int(scientific.partition("e")[2])
    return f"{value:.{max(digits - exponent, 0)}f}" if -5 < exponent < 6 else scientific


def whole(value: float, least: int = -(2**63), beyond: int = 2**63) -> int:
    if not math.isfinite(value) or not least <= int(value) < beyond:
        raise Undecided
    return int(value)


def bitwise(sign: str, left: float, right: float) -> float:
    if sign in {"|", "&", "^"}:
        one, other = whole(left), whole(right)
        return float({"|": one | other, "&": one & other, "^": one ^ other}[sign])
    bits, places = whole(left, 0, 2**64), whole(right, 0, 2**64)
    if places > 63:
        return 0.0
    return float((bits << places) & (2**64 - 1) if sign == "<<" else bits >> places)


def arithmetic(sign: str, left: float, right: float) -> float:
    if sign == "**":
        return power(left, right)
    if sign == "%":
        return math.nan if right == 0 or math.isinf(left) else math.fmod(left, right)
    if sign == "/" and right == 0:
        if left == 0 or math.isnan(left):
            return math.nan
        return math.inf if math.copysign(1, left) == math.copysign(1, right) else -math.inf
    return {"+": left + right, "-": left - right, "*": left * right, "/": left / (right or 1)}[sign]


def power(base: float, exponent: float) -> float:
    """The rules of C's pow, where Python raises."""
    odd = exponent % 2 == 1
    if base == 0 and exponent < 0:
        return math.copysign(math.inf, base) if odd else math.inf
    if -math.inf < base < 0 and math.isfinite(exponent) and not exponent.is_integer():
        return math.nan
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return -math.inf if base < 0 and odd else math.inf


CONSTANTS = [
    *((text, float(text)) for text in ("0", "1", "2", "7.5", ".25", "63", "64", "1000000", "123456789012")),
    *(("true", True), ("false", False), ("'ab'", "ab"), ('"b"', "b"), ("''", ""), ("('2026-01-31')", 1769817600.0)),
]
LEAVES: st.SearchStrategy[Tree] = st.one_of(
    st.sampled_from(sorted(VALUES)).map(lambda name: ("name", name)),
    st.sampled_from(CONSTANTS).map(lambda pair: ("constant", *pair)),
)
LIST_FIELDS = st.sampled_from([("name", "members"), ("name", "n"), ("name", "object")])
PATTERNS = st.sampled_from([("constant", "'b'", "b"), ("constant", "'ab'", "ab"), ("constant", "''", "")])


def grown(parts: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    lists: st.SearchStrategy[Tree] = st.lists(parts, min_size=2, max_size=4).map(lambda members: ("list", *members))
    return st.one_of(
        st.tuples(st.sampled_from(PLAIN), parts, parts),
        st.tuples(st.sampled_from(["&&", "||", "?", ":", "??"]), parts, parts),
        st.tuples(st.just("in"), parts, st.one_of(lists, LIST_FIELDS)),
        st.tuples(st.sampled_from(["=~", "!~"]), parts, PATTERNS),
        st.tuples(st.just("prefix"), st.sampled_from(["-", "!", "~"]), parts),
        lists,
    )


TREES = st.recursive(LEAVES, grown, max_leaves=20)


@given(TREES)
@example(("-", ("-", ("name", "n"), ("name", "x")), ("-", ("name", "n"), ("name", "zero"))))
def test_a_compiled_expression_gives_what_a_naive_interpreter_gives(tree: Tree) -> None:
    decide = compile_expression(render(tree), VALUES)
    try:
        wanted = naive(tree)
    except Undecided:
        wanted = Undecided
    try:
        got = decide(dict(VALUES))
    except ExpressionError:
        got = Undecided
    assert identical(got, wanted), (render(tree), got, wanted)


def identical(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return (math.isnan(one) and math.isnan(other)) or (one, math.copysign(1, one)) == (
            other,
            math.copysign(1, other),
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(identical, one, other))
    return type(one) is type(other) and bool(one == other)


PIECES = [*"()[],'\"\\ .", *TIGHTNESS, *VALUES, "!", "~", "0x1f", "7", "'2026-01-31'", "true", "9:00AM", "\u3000", "é"]
DATA = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda part: st.one_of(st.lists(part, max_size=3), st.dictionaries(st.text(max_size=3), part, max_size=3)),
    max_leaves=6,
)


@given(
    st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=25).map("".join), TREES.map(render)),
    st.fixed_dictionaries(dict.fromkeys(VALUES, DATA)),
)
def test_any_text_on_any_data_gives_a_result_or_one_of_two_errors(text: str, values: dict[str, Any]) -> None:
    try:
        decide = compile_expression(text, VALUES)
    except ExpressionError:
        pytest.fail("told of values before there are any")
    except ValueError:
        return
    try:
        result = decide(values)
    except ExpressionError:
        return
    assert result is None or type(result) in {bool, float, str, list, dict}
