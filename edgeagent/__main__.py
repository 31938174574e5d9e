"""The command line's entry: finds the command, and turns errors into one line and an exit code (contract section 9)."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

import edgeagent
from edgeagent.cli.running import run_agent
from edgeagent.errors import ConfigError, EdgeAgentError, Problem

if TYPE_CHECKING:
    import argparse

# Each command stands in a module of its own, and only the one that is asked for is imported.
COMMANDS = (
    "run",
    "check",
    "emit",
    "where",
    "status",
    "top",
    "outbox",
    "dead",
    "reload",
    "dispatch",
    "fleet",
    "report",
    "workflow",
    "doctor",
    "demo",
    "passwd",
    "size",
    "config",
    "fetch",
    "version",
)
_VERSION = "--version"  # the one option that imports none
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the process's exit code. No traceback of an expected error reaches the user."""
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except BrokenPipeError:  # `edgeagent dead ls | head`: whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _INTERRUPTED
    except EdgeAgentError as exc:
        from edgeagent.common.foreign import escaped  # noqa: PLC0415  only for an error

        sys.stderr.writelines(f"edgeagent: {escaped(line)}\n" for line in _lines(exc))
        return exc.exit_code
    return code


def _run(arguments: list[str]) -> int:
    match arguments:
        case ["run"]:
            return run_agent()
        # As every unit starts it: the parser would take 1 MiB of memory as long as the agent runs.
        case ["run", "-c" | "--config", file] if file and not file.startswith("-"):
            return run_agent(file)
    return _parsed(arguments)


def _parsed(arguments: list[str]) -> int:
    asked = arguments[0] if arguments else ""
    named = (asked,) if asked in COMMANDS else ()
    parsed = parser(named if named or asked == _VERSION else COMMANDS).parse_args(arguments)
    code: int = parsed.run(parsed)
    return code


def parser(commands: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """What understands a command line with one of these commands; the others are not imported."""
    import argparse  # noqa: PLC0415  as above

    made = argparse.ArgumentParser(
        prog="edgeagent", description="Field events become Argo workflows over MQTT: none lost, each started once."
    )
    made.add_argument(_VERSION, action="version", version=f"edgeagent {edgeagent.__version__}")
    subparsers = made.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in commands:
        import_module(f"edgeagent.cli.{name}").add_parser(subparsers)
    return made


def _lines(error: EdgeAgentError) -> list[str]:
    """One line an error; a configuration's problems are told all at once, one line each."""
    if isinstance(error, ConfigError):
        return [_line(error.file, problem) for problem in error.problems]
    return [" ".join(str(error).split())]


def _line(file: str, problem: Problem) -> str:
    return f"{file}: {problem.path}: {problem.reason}" if problem.path else f"{file}: {problem.reason}"


if __name__ == "__main__":
    sys.exit(main())
