from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgeagent.errors import MessageError
from edgeagent.rules.parameters import Parameters, argument_problems
from edgeagent.rules.problems import dest_problems
from edgeagent.rules.spec import RuleSpec

EVENT = {"source": "boiler-1", "body": {"temp": 97.10, "site": None, "tags": ["a", "b"], "big": 12345678901234567890}}


def values(parameters: Parameters, envelope: dict[str, Any]) -> list[str]:
    return [argument.read(envelope) if argument.read else argument.constant for argument in parameters.arguments]


def test_paths_and_constants_become_texts_in_the_order_of_the_rule() -> None:
    arguments = {"temp": "body.temp", "device": "source", "site": {"value": "north"}, "count": {"value": 3}}
    parameters = Parameters(arguments)
    assert dict(zip(parameters.names, values(parameters, EVENT), strict=True)) == {
        "temp": "97.1",
        "device": "boiler-1",
        "site": "north",
        "count": "3",
    }
    assert parameters.names == ("temp", "device", "site", "count")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("body.site", "null"),
        ("body.tags", '["a","b"]'),
        ("body.tags.1", "b"),
        ("body.big", "12345678901234567890"),
    ],
)
def test_a_value_that_is_no_text_becomes_its_text(path: str, text: str) -> None:
    assert values(Parameters({"p": path}), EVENT) == [text]


@pytest.mark.parametrize(
    ("constant", "text"), [("", ""), (True, "true"), (1.0, "1"), (-2, "-2"), ("body.temp", "body.temp")]
)
def test_a_constant_is_taken_as_it_is(constant: object, text: str) -> None:
    parameters = Parameters({"p": {"value": constant}})
    assert values(parameters, {}) == [text]


def test_a_parameter_that_the_event_has_no_value_for_is_an_error_that_names_it() -> None:
    with pytest.raises(MessageError, match=r"^parameter: limit: the event has no body\.limit$"):
        values(Parameters({"temp": "body.temp", "limit": "body.limit"}), EVENT)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"a b": "source"}, "letters, digits"),
        ({"": "source"}, "letters, digits"),
        ({"é": "source"}, "letters, digits"),
        ({"p": "body..x"}, "empty part"),
        ({"p": "temp"}, "its data is in body: did you mean body.temp?"),
        ({"p": "ages"}, "an event has no 'ages'"),
        ({"p": 5}, "must be a path"),
        ({"p": ["source"]}, "must be a path"),
        ({"p": {"value": None}}, "must be a path"),
        ({"p": {"value": ["a"]}}, "must be a path"),
        ({"p": {"value": "a", "default": "b"}}, "must be a path"),
        ({"p": {}}, "must be a path"),
    ],
)
def test_an_argument_that_can_never_work_is_told_when_the_rule_is_read(arguments: dict[str, Any], reason: str) -> None:
    [(name, problem)] = argument_problems(arguments)
    assert name in arguments
    assert reason in problem


def test_good_arguments_have_no_problems() -> None:
    assert not list(argument_problems({"temp_1-a": "body.temp", "site": {"value": "north"}}))


def test_a_place_that_asks_for_an_arguments_value_is_not_judged_before_there_is_one() -> None:
    parameter = {"src": {"dataKey": "body"}, "dest": 'spec.arguments.parameters.#(value=="0").value'}
    written = {"name": "r", "namespace": "n", "template": "t", "arguments": {"temp": {"value": "0"}}}
    spec = msgspec.convert({**written, "parameters": [parameter]}, RuleSpec)
    assert list(dest_problems(spec)) == []
    nowhere = {**parameter, "dest": 'spec.arguments.parameters.#(name=="other").value'}
    assert len(list(dest_problems(msgspec.convert({**written, "parameters": [nowhere]}, RuleSpec)))) == 1
