"""What `check` says about who may speak for whom, and about what a dispatcher would refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.__main__ import main
from edgeagent.config import load_agent
from edgeagent.wire.topics import AGENTS_TRIGGER, TRIGGER, is_unbound

RULE = '[[rule]]\nname = "r"\nnamespace = "n"\ntemplate = "t"\n'
REHEARSAL = '[engine]\nkind = "dry-run"\n'


def warnings(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, *arguments: str) -> list[str]:
    file = tmp_path / "c.toml"
    file.write_text(text, "utf-8")
    assert main(["check", *arguments, "-c", str(file)]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    return [line for line in lines if "warning" in line and "nothing is restricted" not in line]


def test_the_base_topic_is_the_default_and_check_only_notes_what_binds_a_gateway(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(RULE, "utf-8")
    assert load_agent(file, {}).uplink.trigger_topic == TRIGGER
    assert main(["check", "-c", str(file)]) == 0
    (note,) = (line for line in capsys.readouterr().out.splitlines() if "uplink.trigger_topic" in line)
    assert note.startswith("  note: ")
    assert 'trigger_topic = "argo/workflows/trigger/{agent}"' in note
    assert "access list can bind each gateway" in note
    file.write_text(f'[uplink]\ntrigger_topic = "{AGENTS_TRIGGER}"\n{RULE}', "utf-8")
    assert main(["check", "-c", str(file)]) == 0
    assert "uplink.trigger_topic" not in capsys.readouterr().out


def test_an_agent_that_a_dispatcher_would_refuse_is_told_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uplink = '[uplink]\ntrigger_topic = "argo/workflows/trigger/another"\n'
    (line,) = warnings(tmp_path, capsys, uplink + RULE)
    assert "uplink.trigger_topic" in line
    assert '"argo/workflows/trigger/{agent}"' in line
    assert warnings(tmp_path, capsys, f'{uplink}settle = "broker"\n{RULE}') == [], "nobody binds there"
    assert warnings(tmp_path, capsys, RULE) == []


def test_a_dispatcher_that_binds_nobody_is_told_what_that_means(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = warnings(tmp_path, capsys, f"{REHEARSAL}bind_agent = false\n", "--dispatch")
    assert line.startswith("warning: engine.bind_agent = false: whoever may publish a trigger can name any gateway")
    assert warnings(tmp_path, capsys, REHEARSAL, "--dispatch") == []


@pytest.mark.parametrize(
    ("topic", "unbound"),
    [
        (AGENTS_TRIGGER, False),
        ("argo/workflows/trigger", False),
        ("argo/workflows/trigger/gw-9", True),
        ("argo/workflows/trigger/{agent}/x", True),
        ("argo/workflows/triggers", False),
        ("plant/{agent}/triggers", False),
    ],
)
def test_only_an_agents_own_topic_of_the_dispatchers_binds_it(topic: str, unbound: bool) -> None:
    assert is_unbound(topic) is unbound


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ('arguments = { site = { value = "{{workflow.name}}" } }', "spec.arguments.parameters[0] 'site'"),
        (
            (
                'arguments = { site = { value = "north" } }\n[[rule.parameters]]\n'
                'src = { dependencyName = "e", value = "{{=x}}" }\ndest = "spec.arguments.parameters.0.value"'
            ),
            "parameters[0]",
        ),
        ('arguments = { site = { value = "north" }, temp = "body.temp" }', ""),
    ],
)
def test_a_rule_whose_constants_a_dispatcher_refuses_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], keys: str, named: str
) -> None:
    lines = warnings(tmp_path, capsys, f"{RULE}{keys}\n")
    if not named:
        assert lines == []
        return
    (line,) = lines
    assert line.startswith(f"warning: rule r: {named} has '{{{{' in its value; ")
    assert line.endswith("without [[allow]] expressions = true")
