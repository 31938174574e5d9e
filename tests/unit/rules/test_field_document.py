"""docs/field.md: every example is run, what is refused is refused, and what is counted has that name."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path

import pytest

from edgeagent.agent.counts import RuleCounts
from edgeagent.config import load_agent
from edgeagent.errors import ConfigError
from edgeagent.events.event import Draft
from edgeagent.ports.account import Account, EventCounts
from edgeagent.rehearsal.judge import Judge, Seen
from edgeagent.rules.firings import MAX_FIRINGS
from edgeagent.rules.gathering import MAX_HELD_BYTES
from edgeagent.rules.spec import MAX_WINDOW_COUNT, RuleSpec
from edgeagent.wire.messages import State

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "field.md").read_text("utf-8")
RULE = '[[rule]]\nname = "r"\nnamespace = "plant"\ntemplate = "t"\n'
EXAMPLES = re.findall(r"```toml\n(.*?)```\n\n((?:\| [^\n]*\n|\|-[^\n]*\n)+)", TEXT, re.DOTALL)
REFUSED = re.findall(r"^\| `(.*)` \| `(.*)` \| `(.*)` \|$", TEXT.partition("## What is refused")[2], re.MULTILINE)
COUNTED = re.findall(r"^\|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\|$", TEXT.partition("## What is counted")[2], re.MULTILINE)


def loaded(tmp_path: Path, text: str) -> RuleSpec:
    file = tmp_path / "config.toml"
    file.write_text(RULE + text, "utf-8")
    (spec,) = load_agent(file, {}).rule
    return spec


def played(tmp_path: Path, toml: str, table: str) -> tuple[list[tuple[str, str]], list[str]]:
    """What the page says of each event and what the rule makes of it; and the windows that closed."""
    judge = Judge([loaded(tmp_path, toml)], max_event_bytes=256 << 10)
    outcomes: list[tuple[str, str]] = []
    for time, told, said in re.findall(r"^\| ([0-9:]{8}) \| `(.*?)` \|(.*?)\|$", table, re.MULTILINE):
        instant = datetime.fromisoformat(f"2027-01-15T{time}+00:00")
        members = json.loads(told)
        event = Draft(
            source="door-1",
            data=json.dumps(members["body"]).encode(),
            is_json=True,
            id=time,
            type=members.get("type", "event"),
            time=instant.isoformat(),
        )
        ruling = judge.rulings("gw-1", Seen(time, event), round(instant.timestamp() * 1000)).get("r")
        outcomes.append((said.strip(), str(ruling.outcome) if ruling is not None else ""))
    judge.end()
    return outcomes, [ended.seen.reason for ended in judge.ended]


def test_the_document_has_its_examples() -> None:
    assert len(EXAMPLES) == 4
    assert len(REFUSED) == 12
    assert len(COUNTED) >= 6


@pytest.mark.parametrize(("toml", "table"), EXAMPLES)
def test_an_example_decides_as_the_page_says(toml: str, table: str, tmp_path: Path) -> None:
    outcomes, _ = played(tmp_path, toml, table)
    assert len(outcomes) >= 4
    assert [made for _, made in outcomes] == [said for said, _ in outcomes]


def test_the_windows_of_the_example_are_those_that_the_page_counts(tmp_path: Path) -> None:
    ((toml, table),) = [each for each in EXAMPLES if each[0].startswith("window")]
    _, windows = played(tmp_path, toml, table)
    assert windows == ["3 events, to 08:00:08", "2 events, to 08:00:18", "1 event"]
    assert "Three workflows start, with 3, 2 and 1 of them." in TEXT


@pytest.mark.parametrize("toml", re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL))
def test_every_example_is_a_rule_that_can_be_used(toml: str, tmp_path: Path) -> None:
    assert loaded(tmp_path, toml).name == "r"


@pytest.mark.parametrize(("written", "key", "reason"), REFUSED)
def test_what_is_said_to_be_refused_is_refused_for_that_reason(
    written: str, key: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, re.sub(r", (?=[a-z]+ = (?!.*\}$)|rearm)", "\n", written) + "\n")
    [problem] = caught.value.problems
    assert problem.path == f"rule[0].{key}"
    assert reason in problem.reason


def test_what_is_counted_has_the_name_that_the_page_says() -> None:
    rules = {name for row in COUNTED for name in re.findall(r"^`(\w+)`", row[1].strip())}
    account = {name for row in COUNTED for name in re.findall(r"^`(\w+)`", row[2].strip())}
    states = {name for row in COUNTED for name in re.findall(r"state `(\w+)`", row[3])}
    assert {"throttled", "disarmed", "gathered", "merged", "expired"} <= rules <= set(RuleCounts.__struct_fields__)
    assert {"throttled", "merged", "expired"} <= account
    assert account <= set(EventCounts.__struct_fields__) | set(Account.__struct_fields__)
    assert states == {"merged", "expired"} <= set(State)


def test_the_page_names_the_keys_and_the_limits() -> None:
    keys = ("throttle", "rearm", "window", "coalesce", "rate", "ttl")
    assert set(keys) <= set(RuleSpec.__struct_fields__)
    assert all(f"`{key}" in TEXT for key in keys)
    assert f"{MAX_FIRINGS:,} pairs" in TEXT
    assert f"{MAX_HELD_BYTES >> 20} MiB" in TEXT
    assert f"at most\n  {MAX_WINDOW_COUNT}" in TEXT
