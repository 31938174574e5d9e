from __future__ import annotations

from typing import Any

from edgeagent.cli.blocked import cause, triggers_finding
from edgeagent.common.finding import Level


def stats(pending: int = 1, **uplink: Any) -> dict[str, Any]:
    told = {"address": "mqtt://b", "connected": True, "error": "", **uplink}
    return {"agent": "gw-1", "account": {"triggers": {"pending": pending, "dead": 0}}, "uplink": told}


def test_an_uplink_that_is_down_is_the_cause_whatever_was_wrong_before() -> None:
    down = stats(connected=False, error="b: connection refused", trouble="nobody subscribes to t", remedy="run it")
    assert cause(down) == ("the uplink is down: b: connection refused", "see `edgeagent doctor`")
    assert "not connected to mqtt://b yet" in cause(stats(connected=False))[0]


def test_triggers_that_are_not_taken_are_a_warning_with_the_cause_and_the_remedy() -> None:
    finding = triggers_finding(stats(3, trouble="nobody subscribes to t", remedy="is `edgeagent dispatch` running?"))
    assert (finding.level, finding.found) == (Level.WARN, "3 wait: nobody subscribes to t")
    assert finding.remedy == "is `edgeagent dispatch` running?"
    finding = triggers_finding(stats(0, connected=False, error="b: connection refused"))
    assert (finding.level, bool(finding.remedy)) == (Level.WARN, True)


def test_a_trouble_in_which_nothing_waits_any_more_is_none() -> None:
    assert triggers_finding(stats(0, trouble="nobody subscribes to t", remedy="x")).level is Level.OK


def test_an_agent_that_is_older_than_the_command_is_understood() -> None:
    assert cause(stats()) == ("", "")
    assert triggers_finding(stats()).level is Level.OK
