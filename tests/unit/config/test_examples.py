"""config.example.toml and dispatch.example.toml against the Structs: every key, its default, its type, nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import tomli

from edgeagent.config import load_agent, load_dispatcher
from edgeagent.config.reader import ConfigReader
from edgeagent.config.tables import AgentConfig, DispatcherConfig

ROOT = Path(__file__).parents[3]
FILES: list[tuple[str, type[msgspec.Struct]]] = [
    ("config.example.toml", AgentConfig),
    ("dispatch.example.toml", DispatcherConfig),
]
# Tables that are examples as a whole: their values are no defaults.
EXAMPLE_TABLES = frozenset(
    {"rule", "allow", "local.subscribe", "mqtt.subscribe", "mqtt.allow", "relay.webhook", "webhook"}
)
# Those that are commented out as a whole; their keys show their defaults all the same.
ABSENT_TABLES = frozenset({"local", "mqtt", "artifacts", "tracing"})

_TABLE = re.compile(r"(?:# )?\[+([a-z.]+)\]+")
_KEY = re.compile(r"(# )?([a-zA-Z_.]+) = (.+)")


class Line(NamedTuple):
    """A line of an example with a key: the table it stands in, and whether it is commented out."""

    table: str
    key: str
    value: str
    commented: bool


class Key(NamedTuple):
    """A key that the Structs know."""

    kind: Any
    default: Any


def lines_of(name: str) -> Iterator[Line]:
    table = ""
    for text in (ROOT / name).read_text("utf-8").splitlines():
        if header := _TABLE.fullmatch(text):
            table = header[1]
        elif line := _KEY.fullmatch(text):
            yield Line(table, line[2], line[3], line[1] is not None)


def keys_of(cls: type[msgspec.Struct], table: str = "") -> Iterator[tuple[tuple[str, str], Key]]:
    """Every (table, key) below a Struct; `filters` stands in its rule's table, with dotted keys."""
    for field in msgspec.structs.fields(cls):
        inner = _struct_in(field.type)
        path = f"{table}.{field.encode_name}" if table else field.encode_name
        if inner is None or field.name in {"parameters", "window", "rearm", "rate", "bandwidth_at"}:  # in one line
            yield (table, field.encode_name), Key(field.type, _default(field))
        elif field.name == "filters":
            for nested in msgspec.structs.fields(inner):
                yield (table, f"filters.{nested.encode_name}"), Key(nested.type, _default(nested))
        else:
            yield from keys_of(inner, path)


def _struct_in(kind: Any) -> type[msgspec.Struct] | None:
    info = msgspec.inspect.type_info(kind)
    found = [info, getattr(info, "item_type", None), *getattr(info, "types", ())]
    return next((part.cls for part in found if isinstance(part, msgspec.inspect.StructType)), None)


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def uncommented(name: str) -> str:
    """The file with every example of a key and of a table put into force."""
    return re.sub(r"^# (?=\[+[a-z.]+\]+$|[a-zA-Z_.]+ = )", "", (ROOT / name).read_text("utf-8"), flags=re.MULTILINE)


def read(line: Line, key: Key, base_dir: Path) -> Any:
    """The line's value as the configuration reads it."""
    value = tomli.loads(f"value = {line.value}")["value"]
    reader = ConfigReader(base_dir)
    made = msgspec.defstruct("Made", [("value", key.kind)])
    table = reader.table(made, {"value": value}, line.table)
    assert table is not None, f"[{line.table}] {line.key}: {reader.problems}"
    return table.value  # type: ignore[attr-defined]


def test_the_agents_example_runs_as_it_is() -> None:
    config = load_agent(ROOT / "config.example.toml", {})
    assert config.uplink.addresses == ("mqtt://127.0.0.1:1883",)
    (rule,) = config.rule
    assert rule.template
    assert rule.filters is not None
    assert rule.filters.data
    assert rule.arguments


def test_the_dispatchers_example_is_a_dry_run() -> None:
    assert load_dispatcher(ROOT / "dispatch.example.toml", {}).engine.kind == "dry-run"


def test_the_dispatchers_example_allows_what_the_agents_example_asks_for() -> None:
    (rule,) = load_agent(ROOT / "config.example.toml", {}).rule
    (allow,) = load_dispatcher(ROOT / "dispatch.example.toml", {}).allow
    assert rule.namespace in allow.namespaces
    assert rule.template in allow.templates


@pytest.mark.parametrize(("name", "cls"), FILES)
def test_every_key_stands_in_the_example_and_no_other(name: str, cls: type[msgspec.Struct]) -> None:
    shown = {(line.table, line.key) for line in lines_of(name)}
    known = {key for key, _ in keys_of(cls)}
    assert shown == known


@pytest.mark.parametrize(("name", "cls"), FILES)
def test_every_key_in_force_has_its_default(name: str, cls: type[msgspec.Struct], tmp_path: Path) -> None:
    known = dict(keys_of(cls))
    for line in lines_of(name):
        key = known[line.table, line.key]
        if line.commented or line.table in EXAMPLE_TABLES or key.default is msgspec.NODEFAULT:
            continue
        assert read(line, key, tmp_path) == key.default, f"{name}: [{line.table}] {line.key} must show its default"


@pytest.mark.parametrize(("name", "cls"), FILES)
def test_a_key_is_commented_out_only_when_it_has_no_default(name: str, cls: type[msgspec.Struct]) -> None:
    known = dict(keys_of(cls))
    for line in lines_of(name):
        default = known[line.table, line.key].default
        if not line.commented or line.table in EXAMPLE_TABLES | ABSENT_TABLES:
            continue
        assert default in ("", (), None), f"{name}: [{line.table}] {line.key} has the default {default!r}: show it"


@pytest.mark.parametrize(("name", "cls"), FILES)
def test_a_commented_key_is_toml_of_the_right_type(name: str, cls: type[msgspec.Struct], tmp_path: Path) -> None:
    known = dict(keys_of(cls))
    commented = [line for line in lines_of(name) if line.commented]
    assert commented
    for line in commented:
        if line.key.endswith("_file"):
            (tmp_path / tomli.loads(f"value = {line.value}")["value"]).touch()
        key = known[line.table, line.key]
        value = read(line, key, tmp_path)
        if line.table in ABSENT_TABLES and key.default not in ("", (), [], None, msgspec.NODEFAULT):
            assert value == key.default, f"{name}: [{line.table}] {line.key} must show its default"


def test_with_everything_uncommented_the_file_is_still_toml_with_known_keys_only() -> None:
    """Problems may remain (files that do not exist, alternatives side by side), but none of form."""
    for name, cls in FILES:
        document = tomli.loads(uncommented(name))
        reader = ConfigReader(ROOT)
        reader.table(cls, document, "")
        assert [problem for problem in reader.problems if not problem.reason.startswith("no such file")] == []


def test_the_second_example_rule_is_one_that_can_be_used(tmp_path: Path) -> None:
    text = uncommented("config.example.toml")
    rules = "[[rule]]" + text.split("[[rule]]", 1)[1]
    for alternative in ('workflow_file = "leak.json"\n', 'coalesce = "latest"\n'):
        rules = rules.replace(alternative, "")
    config = tmp_path / "config.toml"
    config.write_text(rules, "utf-8")
    assert [rule.name for rule in load_agent(config, {}).rule] == ["overheat", "leak"]
