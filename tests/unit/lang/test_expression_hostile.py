"""No text and no data can hang an expression, overflow the stack or fill the memory."""

from __future__ import annotations

from typing import Any

import pytest

from edgeagent.lang.govaluate.expression import MAX_DEPTH, MAX_PARENTHESES, ExpressionError, compile_expression
from edgeagent.lang.govaluate.operators import MAX_JOINED_CHARACTERS
from edgeagent.lang.govaluate.tokens import MAX_CHARACTERS


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def test_parentheses_are_taken_up_to_a_limit() -> None:
    most = "(" * MAX_PARENTHESES + "1" + ")" * MAX_PARENTHESES
    assert compile_expression(most, ())({}) == 1.0
    assert compile_expression(f"{most} + {most}", ())({}) == 2.0
    with pytest.raises(ValueError, match=f"character {MAX_PARENTHESES + 1}: more than {MAX_PARENTHESES} parentheses"):
        compile_expression(f"({most})", ())


def test_operators_within_one_another_are_taken_up_to_a_limit() -> None:
    most = "1" + " + 1" * MAX_DEPTH
    assert compile_expression(most, ())({}) == MAX_DEPTH + 1
    with pytest.raises(ValueError, match=f"more than {MAX_DEPTH} operators within one another"):
        compile_expression(most + " + 1", ())


def test_the_deepest_expression_fits_the_stack() -> None:
    """Every level of precedence within every parenthesis: the most frames that the parser can need."""
    rising = "1 ?? true || true && 1 == 1 | 1 << 1 + 1 * 1 ** ("
    taken = MAX_DEPTH // 9
    compile_expression(rising * taken + "1" + ")" * taken, ())
    with pytest.raises(ValueError, match="operators within one another"):
        compile_expression(rising * MAX_PARENTHESES + "1" + ")" * MAX_PARENTHESES, ())


def test_long_chains_of_and_and_or_are_no_depth() -> None:
    alternatives = " || ".join(f"n == {number}" for number in range(300))
    decide = compile_expression(alternatives, ["n"])
    assert decide({"n": 299}) is True
    assert decide({"n": 300}) is False
    everything = " && ".join(["n > 0"] * 400)
    assert compile_expression(everything, ["n"])({"n": 1}) is True


@pytest.mark.parametrize("sign", ["&&", "||"])
def test_a_chain_gives_what_its_parts_give_two_by_two(sign: str) -> None:
    chain = compile_expression(f"a {sign} b {sign} c", "abc")
    pairs = compile_expression(f"((a {sign} b) {sign} c)", "abc")
    choices = [True, False, 1, None]
    for a in choices:
        for b in choices:
            for c in choices:
                values = {"a": a, "b": b, "c": c}
                assert outcome(chain, values) == outcome(pairs, values)


def outcome(decide: Any, values: dict[str, Any]) -> Any:
    try:
        return decide(values)
    except ExpressionError:
        return "undecided"


def test_an_expression_that_is_too_long_is_refused() -> None:
    at_most = "1 " + " " * (MAX_CHARACTERS - 2)
    assert compile_expression(at_most, ())({}) == 1.0
    with pytest.raises(ValueError, match=f"has {MAX_CHARACTERS + 1} characters, at most {MAX_CHARACTERS}"):
        compile_expression(at_most + " ", ())


@pytest.mark.parametrize(
    "text",
    [
        "'" + "\\'" * 2000,
        "'" + "x" * 4000,
        "[" * 4000,
        "(" * 4000,
        "!" * 4000,
        "- " * 2000,
        "1 ? " * 1000,
        "a" * 4000,
        "0x" + "f" * 4000,
        "." * 4000,
        "1" * 4000,
        ",".join("1" * 2000),
        "'" + " " * 3900 + "2026-01-31'" + " ==",
        "'2026-01-31" + " " * 3900 + "x' ==",
        "'mon jan 1 1:1:1 " + " " * 3900 + "' ==",
        "'mon jan 1 1:1:1." + "1" * 3900 + "' ==",
    ],
)
@pytest.mark.timeout(60)
def test_a_long_senseless_text_is_refused_at_once(text: str) -> None:
    with pytest.raises(ValueError, match="character"):
        compile_expression(text, ["a"])


def test_a_list_of_as_many_members_as_fit_is_taken() -> None:
    text = f"n in ({','.join(['1'] * 2000)},7)"
    assert compile_expression(text, ["n"])({"n": 7}) is True


@pytest.mark.parametrize(
    "text", ["\ud800 == 1", "'\ud800' == \udfff", "\x00", "\ufeff1", "1\u200b", "n\u0301 == 1", "ⅷ", "x²"]
)
def test_strange_characters_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="character"):
        compile_expression(text, ["n", "x"])


def test_blanks_of_all_kinds_part_words_as_in_go() -> None:
    assert compile_expression("n\u00a0>\u20281\u3000&&\ttrue\x85", ["n"])({"n": 2}) is True


def test_strange_characters_in_texts_are_texts() -> None:
    assert compile_expression("'\x00\ud800\U0001f6b0' == t", ["t"])({"t": "\x00\ud800\U0001f6b0"}) is True


def test_powers_and_shifts_stay_in_64_bits() -> None:
    decide = compile_expression("n ** n ** n ** n + (n << n) + (n >> n)", ["n"])
    assert decide({"n": 999999}) == float("inf")
    with pytest.raises(ExpressionError, match="64 bits"):
        decide({"n": 10**30})


def test_whole_numbers_of_any_size_are_taken_from_data() -> None:
    assert compile_expression("n > 1", ["n"])({"n": 10**4000}) is True
    assert compile_expression("1 in n", ["n"])({"n": [10**4000, 1]}) is True


@pytest.mark.slow
def test_deeply_nested_data_is_compared_without_the_stack() -> None:
    decide = compile_expression("a == b", "ab")
    assert decide({"a": nested(100_000), "b": nested(100_000)}) is True
    assert decide({"a": nested(100_000), "b": nested(99_999)}) is False
    assert compile_expression("1 in (a, b)", "ab")({"a": 2, "b": nested(100_000)}) is False


def test_texts_are_joined_up_to_a_limit() -> None:
    decide = compile_expression("t + t", ["t"])
    half = "x" * (MAX_JOINED_CHARACTERS // 2)
    assert len(decide({"t": half})) == MAX_JOINED_CHARACTERS
    with pytest.raises(ExpressionError, match=f"more than {MAX_JOINED_CHARACTERS} characters"):
        decide({"t": half + "x"})
