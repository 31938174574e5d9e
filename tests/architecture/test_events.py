"""docs/events.md has every key of the log, with its levels; and lines about a trigger can be found by its id."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache

import pytest

from edgeagent.artifacts.kept import LAYOUT as UPLOADS
from edgeagent.ledger.schema import LAYOUT as LEDGER
from edgeagent.listener.schema import LAYOUT as LISTENER
from edgeagent.outbox.records import DAMAGED, DROPPED
from tests.architecture.source import ROOT, Module, modules

PAGE = ROOT / "docs/events.md"
ROW = re.compile(r"^\| `(\w+)` \| ([a-z, ]+) \| (.+) \| (.+) \|$", re.MULTILINE)
LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}
LEVELS["critical"] = "critical"
# Keys that are put together: what stands in the braces, and its values.
PARTS = {"way": (DAMAGED, DROPPED), "self._layout.event": (LEDGER.event, LISTENER.event, UPLOADS.event)}
# The functions that log with a key that they are given.
GIVEN = {"edgeagent/dispatcher/configmaps.py": ("configmap_unavailable", "configmap_lost", "configmap_unnamed")}


@cache
def rows() -> dict[str, set[str]]:
    """The levels of each key, as the page has them."""
    return {key: set(levels.split(", ")) for key, levels, *_ in ROW.findall(PAGE.read_text("utf-8"))}


def values(node: ast.expr) -> Iterator[str]:
    """The keys that this expression may be."""
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.JoinedStr):
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        (named,) = [ast.unparse(part.value) for part in node.values if isinstance(part, ast.FormattedValue)]
        yield from (text.replace("{}", value) for value in PARTS[named])


def members(node: ast.AST) -> dict[str, ast.expr]:
    """The members of a dictionary that is written out."""
    if not isinstance(node, ast.Dict):
        return {}
    return {
        str(key.value): value
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant)
    }


def keys(module: Module) -> Iterator[str]:
    """Every key in a module."""
    for node in module.nodes:
        if (event := members(node).get("event")) is not None:
            yield from values(event)
    yield from GIVEN.get(module.file, ())


def calls(module: Module) -> Iterator[tuple[ast.Call, str, dict[str, ast.expr]]]:
    """The log calls of a module whose values are written out beside them, with the name of the method."""
    for node in module.nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            for keyword in node.keywords:
                if keyword.arg == "extra" and (found := members(keyword.value)):
                    yield node, node.func.attr, found


def test_every_key_is_on_the_page_and_no_other() -> None:
    found = {key for module in modules("edgeagent") for key in keys(module)}
    assert found - rows().keys() == set(), "not on the page"
    assert rows().keys() - found == set(), "on the page only"


def test_the_levels_are_those_of_the_page() -> None:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for module in modules("edgeagent"):
        for _, method, extra in calls(module):
            level = LEVELS.get(method)  # `log` is given its level
            for key in values(extra["event"]) if level is not None and "event" in extra else ():
                found[key].add(str(level))
    wrong = {key: (levels, rows()[key]) for key, levels in found.items() if not levels <= rows()[key]}
    assert wrong == {}


def test_each_error_says_what_to_do() -> None:
    idle = [
        key
        for key, levels, _, remedy in ROW.findall(PAGE.read_text("utf-8"))
        if "error" in levels and remedy == "nothing"
    ]
    assert idle == []


@pytest.mark.parametrize("what", ["trigger %s", "workflow %s"])
def test_a_line_about_one_of_them_has_its_correlation_id(what: str) -> None:
    missing = [
        f"{module.file}:{call.lineno}"
        for module in modules("edgeagent")
        for call, _, extra in calls(module)
        if any(isinstance(each, ast.Constant) and what in str(each.value) for each in call.args)
        and "correlation_id" not in extra
    ]
    assert missing == []
