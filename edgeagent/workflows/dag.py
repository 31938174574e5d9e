"""The tasks of a DAG: which wait for which, by `dependencies` or by the small language of `depends`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from edgeagent.workflows.graph import Ancestors, cycle_in
from edgeagent.workflows.names import (
    Finding,
    as_list,
    as_object,
    as_text,
    has_tag,
    is_unknown,
    named,
    quoted,
    template_names,
)

# A task in a `depends`, with the result that it asks for, if any.
_DEPENDENCY = re.compile(r"([a-zA-Z0-9][-a-zA-Z0-9]*)(?:\.([A-Z][a-zA-Z]+))?", re.ASCII)
_RESULTS = ("Succeeded", "Failed", "Errored", "Skipped", "Omitted", "Daemoned", "AnySucceeded", "AllFailed")
_RESULTS_OF_ITEMS = frozenset({"AnySucceeded", "AllFailed"})


def dag_problems(dag: dict[str, Any], path: str) -> Iterator[Finding]:
    """Yield the mistakes in how the tasks of a DAG wait for each other; what they call is checked elsewhere."""
    tasks = [as_object(task) for task in as_list(dag.get("tasks"))]
    if not tasks:
        yield f"{path}.tasks", "must have at least one task"
        return
    yield from template_names(named(tasks, f"{path}.tasks"))
    by_name = {as_text(task.get("name")): task for task in tasks}
    by_depends = any(task.get("depends") for task in tasks)
    for index, task in enumerate(tasks):
        yield from _waiting_problems(task, by_name, f"{path}.tasks[{index}]", by_depends=by_depends)
    if cycle := cycle_in(_before(tasks)):
        yield f"{path}.tasks", f"wait for each other in a circle: {quoted(cycle)} is in it"
    target = as_text(dag.get("target"))
    for name in target.split(" ") if target else ():
        if not is_unknown(target) and not has_tag(name) and name not in by_name:
            yield f"{path}.target", f"names {quoted(name)}, which is not a task here"


def ancestors(dag: dict[str, Any]) -> Ancestors:
    """The order of the tasks: which come before which."""
    tasks = [as_object(task) for task in as_list(dag.get("tasks"))]
    return Ancestors(_before(tasks), is_complete=not any(_is_open(task) for task in tasks))


def is_looped(call: dict[str, Any]) -> bool:
    """Whether a step or task runs once for each of several items."""
    return gathers(call) or call.get("withSequence") is not None


def gathers(call: dict[str, Any]) -> bool:
    """Whether the outputs of all its runs can be used together."""
    return bool(call.get("withItems") or call.get("withParam"))


def _waiting_problems(
    task: dict[str, Any], by_name: dict[str, dict[str, Any]], path: str, *, by_depends: bool
) -> Iterator[Finding]:
    dependencies = as_list(task.get("dependencies"))
    if by_depends and dependencies:
        yield f"{path}.dependencies", "cannot stand in a dag that uses depends: write it as depends"
    if by_depends and task.get("continueOn") is not None:
        yield f"{path}.continueOn", "cannot stand in a dag that uses depends: ask for TASK.Failed or TASK.Errored there"
    name = as_text(task.get("name"))
    if (by_depends or dependencies) and name[:1].isdecimal():
        yield f"{path}.name", f"must not begin with a digit where tasks wait for others, is {quoted(name)}"
    if _is_open(task):
        return
    here = f"{path}.{'depends' if task.get('depends') else 'dependencies'}"
    for earlier, result in _waits_for(task):
        if result and result not in _RESULTS:
            yield here, f"asks for {quoted(result)}: it can be {', '.join(_RESULTS)}"
        if earlier not in by_name:
            yield here, f"names {quoted(earlier)}, which is not a task here"
        elif result in _RESULTS_OF_ITEMS and not is_looped(by_name[earlier]):
            yield here, f"asks for {result} of {quoted(earlier)}, which has no items"


def _waits_for(task: dict[str, Any]) -> list[tuple[str, str]]:
    """The tasks that a task waits for, each with the result that it asks for, "" if none."""
    if depends := as_text(task.get("depends")):
        return _DEPENDENCY.findall(depends)
    return [(as_text(name), "") for name in as_list(task.get("dependencies"))]


def _is_open(task: dict[str, Any]) -> bool:
    """Whether only the engine, which fills in the variables, knows what this task waits for."""
    return any(map(is_unknown, [as_text(task.get("depends")), *map(as_text, as_list(task.get("dependencies")))]))


def _before(tasks: list[dict[str, Any]]) -> dict[str, list[str]]:
    return {as_text(task.get("name")): [earlier for earlier, _ in _waits_for(task)] for task in tasks}
