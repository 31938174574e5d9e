"""docs/durability.md names tests for its promises: they exist, and no promise is without one."""

from __future__ import annotations

import ast
import re
from functools import cache

from tests.architecture.source import ROOT

DOCUMENT = (ROOT / "docs" / "durability.md").read_text("utf-8")
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@cache
def functions_in(file: str) -> frozenset[str]:
    """The names of the test functions in a file; none if there is no such file."""
    path = ROOT / file
    if not path.is_file():
        return frozenset()
    tree = ast.parse(path.read_text("utf-8"), file)
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_test_that_the_document_names_exists() -> None:
    named = _TEST.findall(DOCUMENT)
    assert len(named) > 30
    assert [f"{file}::{name}" for file, name in named if name not in functions_in(file)] == []


def test_every_promise_names_the_test_that_holds_it() -> None:
    promises = DOCUMENT.partition("## Promises")[2].partition("## Numbers")[0]
    rows = [line for line in promises.splitlines() if line.startswith("|") and not line.startswith("|---")]
    assert [row for row in rows if "held by" not in row and not _TEST.search(row)] == []
