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
