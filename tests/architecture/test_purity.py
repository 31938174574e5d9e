"""The core is pure: what it decides depends on what it is given, and on nothing else."""

from __future__ import annotations

import ast

import pytest

from tests.architecture.source import Module, modules

CORE = modules("edgeagent/core")
# Everything with a clock, chance, a file, a socket, a thread or the process's surroundings in it.
IMPURE = frozenset(
    [
        "asyncio",
        "atexit",
        "concurrent",
        "contextvars",
        "ctypes",
        "fcntl",
        "gc",
        "getpass",
        "glob",
        "http",
        "importlib",
        "inspect",
        "io",
        "locale",
        "logging",
        "mmap",
        "multiprocessing",
        "os",
        "pathlib",
        "pickle",
        "platform",
        "queue",
        "random",
        "resource",
        "sched",
        "secrets",
        "select",
        "selectors",
        "shelve",
        "shutil",
        "signal",
        "socket",
        "socketserver",
        "sqlite3",
        "ssl",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "tomllib",
        "urllib.request",
        "uuid",
        "warnings",
        "weakref",
        "aiomqtt",
        "h11",
        "mqtt5",
        "paho",
        "socks",
        "tomli",
        "yaml",
    ]
)
IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval", "breakpoint", "globals"})
CLOCK_METHODS = frozenset({"now", "utcnow", "today"})


@pytest.mark.parametrize("module", CORE, ids=lambda module: module.file)
def test_the_core_imports_nothing_impure(module: Module) -> None:
    for use in module.imports:
        parts = use.name.split(".")
        impure = IMPURE & {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
        assert not impure, (
            f"{module.file}:{use.line}: imports {use.name}; the core takes values and a time and returns data: "
            "let the caller read the clock, the disk or the chance and hand it in"
        )


@pytest.mark.parametrize("module", CORE, ids=lambda module: module.file)
def test_the_core_calls_no_clock_and_no_file(module: Module) -> None:
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        assert not (isinstance(called, ast.Name) and called.id in IMPURE_CALLS), (
            f"{module.file}:{node.lineno}: calls {ast.unparse(called)}; let the caller do it and hand the result in"
        )
        assert not (isinstance(called, ast.Attribute) and called.attr in CLOCK_METHODS), (
            f"{module.file}:{node.lineno}: calls {ast.unparse(called)}; take the time as an argument"
        )


@pytest.mark.parametrize("module", CORE, ids=lambda module: module.file)
def test_the_core_never_waits(module: Module) -> None:
    """Protocols may declare coroutines, for the layers above; nothing here may await one."""
    for node in ast.walk(module.tree):
        assert not isinstance(node, (ast.Await, ast.AsyncFor, ast.AsyncWith)), (
            f"{module.file}:{getattr(node, 'lineno', 0)}: waits; the core returns what to do, and its caller waits"
        )
