"""Data filters, as Argo Events evaluates them: the tables were taken from its own code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.errors import MessageError
from edgeagent.rules.filters import compile_filters, filter_notes, filter_problems
from edgeagent.rules.spec import ContextFilter, DataFilter, ExprField, ExprFilter, Filters


def passes(body: object, kind: str, comparator: str, *values: str) -> bool:
    filters = Filters([DataFilter("body", kind, list(values), comparator)])  # type: ignore[arg-type]
    assert not list(filter_problems(filters))
    return compile_filters(filters)({"body": body})


def problem(kind: str, comparator: str, *values: str, path: str = "body") -> str:
    condition = DataFilter(path, kind, list(values), comparator)  # type: ignore[arg-type]
    [(key, reason)] = filter_problems(Filters([DataFilter("body", "bool", ["true"]), condition]))
    assert key == "data[1]"
    return reason


@pytest.mark.parametrize(
    ("comparator", "below", "equal", "above"),
    [
        ("", False, True, False),
        ("=", False, True, False),
        ("!=", True, False, True),
        (">", False, False, True),
        (">=", False, True, True),
        ("<", True, False, False),
        ("<=", True, True, False),
    ],
)
def test_numbers_are_compared_exactly(comparator: str, below: bool, equal: bool, above: bool) -> None:
    assert passes(89.9, "number", comparator, "90") is below
    assert passes(90, "number", comparator, "90.0") is equal
    assert passes(90.1, "number", comparator, "90") is above


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (97.1, "97.1"),
        ("97.1", "97.1"),
        ("+3", "3"),
        (".5", "0.5"),
        ("3.", "3"),
        ("1e1", "10"),
        ("1_000", "1000"),
        ("0x1p4", "16"),
        (True, "1"),
        (False, "0"),
        (None, "0"),
        ("warm", "0"),
        ("", "0"),
        (" 3", "0"),
        ("0x10", "0"),
        ("1e400", "0"),
        ("\u0663", "0"),
        ({"a": 1}, "0"),
        ([5], "0"),
        (10**400, "inf"),
        (-(10**400), "-inf"),
    ],
)
def test_the_events_value_is_made_a_number_as_argo_events_does_it(value: object, number: str) -> None:
    assert passes(value, "number", "=", number)


@pytest.mark.parametrize("text", ["abc", " 3", "3 ", "0x10", "1e400", "0x1p9999", "\u0663", "1,5", "+nan", "1__0"])
def test_a_number_to_compare_with_must_be_one(text: str) -> None:
    assert "number" in problem("number", "=", text)


def test_nothing_equals_not_a_number() -> None:
    assert not passes("NaN", "number", "=", "NaN")
    assert passes("NaN", "number", "!=", "NaN")


@pytest.mark.parametrize("comparator", ["==", "~", "in", "=>"])
def test_a_comparator_that_argo_events_does_not_know_is_refused(comparator: str) -> None:
    assert "comparator must be one of" in problem("number", comparator, "1")
    assert "comparator must be one of" in problem("string", comparator, "1")


def test_numbers_have_no_order_of_texts() -> None:
    assert passes("100", "number", ">", "9")
    assert "comparator" in problem("string", ">", "9")


@pytest.mark.parametrize(
    ("value", "truth"),
    [
        (True, True),
        (False, False),
        ("true", True),
        ("T", True),
        ("1", True),
        ("TRUE", True),
        ("yes", False),
        ("tRue", False),
        ("false", False),
        (1, True),
        (-0.5, True),
        (0, False),
        (0.0, False),
        (None, False),
        ({}, False),
        ([True], False),
    ],
)
def test_the_events_value_is_made_a_bool_as_argo_events_does_it(value: object, truth: bool) -> None:
    assert passes(value, "bool", "", "true") is truth
    assert passes(value, "bool", "", "f") is not truth


@pytest.mark.parametrize("text", ["yes", "tRue", "2", "on"])
def test_a_bool_to_compare_with_must_be_one_of_gos(text: str) -> None:
    assert "is not a bool" in problem("bool", "", text)


@pytest.mark.parametrize(
    ("value", "pattern", "found"),
    [
        ("unlabeled", "labeled", True),  # searched, not compared
        ("labeled", "^labeled$", True),
        ("unlabeled", "^labeled$", False),
        ("labeled", "^lab", True),
        ("unlabeled", "^lab", False),
        ("labeled", "led$", True),
        ("labeled\n", "led$", False),
        ("anything", "^$", False),
        ("", "^$", True),
        (None, "^$", True),  # null is the empty text
        (None, "null", False),
        ("a.b", r"a\.b", True),
        ("axb", r"a\.b", False),
        ("cost: 5$", r"5\$", True),
        ("a\\", r"\\$", True),
        (12345678901234567890, "12345678901234567890", True),
        (1500.0, "^1500$", True),
        (True, "^true$", True),
        ({"a": "b"}, '"a":"b"', True),
        ("Wärme", "är", True),
    ],
)
def test_a_text_is_searched_for_a_pattern(value: object, pattern: str, found: bool) -> None:
    assert passes(value, "string", "=", pattern) is found
    assert passes(value, "string", "", pattern) is found
    assert passes(value, "string", "!=", pattern) is not found


@pytest.mark.parametrize(
    ("pattern", "reason"), [("(?=a)", "looks around"), ("a**", "repeats a repetition"), (r"\1", "backreference")]
)
def test_a_pattern_that_is_none_is_refused_with_the_value_and_the_reason(pattern: str, reason: str) -> None:
    assert problem("string", "=", pattern, "good").startswith(f"value {pattern!r}")
    assert reason in problem("string", "=", pattern, "good")


def test_a_value_that_is_nested_too_deep_to_be_a_text_is_an_error_of_the_event() -> None:
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(MessageError, match="is nested too deep"):
        passes(deep, "string", "=", "x")


def test_the_comparator_of_a_bool_means_nothing_as_in_argo_events() -> None:
    assert passes(True, "bool", "!=", "true")
    assert not passes(False, "bool", ">", "true")
    assert "comparator must be one of" in problem("bool", "==", "true")


def test_of_several_values_one_is_enough() -> None:
    assert passes(2, "number", "=", "1", "2")
    assert passes("b", "string", "=", "^a$", "^b$")
    assert passes(False, "bool", "", "true", "false")
    assert not passes(3, "number", "=", "1", "2")


def test_unequal_to_several_values_means_unequal_to_one_of_them() -> None:
    assert passes("a", "string", "!=", "a", "b")
    assert passes(1, "number", "!=", "1", "2")
    assert not passes("ab", "string", "!=", "a", "b")


def test_a_condition_without_a_value_is_refused() -> None:
    assert problem("string", "=") == "value must have at least one entry"


@pytest.mark.parametrize("kind", ["string", "number", "bool"])
def test_an_empty_value_is_refused(kind: str) -> None:
    assert "empty entry" in problem(kind, "=", "1", "")


def test_a_condition_on_a_path_that_is_none_is_refused() -> None:
    assert "empty part" in problem("string", "=", "x", path="body..temp")


# T holds, F does not, E is a path that the event does not have.
@pytest.mark.parametrize(
    ("operator", "conditions", "outcome"),
    [
        ("and", "", "T"),
        ("and", "TT", "T"),
        ("and", "TF", "F"),
        ("and", "TE", "E"),
        ("and", "ET", "E"),
        ("and", "FE", "F"),
        ("and", "EF", "E"),
        ("", "TF", "F"),
        ("", "TT", "T"),
        ("or", "", "T"),
        ("or", "FT", "T"),
        ("or", "FF", "F"),
        ("or", "ET", "T"),
        ("or", "TE", "T"),
        ("or", "EF", "E"),
        ("or", "FE", "E"),
    ],
)
def test_conditions_are_joined_in_their_order(operator: str, conditions: str, outcome: str) -> None:
    data = {
        "T": DataFilter("body.yes", "bool", ["true"]),
        "F": DataFilter("body.yes", "bool", ["false"]),
        "E": DataFilter("body.nothing", "bool", ["true"]),
    }
    holds = compile_filters(Filters([data[sign] for sign in conditions], operator))  # type: ignore[arg-type]
    if outcome == "E":
        with pytest.raises(MessageError, match=r"body\.nothing: the event has no such value"):
            holds({"body": {"yes": True}})
    else:
        assert holds({"body": {"yes": True}}) is (outcome == "T")


def test_data_that_was_no_json_is_named_as_the_reason_why_a_value_is_not_there() -> None:
    holds = compile_filters(Filters([DataFilter("body.temp", "number", ["90"], ">=")]))
    with pytest.raises(MessageError, match=r"body\.temp: .* one text\. A payload that is not JSON is taken as text or"):
        holds({"body": "e3RlbXA6IDk1"})
    with pytest.raises(MessageError, match=r"body\.temp: the event has no such value$"):
        holds({"body": {"pressure": 1}})


def test_a_list_that_is_given_and_empty_holds() -> None:
    assert compile_filters(Filters([], "or"))({"body": 1})
    assert compile_filters(Filters([], "or"), "or")({"body": 1})
    assert compile_filters(Filters(data=[], context=ContextFilter(type="alarm")), "or")({"body": 1})
    assert not compile_filters(Filters(data=[], context=ContextFilter(type="alarm")))({"body": 1})


@pytest.mark.parametrize(
    ("kind", "values", "first", "neither"),
    [("number", ["5", "abc"], 5, 6), ("bool", ["true", "yes"], True, False), ("string", ["a", "("], "cat", "dog")],
)
def test_a_value_behind_the_first_is_minded_only_where_no_earlier_one_holds(
    kind: str, values: list[str], first: object, neither: object
) -> None:
    assert passes(first, kind, "", *values)
    with pytest.raises(MessageError, match=r"filter: body: value '[ay(]"):
        passes(neither, kind, "", *values)
    condition = DataFilter("body", kind, values)  # type: ignore[arg-type]
    ((key, why),) = filter_notes(Filters([condition]))
    assert key == "data[0]"
    assert why.endswith("an event for which no earlier entry holds is an error")
    other = DataFilter("body", kind, values[:1])  # type: ignore[arg-type]
    assert list(filter_notes(Filters([other]))) == []
    assert compile_filters(Filters([condition, other], "or"))({"body": first})


@pytest.mark.parametrize("pattern", [r"\p{Greek}", "(?:a{100}){100}"])
def test_a_pattern_that_only_we_do_not_take_is_refused_wherever_it_stands(pattern: str) -> None:
    assert repr(pattern) in problem("string", "=", "a", pattern)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("temp", "body.temp"),
        ("temp.0.value", "body.temp.0.value"),
        ("temp.#(a>1).b", "body.temp.#(a>1).b"),
        ("temp-1|@this", None),
        (r"a\.b", r"body.a\.b"),
        ("Body.temp", "body.temp"),
        ("boddy", "body"),
        ("correlation_id", "body.correlation_id"),
    ],
)
def test_a_path_that_begins_with_what_no_event_has_is_refused_with_the_one_that_was_meant(
    path: str, meant: str | None
) -> None:
    condition = DataFilter(path, "bool", ["true"])
    expression = ExprFilter("v", [ExprField(path, "v")])
    found = dict(filter_problems(Filters([condition], "", [expression])))
    if meant is None:
        assert found == {}
        return
    assert sorted(found) == ["data[0]", "exprs[0].fields[0].path"]
    assert all(reason.endswith(f"its data is in body: did you mean {meant}?") for reason in found.values())


@pytest.mark.parametrize(
    "path", ["body", "body.temp", "id", "source", "type", "subject", "time", "topic", "@this", "*.a"]
)
def test_what_an_event_can_have_is_taken_as_the_beginning_of_a_path(path: str) -> None:
    assert list(filter_problems(Filters([DataFilter(path, "bool", ["true"])]))) == []


def test_null_is_there() -> None:
    assert passes(None, "number", "=", "0")


@given(
    st.sampled_from(["number", "bool", "string"]),
    st.text(max_size=4),
    st.lists(st.text(max_size=6), max_size=3),
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=3),
)
def test_every_filter_is_refused_when_it_is_read_or_decides_about_every_value(
    kind: str, comparator: str, values: list[str], body: object
) -> None:
    filters = Filters([DataFilter("body", kind, values, comparator)])  # type: ignore[arg-type]
    if list(filter_problems(filters)):
        return
    try:
        assert compile_filters(filters)({"body": body}) in {True, False}
    except MessageError:
        assert list(filter_notes(filters)), "only a later value that is wrong, which `check` notes, cannot decide"
