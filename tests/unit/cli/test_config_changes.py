"""What `edgeagent config apply` shows of a change: each key once, a new rule as one line."""

from __future__ import annotations

from edgeagent.cli.config_changes import ConfigChange, changes, leaves


def test_each_key_that_differs_is_there_once() -> None:
    before = {"uplink": {"qos": 1, "url": "a"}, "rule": [{"name": "x", "ttl": 1.0}, {"name": "y", "ttl": 2.0}]}
    after = {"uplink": {"qos": 1, "url": "b"}, "rule": [{"name": "y", "ttl": 3.0}, {"name": "x", "ttl": 1.0}]}
    assert changes(before, after) == [
        ConfigChange("uplink.url", '"a"', '"b"'),
        ConfigChange("rule[y].ttl", "2.0", "3.0"),
    ]
    assert changes(before, before) == []


def test_a_new_table_and_one_that_is_gone_are_one_change_each() -> None:
    before = {"rule": [{"name": "x", "ttl": 1.0, "labels": {}}], "local": None}
    after = {"rule": [{"name": "z", "ttl": 1.0, "labels": {}}], "local": {"url": "c"}}
    assert changes(before, after) == [
        ConfigChange("rule[z]", "(absent)", "(a table)"),
        ConfigChange("local.url", "(absent)", '"c"'),
        ConfigChange("rule[x]", "(a table)", "(absent)"),
        ConfigChange("local", "null", "(absent)"),
    ]


def test_foreign_values_are_one_printable_line() -> None:
    ((key, text),) = leaves("", {"a": "x\n\x1b" + "y" * 10_000})
    assert key == "a"
    assert text.isprintable()
    assert len(text) < 600
