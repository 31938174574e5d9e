"""The manual pages have what `--help` and the configuration have: every command, option, table and key."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import msgspec
import pytest

from edgeagent.__main__ import COMMANDS, parser
from edgeagent.config.tables import AgentConfig, DispatcherConfig
from edgeagent.errors import ConfigError, EdgeAgentError
from packages import manual
from packages.errors import BuildFailed

ROOT = Path(__file__).parents[3]
DATE = "2026-11-29"


def plain(page: str) -> str:
    """The page without roff's own escapes."""
    return page.replace("\\-", "-").replace("\\&", "").replace("\\e", "\\")


@pytest.fixture(scope="module")
def program() -> str:
    return plain(manual.program(DATE))


@pytest.fixture(scope="module")
def configuration() -> str:
    return plain(manual.configuration(ROOT, DATE))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_stands_there_with_its_options(program: str, command: str) -> None:
    part = program.partition(f".SS edgeagent {command}\n")[2].partition("\n.SH ")[0]
    assert part
    commands = parser((command,))
    (choices,) = (each.choices for each in commands._actions if isinstance(each, argparse._SubParsersAction))
    for action in choices[command]._actions:
        for option in action.option_strings:
            assert option in {"-h", "--help"} or option in part


def test_the_exit_codes_are_those_of_the_errors(program: str) -> None:
    def codes(error: type[EdgeAgentError]) -> set[int]:
        return {error.exit_code}.union(*map(codes, error.__subclasses__()))

    assert codes(EdgeAgentError) | {0, 2, 130} == set(manual.EXIT_CODES)
    table = (ROOT / "docs/contract.md").read_text("utf-8").partition("| exit code | meaning |")[2].partition("\n\n")[0]
    assert set(map(int, re.findall(r"^\| (\d+) \|", table, re.MULTILINE))) == set(manual.EXIT_CODES)
    assert ConfigError.exit_code in manual.EXIT_CODES
    for code, text in manual.EXIT_CODES.items():
        assert f".B {code}\n{text}" in program


@pytest.mark.parametrize("struct", [AgentConfig, DispatcherConfig])
def test_every_table_has_its_heading_and_every_key_of_it_an_entry(
    configuration: str, struct: type[msgspec.Struct]
) -> None:
    for field in msgspec.structs.fields(struct):
        assert re.search(rf"^\.SS \[+{field.encode_name}\]+$", configuration, re.MULTILINE), field.encode_name
    name = "config" if struct is AgentConfig else "dispatch"
    found = [entry for entry in manual.entries((ROOT / f"{name}.example.toml").read_text("utf-8")) if entry.key]
    assert len(found) > 20
    for entry in found:
        assert f"\n.B {entry.key}\n" in configuration


def test_a_key_has_its_type_its_default_and_what_it_is_for(configuration: str) -> None:
    assert '.B settle\n"engine" or "broker"; default "engine"\n.br\n"engine": a trigger is done' in configuration
    assert '.B keepalive\nduration; default "30s"' in configuration
    assert '.B source\ntext; example "boiler-*"' in configuration, "that of a rule: its default is another"


def test_an_example_with_a_key_that_nobody_knows_makes_no_page(tmp_path: Path) -> None:
    (tmp_path / "config.example.toml").write_text("[uplink]\nurll = 1\n", "utf-8")
    with pytest.raises(BuildFailed, match=r"uplink\.urll"):
        manual.configuration(tmp_path, DATE)


def test_text_cannot_be_a_request_of_roff() -> None:
    assert manual._escaped(".so /etc/passwd") == "\\&.so /etc/passwd"
    assert manual._escaped("a\\b -c") == "a\\eb \\-c"
