"""The manual pages: `edgeagent.1` from the parser behind `--help`, `edgeagent.toml.5` from examples and Structs."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

import msgspec
import tomli

import edgeagent
from edgeagent.__main__ import parser
from edgeagent.common.units import Duration, Size
from edgeagent.config.tables import AgentConfig, DispatcherConfig, FilePath, MadePath
from packages.errors import BuildFailed

# As in the contract; errors.py has them with the errors.
EXIT_CODES = {
    0: "done",
    1: "failed",
    2: "the command line is wrong",
    69: "no broker or agent can be reached",
    75: "the state directory is in use",
    78: "the configuration is missing or wrong",
    130: "interrupted",
}
_ENVIRONMENT = {
    "EDGEAGENT_CONFIG": "the agent's configuration, where no -c is given",
    "STATE_DIRECTORY": "where events are kept, where agent.state_dir is not set; systemd sets it",
    "RUNTIME_DIRECTORY": "where the agent's socket is, where http.socket is not set; systemd sets it",
    "CREDENTIALS_DIRECTORY": "where files with secrets are looked up first; systemd sets it",
}
_FILES = {
    "/etc/edgeagent/config.toml": "the agent's configuration",
    "/etc/edgeagent/dispatch.toml": "the dispatcher's configuration",
    "/var/lib/edgeagent": "the agent's state: what it has accepted and not handed over yet",
    "/run/edgeagent/agent.sock": "the agent's socket",
}

_TABLE = re.compile(r"(?:# )?\[+([a-z.]+)\]+")
_KEY = re.compile(r"(# )?([a-zA-Z_.]+) = (.+)")
_KINDS: dict[Any, str] = {
    Duration: "duration",
    Size: "size",
    FilePath: "file",
    MadePath: "file",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "text",
}


class Entry(NamedTuple):
    """A table or a key of an example: what the comment above it says. `value`: None for a table."""

    table: str
    key: str
    value: str | None
    commented: bool
    text: tuple[str, ...]


def program(date: str) -> str:
    """The page `edgeagent(1)`: every command with every option, as `--help` shows them. `date`: the version's."""
    whole = parser()
    about = (edgeagent.__doc__ or "").partition(": ")[2].rstrip(".")
    page = [_title("EDGEAGENT", 1, date), ".SH NAME", f"edgeagent \\- {_escaped(about)}"]
    page += [".SH SYNOPSIS", ".B edgeagent", ".I COMMAND", "[options]", ".br", ".B edgeagent \\-\\-version"]
    page += [".SH DESCRIPTION", _escaped(whole.description or "")]
    page += [".SH COMMANDS"]
    for name, command in _subparsers(whole):
        page += _command((name,), command)
    page += [".SH EXIT STATUS", *_terms({str(code): text for code, text in EXIT_CODES.items()})]
    page += [".SH ENVIRONMENT", *_terms(_ENVIRONMENT), ".SH FILES", *_terms(_FILES)]
    page += [".SH SEE ALSO", ".BR edgeagent.toml (5),", "/usr/share/doc/edgeagent"]
    return "\n".join(page) + "\n"


def configuration(root: Path, date: str) -> str:
    """The page `edgeagent.toml(5)`: every table and key of both configurations. `date`: the version's.

    Raises:
        BuildFailed: an example has a key that the Structs do not know.
    """
    page = [
        _title("EDGEAGENT.TOML", 5, date),
        ".SH NAME",
        "edgeagent.toml \\- configuration of edgeagent's agent and dispatcher",
    ]
    page += [".SH SYNOPSIS", ".I /etc/edgeagent/config.toml", ".br", ".I /etc/edgeagent/dispatch.toml"]
    page += [".SH DESCRIPTION"]
    page += [
        "Both are TOML. A duration is a text such as 500ms, 30s, 10m, 2h or 7d, or a number of seconds.",
        "A size is a text such as 64KiB or 256MiB, or a number of bytes.",
        "The name of a file is looked up in $CREDENTIALS_DIRECTORY first, then beside the configuration.",
        "What is wrong in a file is told by",
        '.BR "edgeagent check" .',
    ]
    examples = (("config", AgentConfig, "AGENT"), ("dispatch", DispatcherConfig, "DISPATCHER"))
    for name, struct, heading in examples:
        page.append(f".SH {heading}: /etc/edgeagent/{name}.toml")
        page += _tables(struct, list(entries((root / f"{name}.example.toml").read_text("utf-8"))))
    page += [".SH SEE ALSO", ".BR edgeagent (1)"]
    return "\n".join(page) + "\n"


def entries(example: str) -> Iterator[Entry]:
    """The tables and keys of an example, in their order, each with the comment that stands above it."""
    table = ""
    text: list[str] = []
    for line in example.splitlines():
        if header := _TABLE.fullmatch(line):
            table = header[1]
            yield Entry(table, "", None, line.startswith("#"), tuple(text))
        elif key := _KEY.fullmatch(line):
            yield Entry(table, key[2], key[3], key[1] is not None, tuple(text))
        elif line.startswith("#"):
            text.append(line.removeprefix("#").removeprefix(" "))
            continue
        text = []


def _tables(struct: type[msgspec.Struct], found: list[Entry]) -> Iterator[str]:
    for entry in found:
        if entry.value is None:
            brackets = "[[{}]]" if _is_list(struct, entry.table) else "[{}]"
            yield f".SS {_escaped(brackets.format(entry.table))}"
        else:
            kind = _described(_kind(struct, f"{entry.table}.{entry.key}"))
            # In the tables of a list the values of required keys, and some others, are examples.
            is_default = not entry.commented and (not _is_list(struct, entry.table) or _has_default(struct, entry))
            shown = f"{'default' if is_default else 'example'} {entry.value}"
            yield from (".TP", f".B {_escaped(entry.key)}", f"{_escaped(kind)}; {_escaped(shown)}")
            if entry.text:
                yield ".br"
        yield from (_escaped(line) for line in entry.text if line.strip())


def _kind(struct: type[msgspec.Struct], path: str) -> Any:
    """The type of a key by its path, such as `uplink.url`; tables in lists count as tables."""
    kind: Any = struct
    for name in path.split("."):
        inner = _struct_in(kind)
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(inner)} if inner else {}
        if name not in fields:
            raise BuildFailed(f"{path} stands in an example, but {struct.__name__} does not know it")
        kind = fields[name]
    return kind


def _struct_in(kind: Any) -> type[msgspec.Struct] | None:
    """The Struct in `X`, `list[X]`, `X | None` or `list[X] | None`."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    return next(filter(None, map(_struct_in, get_args(kind))), None) if get_origin(kind) is not Literal else None


def _has_default(struct: type[msgspec.Struct], entry: Entry) -> bool:
    """Whether the example's value is what the key is without it."""
    inner = _struct_in(_kind(struct, entry.table)) or struct
    value = tomli.loads(f"value = {entry.value}")["value"]
    return any(field.encode_name == entry.key and field.default == value for field in msgspec.structs.fields(inner))


def _is_list(struct: type[msgspec.Struct], table: str) -> bool:
    kind = _kind(struct, table)
    return any(get_origin(each) is list for each in (kind, *get_args(kind)))


def _described(kind: Any) -> str:
    """A type in words."""
    if get_origin(kind) is Literal:
        return " or ".join(f'"{each}"' if isinstance(each, str) else str(each) for each in get_args(kind))
    if kind in _KINDS:
        return _KINDS[kind]
    parts = [each for each in get_args(kind) if each not in {type(None), ...}]
    if get_origin(kind) in {list, tuple}:
        return f"list of {_described(parts[0])}"
    if get_origin(kind) is dict:
        return "table"
    if _struct_in(kind) is not None:
        return "table"
    words = dict.fromkeys(_described(each) for each in parts)
    return " or ".join(words) or "value"


def _command(names: tuple[str, ...], command: argparse.ArgumentParser) -> Iterator[str]:
    """A command, or one of its actions, with its options."""
    nested = list(_subparsers(command))
    usage = " ".join(command.format_usage().removeprefix("usage: ").replace(" [-h]", "").split())
    yield f".SS edgeagent {_escaped(' '.join(names))}"
    yield f".B {_escaped(usage)}"
    if command.description:
        yield from (".PP", _escaped(command.description))
    for action in command._actions:  # noqa: SLF001  argparse shows them in no other way
        if action.dest == "help" or isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  as above
            continue
        yield from (".TP", _invocation(action), _escaped(_help(action)))
    for name, inner in nested:
        yield from _command((*names, name), inner)


def _invocation(action: argparse.Action) -> str:
    value = action.metavar or (action.dest.upper() if action.option_strings else action.dest)
    if isinstance(value, tuple):
        value = " ".join(value)
    if action.choices:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    if not action.option_strings:
        return f".I {_escaped(value)}"
    options = _escaped(", ".join(action.option_strings))
    return f".B {options}" if action.nargs == 0 else f'.BI "{options} " "{_escaped(value)}"'


def _help(action: argparse.Action) -> str:
    text = action.help or ""
    return text % {**vars(action), "prog": "edgeagent"} if "%" in text else text


def _subparsers(of: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in of._actions:  # noqa: SLF001  as above
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  as above
            yield from action.choices.items()


def _terms(terms: dict[str, str]) -> Iterator[str]:
    for term, text in terms.items():
        yield from (".TP", f".B {_escaped(term)}", _escaped(text))


def _title(name: str, section: int, date: str) -> str:
    return f'.TH {name} {section} "{date}" "edgeagent {edgeagent.__version__}" "edgeagent"'


def _escaped(text: str) -> str:
    """Text that roff prints as it is."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")
    return "\\&" + escaped if escaped.startswith((".", "'")) else escaped
