"""The templates of a workflow, each in its scope: what they are, what they call and what they pass on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgeagent.core.workflow_arguments import argument_problems, input_problems, output_problems
from edgeagent.core.workflow_dag import ancestors, dag_problems, is_looped
from edgeagent.core.workflow_graph import Ancestors
from edgeagent.core.workflow_leaves import common_problems, kind_problems, leaf_problems, runs_a_pod, type_of
from edgeagent.core.workflow_names import Finding, as_list, as_object, as_text, has_tag, named, quoted, template_names
from edgeagent.core.workflow_types import texts
from edgeagent.core.workflow_variables import (
    Node,
    Outline,
    Scope,
    global_scope,
    input_scope,
    outline_of,
    variable_problems,
)


class Templates:
    """The templates that a workflow brings itself."""

    def __init__(self, workflow: dict[str, Any]) -> None:
        """Look at a workflow that has no `type_problems`."""
        spec = as_object(workflow.get("spec"))
        self._templates = [as_object(template) for template in as_list(spec.get("templates"))]
        self._defaults = as_object(spec.get("templateDefaults"))
        self._outlines = {
            as_text(template.get("name")): outline_of(template, type_of(template)) for template in self._templates
        }
        self.refers = any(call.get("templateRef") is not None for call in _calls_in(self._templates))
        self._globals = global_scope(workflow, self._templates, references=self.refers)
        # The exit handler runs last and may ask what failed; what the entrypoint calls too is looked at without that.
        self._at_exit = Scope(self._globals)
        if spec.get("onExit"):
            self._at_exit.names.add("workflow.failures")
        self._from_start = self._called_from(as_text(spec.get("entrypoint")))

    def __contains__(self, name: str) -> bool:
        return name in self._outlines

    def inputs_of(self, name: str) -> frozenset[str]:
        """The names of the parameters that a template takes."""
        outline = self._outlines.get(name)
        return outline.parameters if outline is not None else frozenset()

    def problems(self) -> Iterator[Finding]:
        """Everything wrong with the templates."""
        for index, template in enumerate(self._templates):
            early = as_text(template.get("name")) in self._from_start
            parent = self._globals if early else self._at_exit
            yield from self._problems(template, f"spec.templates[{index}]", parent)

    def supply_problems(self, name: str, arguments: Any, path: str) -> Iterator[Finding]:
        """Inputs of a template that these arguments do not give."""
        if (outline := self._outlines.get(name)) is not None:
            yield from self._supply_problems(outline, arguments, path)

    def _called_from(self, name: str) -> set[str]:
        by_name = {as_text(template.get("name")): template for template in self._templates}
        reached: set[str] = set()
        waiting = [name]
        while waiting:
            name = waiting.pop()
            if name in by_name and name not in reached:
                reached.add(name)
                waiting.extend(as_text(call.get("template")) for call in _calls_in([by_name[name]]))
        return reached

    def _problems(self, template: dict[str, Any], path: str, parent: Scope) -> Iterator[Finding]:
        kind = type_of(template)
        yield from kind_problems(template, self._defaults, path)
        yield from common_problems(template, kind, path)
        yield from input_problems(template, kind, path)
        scope = input_scope(outline_of(template, kind), template, parent)
        if kind == "steps":
            yield from self._steps_problems(template, path, scope)
        elif kind == "dag":
            yield from self._dag_problems(template, path, scope)
        elif kind:
            yield from leaf_problems(template, kind, self._defaults, path)
            if runs_a_pod(kind):
                scope.names.add("pod.name")
            yield from variable_problems(texts(template, "Template", path), scope)
        if kind in {"steps", "dag"}:
            yield from variable_problems(texts(template.get("outputs"), "Outputs", f"{path}.outputs"), scope)
        yield from output_problems(template, kind, path)

    def _steps_problems(self, template: dict[str, Any], path: str, scope: Scope) -> Iterator[Finding]:
        steps = [
            (f"{path}.steps[{group}][{place}]", as_object(step))
            for group, steps in enumerate(as_list(template.get("steps")))
            for place, step in enumerate(as_list(steps))
        ]
        yield from template_names(((f"{here}.name", as_text(step.get("name"))) for here, step in steps), filled=True)
        begun: set[str] = set()
        scope.with_status = begun.__contains__
        for here, step in steps:
            node = f"steps.{as_text(step.get('name'))}"
            begun.add(node)
            if _has_exit_hook(step):
                scope.nodes[node] = Node(self._callee(step), looped=False)
            yield from _item_problems(step, here, scope)
            yield from self._call_problems(step, "Step", here, scope)
            scope.nodes[node] = Node(self._callee(step), is_looped(step))

    def _dag_problems(self, template: dict[str, Any], path: str, scope: Scope) -> Iterator[Finding]:
        dag = as_object(template.get("dag"))
        yield from dag_problems(dag, f"{path}.dag")
        tasks = [as_object(task) for task in as_list(dag.get("tasks"))]
        order = ancestors(dag)
        hooked = {as_text(task.get("name")) for task in tasks if task.get("hooks") is not None}
        for task in tasks:
            scope.nodes[f"tasks.{as_text(task.get('name'))}"] = Node(self._callee(task), is_looped(task))
        for index, task in enumerate(tasks):
            here, own = f"{path}.dag.tasks[{index}]", Scope(scope)
            own.with_status = _Statuses(order, as_text(task.get("name")), hooked)
            yield from _item_problems(task, here, own)
            yield from self._call_problems(task, "Task", here, own)
            yield from _order_problems(task, scope, order, f"{here}.arguments")
        yield from variable_problems([(f"{path}.dag.target", as_text(dag.get("target")))], scope)
        scope.with_status = lambda node: node in scope.nodes

    def _call_problems(self, call: dict[str, Any], kind: str, path: str, scope: Scope) -> Iterator[Finding]:
        yield from self._reference_problems(call, path)
        arguments = call.get("arguments")
        yield from argument_problems(arguments, f"{path}.arguments", filled=True)
        yield from hook_problems(call.get("hooks"), f"{path}.hooks")
        if (outline := self._callee(call)) is not None:
            yield from self._supply_problems(outline, arguments, path)
        inline = call.get("inline")
        outside = {member: value for member, value in call.items() if member != "inline"}
        yield from variable_problems(texts(outside, kind, path), scope)
        if isinstance(inline, dict):
            yield from self._problems(inline, f"{path}.inline", scope)

    def _reference_problems(self, call: dict[str, Any], path: str) -> Iterator[Finding]:
        name, reference = as_text(call.get("template")), call.get("templateRef")
        if isinstance(reference, dict):
            if name:
                yield path, "has both template and templateRef: keep one"
            for member in ("name", "template"):
                if not reference.get(member):
                    yield f"{path}.templateRef.{member}", "is required"
        elif not name:
            if call.get("inline") is None:
                yield path, "needs template, templateRef or inline: what is to run?"
        elif not has_tag(name) and name not in self._outlines:
            yield f"{path}.template", f"{quoted(name)} is not among spec.templates"

    def _callee(self, call: dict[str, Any]) -> Outline | None:
        """What a step or task calls, None when it cannot be known here."""
        if isinstance(inline := call.get("inline"), dict):
            return outline_of(inline, type_of(inline))
        if call.get("templateRef") is not None:
            return None
        return self._outlines.get(as_text(call.get("template")))

    def _supply_problems(self, outline: Outline, arguments: Any, path: str) -> Iterator[Finding]:
        if self._defaults.get("inputs") is not None:
            return
        for member, required in (
            ("parameters", outline.required_parameters),
            ("artifacts", outline.required_artifacts),
        ):
            given = {name for _, name in named(as_list(as_object(arguments).get(member)), "")}
            missing = next((name for name in required if name not in given), None)
            if missing is not None:
                yield path, f"gives no value for {quoted(missing)} of inputs.{member} of the template that it calls"


class _Statuses:
    """The tasks whose status a task may ask for: those before it, and those with hooks, itself too."""

    def __init__(self, order: Ancestors, name: str, hooked: set[str]) -> None:
        self._order = order
        self._name = name
        self._hooked = hooked

    def __call__(self, node: str) -> bool:
        root, _, name = node.partition(".")
        return root == "tasks" and (name in self._hooked or self._order.has(self._name, name))


def hook_problems(hooks: Any, path: str) -> Iterator[Finding]:
    """Hooks other than the one at the end say when they run."""
    for name, hook in as_object(hooks).items():
        if name != "exit" and not as_object(hook).get("expression"):
            yield f"{path}[{quoted(name)}].expression", "is required: it says when the hook runs"


def _calls_in(templates: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every step and task of these templates and of those that stand inline in them."""
    waiting = list(templates)
    while waiting:
        template = waiting.pop()
        steps = [step for group in as_list(template.get("steps")) for step in as_list(group)]
        for item in (*steps, *as_list(as_object(template.get("dag")).get("tasks"))):
            call = as_object(item)
            yield call
            if isinstance(inline := call.get("inline"), dict):
                waiting.append(inline)


def _has_exit_hook(call: dict[str, Any]) -> bool:
    return bool(call.get("onExit")) or "exit" in as_object(call.get("hooks"))


def _item_problems(call: dict[str, Any], path: str, scope: Scope) -> Iterator[Finding]:
    """What is wrong with what a step or task loops over; its items come into scope."""
    sequence = call.get("withSequence")
    given = [member for member in ("withItems", "withParam") if call.get(member)]
    if sequence is not None:
        given.append("withSequence")
    if len(given) > 1:
        yield path, f"has more than one of {', '.join(given)}: keep one"
    if all(as_object(sequence).get(member) is not None for member in ("count", "end")):
        yield f"{path}.withSequence", "has both count and end: keep one"
    if call.get("withParam"):
        scope.any_item = True
    for item in as_list(call.get("withItems")):
        if isinstance(item, dict):
            scope.names.update(f"item.{name}" for name in item)
        elif isinstance(item, list):
            scope.names.update(f"item.[{place}]" for place in range(len(item)))


def _order_problems(task: dict[str, Any], scope: Scope, order: Ancestors, path: str) -> Iterator[Finding]:
    """Arguments from tasks that need not be finished when this one begins."""
    arguments = as_object(task.get("arguments"))
    for member, source in (("parameters", "value"), ("artifacts", "from")):
        for index, item in enumerate(as_list(arguments.get(member))):
            text = as_text(as_object(item).get(source))
            if not text.startswith("{{tasks."):
                continue
            other = text.split(".", 2)[1]
            if f"tasks.{other}" in scope.nodes and not order.has(as_text(task.get("name")), other):
                yield (
                    f"{path}.{member}[{index}].{source}",
                    f"is from {quoted(other)}, which the task does not wait for: add it to its dependencies",
                )
