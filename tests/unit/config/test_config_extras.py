"""What a configuration needs and is not installed: told before anything starts, with what to install."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from edgeagent.config import load_agent, load_dispatcher
from edgeagent.errors import ConfigError

AGENT = '[uplink]\nurl = "mqtt://127.0.0.1:1883"\n'
DISPATCHER = '[broker]\nurl = "mqtt://127.0.0.1:1883"\n'
REHEARSAL = '[engine]\nkind = "dry-run"\n'
ALLOW = '[[allow]]\nagents = ["*"]\nnamespaces = ["plant"]\ntemplates = ["*"]\n'
ARGO = f'[engine]\nkind = "argo"\nurl = "https://argo.example"\n{ALLOW}'
PUBSUB = 'url = "pubsub://plant-42/triggers"\nsubscription = "answers"\n'


@pytest.mark.parametrize(
    ("load", "text", "key", "extra"),
    [
        (load_agent, f"[uplink]\n{PUBSUB}", "uplink.url", "pubsub"),
        (load_agent, AGENT + '[[relay.webhook]]\nurl = "https://a.example/"\n', "relay.webhook", "webhook"),
        (load_dispatcher, f'[broker]\n{PUBSUB}answer_topic = "answers"\n{REHEARSAL}', "broker.url", "pubsub"),
        (load_dispatcher, DISPATCHER + ARGO, "engine.kind", "dispatch"),
        (load_dispatcher, DISPATCHER + REHEARSAL + '[[webhook]]\nurl = "https://a.example/"\n', "webhook", "webhook"),
    ],
)
def test_what_needs_httpx_names_its_extra_and_debians_package(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    load: Callable[[Path], msgspec.Struct],
    text: str,
    key: str,
    extra: str,
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text, "utf-8")
    load(path)
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(ConfigError) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert problem.path == key
    assert f"pip install 'edgeagent[{extra}]'; with Debian's packages: apt install edgeagent-httpx" in problem.reason


@pytest.mark.parametrize(("load", "text"), [(load_agent, AGENT), (load_dispatcher, DISPATCHER + REHEARSAL)])
def test_without_httpx_all_else_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Callable[[Path], msgspec.Struct], text: str
) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    path = tmp_path / "config.toml"
    path.write_text(text, "utf-8")
    load(path)
