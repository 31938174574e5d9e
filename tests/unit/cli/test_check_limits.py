from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.__main__ import main

RULE = '[[rule]]\nname = "r"\nnamespace = "n"\ntemplate = "t"\n'


def said(tmp_path: Path, capsys: pytest.CaptureFixture[str], uplink: str) -> list[str]:
    file = tmp_path / "config.toml"
    file.write_text(f"[uplink]\n{uplink}\n{RULE}", "utf-8")
    assert main(["check", "-c", str(file)]) == 0
    return [line for line in capsys.readouterr().out.splitlines() if "WARN" in line]


def test_mqtt_5_has_nothing_to_warn_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(tmp_path, capsys, 'url = "wss://broker/mqtt"') == []


def test_check_says_what_mqtt_3_1_1_cannot_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = said(tmp_path, capsys, 'version = "3.1.1"')
    assert "refused a message" in line
    assert "nobody subscribed" in line


def test_check_says_that_a_refused_trigger_is_lost_when_the_broker_settles(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = said(tmp_path, capsys, 'version = "3.1.1"\nsettle = "broker"')
    assert line.endswith("is then lost")


def test_check_says_that_no_dispatcher_takes_what_the_largest_events_make(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    large = '[outbox]\nmax_event_bytes = "1MiB"'
    (line,) = said(tmp_path, capsys, large)
    assert "outbox.max_event_bytes" in line
    assert "dead letters" in line
    assert said(tmp_path, capsys, f'settle = "broker"\n{large}') == []
    assert said(tmp_path, capsys, '[outbox]\nmax_event_bytes = "512KiB"') == []


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("", ""),
        ('window = { time = "10s" }', ", one for 1000 events of a source or 10 s"),
        ('window = { time = "90m", count = 5, by = "rule" }', ", one for 5 events of all sources or 5400 s"),
        (
            'throttle = "5m"\ncoalesce = "latest"',
            ", at most one in 300 s for a source, of several not yet sent only the",
        ),
        ('rearm.context = { type = "closed" }', ", again only after rearm held"),
    ],
)
def test_check_says_what_keeps_a_rule_from_starting_a_workflow_for_each_event(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], keys: str, told: str
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f"{RULE}{keys}\n", "utf-8")
    assert main(["check", "-c", str(file)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  rule ")]
    assert line.startswith(f"  rule      r: * (*) starts n/t{told}")


def test_check_says_that_a_dispatcher_over_3_1_1_may_be_deaf(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "dispatch.toml"
    for version, warnings in (("5", 0), ("3.1.1", 1)):
        file.write_text(f'[broker]\nversion = "{version}"\n[engine]\nkind = "dry-run"\n', "utf-8")
        assert main(["check", "--dispatch", "-c", str(file)]) == 0
        assert capsys.readouterr().out.count("has no shared subscriptions") == warnings


def test_check_says_which_labels_a_dispatcher_must_be_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.toml"
    dest = r"metadata.labels.p\.example/site"
    keys = f'labels = {{ line = "3" }}\nparameters = [{{ src = {{ value = "n" }}, dest = \'{dest}\' }}]\n'
    file.write_text(RULE + keys, "utf-8")
    assert main(["check", "-c", str(file)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "sets the labels" in line]
    assert line.startswith("  note: rule r: sets the labels line, p.example/site: a dispatcher refuses those that")


def test_check_says_which_choices_there_are_in_a_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "dispatch.toml"
    file.write_text('[engine]\nkind = "dry-run"\n[[allow]]\noperations = ["get", "stopp", 3]\n', "utf-8")
    assert main(["check", "--dispatch", "-c", str(file)]) == 78
    told = capsys.readouterr().err
    assert "allow[0].operations[1]: " in told
    assert "allow[0].operations[2]: " in told
    assert "suspend, resume" in told


def test_check_says_what_a_dispatcher_allows_and_how_much_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "dispatch.toml"
    allow = (
        '[[allow]]\nnamespaces = ["plant"]\ntemplates = ["inspect"]\nlabels = ["line"]\noperations = ["get", "stop"]\n'
    )
    for limits, told in (
        ('{ "plant/*" = 20 }', "unfinished workflows of plant/* together: at most 20, then triggers wait"),
        ("9", "unfinished workflows in each namespace: at most 9, then triggers wait"),
    ):
        file.write_text(f'[engine]\nkind = "dry-run"\nmax_active = {limits}\n{allow}', "utf-8")
        assert main(["check", "--dispatch", "-c", str(file)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert f"  engine    {told}" in lines
        assert lines[-3:] == [
            "  allow     agents * in plant: inspect",
            "  allow     agents * in plant: labels line",
            "  allow     agents * in plant: to get, stop workflows by message",
        ]


def test_check_notes_what_is_no_error_and_yet_not_what_somebody_may_think(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        RULE
        + 'filters.data = [{ path = "body.a", type = "number", value = ["1", "one"] }]\n'
        + 'filters.exprs = [{ expr = "a > 1 || b > 1", fields = [{ path = "body.a", name = "a" }] }]\n',
        "utf-8",
    )
    assert main(["check", "-c", str(file)]) == 0
    notes = [line.strip() for line in capsys.readouterr().out.splitlines() if "note: rule" in line]
    asked, later = notes
    assert asked.startswith("note: rule[0].filters.exprs[0].expr: an event for which 'b' is asked for is an error")
    assert later.startswith("note: rule[0].filters.data[0]: value 'one' is not a number: an event for which no earlier")
