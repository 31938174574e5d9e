"""What docs/style.md promises about the files, as far as a program can tell."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomli

from tests.architecture.source import ROOT, Module, modules

PACKAGE = modules("edgeagent")
EVERYTHING = modules("edgeagent", "tests", "benchmarks")
MAX_LINES = 400

# The places that may do what nobody else may.
CATCHES_ALL = {
    "edgeagent/host/supervisor.py",
    "edgeagent/listener/reading5.py",  # as the next one
    "edgeagent/mqtt/packets.py",  # the codec's panic is no Exception, and of a class that cannot be imported
}
SYNCS = {"edgeagent/outbox/files.py", "edgeagent/artifacts/directory.py"}
RENAMES = SYNCS | {"edgeagent/storage/database.py"}  # puts a damaged index aside; a lost rename is made again
# Each foreign library is known to one adapter: `link` and `session` know no packet.
ADAPTERS = {
    "aiomqtt": ("edgeagent/mqtt/v311", "edgeagent/mqtt/engines.py"),
    "paho": ("edgeagent/mqtt/v311",),
    "socks": ("edgeagent/mqtt/engines.py",),
    "mqtt5": (
        *("edgeagent/mqtt/v5.py", "edgeagent/mqtt/v5_reasons.py", "edgeagent/mqtt/packets.py"),
        *("edgeagent/listener/codec5.py", "edgeagent/listener/reading5.py"),
    ),
    "pamqp": ("edgeagent/amqp/",),
    "h11": ("edgeagent/httpapi/",),
    "wsproto": ("edgeagent/listener/websocket.py",),
    "httpx": (
        *("edgeagent/argo/", "edgeagent/artifacts/http.py", "edgeagent/fetch/web.py"),
        *("edgeagent/pubsub/", "edgeagent/tracing/collector.py", "edgeagent/webhooks/poster.py"),
    ),
    "obstore": ("edgeagent/artifacts/azure.py", "edgeagent/fetch/objects.py"),
    "sqlite3": ("edgeagent/ledger/", "edgeagent/storage/"),
    "tomli": ("edgeagent/config/",),
    "yaml": ("edgeagent/config/",),
}
PRINTS = {"edgeagent/cli/options.py"}
# Tests' loops that sleep because what they play takes its time.
PACED = {
    "tests/fakes/field.py",
    "tests/fakes/growth.py",
    "tests/fakes/hostile.py",
    "tests/fakes/storm.py",
    "tests/integration/test_artifacts_hostile.py",
    "tests/screenshots.py",
    "tests/system/test_hostile_peers.py",
    "tests/system/test_kill.py",
}
SYNC_CALLS = frozenset(
    {
        "os.fsync",
        "os.fdatasync",
        "os.sync",
        "os.rename",
        "os.renames",
        "os.replace",
        "os.posix_fallocate",
        "shutil.move",
    }
)
LOG_METHODS = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
LOGGERS = frozenset({"log", "logger", "_log", "_logger", "logging"})


def test_no_file_is_longer_than_can_be_read() -> None:
    for module in EVERYTHING:
        lines = len(module.text.splitlines())
        assert lines < MAX_LINES, f"{module.file} has {lines} lines; split it by what it is about (under {MAX_LINES})"


def polls(node: ast.AST) -> bool:
    """A loop that sleeps and looks again."""
    if not isinstance(node, ast.While):
        return False
    last = node.body[-1]
    return isinstance(last, ast.Expr) and isinstance(last.value, ast.Await) and "sleep(" in ast.unparse(last.value)


def test_tests_wait_by_the_helpers_for_it() -> None:
    for module in EVERYTHING:
        # Few have both words, and only those are parsed.
        loops = "while " in module.text and "sleep(" in module.text
        if loops and module.file.startswith("tests/") and module.file not in PACED:
            lines = [node.lineno for node in module.nodes if isinstance(node, ast.While) and polls(node)]
            assert not lines, f"{module.file}:{lines}: polls; tests/waiting.py waits with a deadline and a reason"


def test_no_two_public_classes_share_a_name() -> None:
    homes: dict[str, str] = {}
    for module in PACKAGE:
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                other = homes.setdefault(node.name, module.file)
                assert other == module.file, (
                    f"{module.file}:{node.lineno}: {node.name} is a class of {other} too; say in the name what it is"
                )


def test_no_class_docstring_sends_its_reader_to_the_module() -> None:
    for module in EVERYTHING:
        if "see the module" not in module.text.lower():
            continue  # as nearly everywhere, and only the others are parsed
        for node in module.nodes:
            words = (ast.get_docstring(node) or "") if isinstance(node, ast.ClassDef) else ""
            assert "see the module" not in words.lower(), (
                f"{module.file}:{getattr(node, 'lineno', 0)}: sends its reader to the module; "
                "say what the class owns, what it promises, and what it must never do"
            )


def catches_all(node: ast.AST) -> bool:
    """`except:`, `except Exception`, in a tuple too, and `suppress(Exception)`; but not what only cleans up."""
    broad = {"Exception", "BaseException"}
    if isinstance(node, ast.ExceptHandler):
        if isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None:
            return False
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        return any(kind is None or (isinstance(kind, ast.Name) and kind.id in broad) for kind in caught)
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
        return any(isinstance(kind, ast.Name) and kind.id in broad for kind in node.args)
    return False


def test_only_the_supervisor_catches_everything() -> None:
    for module in PACKAGE:
        for node in module.nodes:
            assert not catches_all(node) or module.file in CATCHES_ALL, (
                f"{module.file}:{getattr(node, 'lineno', 0)}: catches every error; name those that it can handle, "
                "the supervisor ends the process for the rest"
            )


def test_only_one_module_syncs_and_renames() -> None:
    for module in PACKAGE:
        for use in module.names():
            assert use.name not in SYNC_CALLS or module.file in SYNCS, (
                f"{module.file}:{use.line}: {use.name}; what must last goes through {' or '.join(SYNCS)}, "
                "where the crash tests can stand in for the disk"
            )


def test_only_named_modules_rename_through_pathlib() -> None:
    """`path.replace(other)` has one argument, `text.replace(old, new)` has two, a datetime's has only keywords."""
    for module in PACKAGE:
        for node in module.nodes:
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            path_like = len(node.args) == 1 and not node.keywords and not ast.unparse(node.func).startswith("msgspec.")
            renames = node.func.attr == "rename" or (node.func.attr == "replace" and path_like)
            assert not renames or module.file in RENAMES, (
                f"{module.file}:{node.lineno}: {ast.unparse(node)} renames a file; go through {' or '.join(SYNCS)}"
            )


def test_each_foreign_library_is_known_to_one_adapter() -> None:
    for module in PACKAGE:
        for use in module.imports:
            library = use.name.partition(".")[0]
            homes = ADAPTERS.get(library)
            assert homes is None or module.file.startswith(homes), (
                f"{module.file}:{use.line}: imports {library}, known only to {', '.join(homes)}; use what that offers"
            )


def test_every_log_call_has_a_stable_event_key() -> None:
    for module in PACKAGE:
        for node in module.nodes:
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr not in LOG_METHODS or ast.unparse(node.func.value) not in LOGGERS:
                continue
            extra = next((keyword.value for keyword in node.keywords if keyword.arg == "extra"), None)
            known = isinstance(extra, ast.Dict) and "event" in {ast.literal_eval(key) for key in extra.keys if key}
            assert known or isinstance(extra, (ast.Name, ast.Call)), (
                f"{module.file}:{node.lineno}: logs without an event key; add extra={{'event': 'what_happened'}}"
            )


@pytest.mark.parametrize("module", modules("edgeagent/cli"), ids=lambda module: module.file)
def test_commands_print_by_the_functions_that_show_foreign_text(module: Module) -> None:
    for node in module.nodes:
        prints = isinstance(node, ast.Call) and ast.unparse(node.func) in {"print", "sys.stdout.write"}
        assert not prints or module.file in PRINTS, (
            f"{module.file}:{getattr(node, 'lineno', 0)}: prints by itself; `say` and `say_json` of cli/options.py "
            "show whatever somebody else wrote so that it cannot steer the terminal"
        )


def project() -> dict[str, list[str]]:
    """The distributions that pyproject.toml declares: `""` for run time, else by extra, without `dev`."""
    declared = tomli.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    groups = {"": declared["dependencies"], **declared["optional-dependencies"]}
    del groups["dev"]
    return {name: [distribution(text) for text in texts] for name, texts in groups.items()}


def distribution(requirement: str) -> str:
    """`pyyaml` of `PyYAML>=6,<7`."""
    return re.split(r"[^-\w.]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def imported_distributions() -> dict[str, str]:
    """Which distributions the package imports, each with one place that does."""
    owners = importlib.metadata.packages_distributions()
    found: dict[str, str] = {}
    for module in PACKAGE:
        for use in module.imports:
            top = use.name.partition(".")[0]
            if top in sys.stdlib_module_names or top == "edgeagent":
                continue
            name = owners.get(top, [top])[0].lower().replace("_", "-")
            found.setdefault(name, f"{module.file}:{use.line}")
    return found


def test_every_library_that_is_imported_is_declared() -> None:
    declared = {name for names in project().values() for name in names}
    for name, place in imported_distributions().items():
        assert name in declared, f"{place}: imports {name}, which pyproject.toml does not declare; do without it"


def test_every_run_time_dependency_is_imported() -> None:
    unused = set(project()[""]) - imported_distributions().keys()
    assert not unused, f"pyproject.toml: nothing in edgeagent/ imports {', '.join(sorted(unused))}; take it out"


MACHINE = re.compile(
    r"/home/[a-z]|/Users/[a-z]|(?<![\w.}])/(?:root|work)/|/tmp/[a-z]+/"
    r"|pypi\.org|pythonhosted\.org|index-url|npmjs\.org|proxy\.golang\.org|artifactory\.|nexus\."
)
NOT_OURS = frozenset({".git", ".venv", "__pycache__", "dist", "build"})


def project_files() -> Iterator[Path]:
    """Every file of the project; what is installed or built is not even walked through, which takes seconds."""
    for directory, inner, names in os.walk(ROOT):
        inner[:] = [
            name for name in inner if name not in NOT_OURS and not name.endswith(("_cache", ".egg-info", ".hypothesis"))
        ]
        yield from (Path(directory, name) for name in names if name not in NOT_OURS)


def project_lines() -> Iterator[tuple[str, int, str]]:
    """Every line of every text of the project in which there is something to look at: file, number, text."""
    for path in sorted(project_files()):
        if not path.is_file():
            continue
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines() if MACHINE.search(text) else [], 1):
            yield path.relative_to(ROOT).as_posix(), number, line


def test_no_line_names_a_path_or_a_registry_of_somebodys_machine() -> None:
    here = Path(__file__).relative_to(ROOT).as_posix()
    found = [
        f"{file}:{number}: {line.strip()}"
        for file, number, line in project_lines()
        if MACHINE.search(line) and file != here
    ]
    assert not found, "name no machine's path and no package registry; take these out:\n" + "\n".join(found)
