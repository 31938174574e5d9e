"""`edgeagent check --replay` and `--against`, over files of every form, and over hostile ones."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeagent.__main__ import main
from edgeagent.events.event import Draft, gathered, record
from edgeagent.ports.transfer import Lines, exported_trigger

FLOW = Path(__file__).parents[3] / "edgeagent" / "demo" / "water-flow.csv"
RULE = """
[[rule]]
name = "hot"
source = "boiler-*"
namespace = "plant"
template = "inspect"
arguments = { temp = "body.temp" }
filters.data = [{ path = "body.temp", type = "number", comparator = ">=", value = ["90"] }]
"""

Check = Callable[..., tuple[int, str, str]]


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Run the command with a configuration of these rules: exit code, stdout, stderr."""

    def run(*arguments: str, rules: str = RULE) -> tuple[int, str, str]:
        config = tmp_path / "config.toml"
        config.write_text(rules, "utf-8")
        try:
            code = main(["check", "-c", str(config), *arguments])
        except SystemExit as exc:  # argparse's way
            code = int(str(exc.code))
        return code, *capsys.readouterr()

    return run


def told(check: Check, file: Path, *arguments: str, rules: str = RULE) -> dict[str, Any]:
    code, out, err = check("--replay", str(file), "--json", *arguments, rules=rules)
    assert (code, err, out.count("\n")) == (0, "", 1)
    replay: dict[str, Any] = json.loads(out)["replay"]
    return replay


def written(path: Path, *lines: object) -> Path:
    path.write_bytes(b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines))
    return path


def event(temp: object, **more: object) -> dict[str, object]:
    return {"source": "boiler-1", "data": {"temp": temp}, **more}


def test_json_events_are_judged_and_bad_lines_are_told_with_their_numbers(check: Check, tmp_path: Path) -> None:
    file = written(
        tmp_path / "events.ndjson", event(95), b"\n", b"{\n", event(10), {"source": "x#y", "data": 1}, event(97)
    )
    code, out, err = check("--replay", str(file))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"{file}: 3 events from boiler-1"
    assert lines[1] == "2 unusable, left out:"
    assert lines[2].startswith("  line 3: is not JSON")
    assert lines[3].startswith("  line 5: source: ")
    assert lines[6].split() == ["hot", "3", "2", "2", "0", "█·█"]
    assert "1 event matched no rule" in out
    assert [line.split()[:3] for line in lines if line.startswith("  trigger")] == [
        ["trigger", "line", "1"],
        ["trigger", "line", "6"],
    ]


def test_a_rule_without_a_trigger_shows_what_it_passed_over(check: Check, tmp_path: Path) -> None:
    _, out, _ = check("--replay", str(written(tmp_path / "e.ndjson", event(10), event(11))))
    assert out.count("no trigger") == 2
    _, out, _ = check("--replay", str(written(tmp_path / "e.ndjson", {"source": "pump", "data": 1})))
    assert "no event has its source and type" in out


def test_readings_are_judged_in_one_command(check: Check) -> None:
    rules = RULE.replace("boiler-*", "water-flow").replace("body.temp", "body.flow").replace(">=", "<")
    replay = told(check, FLOW, "--map", "Time=time,Water flow [l/s]=flow", rules=rules)
    (rule,) = replay["rules"]
    assert (replay["events"], replay["unusable"]) == (1268, 0)
    readings = [float(line.split(",")[1]) for line in FLOW.read_text().splitlines()[1:]]
    assert rule["triggered"] == sum(reading < 90 for reading in readings) == 42
    assert (rule["events"], rule["matched"], rule["errors"]) == (1268, 42, 0)
    assert rule["examples"]["trigger"][0]["time"] == "2022-03-24T09:00:00+01:00"


def test_what_throttle_rearm_and_windows_do_to_readings_is_counted(check: Check) -> None:
    low = RULE.replace("boiler-*", "water-flow").replace("body.temp", "body.flow").replace(">=", "<")
    rules = (
        low
        + low.replace('"hot"', '"calm"')
        + 'throttle = "12h"\n'
        + low.replace('"hot"', '"leak"')
        + 'rearm.data = [{ path = "body.flow", type = "number", comparator = ">=", value = ["100"] }]\n'
        + '[[rule]]\nname = "days"\nnamespace = "water"\ntemplate = "report"\nwindow = { time = "1d" }\n'
    )
    arguments = ("--map", "Time=time,Water flow [l/s]=flow")
    replay = told(check, FLOW, *arguments, rules=rules)
    named = ("rule", "matched", "throttled", "disarmed", "gathered", "triggered", "errors")
    assert [tuple(rule[name] for name in named) for rule in replay["rules"]] == [
        ("hot", 42, 0, 0, 0, 42, 0),
        ("calm", 42, 37, 0, 0, 5, 0),
        ("leak", 42, 0, 39, 0, 3, 0),
        ("days", 1268, 0, 0, 1268, 57, 0),
    ]
    assert [len(replay["rules"][1]["examples"][kind]) for kind in ("trigger", "throttled", "disarmed")] == [2, 2, 0]
    _, out, _ = check("--replay", str(FLOW), *arguments, rules=rules)
    lines = out.splitlines()
    titles = ["RULE", "EVENTS", "MATCHED", "THROTTLED", "DISARMED", "GATHERED", "TRIGGERED", "ERRORS", "TRIGGERED,"]
    assert lines[2].split()[:9] == titles
    assert lines[6].split()[:8] == ["days", "1,268", "1,268", "0", "0", "1,268", "57", "0"]
    assert [line.split()[0] for line in lines[lines.index("calm") :][1:5]] == ["trigger"] * 2 + ["throttled"] * 2
    assert lines[-1].endswith("  1 event"), "the window that was open at the end"


def test_readings_of_other_spellings_are_understood(check: Check, tmp_path: Path) -> None:
    file = written(
        tmp_path / "log.txt", b"\xef\xbb\xbfsensor;value;note\r\n", b'boiler-1;95;"a;\nb"\r\n', b"boiler-2;1;\r\n"
    )
    replay = told(check, file, "--map", "sensor=source", "--map", "value=temp")
    assert (replay["events"], replay["rules"][0]["triggered"]) == (2, 1)
    (example,) = replay["rules"][0]["examples"]["trigger"]
    assert (example["where"], json.loads(example["data"])) == ("line 3", {"temp": 95, "note": "a;\nb"})


def test_hostile_rows_are_left_out_one_by_one(check: Check, tmp_path: Path) -> None:
    file = written(
        tmp_path / "boiler-1.csv",
        b"time,temp\n",
        b"2022-01-01,95\n",
        b"\xff\xfe,95\n",
        b"1,2,3\n",
        b"2022-01-01," + b"9" * 2_000_000 + b"\n",
        b'2022-01-01,"x"y\n',
        b"2022-01-01," + b"9" * 200_000 + b"\n",
        b"\n",
        b"2022-01-02,96",
    )
    replay = told(check, file)
    assert (replay["events"], replay["unusable"], replay["rules"][0]["triggered"]) == (2, 5, 2)
    assert [fault["where"] for fault in replay["faults"]] == ["line 3", "line 4", "line 5"]
    reasons = [fault["reason"] for fault in replay["faults"]]
    assert reasons[:2] == ["is not UTF-8", "has 3 fields, and there are 2 columns"]
    assert "has more than" in reasons[2]
    assert replay["rules"][0]["examples"]["trigger"][1]["where"] == "line 9"


@pytest.mark.slow
def test_a_quote_that_never_ends_swallows_a_bounded_part(check: Check, tmp_path: Path) -> None:
    file = written(tmp_path / "boiler-1.csv", b"temp,n\n", b'95,"\n', *[b"95,1\n"] * 100_000)
    replay = told(check, file)
    assert replay["unusable"] == 1
    assert 50_000 < replay["events"] < 100_000


@pytest.mark.slow
def test_a_row_that_never_ends_costs_no_memory_and_the_rows_behind_it_are_read(check: Check, tmp_path: Path) -> None:
    """A quote opens in each line what the one before closed, so that no field is large and the row has no end."""
    file = written(
        tmp_path / "boiler-1.csv", b"temp,n\n95,1\n", b'95,"', (b"y" * 100 + b'\n","') * 100_000, b'"\n', b"95,1\n"
    )
    tracemalloc.start()
    try:
        replay = told(check, file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20
    assert replay["unusable"] > 0
    assert "line 3: a quote there is not closed (more than" in replay["faults"][0]["reason"]


def test_a_quote_that_the_end_of_the_file_does_not_close_is_told_with_its_line(check: Check, tmp_path: Path) -> None:
    file = written(tmp_path / "boiler-1.csv", b"temp,n\n", b"95,1\n", b'95,"1\n', b"95,1\n")
    replay = told(check, file)
    assert (replay["events"], replay["unusable"]) == (1, 1)
    assert "begins in line 3: a quote there is not closed" in replay["faults"][0]["reason"]


@pytest.mark.slow
def test_a_long_line_costs_no_memory(check: Check, tmp_path: Path) -> None:
    file = written(tmp_path / "e.ndjson", event(95), b'{"source": "' + b"x" * (40 << 20) + b"\n", event(96))
    tracemalloc.start()
    try:
        replay = told(check, file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (replay["events"], replay["unusable"]) == (2, 1)
    assert replay["faults"][0]["where"] == "line 2"
    assert peak < 16 << 20


def test_an_export_is_judged_event_by_event_and_a_cut_one_as_far_as_it_goes(check: Check, tmp_path: Path) -> None:
    lines = Lines()
    parts = [lines.header("gw-7", "2026-03-20T11:00:00Z")]
    for number, temp in enumerate([95, 80]):
        draft = Draft(source="boiler-1", data=b'{"temp": %d}' % temp, is_json=True, id=str(number), time="2026-03-20")
        triggers = [exported_trigger(record(draft, "gw-7", (rule,), 1, 0), rule, "normal") for rule in ("a", "b")]
        parts += map(lines.trigger, triggers)
    parts.append(lines.end())
    replay = told(check, written(tmp_path / "out.jsonl", *parts))
    assert (replay["events"], replay["duplicates"], replay["unusable"]) == (2, 2, 0)
    assert (replay["rules"][0]["triggered"], replay["unwanted"]) == (1, 1)
    replay = told(check, written(tmp_path / "out.jsonl", *parts[:2], parts[2][:50]))
    assert (replay["events"], replay["unusable"]) == (1, 2)
    assert replay["faults"][1] == {"where": "end", "reason": "the file is cut off or was altered"}


def test_of_an_export_windows_are_left_out_and_events_are_of_the_time_at_which_they_came(
    check: Check, tmp_path: Path
) -> None:
    lines = Lines()
    parts = [lines.header("gw-7", "2026-03-20T11:00:00Z")]
    for number, second in enumerate((0, 30, 60)):
        draft = Draft(source="boiler-1", data=b'{"temp": 95}', is_json=True, id=str(number), time="2026-03-20")
        stored = record(draft, "gw-7", ("hot",), 1_800_000_000_000 + second * 1000, 0)
        parts.append(lines.trigger(exported_trigger(stored, "hot", "normal")))
    parts += [lines.trigger(exported_trigger(gathered([stored, stored], "hot"), "hot", "windows")), lines.end()]
    replay = told(check, written(tmp_path / "out.jsonl", *parts), rules=RULE + 'throttle = "1m"\n')
    assert (replay["events"], replay["rules"][0]["triggered"], replay["rules"][0]["throttled"]) == (3, 2, 1)
    assert replay["faults"] == [{"where": "line 5", "reason": "is the window of 2 events, and no event"}]


def test_against_shows_only_the_rules_and_events_that_change(check: Check, tmp_path: Path) -> None:
    old = tmp_path / "old.toml"
    old.write_text(RULE.replace('"90"', '"80"') + RULE.replace('"hot"', '"same"'), "utf-8")
    file = written(tmp_path / "e.ndjson", *[event(temp) for temp in (70, 85, 95)])
    code, out, _ = check("--replay", str(file), "--against", str(old), rules=RULE + RULE.replace('"hot"', '"same"'))
    assert code == 0
    lines = out.splitlines()
    assert lines[3].split() == ["hot", "3", "2", "1", "1", "·█·"]
    assert lines[4] == "as before: same"
    assert lines[6:8] == ["hot", "  trigger -> no trigger: 1"]
    assert lines[8].split()[:2] == ["line", "2"]
    assert len(lines) == 9
    replay = told(check, file, "--against", str(old), rules=RULE + RULE.replace('"hot"', '"same"'))
    assert [rule["rule"] for rule in replay["rules"]] == ["hot"]


def test_against_the_same_rules_nothing_changes(check: Check, tmp_path: Path) -> None:
    old = tmp_path / "old.toml"
    old.write_text(RULE, "utf-8")
    _, out, _ = check("--replay", str(written(tmp_path / "e.ndjson", event(95))), "--against", str(old))
    assert out.splitlines()[2:] == ["as before: hot"]


def test_what_a_device_said_cannot_steer_the_terminal(check: Check, tmp_path: Path) -> None:
    file = written(
        tmp_path / "e.ndjson", event(95, data={"temp": 95, "x": "\x1b[2J"}), b'{"source": "\x9b31m", "data": 1}\n'
    )
    _, out, _ = check("--replay", str(file))
    assert "\x1b" not in out
    assert "\x9b" not in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--against", "x"), "--against belongs to --replay"),
        (("--map", "a=b"), "--map belongs to --replay"),
        (("--source", "a"), "--source belongs to --replay"),
        (("--replay", "x", "--dispatch"), "remove --dispatch"),
        (("--replay", "x", "--map", "a"), "write COLUMN=NAME"),
        (("--replay", "x", "--map", "=a"), "write COLUMN=NAME"),
        (("--replay", "recent", "--source", "a"), "apply to a file only"),
    ],
)
def test_options_that_do_not_go_together_are_a_usage_error(
    check: Check, arguments: tuple[str, ...], words: str
) -> None:
    code, out, err = check(*arguments)
    assert (code, out) == (2, "")
    assert words in err


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        (b"", (), "there is no event in it"),
        (b"[]", (), "is a JSON array: write one event a line"),
        (b"{}\n", (), "there is no event in it: line 1: source: is missing"),
        (b"temp\n95\n", ("--map", "flow=x"), "there is no column 'flow'; there are: 'temp'"),
        (b"\xff\n1\n", ("--map", "1=temp"), "line 1, which should name the columns, is not UTF-8"),
    ],
)
def test_a_file_without_any_event_fails_with_the_reason(
    check: Check, tmp_path: Path, content: bytes, arguments: tuple[str, ...], words: str
) -> None:
    file = written(tmp_path / "e.data", content)
    code, out, err = check("--replay", str(file), *arguments)
    assert (code, out) == (1, "")
    assert err.startswith(f"edgeagent: {file}: ")
    assert words in err


def test_a_file_that_is_not_there_and_an_old_configuration_with_mistakes_are_told(check: Check, tmp_path: Path) -> None:
    assert check("--replay", str(tmp_path / "none"))[0] == 1
    assert check("--replay", str(tmp_path))[0] == 1
    old = tmp_path / "old.toml"
    old.write_text("nonsense = 1\n", "utf-8")
    code, _, err = check("--replay", str(written(tmp_path / "e.ndjson", event(95))), "--against", str(old))
    assert (code, str(old) in err) == (78, True)
