"""Decisions are pure: what they decide depends on what they are given, and on nothing else.

A machine stands beside the part that drives it, so purity is no matter of a package: every pure module is named here.
"""

from __future__ import annotations

import ast

from tests.architecture.source import modules

# Packages of which every module is pure.
PACKAGES = ("common", "events", "lang", "ports", "rehearsal", "rules", "wire", "workflows")
# Pure modules of packages that also do I/O.
BESIDE_THEIR_DRIVERS = {
    "agent": (
        *(
            "ahead",
            "announcement",
            "bloom_filter",
            "canary",
            "days",
            "event_time",
            "link_time",
            "causes",
            "congestion",
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
    "cli": ("board", "fleet_table", "pieces", "report_table", "shown_stats"),
    "config": ("addresses", "checks", "devices", "loops", "meant", "pubsub", "tables"),
    "dispatcher": (
        *(
            "answered",
            "capacity",
            "cursor",
            "gate",
            "intake",
            "manage_check",
            "metrics",
            "outcome",
            "outgoing",
            "policy",
            "presence",
            "progress",
            "refusals",
        ),
        *("resubmission", "shares", "stats", "traces", "trigger_spans", "validate", "verdict", "workflow"),
    ),
    "fetch": ("allowed", "answer", "source"),
    "host": ("repeats",),
    "httpapi": ("body", "coding", "events", "plan", "request", "timeouts"),
    "ledger": ("tally", "untold"),
    "links": ("reconnecting", "request"),
    "listener": (
        *("access", "broker", "changes", "codec", "codec3", "connection", "dialogue", "flows", "forms", "framing"),
        *("packets", "parcels", "passwords", "queue", "reasons", "retained", "sessions", "subscriptions"),
        *("tls_failures", "websocket"),
    ),
    "mqtt": (
        *("encoding", "handshake", "limits", "link_state", "mark", "negotiation", "publishing", "qos2", "reason_codes"),
        *("unacknowledged", "unsubscribing"),
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
        "mqtt5",
        "paho",
        "socks",
        "tomli",
        "yaml",
    ]
)
IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval", "breakpoint", "globals"})
CLOCK_METHODS = frozenset({"now", "utcnow", "today"})


def test_a_pure_module_imports_nothing_impure() -> None:
    for module in PURE:
        for use in module.imports:
            parts = use.name.split(".")
            impure = IMPURE & {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
            assert not impure, (
                f"{module.file}:{use.line}: imports {use.name}; a pure module takes values and returns data: "
                "let the caller read the clock, the disk or the chance and hand it in"
            )


def test_a_pure_module_calls_no_clock_and_no_file() -> None:
    for module in PURE:
        for node in module.nodes:
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            assert not (isinstance(called, ast.Name) and called.id in IMPURE_CALLS), (
                f"{module.file}:{node.lineno}: calls {ast.unparse(called)}; let the caller do it and hand the result in"
            )
            assert not (isinstance(called, ast.Attribute) and called.attr in CLOCK_METHODS), (
                f"{module.file}:{node.lineno}: calls {ast.unparse(called)}; take the time as an argument"
            )


def test_a_pure_module_never_waits() -> None:
    """Protocols may declare coroutines, for the layers above; nothing here may await one."""
    for module in PURE:
        for node in module.nodes:
            assert not isinstance(node, (ast.Await, ast.AsyncFor, ast.AsyncWith)), (
                f"{module.file}:{getattr(node, 'lineno', 0)}: waits; a pure module returns what to do instead"
            )


def test_every_module_that_is_said_to_be_pure_exists() -> None:
    found = {(module.path.parent.name, module.path.stem) for module in PURE}
    named = {(package, name) for package, names in BESIDE_THEIR_DRIVERS.items() for name in names}
    assert named <= found
