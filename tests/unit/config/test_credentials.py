"""Every secret may come as a credential of systemd: whatever names a file is looked up there first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

import edgeagent.config
from edgeagent.config import AGENT_UNIT, load_agent
from edgeagent.config.reader import ConfigReader
from edgeagent.config.tables import AgentConfig, DispatcherConfig, FilePath
from edgeagent.errors import ConfigError
from tests.architecture.source import ROOT
from tests.fakes.as_user import another_user, give, take

# Beside the key in question: what a table cannot be without.
REQUIRED = {"kind": "dry-run", "url": "https://hooks.example/1", "store": "https://dav.example/gw"}
REQUIRED["endpoint"] = "http://127.0.0.1:4318"
SECRET = re.compile(r"password|secret|token|credential|passphrase|(^|_)key($|_)|cert")
NAMES_A_RULES_TEXT = "workflow_file"


def tables(config: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    """This table and those in it."""
    yield config
    for field in msgspec.structs.fields(config):
        for kind in (field.type, *get_args(field.type)):
            if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
                yield from tables(kind)


def keys() -> Iterator[tuple[type[msgspec.Struct], str, Any]]:
    """Every key of both configurations."""
    found = dict.fromkeys(table for config in (AgentConfig, DispatcherConfig) for table in tables(config))
    for table in found:
        for field in msgspec.structs.fields(table):
            yield table, field.encode_name, field.type


FILES = [
    pytest.param(table, key, id=f"{table.__name__}.{key}")
    for table, key, _ in keys()
    if key.endswith("_file") and key != NAMES_A_RULES_TEXT
]


def test_no_secret_stands_in_the_configuration_itself_but_in_a_file_that_it_names() -> None:
    for table, key, kind in keys():
        if key.endswith("_file") and key != NAMES_A_RULES_TEXT:
            assert kind is FilePath, f"{table.__name__}.{key} is not looked up among the credentials"
        else:
            assert not SECRET.search(key), f"{table.__name__}.{key}: name it {key}_file, and let it be a FilePath"


def test_the_document_names_them_all() -> None:
    section = (ROOT / "docs/operations.md").read_text("utf-8").partition("\n## Secrets as credentials\n")[2]
    listed = re.findall(r"`(\w+_file)`", section.partition(")")[0].partition("(")[2])
    assert set(listed) == {key for _, key, kind in keys() if kind is FilePath}


@pytest.mark.parametrize(("table", "key"), FILES)
def test_a_file_is_found_among_the_credentials(table: type[msgspec.Struct], key: str, tmp_path: Path) -> None:
    credentials, beside = tmp_path / "credentials", tmp_path / "etc"
    for directory in (credentials, beside):
        directory.mkdir()
        (directory / "it").touch()
    required = {field.encode_name: REQUIRED[field.name] for field in msgspec.structs.fields(table) if field.required}
    reader = ConfigReader(beside, [credentials, beside])
    found = reader.table(table, {**required, key: "it"}, "")
    assert reader.problems == []
    assert getattr(found, key) == str(credentials / "it")


def write(directory: Path, name: str) -> Path:
    file = directory / "config.toml"
    file.write_text(f'[http]\ntoken_file = "{name}"\n', "utf-8")
    return file


def test_a_shell_without_credentials_finds_those_of_the_unit_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, "token")
    monkeypatch.setattr(edgeagent.config, "CREDENTIALS", tmp_path / "run")
    of_unit = tmp_path / "run" / AGENT_UNIT
    of_unit.mkdir(parents=True)
    (of_unit / "token").touch()
    assert load_agent(file, {}).http.token_file == str(of_unit / "token")
    with pytest.raises(ConfigError, match="no such file"):
        load_agent(file, {"CREDENTIALS_DIRECTORY": str(tmp_path / "other")})
    (tmp_path / "token").touch()
    assert load_agent(file, {}).http.token_file == str(tmp_path / "token"), "a file beside the configuration goes first"


def test_a_unit_without_credentials_starts_though_their_directory_is_kept_from_it(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, kept = place / "config.toml", place / "run"
    file.write_text('[agent]\nid = "gw-1"\n', "utf-8")
    (kept / AGENT_UNIT).mkdir(parents=True)
    give(place)
    take(kept)
    monkeypatch.setattr(edgeagent.config, "CREDENTIALS", kept)
    with another_user():
        assert load_agent(file, {}).agent.id == "gw-1"


def test_a_command_that_only_looks_needs_no_file(tmp_path: Path) -> None:
    file = write(tmp_path, "token")
    webhook = '[[relay.webhook]]\nurl = "https://hooks.example/1"\nsecret_file = "secret"\n'
    file.write_text(file.read_text("utf-8") + webhook, "utf-8")
    with pytest.raises(ConfigError, match="no such file"):
        load_agent(file, {})
    assert load_agent(file, {}, needs_files=False).http.token_file == str(tmp_path / "token")


def test_a_file_that_cannot_be_looked_up_is_a_problem_that_says_why(tmp_path: Path) -> None:
    file = write(tmp_path, "x" * 300)
    with pytest.raises(ConfigError, match=r"http\.token_file: .* cannot be looked up: File name too long"):
        load_agent(file, {})
    load_agent(file, {}, needs_files=False)
