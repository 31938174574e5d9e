from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.common.finding import Level
from edgeagent.config.tables import Connection
from edgeagent.host.mosquitto import mosquitto_findings

HERE = Connection(url="mqtt://localhost")


def written(directory: Path, text: str, included: str = "") -> Path:
    parts = directory / "conf.d"
    parts.mkdir()
    (parts / "gateway.conf").write_text(included)
    path = directory / "mosquitto.conf"
    path.write_text(f"{text}\ninclude_dir {parts}\n")
    return path


@pytest.mark.parametrize(
    ("text", "included", "levels"),
    [
        ("", "", [Level.WARN, Level.WARN]),
        ("persistence true", "", [Level.WARN, Level.OK]),
        ("persistence true", "  queue_qos0_messages true ", [Level.OK, Level.OK]),
        ("persistence true\nqueue_qos0_messages true", "queue_qos0_messages false", [Level.WARN, Level.OK]),
        ("#persistence true\n# queue_qos0_messages true", "", [Level.WARN, Level.WARN]),
    ],
)
def test_what_a_mosquitto_beside_the_agent_loses_is_told(
    tmp_path: Path, text: str, included: str, levels: list[Level]
) -> None:
    findings = {finding.subject: finding for finding in mosquitto_findings(HERE, written(tmp_path, text, included))}
    told = [findings[subject] for subject in ("local Mosquitto", "local Mosquitto persistence")]
    assert [finding.level for finding in told] == levels
    if levels[1] is Level.OK:
        assert "killed, it loses what it acknowledged" in told[1].found


def test_a_short_queue_and_packets_that_are_held_back_are_told(tmp_path: Path) -> None:
    usual = {finding.subject: finding.level for finding in mosquitto_findings(HERE, written(tmp_path, ""))}
    assert (usual["local Mosquitto queue"], usual["local Mosquitto delay"]) == (Level.WARN, Level.WARN)
    (tmp_path / "mosquitto.conf").write_text("max_queued_messages 0\nset_tcp_nodelay true\n")
    mended = {finding.subject: finding.level for finding in mosquitto_findings(HERE, tmp_path / "mosquitto.conf")}
    assert mended["local Mosquitto queue"] is Level.OK
    assert "local Mosquitto delay" not in mended


def test_nothing_is_said_of_another_machine_or_another_broker(tmp_path: Path) -> None:
    assert list(mosquitto_findings(Connection(url="mqtt://broker.example"), written(tmp_path, ""))) == []
    assert list(mosquitto_findings(HERE, tmp_path / "none")) == []
