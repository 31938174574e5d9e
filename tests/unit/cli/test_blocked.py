from __future__ import annotations

from typing import Any

import pytest

from edgeagent.cli.blocked import cause, triggers_finding, webhook_findings
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


def test_one_trigger_waits_and_thousands_wait() -> None:
    assert triggers_finding(stats(1, trouble="x", remedy="y")).found == "1 waits: x"
    assert triggers_finding(stats(12_345, trouble="x", remedy="y")).found == "12,345 wait: x"


@pytest.mark.parametrize(
    ("state", "level", "words"),
    [
        ({"lost": 0}, Level.OK, "takes all reports"),
        ({"lost": 7}, Level.OK, "takes reports; 7 reports are lost since"),
        ({"lost": 7, "last_error": "it answered 401"}, Level.WARN, "refuses reports, and does not get them again: it"),
        (
            {"failures": 3, "last_error": "no route", "pending": 1},
            Level.WARN,
            "takes nothing: no route; 1 waits, 0 rep",
        ),
        ({"gone": True, "lost": 1}, Level.WARN, "the receiver wants no more (410); 1 report is lost"),
    ],
)
def test_a_webhook_that_loses_or_delays_reports_is_a_warning(state: dict[str, Any], level: Level, words: str) -> None:
    receiver = {"webhook": "relay.webhook[0]", "receiver": "https://mes.example", **state}
    (finding,) = webhook_findings({**stats(), "webhooks": {"outcomes": {}, "receivers": [receiver]}})
    assert (finding.level, finding.subject) == (level, "relay.webhook[0] https://mes.example")
    assert words in finding.found
    assert bool(finding.remedy) == (level is Level.WARN)


def test_an_agent_without_webhooks_has_no_finding_of_them() -> None:
    assert [*webhook_findings({**stats(), "webhooks": None})] == []
