"""Imports point down only.

cli → demo → agent, dispatcher, rehearsal → outbox, ledger, mqtt, amqp, pubsub, httpapi, listener, host, argo, webhooks,
artifacts, fetch, tracing → links →
config, storage → ports → rules → workflows → events, wire → lang, common → errors
"""

from __future__ import annotations

import re

from tests.architecture.source import ROOT, modules

# From the top down. Packages in one row never import each other.
ROWS = (
    ("__main__",),
    ("cli",),
    ("demo",),
    ("agent", "dispatcher", "rehearsal"),
    (
        *("outbox", "ledger", "mqtt", "amqp", "pubsub", "httpapi", "listener", "host", "argo", "webhooks", "artifacts"),
        *("fetch", "tracing"),
    ),
    ("links",),
    ("config", "storage"),
    ("ports",),
    ("rules",),
    ("workflows",),
    ("events", "wire"),
    ("lang", "common"),
    ("errors",),
)
ROW_OF = {name: row for row, names in enumerate(ROWS) for name in names}
PACKAGE = modules("edgeagent")


def part(dotted: str) -> str:
    """`outbox` of `edgeagent.outbox.files`; `` for the package's own `__init__` and what it defines."""
    name = dotted.partition(".")[2].partition(".")[0]
    return "" if name == "__version__" else name


def test_the_package_has_modules_to_look_at() -> None:
    assert {"edgeagent", "edgeagent.errors", "edgeagent.common.names"} <= {module.name for module in PACKAGE}


def test_imports_point_down() -> None:
    for module in PACKAGE:
        here = part(module.name)
        assert not here or here in ROW_OF, f"{module.file}: {here} has no row; give it one in ROWS of {__name__}"
        for use in module.imports:
            if use.name.partition(".")[0] != "edgeagent":
                continue
            there = part(use.name)
            if there in {here, ""}:
                continue
            assert there in ROW_OF, f"{module.file}:{use.line}: {use.name} has no row; give it one in ROWS"
            assert here, f"{module.file}:{use.line}: the package's __init__ imports {use.name}; it must import nothing"
            assert ROW_OF[there] > ROW_OF[here], (
                f"{module.file}:{use.line}: {here} imports {use.name}, which is not below it; "
                "move the shared part down, or hand it over where both meet (cli, agent, dispatcher)"
            )


def test_the_architecture_shows_these_rows() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    drawing = text.partition("```\n")[2].partition("```")[0]
    rows = [
        {name for line in row.splitlines() for name in re.split(r" {9,}", line.strip())[0].split()}
        for row in re.split(r"^ +│$", drawing, flags=re.MULTILINE)
    ]
    assert rows == [set(row) for row in ROWS if row != ("__main__",)]
