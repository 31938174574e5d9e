from __future__ import annotations

from pathlib import Path

from edgeagent.config import load_agent, load_dispatcher
from edgeagent.demo import configs, series
from edgeagent.events.event import Draft
from edgeagent.rules.ruleset import RuleSet


def test_the_readings_are_all_there_and_each_has_a_time_of_its_own() -> None:
    readings = series.load()
    assert len(readings) == 1268
    assert len({reading.time for reading in readings}) == 1268
    assert readings[0] == series.Reading("2022-03-20T11:00:00+01:00", 100.59)


def test_the_threshold_finds_the_three_real_losses() -> None:
    readings = series.load()
    losses = series.losses(readings)
    assert [(readings[loss.start].hour, len(loss)) for loss in losses] == [
        ("2022-03-24 09:00", 16),
        ("2022-03-29 09:00", 11),
        ("2022-04-27 16:00", 13),
    ]


def test_the_line_fails_and_the_agent_is_killed_in_one_loss_and_all_is_mended_before_the_next() -> None:
    readings = series.load()
    plan = series.plan(readings)
    _, loss, next_loss = series.losses(readings)
    assert loss.start < plan.line_fails < plan.kill < loss.stop - 1
    assert loss.stop < plan.heal < next_loss.start


def test_nobody_waits_longer_than_half_a_minute() -> None:
    assert 15 < series.playing_time_s(series.load()) < 30


def test_the_agents_rule_wants_exactly_the_hours_that_the_demo_calls_a_loss(tmp_path: Path) -> None:
    config = load_agent(configs.write_agent(tmp_path, line_port=1, http_port=2, mqtt_port=3))
    rules = RuleSet(config.rule)
    for flow_l_s in (24.24, 79.99, 80.0, 102.5):
        reading = series.Reading("2022-03-29T09:00:00+02:00", flow_l_s)
        draft = Draft(
            source=series.SOURCE,
            data=b'{"flow_l_s": %.2f}' % flow_l_s,
            id=reading.time,
            time=reading.time,
            type="reading",
            datacontenttype="application/json",
            is_json=True,
        )
        assert (rules.match(draft).rules == ("leak",)) is reading.is_loss


def test_the_dispatcher_allows_what_the_agents_rule_starts(tmp_path: Path) -> None:
    directory = tmp_path / 'a "quoted" name'
    directory.mkdir()
    (rule,) = load_agent(configs.write_agent(directory, line_port=1, http_port=2, mqtt_port=3)).rule
    (allow,) = load_dispatcher(configs.write_dispatcher(directory, broker_port=3)).allow
    assert rule.namespace in allow.namespaces
    assert rule.template in allow.templates
