from __future__ import annotations

import pytest

from edgeagent.cli.emit import _limits, _print_accepted
from edgeagent.common.units import Duration
from edgeagent.config.tables import AgentConfig
from edgeagent.rules.spec import RuleSpec


def config(**rule: object) -> AgentConfig:
    return AgentConfig(rule=[RuleSpec("overheat", "plant", template="inspect", source="boiler-*", **rule)])  # type: ignore[arg-type]


def test_an_event_that_starts_nothing_names_the_limit_that_may_have_kept_it(capsys: pytest.CaptureFixture[str]) -> None:
    limits = [*_limits(config(throttle=Duration(300)), "boiler-1")]
    _print_accepted({"id": "e1", "duplicate": False, "triggers": []}, limits, as_json=False)
    assert capsys.readouterr().out == (
        "event e1: starts nothing, no rule wants it now; if one matches, it is throttled: rule overheat allows one of "
        "each source in 5 min\n"
    )


def test_limits_of_other_sources_and_of_rules_that_are_off_are_not_named() -> None:
    assert [*_limits(config(throttle=Duration(300)), "pump-1")] == []
    assert [*_limits(config(throttle=Duration(300), enabled=False), "boiler-1")] == []
    assert [*_limits(config(), "boiler-1")] == []
