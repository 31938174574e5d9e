"""Configuration: TOML 1.1 decoded into Structs, with all problems found at once (contract section 8).

`load_agent` and `load_dispatcher` read a file and return a checked Struct, or raise one `ConfigError` that names file,
key path and reason for everything that is wrong. Nothing here opens a socket or creates a file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TypeVar

import msgspec
import tomli

from edgeagent.config.checks import agent_problems, dispatcher_problems
from edgeagent.config.extras import missing_for_agent, missing_for_dispatcher
from edgeagent.config.reader import ConfigReader
from edgeagent.config.tables import AgentConfig, DispatcherConfig, WebhookTable
from edgeagent.config.workflows import with_workflow_files
from edgeagent.errors import ConfigError, Problem

AGENT_CONFIG = "/etc/edgeagent/config.toml"
DISPATCHER_CONFIG = "/etc/edgeagent/dispatch.toml"
# Where systemd keeps the credentials of units that run.
CREDENTIALS = Path("/run/credentials")
AGENT_UNIT, DISPATCHER_UNIT = "edgeagent.service", "edgeagent-dispatch.service"

T = TypeVar("T", bound=msgspec.Struct)


def load_agent(path: Path, env: Mapping[str, str] = os.environ, *, needs_files: bool = True) -> AgentConfig:
    """Read and check an agent's configuration.

    `needs_files`: whether the files that it names must be there, with secrets that can be used. They need not for a
    command that only looks, by an operator who may not read them or has no credentials of systemd.

    Raises:
        ConfigError: with every problem found.
    """

    def check(found: AgentConfig) -> Iterator[Problem]:
        yield from chain(agent_problems(found), missing_for_agent(found))
        if needs_files:
            yield from _secret_problems("relay.webhook", found.relay.webhook)

    reader = ConfigReader(path.parent, _file_dirs(path, env, AGENT_UNIT), needs_files=needs_files)
    return with_workflow_files(_load(AgentConfig, path, reader, check), path)


def load_dispatcher(path: Path, env: Mapping[str, str] = os.environ) -> DispatcherConfig:
    """Read and check a dispatcher's configuration.

    Raises:
        ConfigError: with every problem found.
    """

    def check(found: DispatcherConfig) -> Iterator[Problem]:
        yield from chain(dispatcher_problems(found), missing_for_dispatcher(found))
        yield from _secret_problems("webhook", found.webhook)

    reader = ConfigReader(path.parent, _file_dirs(path, env, DISPATCHER_UNIT))
    return _load(DispatcherConfig, path, reader, check)


def _secret_problems(path: str, tables: Sequence[WebhookTable]) -> Iterator[Problem]:
    if tables:
        from edgeagent.config.webhooks import secret_problems  # noqa: PLC0415  it loads what signs

        yield from secret_problems(path, tables)


def _file_dirs(path: Path, env: Mapping[str, str], unit: str) -> list[Path]:
    """Where relative names of files are looked up: first what systemd handed over to this process.

    An operator's shell has no credentials, but root may read those of the unit while it runs.
    """
    if given := env.get("CREDENTIALS_DIRECTORY"):
        return [Path(given), path.parent]
    of_unit = CREDENTIALS / unit
    # systemd keeps the directory from whoever has none of its credentials, the unit itself included.
    return [path.parent, *([of_unit] if os.access(of_unit, os.X_OK) else [])]


def agent_config_path(option: str | None, env: Mapping[str, str] = os.environ) -> Path:
    """The path given by `-c`, else `$EDGEAGENT_CONFIG`, else the file in /etc."""
    return Path(option or env.get("EDGEAGENT_CONFIG") or AGENT_CONFIG)


def dispatcher_config_path(option: str | None) -> Path:
    """The path given by `-c`, else the file in /etc."""
    return Path(option or DISPATCHER_CONFIG)


def _load(cls: type[T], path: Path, reader: ConfigReader, check: Callable[[T], Iterator[Problem]]) -> T:
    try:
        data = path.read_bytes()
        text = data.decode()
        document = tomli.loads(text)
    except FileNotFoundError as exc:
        raise ConfigError(str(path), [Problem("", "no such file; name one with -c")]) from exc
    except OSError as exc:
        raise ConfigError(str(path), [Problem("", f"cannot be read: {exc.strerror}")]) from exc
    except UnicodeDecodeError as exc:
        from edgeagent.config.meant import encoding_hint  # noqa: PLC0415  only for an error

        raise ConfigError(
            str(path), [Problem("", f"is not UTF-8: {exc.reason} at byte {exc.start}; {encoding_hint(data)}")]
        ) from exc
    except tomli.TOMLDecodeError as exc:
        from edgeagent.config.meant import toml_hint  # noqa: PLC0415  as above

        hint = toml_hint(text, exc.lineno, exc.colno)
        raise ConfigError(str(path), [Problem("", f"is not TOML: {exc}" + (f"; {hint}" if hint else ""))]) from exc
    except (ValueError, RecursionError) as exc:  # a number of 5,000 digits, or 400 levels
        raise ConfigError(str(path), [Problem("", f"is not TOML: {exc}")]) from exc
    if problem := _of_the_other_kind(cls, document):
        raise ConfigError(str(path), [problem])
    config = reader.table(cls, document, "")
    problems = reader.problems
    if config is not None:
        problems.extend(check(config))
    if problems or config is None:
        raise ConfigError(str(path), problems)
    return config


def _of_the_other_kind(cls: type[msgspec.Struct], document: Mapping[str, object]) -> Problem | None:
    """One problem, instead of an unknown key for each table, if an agent's file is given for a dispatcher's or so."""
    of_agent, of_dispatcher = set(AgentConfig.__struct_fields__), set(DispatcherConfig.__struct_fields__)
    own, others = of_agent - of_dispatcher, of_dispatcher - of_agent
    whose, usage = "a dispatcher's", "add --dispatch to `check` or `doctor`; `edgeagent dispatch` runs it"
    if cls is DispatcherConfig:
        own, others = others, own
        whose, usage = "an agent's", "leave --dispatch out of `check` or `doctor`; `edgeagent run` runs it"
    if not own.isdisjoint(document) or others.isdisjoint(document):
        return None
    return Problem("", f"this is {whose} configuration: {usage}")
