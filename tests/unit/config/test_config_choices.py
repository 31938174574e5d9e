"""Where one of a few words is wanted, an error names them, and the one that was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.config import load_agent, load_dispatcher
from edgeagent.errors import ConfigError

RULE = '[[rule]]\nname = "r"\nnamespace = "plant"\ntemplate = "t"\n'
DATA = 'filters.data = [{ path = "body.a", value = ["1"], type = "int" }]\n'
PARAMETER = '[[rule.parameters]]\nsrc = { value = "a" }\ndest = "spec.a"\n'


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        ('[uplink]\nsettle = "Engine"\n', "uplink.settle", "must be one of engine, broker; is 'Engine' (did you mean"),
        ('[uplink]\nsettle = "never"\n', "uplink.settle", "must be one of engine, broker; is 'never'"),
        ("[uplink]\nversion = 5\n", "uplink.version", 'must be one of 5, 3.1.1; is 5 (write it in quotes: "5")'),
        ("[uplink]\nqos = 3\n", "uplink.qos", "must be one of 0, 1, 2; is 3"),
        ("[uplink]\nqos = true\n", "uplink.qos", "must be one of 0, 1, 2; is a boolean"),
        ("[uplink]\nqos = [1]\n", "uplink.qos", "must be one of 0, 1, 2; is an array"),
        ('[outbox]\nwhen_full = "drop-oldest"\n', "outbox.when_full", "is 'drop-oldest' (did you mean 'drop_oldest'?)"),
        ('[log]\nlevel = "warn"\n', "log.level", "must be one of debug, info, warning, error; is 'warn' (did you mean"),
        (
            f'{RULE}priority = "hihg"\n',
            "rule[0].priority",
            "must be one of normal, high; is 'hihg' (did you mean 'high'?)",
        ),
        (
            f'{RULE}filtersLogicalOperator = "AND"\n',
            "rule[0].filtersLogicalOperator",
            "must be one of and, or; is 'AND'",
        ),
        (f"{RULE}{DATA}", "rule[0].filters.data[0].type", "must be one of bool, number, string; is 'int'"),
        (
            f'{RULE}{PARAMETER}operation = "add"\n',
            "rule[0].parameters[0].operation",
            "overwrite, prepend, append; is 'add'",
        ),
        (f'{RULE}window = {{ time = "1s", by = "sources" }}\n', "rule[0].window.by", "(did you mean 'source'?)"),
        (f'[log]\nformat = "{"x" * 5000}"\n', "log.format", "… (5002 characters)"),
    ],
)
def test_the_words_that_can_stand_there_are_named(tmp_path: Path, text: str, key: str, reason: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_agent(path, {})
    ((found, why),) = caught.value.problems
    assert found == key
    assert reason in why


def test_the_kinds_of_engines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "dispatch.toml"
    path.write_text('[engine]\nkind = "dryrun"\n')
    with pytest.raises(ConfigError) as caught:
        load_dispatcher(path, {})
    problems = dict(caught.value.problems)
    assert problems["engine.kind"] == "must be one of dry-run, argo; is 'dryrun' (did you mean 'dry-run'?)"


def test_canaries_need_an_engine_that_answers(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[uplink]\nsettle = "broker"\ncanary_interval = "10s"\n')
    with pytest.raises(ConfigError) as caught:
        load_agent(path, {})
    why = 'needs settle = "engine": whatever takes triggers with settle = "broker" sends no answers'
    assert list(caught.value.problems) == [("uplink.canary_interval", why)]


def test_outputs_need_an_engine_that_answers(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'[uplink]\nsettle = "broker"\n{RULE}outputs = ["result"]\n')
    with pytest.raises(ConfigError) as caught:
        load_agent(path, {})
    ((found, why),) = caught.value.problems
    assert (found, why.partition(":")[0]) == ("rule[0].outputs", 'needs uplink.settle = "engine"')
