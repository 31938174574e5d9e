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
BUCKET = '[artifacts]\nstore = "s3://bucket"\naccess_key_file = "key"\n'
DIRECTORY = '[artifacts]\nstore = "file:///mnt/shared"\n'
TRACING = '[tracing]\nendpoint = "http://127.0.0.1:4318"\n'
PUBSUB = 'url = "pubsub://plant-42/triggers"\nsubscription = "answers"\n'


@pytest.mark.parametrize(
    ("load", "text", "key", "extra"),
    [
        (load_agent, f"[uplink]\n{PUBSUB}", "uplink.url", "pubsub"),
        (load_agent, AGENT + TRACING, "tracing.endpoint", "otel"),
        (load_dispatcher, DISPATCHER + REHEARSAL + TRACING, "tracing.endpoint", "otel"),
        (load_agent, AGENT + '[[relay.webhook]]\nurl = "https://a.example/"\n', "relay.webhook", "webhook"),
        (load_agent, AGENT + '[artifacts]\nstore = "https://dav.example/"\n', "artifacts.store", "artifacts"),
        (load_agent, AGENT + BUCKET, "artifacts.store", "artifacts"),
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
    (tmp_path / "key").touch()
    load(path)
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(ConfigError) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert problem.path == key
    assert f"pip install 'edgeagent[{extra}]'; with Debian's packages: apt install edgeagent-httpx" in problem.reason


def test_azure_needs_another_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.toml"
    path.write_text(AGENT + BUCKET.replace("s3:", "az:"), "utf-8")
    (tmp_path / "key").touch()
    monkeypatch.setitem(sys.modules, "httpx", None)
    load_agent(path)
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ConfigError, match=r"pip install 'edgeagent\[azure\]'"):
        load_agent(path)


@pytest.mark.parametrize(
    ("load", "text"), [(load_agent, AGENT), (load_agent, AGENT + DIRECTORY), (load_dispatcher, DISPATCHER + REHEARSAL)]
)
def test_without_httpx_all_else_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Callable[[Path], msgspec.Struct], text: str
) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    path = tmp_path / "config.toml"
    path.write_text(text, "utf-8")
    load(path)
