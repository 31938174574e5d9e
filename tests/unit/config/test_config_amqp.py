"""`amqp://` in the configuration: where it may stand, what has no counterpart there, and what it needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgeagent.__main__ import main
from edgeagent.config import load_agent, load_dispatcher
from edgeagent.config.addresses import split_broker_url, virtual_host
from edgeagent.errors import ConfigError

URL = 'url = "amqp://broker.example"'


@pytest.mark.parametrize(
    ("url", "parts", "host"),
    [
        ("amqp://broker", ("amqp", "broker", 5672), "/"),
        ("amqps://broker/", ("amqps", "broker", 5671), "/"),
        ("amqp://[::1]:5673/plant", ("amqp", "::1", 5673), "plant"),
        ("amqp://broker/%2Fplant%2fa", ("amqp", "broker", 5672), "/plant/a"),
    ],
)
def test_the_path_of_an_address_is_the_virtual_host(url: str, parts: tuple[str, str, int], host: str) -> None:
    assert split_broker_url(url) == parts
    assert virtual_host(url) == host


@pytest.mark.parametrize(
    "url", ["amqp://", "amqp://u@b", "amqp://b/a/b", "amqp://b?q", "amqp://b#f", f"amqp://b/{'v' * 256}"]
)
def test_what_is_no_address_of_amqp(url: str) -> None:
    with pytest.raises(ValueError, match=r"amqp|broker address|path"):
        split_broker_url(url)


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        (f"[uplink]\n{URL}\nqos = 2", "uplink.qos", "must be 1 over AMQP"),
        (f"[uplink]\n{URL}\nqos = 0", "uplink.qos", "must be 1 over AMQP"),
        (f'[uplink]\n{URL}\nproxy = "http://p:1"', "uplink.proxy", "is for MQTT only"),
        (f'[uplink]\n{URL}\ntrigger_topic = "argo/v1.0"', "uplink.trigger_topic", "has a dot"),
        (f'[uplink]\n{URL}\nstatus_topics = ["a.b/+"]', "uplink.status_topics[0]", "has a dot"),
        ('[uplink]\nurls = ["mqtt://a", "amqp://b"]', "uplink.urls", "of different protocols"),
        (f"[local]\n{URL}", "local.url", "devices do not speak AMQP"),
        (f'[uplink]\n{URL}\nca_file = "ca.pem"', "uplink.url", "has no TLS (amqp://)"),
    ],
)
def test_what_has_no_counterpart_is_refused(tmp_path: Path, text: str, key: str, reason: str) -> None:
    (tmp_path / "ca.pem").write_text("", "utf-8")
    path = tmp_path / "config.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_agent(path)
    assert any(problem.path == key and reason in problem.reason for problem in caught.value.problems)


def test_without_its_extra_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pamqp", None)
    agent, dispatcher = tmp_path / "config.toml", tmp_path / "dispatch.toml"
    agent.write_text(f"[uplink]\n{URL}\n", "utf-8")
    dispatcher.write_text(f'[broker]\n{URL}\n[engine]\nkind = "dry-run"\n', "utf-8")
    with pytest.raises(ConfigError, match=r"uplink\.url.*edgeagent\[amqp\]"):
        load_agent(agent)
    with pytest.raises(ConfigError, match=r"broker\.url.*edgeagent\[amqp\]"):
        load_dispatcher(dispatcher)


def test_check_says_what_amqp_lacks_and_nothing_of_mqtt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'[uplink]\n{URL}\nversion = "3.1.1"\n', "utf-8")
    assert main(["check", "-c", str(path)]) == 0
    out = capsys.readouterr().out
    assert "by AMQP 0-9-1, which has no retained messages and no last will" in out
    assert "MQTT engine" not in out
    assert "3.1.1" not in out


def test_fleet_says_that_it_needs_mqtt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "dispatch.toml"
    path.write_text(f'[broker]\n{URL}\n[engine]\nkind = "dry-run"\n', "utf-8")
    assert main(["fleet", "-c", str(path)]) != 0
    assert "name it by mqtt://" in capsys.readouterr().err


@pytest.mark.slow
def test_the_codec_is_imported_only_for_a_connection_by_amqp() -> None:
    text = "import sys, edgeagent.agent.agent, edgeagent.amqp.dialer; sys.exit('pamqp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", text], check=False).returncode == 0
