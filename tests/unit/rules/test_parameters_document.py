"""docs/parameters.md: every example does what stands below it, and what is refused is refused for that reason."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent.config import load_agent
from edgeagent.errors import ConfigError
from edgeagent.events.event import Record
from edgeagent.events.time_quality import SYNCHRONIZED
from edgeagent.rules.ruleset import Rule
from edgeagent.rules.trigger import correlation_id, render

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "parameters.md").read_text("utf-8")
[DATA, *RESULTS] = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
EXAMPLES = list(zip(re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL), RESULTS, strict=True))
REFUSED = re.findall(r"^\| `(\{ src = .*\})` \| (.*) \|$", TEXT, re.MULTILINE)
EVENT = Record(
    agent="gw-042",
    source="boiler-1",
    id="018f-7",
    type="event",
    time="2026-03-20T11:00:00Z",
    data=DATA.encode(),
    is_json=True,
    rules=("overheat",),
    accepted_ms=1,
    uptime_ms=1,
    time_quality=SYNCHRONIZED,
)
RULE = """
[[rule]]
name = "overheat"
namespace = "plant"
workflow.spec.entrypoint = "main"
workflow.spec.arguments.parameters = [{ name = "temp", value = "0" }]
workflow.spec.templates = [{ name = "main", container = { image = "alpine:3" } }]
"""


def loaded(text: str, directory: Path) -> Rule:
    file = directory / "config.toml"
    file.write_text(text, "utf-8")
    [spec] = load_agent(file, {}).rule
    return Rule(spec)


def only_what(expected: Any, found: Any) -> Any:
    """`found` without the members of metadata that `expected` does not name: there are always more."""
    metadata = expected.get("metadata", {})
    labels = {key: found["metadata"]["labels"][key] for key in metadata.get("labels", {})}
    return {"spec": found["spec"]} | ({"metadata": {"labels": labels}} if metadata else {})


@pytest.mark.parametrize(("example", "result"), EXAMPLES)
def test_an_example_makes_what_stands_below_it(example: str, result: str, tmp_path: Path) -> None:
    rule = loaded(example, tmp_path)
    correlation = correlation_id(EVENT.agent, EVENT.source, EVENT.id, rule.name)
    workflow = msgspec.json.decode(render(rule, EVENT, correlation, 1, "r"))["workflow"]
    expected = msgspec.json.decode(result)
    assert only_what(expected, workflow) == expected


def test_the_document_has_its_examples() -> None:
    assert len(EXAMPLES) == 5
    assert len(REFUSED) == 19


@pytest.mark.parametrize(("parameter", "reason"), REFUSED)
def test_what_is_said_to_be_refused_is_refused_for_that_reason(parameter: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(f"{RULE}parameters = [{parameter}]\n", tmp_path)
    [problem] = caught.value.problems
    assert problem.path.startswith("rule[0].parameters")
    assert reason in problem.reason


def test_the_rule_that_they_are_added_to_is_a_good_one(tmp_path: Path) -> None:
    assert loaded(RULE, tmp_path).name == "overheat"
