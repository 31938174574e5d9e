"""Every example in docs/expressions.md is true."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import tomli

from edgeagent.lang.gjson.path import compile_path, lookup
from edgeagent.lang.govaluate.expression import MAX_DEPTH, MAX_PARENTHESES, ExpressionError, compile_expression
from edgeagent.lang.govaluate.operators import MAX_JOINED_CHARACTERS
from edgeagent.lang.govaluate.tokens import MAX_CHARACTERS

TEXT = (Path(__file__).parents[3] / "docs" / "expressions.md").read_text("utf-8")
FIELDS = ["at", "ready", "site", "state", "temp"]


def rows(heading: str) -> list[list[str]]:
    """The cells of the one table below a heading, without their backquotes."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = re.findall(r"^\| (.*) \|$", section, re.MULTILINE)[1:]
    return [[cell.replace("\\|", "|").strip("`") for cell in re.split(r" \| ", line)] for line in lines]


@pytest.mark.parametrize(("text", "values", "result"), rows("Examples"))
def test_an_example_gives_what_is_said(text: str, values: str, result: str) -> None:
    known = json.loads(values)
    decide = compile_expression(text, known)
    if result == "error":
        with pytest.raises(ExpressionError):
            decide(known)
    else:
        assert decide(known) is {"true": True, "false": False}[result]


@pytest.mark.parametrize(("text", "reason"), rows("What is refused"))
def test_what_is_said_to_be_refused_is_refused_with_this_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        compile_expression(text, FIELDS)


def written(heading: str) -> list[str]:
    """What stands in backquotes in the second column of a table."""
    return [text for row in rows(heading) for text in row[1].split("`, `")]


@pytest.mark.parametrize("text", written("Values"))
def test_every_value_can_be_written_as_it_is_said(text: str) -> None:
    compile_expression(text, ["temp", "flow-rate", "a.b"])


def test_every_operator_is_in_the_table_from_the_tightest_to_the_loosest() -> None:
    table = [row[0].replace(" before a value", "").replace("`", "").split() for row in rows("Operators")]
    wanted = "- ! ~ ** * / % + - << >> & | ^ == != > >= < <= =~ !~ in && || ? : ??"
    assert " ".join(sign for signs in table for sign in signs) == wanted


def test_the_surprises_are_as_told() -> None:
    assert compile_expression(r"'\d' == 'd'", ())({}) is True
    assert compile_expression("-3 ** 2", ())({}) == 9
    assert compile_expression("limit ?? 80 < temp", ["limit", "temp"])({"limit": 90, "temp": 85}) == 90
    nested = compile_expression("a ? true : b ? 2 : 3", "ab")
    assert nested({"a": True, "b": False}) == 2.0


def test_the_rule_in_the_document_works() -> None:
    [block] = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    [condition] = tomli.loads(f"[[rule]]\n{block}")["rule"][0]["filters"]["exprs"]
    paths = {field["name"]: compile_path(field["path"]) for field in condition["fields"]}
    decide = compile_expression(condition["expr"], paths)

    def passes(**body: Any) -> bool:
        return decide({name: lookup(path, {"body": body}) for name, path in paths.items()}) is True

    assert passes(temp=97, setpoint=90, alarm=False, mode="auto")
    assert passes(temp=20, setpoint=90, alarm=True, mode="auto")
    assert not passes(temp=97, setpoint=90, alarm=True, mode="service")


def test_the_limits_are_as_told() -> None:
    text = " ".join(TEXT.split())
    assert f"at most {MAX_CHARACTERS} characters, {MAX_PARENTHESES} nested parentheses" in text
    assert f"and {MAX_DEPTH} nested operators" in text
    assert MAX_JOINED_CHARACTERS == 2**20
