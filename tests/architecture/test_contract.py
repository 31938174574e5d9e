"""docs/contract.md says what is built: keys, defaults, topics, states, routes, commands, exit codes, and its citations.

What the tests below compare with is imported here, and nowhere else in this file.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import msgspec
import pytest
import tomli

from edgeagent import errors
from edgeagent.__main__ import COMMANDS, parser
from edgeagent.config.reader import ConfigReader
from edgeagent.config.tables import AgentConfig, DispatcherConfig
from edgeagent.ports.account import Account, EventCounts
from edgeagent.ports.operator import CALLS
from edgeagent.ports.report import DaysReport, ReportLine
from edgeagent.wire import messages, topics
from edgeagent.wire.agent_state import AgentState
from edgeagent.wire.messages import State
from tests.architecture.source import ROOT, modules
from tests.unit.config.test_examples import Key, keys_of

CONTRACT = ROOT / "docs/contract.md"
SERVERS = ("edgeagent/httpapi", "edgeagent/dispatcher")  # where paths of HTTP are written
TITLE = re.compile(r"^## (\d+)\. ", re.MULTILINE)
CITATION = re.compile(r"contract[\s#]+\(?sections?[\s#]+(\d+(?:(?:,| and| to| or|,? and)?[\s#]+\d+)*)", re.IGNORECASE)
PROMISE = re.compile(r"(?:contract|promise)[\s#]+(P\d+)", re.IGNORECASE)
CODE = re.compile(r"`([^`]+)`")
PATH = re.compile(r"/(?:v1/[a-z/]+|[a-z]+z|metrics|)")
NOT_BUILT = "**Not in this version**"
REQUIRED = "required"
NONE = "none"
CONFIGS: dict[str, type[msgspec.Struct]] = {"agent": AgentConfig, "dispatcher": DispatcherConfig}


class Row(NamedTuple):
    """What section 8 says of a key: `config` is "agent" or "dispatcher", `default` the text of its cell."""

    config: str
    table: str
    key: str
    default: str


@cache
def sections() -> dict[int, str]:
    """The text of each section by its number."""
    parts = TITLE.split(CONTRACT.read_text("utf-8"))
    return {int(number): text for number, text in zip(parts[1::2], parts[2::2], strict=True)}


def built(number: int) -> str:
    """A section without the paragraphs about what this version does not have."""
    paragraphs = sections()[number].split("\n\n")
    return "\n\n".join(paragraph for paragraph in paragraphs if not paragraph.startswith(NOT_BUILT))


def cited(text: str) -> Iterator[int]:
    """The numbers of the sections that a text cites: `contract sections 3 to 6` cites four."""
    for match in CITATION.finditer(text):
        numbers = [int(number) for number in re.findall(r"\d+", match[1])]
        yield from range(numbers[0], numbers[-1] + 1) if " to " in match[1] else numbers


def texts() -> Iterator[tuple[str, str]]:
    """Every file that may cite the contract, with its text."""
    for module in modules("edgeagent", "tests"):
        yield module.file, module.text
    for path in sorted((ROOT / "docs").rglob("*.md")):
        yield path.relative_to(ROOT).as_posix(), path.read_text("utf-8")


@cache
def known_keys() -> dict[tuple[str, str, str], Key]:
    """Every key of the configuration by configuration, table and name."""
    return {(config, *place): key for config, cls in CONFIGS.items() for place, key in keys_of(cls)}


def rows() -> Iterator[Row]:
    """Every key that section 8 names in a table: below `### The agent` the agent's, and so on; elsewhere of all."""
    tables = {place[:2] for place in known_keys()}
    configs, named = list(CONFIGS), list[str]()
    for line in built(8).splitlines():
        if line.startswith("### "):
            configs = [config for config in CONFIGS if config in line] or list(CONFIGS)
        elif line.startswith("#### "):
            named = re.findall(r"\[+([a-z.]+)\]+", line)
        elif line.startswith("| `"):
            keys, default, *_ = (cell.strip() for cell in line.strip("|").split("|"))
            for config, table in (
                (config, table) for config in configs for table in named if (config, table) in tables
            ):
                yield from (Row(config, table, key, default) for key in CODE.findall(keys))


def default_of(text: str, key: Key) -> Any:
    """A default as the page shows it, read as the configuration reads it."""
    made = msgspec.defstruct("Made", [("value", key.kind)])
    reader = ConfigReader(ROOT)
    table = reader.table(made, tomli.loads(f"value = {text.strip('`')}"), "")
    assert table is not None, f"{text}: {reader.problems}"
    return table.value  # type: ignore[attr-defined]


def served_paths() -> set[str]:
    """Every path that a server of ours answers, as it is written in the code; what others go below ends with `/`."""
    strings = {
        node.value
        for module in modules(*SERVERS)
        for node in module.nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return {text for text in strings if PATH.fullmatch(text)} | {call.prefix for call in CALLS}


def topic_texts() -> dict[str, str]:
    """Every topic of the project by its name in the code, written as the page writes topics."""
    constants = {name: value for name, value in vars(topics).items() if name.isupper() and isinstance(value, str)}
    found = {name: value for name, value in constants.items() if not name.startswith("_") and " " not in value}
    found["state_topic"] = topics.state_topic("{agent}")
    found["report_of_days_topic"] = topics.report_of_days_topic("{agent}")
    found["presence_topic"] = topics.presence_topic("{group}", "{instance}")
    found["cursor_topic"] = topics.cursor_topic("{group}", "{namespace}")
    return found


def subcommands(command: argparse.ArgumentParser) -> list[dict[str, argparse.ArgumentParser]]:
    """What a command is followed by, by name, if it is followed by one of several."""
    return [dict(each.choices) for each in command._actions if isinstance(each, argparse._SubParsersAction)]


def options_of(command: argparse.ArgumentParser) -> set[str]:
    """The long options of a command, and of the commands below it."""
    found = {option for action in command._actions for option in action.option_strings if option.startswith("--")}
    return found.union(*(options_of(each) for below in subcommands(command) for each in below.values()))


def error_classes(cls: type[errors.EdgeAgentError] = errors.EdgeAgentError) -> Iterator[type[errors.EdgeAgentError]]:
    """The tree of errors below a class, the class included."""
    yield cls
    for inner in cls.__subclasses__():
        yield from error_classes(inner)


def test_its_sections_are_numbered_from_1_to_15() -> None:
    assert list(sections()) == list(range(1, 16))


def test_every_section_that_is_cited_is_there() -> None:
    citations = [(file, number) for file, text in texts() for number in cited(text)]
    assert len(citations) > len(sections()), "hardly anything cites the contract: is it cited in other words now?"
    assert [(file, number) for file, number in citations if number not in sections()] == []


def test_every_promise_that_is_cited_is_there() -> None:
    promises = set(re.findall(r"^\| (P\d+) \|", sections()[1], re.MULTILINE))
    found = {(file, promise) for file, text in texts() for promise in PROMISE.findall(text)}
    assert promises
    assert {(file, promise) for file, promise in found if promise not in promises} == set()


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("(contract section 2)", [2]),
        ("Contract sections 3 to 6", [3, 4, 5, 6]),
        ("contract sections 3, 5, 6, 7, 13)", [3, 5, 6, 7, 13]),
        ("contract sections 5 and 7), by one leader", [5, 7]),
        ("the contract (section 2)", [2]),
        ("contract\n    # section 11: `throttle`", [11]),
        ("section 4.7 of MQTT 5", []),
    ],
)
def test_citations_are_found_in_the_forms_in_use(text: str, numbers: list[int]) -> None:
    assert list(cited(text)) == numbers


def test_section_8_has_every_key_once_and_no_other() -> None:
    shown = [row[:3] for row in rows()]
    assert sorted(shown) == sorted(known_keys())


def test_section_8_shows_every_default() -> None:
    for row in rows():
        key = known_keys()[row[:3]]
        where = f"[{row.table}] {row.key} of the {row.config}"
        if row.default == REQUIRED:
            assert key.default is msgspec.NODEFAULT, f"{where} has a default: {key.default!r}"
        elif row.default == NONE:
            assert key.default in ("", (), None), f"{where} has a default: {key.default!r}"
        else:
            assert default_of(row.default, key) == key.default, f"{where}: the default is {key.default!r}"


def test_every_topic_is_named() -> None:
    text = CONTRACT.read_text("utf-8")
    assert {name: topic for name, topic in topic_texts().items() if f"`{topic}`" not in text} == {}


def test_section_6_has_every_state_and_no_other() -> None:
    table = built(6).partition("\n\nWhat ")[0]
    cells = re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
    assert sorted(state for cell in cells for state in CODE.findall(cell)) == sorted(State)


def test_every_route_is_in_section_2_7_or_9() -> None:
    text = built(2) + built(7) + built(9)
    for path in served_paths():
        named = re.compile(r"`(?:GET|POST) " + re.escape(path) + (r"\{[a-z_]+\}`" if path[1:].endswith("/") else "`"))
        assert named.search(text), f"no section names {path}"


def test_section_9_has_every_call_of_the_operators_with_its_method() -> None:
    for call in CALLS:
        assert f"`{call.method} {call.path}`" in built(9)


def test_section_9_marks_the_calls_that_tcp_offers_too() -> None:
    for call in CALLS:
        [row] = [
            line for line in built(9).splitlines() if line.startswith("| `") and f"`{call.method} {call.path}`" in line
        ]
        if call.on_tcp or call.for_page:
            assert "over TCP too" in row, row


def test_every_route_that_is_named_exists() -> None:
    text = built(2) + built(7) + built(9)
    named = {path.partition("{")[0] for path in re.findall(r"`(?:GET|POST) (/[^`]*)`", text)}
    assert named == served_paths()


def test_section_9_has_every_command_and_no_other() -> None:
    assert sorted(re.findall(r"^\| `edgeagent ([a-z]+)", built(9), re.MULTILINE)) == sorted(COMMANDS)


def test_section_9_has_every_option_of_each_command() -> None:
    rows = dict(re.findall(r"^\| `edgeagent ([a-z]+)[^|]*\| (.+) \|$", built(9), re.MULTILINE))
    below = " ".join(line for line in built(9).splitlines() if not line.startswith("|"))
    common = {option for option in ("--config", "--json") if f"`{option}" in below} | {"--help"}
    [commands] = subcommands(parser())
    for name, command in commands.items():
        for option in options_of(command) - common:
            assert re.search(rf"`{option}\b", rows[name]), f"the row of `edgeagent {name}` does not name {option}"


def test_section_9_has_every_exit_code_of_an_error() -> None:
    shown = {int(code) for code in re.findall(r"^\| (\d+) \|", sections()[9], re.MULTILINE)}
    assert {cls.exit_code for cls in error_classes()} <= shown


def test_section_1_has_the_accounts_as_they_are_counted() -> None:
    for counts in (Account, EventCounts):
        for name in counts.__struct_fields__:
            assert re.search(rf"\b{name}\b", sections()[1]), f"section 1 does not count {name}"


def test_sections_3_to_6_and_14_have_every_member_of_the_messages() -> None:
    for number, struct in (
        (3, messages.Trigger),
        (5, messages.StatusQuery),
        (4, messages.Response),
        (5, messages.Status),
        (6, messages.Report),
        (14, AgentState),
        (14, ReportLine),
        (14, DaysReport),
    ):
        for member in struct.__struct_encode_fields__:
            assert re.search(rf"\b{member}\b", built(number)), f"section {number} does not name {member}"


def test_what_this_version_does_not_have_is_not_there() -> None:
    missing = [part for text in sections().values() for part in text.split("\n\n") if part.startswith(NOT_BUILT)]
    tables = {table for part in missing for table in re.findall(r"`\[+([a-z.]+)\]+`", part)} - {"allow"}
    assert tables & {table for _, table, _ in known_keys()} == set()
    commands = [part for part in sections()[9].split("\n\n") if part.startswith(NOT_BUILT)]
    assert {name for part in commands for name in CODE.findall(part)} & set(COMMANDS) == set()


def test_every_link_leads_to_a_heading() -> None:
    for name, anchor in re.findall(r"\]\(([a-z0-9.-]+\.md)(?:#([a-z0-9-]+))?\)", CONTRACT.read_text("utf-8")):
        headings = re.findall(r"^#+ (.+)$", (CONTRACT.parent / name).read_text("utf-8"), re.MULTILINE)
        anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in anchors, f"{name} has no heading #{anchor}"
