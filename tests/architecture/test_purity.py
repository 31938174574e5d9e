"""Decisions are pure: what they decide depends on what they are given, and on nothing else.

A machine stands beside the part that drives it, so purity is no matter of a package: every pure module is named here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.architecture.source import Module, modules

# Packages of which every module is pure.
PACKAGES = ("common", "events", "lang", "ports", "rehearsal", "rules", "wire", "workflows")
# Pure modules of packages that also do I/O.
BESIDE_THEIR_DRIVERS = {
    "agent": (
        *(
            "addressing",
            "ahead",
            "announcement",
            "bloom_filter",
            "canary",
            "days",
            "event_time",
            "link_time",
            "causes",
            "congestion",
            "counts",
            "course",
            "facts",
            "hangs",
            "inflight",
            "query_schedule",
            "recent_changes",
            "requests",
            "lifetime",
            "lines",
            "metrics",
            "permits",
            "poison",
            "prepared",
            "readiness",
            "resting",
            "route",
            "seen_devices",
            "series",
            "successors",
            "traces",
            "trigger_spans",
            "trouble",
            "uploading",
            "window_uploads",
        ),
    ),
    "amqp": (
        *("codec", "confirms", "connection", "deliveries", "heartbeats", "keys", "opening", "properties", "reasons"),
        "topology",
    ),
    "argo": ("stream", "wire"),
    "artifacts": ("answers", "bandwidth", "multipart", "places", "sigv4", "upload_queue"),
    "cli": (
        *("blocked", "board", "check_large", "config_changes", "fleet_table", "pieces", "replay_table", "report_table"),
        "shown_stats",
    ),
    "config": ("addresses", "checks", "devices", "encryption", "identity", "loops", "meant", "pubsub", "tables"),
    "demo": ("chart", "scene", "tally"),
    "dispatcher": (
        *(
            "answered",
            "capacity",
            "cursor",
            "engine",
            "gate",
            "intake",
            "link_sharer",
            "manage_check",
            "metrics",
            "outcome",
            "outgoing",
            "policy",
            "presence",
            "progress",
            "publisher",
            "refusals",
        ),
        *("resubmission", "shares", "stats", "traces", "trigger_spans", "validate", "verdict", "workflow"),
    ),
    "fetch": ("allowed", "answer", "source"),
    "host": ("repeats",),
    "httpapi": ("body", "coding", "events", "plain", "plan", "request", "timeouts"),
    "ledger": ("schema", "tally", "untold"),
    "links": ("reconnecting", "request", "trial"),
    "listener": (
        *("access", "bounds", "broker", "changes", "codec", "codec3", "connection", "dialogue", "flows", "forms"),
        *("framing", "judging", "packets", "parcels", "passwords", "queue", "reasons", "retained", "sessions"),
        *("subscriptions", "tls_failures", "websocket"),
    ),
    "mqtt": (
        *("encoding", "handshake", "limits", "link_state", "mark", "negotiation", "publishing", "qos2", "reason_codes"),
        *("reasons", "unacknowledged", "unsubscribing"),
    ),
    "pubsub": ("batches", "held", "jwt", "messages", "outcomes", "resources", "terms"),
    "tracing": ("backlog", "spans"),
    "webhooks": ("answer", "deliveries", "form", "lost", "refusals"),
    "outbox": (
        *("counting", "deadletters", "evidence", "frame", "headroom", "leasing", "moves", "records", "released"),
        *("retention", "runs", "sizing", "spool_book", "steps", "tail", "unfinished", "unkept"),
    ),
}
PURE = [
    *modules(*(f"edgeagent/{package}" for package in PACKAGES)),
    *(
        module
        for package, names in BESIDE_THEIR_DRIVERS.items()
        for module in modules(f"edgeagent/{package}")
        if module.path.stem in names
    ),
]
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
        "httpx",
        "mqtt5",
        "obstore",
        "paho",
        "rich",
        "socks",
        "tomli",
        "yaml",
    ]
)
IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval", "breakpoint", "globals"})
CLOCK_METHODS = frozenset({"now", "utcnow", "today"})


def imported_impurely(module: Module) -> Iterator[str]:
    """What a module imports that no pure one may."""
    for use in module.imports:
        parts = use.name.split(".")
        if IMPURE & {".".join(parts[:length]) for length in range(1, len(parts) + 1)}:
            yield (
                f"{module.file}:{use.line}: imports {use.name}; a pure module takes values and returns data: "
                "let the caller read the clock, the disk or the chance and hand it in"
            )


def called_impurely(module: Module) -> Iterator[str]:
    """Calls of a clock, a file or the console."""
    for node in module.nodes:
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id in IMPURE_CALLS:
            yield f"{module.file}:{node.lineno}: calls {called.id}; let the caller do it and hand the result in"
        if isinstance(called, ast.Attribute) and called.attr in CLOCK_METHODS:
            yield f"{module.file}:{node.lineno}: calls {ast.unparse(called)}; take the time as an argument"


def waits_in(module: Module) -> Iterator[str]:
    """Where a module waits. Protocols may declare coroutines, for the layers above; a pure module may await none."""
    for node in module.nodes:
        if isinstance(node, (ast.Await, ast.AsyncFor, ast.AsyncWith)):
            yield f"{module.file}:{getattr(node, 'lineno', 0)}: waits; a pure module returns what to do instead"


def is_pure(module: Module) -> bool:
    """Whether a module may be named here."""
    return not any(next(faults(module), None) for faults in (imported_impurely, called_impurely, waits_in))


def test_a_pure_module_imports_nothing_impure() -> None:
    assert [fault for module in PURE for fault in imported_impurely(module)] == []


def test_a_pure_module_calls_no_clock_and_no_file() -> None:
    assert [fault for module in PURE for fault in called_impurely(module)] == []


def test_a_pure_module_never_waits() -> None:
    assert [fault for module in PURE for fault in waits_in(module)] == []


def test_what_is_pure_and_stands_on_pure_modules_only_is_named() -> None:
    """Others may keep the rules too, because what they drive does the I/O: whether they decide, only a reader sees."""
    every = {module.name: module for module in modules("edgeagent")}
    below = {
        name: {use.name if use.name in every else use.name.rpartition(".")[0] for use in module.imports} & every.keys()
        for name, module in every.items()
    }
    grounds = {"edgeagent", "edgeagent.errors"}
    pure = {name for name, module in every.items() if name in grounds or is_pure(module)}
    while rest := {name for name in pure - grounds if not below[name] <= pure}:
        pure -= rest
    named = {module.name for module in PURE} | grounds
    unnamed = {name for name in pure - named if every[name].path.name != "__init__.py"}
    assert unnamed == set(), "name these in BESIDE_THEIR_DRIVERS"


def test_every_module_that_is_said_to_be_pure_exists() -> None:
    found = {(module.path.parent.name, module.path.stem) for module in PURE}
    named = {(package, name) for package, names in BESIDE_THEIR_DRIVERS.items() for name in names}
    assert named <= found
