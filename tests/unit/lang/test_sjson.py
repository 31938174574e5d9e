from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent.lang.gjson.path import MISSING
from edgeagent.lang.sjson import MAX_INDEX, Hole, NotKnown, NotSettable, assign, compile_dest, current, has_hole

# What sjson 1.2.5 and gjson 1.19.0 (Go) do: `after` setting the text "new", null where they set nothing or refuse;
# `current` is what is there before.
GOLDEN = Path(__file__).parents[2] / "golden" / "sjson-1.2.5.jsonl"
CASES = [msgspec.json.decode(line) for line in GOLDEN.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("case", CASES, ids=[f"{number}: {case['dest']}" for number, case in enumerate(CASES)])
def test_a_value_is_put_where_sjson_puts_it_or_its_silence_is_an_error(case: dict[str, Any]) -> None:
    dest = compile_dest(case["dest"])
    document = case["document"]
    if not any(step.forced for step in dest.steps):  # gjson, which looks for what is there, does not know `:`
        assert current(document, dest) == case.get("current", MISSING)
    if case["after"] is None:
        with pytest.raises(NotSettable, match=r"nowhere|is an array"):
            assign(document, dest, "new")
    else:
        assign(document, dest, "new")
        assert json.dumps(document) == json.dumps(case["after"])


@pytest.mark.parametrize(
    ("dest", "reason"),
    [
        ("", "empty"),
        ("a..b", "empty part"),
        (".a", "empty part"),
        ("a.", "empty part"),
        ("a.:", "empty part"),
        ("a\\", "backslash"),
        ("spec|x", "sets nothing in Argo Events"),
        ("spec.@this", "sets nothing in Argo Events"),
        ("parameters.#", "many places"),
        ("parameters.#.value", "many places"),
        ('parameters.#(name=="a")#.value', "many places"),
        ('parameters.#(name=="a")x', "a dot or the end"),
        ('parameters.#(name=="a"', "no end"),
        ('parameters.#(name==")"', "no end"),
        ("parameters[0].value", r"write \.0"),
        ("{a,b}", "not supported"),
        ("!a", "not supported"),
        ("a*.-1", "set nothing"),
        ("a*.:0", "set nothing"),
        (f"a.{MAX_INDEX + 1}", "too large"),
        ("a.99999999999999999999999", "too large"),
        ("a" + ".0" * 64, "too long"),
    ],
)
def test_a_dest_that_would_set_nothing_or_too_much_is_refused(dest: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        compile_dest(dest)


def test_the_largest_index_fills_the_array_up_to_it() -> None:
    document: dict[str, Any] = {}
    assign(document, compile_dest(f"a.{MAX_INDEX}"), "new")
    assert document == {"a": [None] * MAX_INDEX + ["new"]}


def test_a_query_may_hold_dots_and_parentheses_in_its_text() -> None:
    document = {"p": [{"n": "a"}, {"n": 'x).y("'}]}
    assign(document, compile_dest(r'p.#(n=="x).y(\"").n'), "new")
    assert document == {"p": [{"n": "a"}, {"n": "new"}]}


def hole(*, is_text: bool) -> Hole:
    return Hole(1, is_text=is_text)


def test_a_gap_for_a_text_is_a_scalar_in_the_way_and_any_other_gap_cannot_be_looked_into() -> None:
    document: dict[str, Any] = {"a": hole(is_text=True), "b": hole(is_text=False)}
    assign(document, compile_dest("a.x"), "new")
    assert document["a"] == {"x": "new"}
    assert current({"a": hole(is_text=True)}, compile_dest("a.x")) is MISSING
    for work in (lambda dest: assign(document, dest, "new"), lambda dest: current(document, dest)):
        with pytest.raises(NotKnown):
            work(compile_dest("b.x"))
    assign(document, compile_dest("b"), "new")
    assert document["b"] == "new"


def test_a_query_that_looks_at_a_gap_is_not_decided() -> None:
    known = compile_dest('p.#(name=="a").value')
    document: dict[str, Any] = {"p": [{"name": "b", "value": hole(is_text=True)}, {"name": "a", "value": 1}]}
    assign(document, known, "new")
    assert document["p"][1] == {"name": "a", "value": "new"}
    for dest in ('p.#(value=="a").name', 'p.#(=="a")'):
        with pytest.raises(NotKnown):
            assign(document, compile_dest(dest), "new")


def test_a_gap_is_found_at_any_depth() -> None:
    assert has_hole({"a": [1, {"b": hole(is_text=True)}]})
    assert not has_hole({"a": [1, {"b": "text"}]})
