"""The name of a configuration: the same for the same values on any machine, another one for any other value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent.config import load_agent
from edgeagent.config.identity import identity, plain

TEXT = """
[uplink]
url = "mqtt://broker:1883"
password_file = "secret"
username = "gw"
keepalive = "30s"
[[rule]]
name = "hot"
namespace = "plant"
workflow_file = "flow.json"
"""
WORKFLOW = (
    b'{"apiVersion":"argoproj.io/v1alpha1","kind":"Workflow","metadata":{"generateName":"x-"},"spec":'
    b'{"entrypoint":"a","templates":[{"name":"a","container":{"image":"IMAGE"}}]}}'
)


def named(directory: Path, text: str = TEXT, image: bytes = b"busybox") -> str:
    """The name of this configuration in this directory."""
    directory.mkdir(exist_ok=True)
    (directory / "secret").write_text("x")
    (directory / "other").write_text("x")
    (directory / "flow.json").write_bytes(WORKFLOW.replace(b"IMAGE", image))
    path = directory / "config.toml"
    path.write_text(text)
    return identity(load_agent(path, {}))


def test_the_place_the_order_comments_and_written_defaults_do_not_count(tmp_path: Path) -> None:
    name = named(tmp_path / "a")
    assert len(name) == 16
    assert named(tmp_path / "b") == name
    assert named(tmp_path / "c", "# here\n" + TEXT.replace('keepalive = "30s"', "keepalive = 30.0")) == name
    assert named(tmp_path / "d", TEXT + '[log]\nlevel = "info"\n') == name


@pytest.mark.parametrize(
    ("old", "new"),
    [("1883", "1884"), ('"secret"', '"other"'), ('name = "hot"', 'name = "hotter"'), ('"30s"', '"31s"')],
)
def test_every_value_counts(tmp_path: Path, old: str, new: str) -> None:
    assert named(tmp_path / "a", TEXT.replace(old, new)) != named(tmp_path / "b")


def test_the_speed_of_uploads_counts(tmp_path: Path) -> None:
    store = '[artifacts]\nstore = "https://store.example/plant"\nbandwidth = "2Mbit/s"\n'
    faster = TEXT + store.replace("2M", "20M")
    assert named(tmp_path / "a", TEXT + store) != named(tmp_path / "b", faster)


def test_what_is_in_a_workflow_file_counts(tmp_path: Path) -> None:
    assert named(tmp_path / "a", image=b"alpine") != named(tmp_path / "b")


def test_no_secret_and_no_place_of_one_is_shown(tmp_path: Path) -> None:
    named(tmp_path / "a")
    shown: dict[str, Any] = plain(load_agent(tmp_path / "a/config.toml", {}))
    assert shown["uplink"]["password_file"] == "secret"  # noqa: S105  the name of the file
    assert str(tmp_path) not in msgspec.json.encode(shown).decode()
