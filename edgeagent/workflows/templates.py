"""Checks the templates of a workflow, each in its scope: what they are, what they call and what they pass on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgeagent.workflows.arguments import argument_problems, input_problems, output_problems
from edgeagent.workflows.dag import ancestors, dag_problems, gathers
from edgeagent.workflows.fill import Given, Values, filled, value_text
from edgeagent.workflows.graph import Ancestors
from edgeagent.workflows.leaves import (
    common_problems,
    kind_problems,
    leaf_problems,
    retry_problems,
    runs_a_pod,
    type_of,
)
from edgeagent.workflows.names import (
    Finding,
    as_list,
    as_object,
    as_text,
    is_unknown,
    named,
    placeholder,
    quoted,
    template_names,
)
from edgeagent.workflows.types import texts
from edgeagent.workflows.variables import (
    Node,
    Outline,
    Scope,
    global_scope,
    input_scope,
    outline_of,
    variable_problems,
    variables_in,
)

_BY_CALLER = Given(None)
_OF_WORKFLOW = "workflow.outputs.parameters."
_OF_A_RETRY = ("retries", "lastRetry.exitCode", "lastRetry.status", "lastRetry.duration", "lastRetry.message")


class Templates:
    """The templates that a workflow defines, with what calls of them need to know; it owns both."""

    def __init__(self, workflow: dict[str, Any]) -> None:
        """Read the templates of a workflow without `type_problems`."""
        spec = as_object(workflow.get("spec"))
        self._templates = [as_object(template) for template in as_list(spec.get("templates"))]
        self._defaults = as_object(spec.get("templateDefaults"))
        self._outlines = {
            as_text(template.get("name")): outline_of(template, type_of(template)) for template in self._templates
        }
        self.refers = any(call.get("templateRef") is not None for call in _calls_in(self._templates))
        self._globals = global_scope(workflow, self._templates, references=self.refers)
        # The exit handler runs last and may use what failed; a template that the entrypoint also calls may not.
        self._at_exit = Scope(self._globals)
        if spec.get("onExit"):
            self._at_exit.names.add("workflow.failures")
        self._begin = as_text(spec.get("entrypoint"))
        self._from_start = self._called_from(self._begin)
        # Argo checks these two with the workflow's own arguments, and all others with a caller's.
        self._begins = {self._begin, as_text(spec.get("onExit"))} - {""}
        self._given = Given(as_object(spec.get("arguments")))
        self._known = dict(_known(self._globals, spec))

    def __contains__(self, name: str) -> bool:
        return name in self._outlines

    def inputs_of(self, name: str) -> frozenset[str]:
        """The names of the parameters that a template takes."""
        outline = self._outlines.get(name)
        return outline.parameters if outline is not None else frozenset()

    @property
    def outputs(self) -> list[str] | None:
        """The workflow's own output parameters, those with a `globalName`; None if they are not all known here."""
        if self.refers or self._globals.any_output:
            return None
        found = (name.removeprefix(_OF_WORKFLOW) for name in self._globals.names if name.startswith(_OF_WORKFLOW))
        return sorted(name for name in found if name)

    def problems(self) -> Iterator[Finding]:
        """Yield every mistake in the templates."""
        for index, template in enumerate(self._templates):
            early = as_text(template.get("name")) in self._from_start
            parent = self._globals if early else self._at_exit
            name = as_text(template.get("name"))
            begins = name in self._begins and (not early or name == self._begin)
            given = self._given if begins else _BY_CALLER
            yield from self._problems(template, f"spec.templates[{index}]", parent, given)

    def supply_problems(self, name: str, arguments: Any, path: str) -> Iterator[Finding]:
        """Yield the inputs of a template that these arguments lack."""
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

    def _problems(self, written: dict[str, Any], path: str, parent: Scope, given: Given) -> Iterator[Finding]:
        kind = type_of(written)
        yield from kind_problems(written, self._defaults, path)
        yield from retry_problems(written, path)
        yield from input_problems(written, kind, path)
        scope = input_scope(outline_of(written, kind), written, parent)
        template = filled(written, self._known_in(written, kind, parent), given)
        yield from common_problems(template, kind, path)
        if kind == "steps":
            yield from self._steps_problems(template, written, path, scope)
        elif kind == "dag":
            yield from self._dag_problems(template, written, path, scope)
        elif kind:
            yield from leaf_problems(template, kind, self._defaults, path)
            if runs_a_pod(kind):
                scope.names.add("pod.name")
            yield from variable_problems(texts(template, "Template", path), scope, texts(written, "Template", path))
        if kind in {"steps", "dag"}:
            here = f"{path}.outputs"
            before = texts(written.get("outputs"), "Outputs", here)
            yield from variable_problems(texts(template.get("outputs"), "Outputs", here), scope, before)
        yield from output_problems(template, kind, path)

    def _known_in(self, template: dict[str, Any], kind: str, parent: Scope) -> Values:
        """The variables that have a value in a template whatever calls it."""
        more = ["pod.name"] if runs_a_pod(kind) else []
        if template.get("retryStrategy") is not None:
            more += _OF_A_RETRY
        if "workflow.failures" in parent:
            more.append("workflow.failures")
        return {name: placeholder(name) for name in more}, self._known

    def _steps_problems(
        self, template: dict[str, Any], written: dict[str, Any], path: str, scope: Scope
    ) -> Iterator[Finding]:
        steps = list(_steps_of(template, f"{path}.steps"))
        before = dict(_steps_of(written, f"{path}.steps"))
        if not as_list(template.get("steps")):
            yield f"{path}.steps", "must have at least one step"
        yield from template_names((f"{here}.name", as_text(step.get("name"))) for here, step in steps)
        begun: set[str] = set()
        scope.with_status = begun.__contains__
        for here, step in steps:
            node = f"steps.{as_text(step.get('name'))}"
            begun.add(node)
            if _has_exit_hook(step):
                scope.nodes[node] = Node(self._callee(step), looped=False)
            yield from _item_problems(step, here, scope)
            yield from self._call_problems(step, before[here], "Step", here, scope)
            yield from hook_problems(step.get("hooks"), f"{here}.hooks")
            scope.nodes[node] = Node(self._callee(step), gathers(step))

    def _dag_problems(
        self, template: dict[str, Any], written: dict[str, Any], path: str, scope: Scope
    ) -> Iterator[Finding]:
        dag = as_object(template.get("dag"))
        before = [as_object(task) for task in as_list(as_object(written.get("dag")).get("tasks"))]
        yield from dag_problems(dag, f"{path}.dag")
        tasks = [as_object(task) for task in as_list(dag.get("tasks"))]
        order = ancestors(dag)
        hooked = {as_text(task.get("name")) for task in tasks if task.get("hooks") is not None}
        for task in tasks:
            scope.nodes[f"tasks.{as_text(task.get('name'))}"] = Node(self._callee(task), gathers(task))
        for index, task in enumerate(tasks):
            here, own = f"{path}.dag.tasks[{index}]", Scope(scope)
            own.with_status = _Statuses(order, as_text(task.get("name")), hooked)
            yield from _item_problems(task, here, own)
            yield from self._call_problems(task, before[index], "Task", here, own)
            yield from _order_problems(task, scope, order, here)
        yield from variable_problems([(f"{path}.dag.target", as_text(dag.get("target")))], scope)
        scope.with_status = lambda node: node in scope.nodes

    def _call_problems(
        self, call: dict[str, Any], written: dict[str, Any], kind: str, path: str, scope: Scope
    ) -> Iterator[Finding]:
        yield from self._reference_problems(call, path)
        arguments = call.get("arguments")
        yield from argument_problems(arguments, f"{path}.arguments")
        if (outline := self._callee(call)) is not None:
            yield from self._supply_problems(outline, arguments, path)
        inline = call.get("inline")
        before = texts(_without(written, "inline"), kind, path)
        yield from variable_problems(texts(_without(call, "inline"), kind, path), scope, before)
        if isinstance(inline, dict):
            yield from _inline_problems(inline, f"{path}.inline.inputs", scope)
            yield from self._problems(inline, f"{path}.inline", scope, _BY_CALLER)

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
        elif not is_unknown(name) and name not in self._outlines:
            yield f"{path}.template", f"{quoted(name)} is not among spec.templates"

    def _callee(self, call: dict[str, Any]) -> Outline | None:
        """What a step or task calls, None if that cannot be known here."""
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
    """The tasks whose status a task may use: those before it, and those with hooks, including itself."""

    def __init__(self, order: Ancestors, name: str, hooked: set[str]) -> None:
        self._order = order
        self._name = name
        self._hooked = hooked

    def __call__(self, node: str) -> bool:
        root, _, name = node.partition(".")
        return root == "tasks" and (name in self._hooked or self._order.has(self._name, name))


def hook_problems(hooks: Any, path: str) -> Iterator[Finding]:
    """Check that hooks, except the one at the end, say when they run."""
    for name, hook in as_object(hooks).items():
        if name != "exit" and not as_object(hook).get("expression"):
            yield f"{path}[{quoted(name)}].expression", "is required: it says when the hook runs"


def _known(scope: Scope, spec: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The variables of the whole workflow, with the values that Argo fills in."""
    for name in scope.names:
        yield name, placeholder(name)
    for parameter in map(as_object, as_list(as_object(spec.get("arguments")).get("parameters"))):
        if parameter.get("value") is not None:
            yield f"workflow.parameters.{as_text(parameter.get('name'))}", value_text(parameter["value"])


def _steps_of(template: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The steps of a template, each with its key path."""
    for group, steps in enumerate(as_list(template.get("steps"))):
        for place, step in enumerate(as_list(steps)):
            yield f"{path}[{group}][{place}]", as_object(step)


def _without(call: dict[str, Any], *members: str) -> dict[str, Any]:
    return {member: value for member, value in call.items() if member not in members}


def _inline_problems(inline: dict[str, Any], path: str, scope: Scope) -> Iterator[Finding]:
    """Yield mistakes in the variables of an inline template: Argo reads them as part of the step or task."""
    inputs, own = as_object(inline.get("inputs")), Scope(scope)
    parameters, artifacts = as_list(inputs.get("parameters")), as_list(inputs.get("artifacts"))
    own.names.update(f"inputs.parameters.{name}" for _, name in named(parameters, ""))
    values = [
        (f"{path}.parameters[{index}].value", as_object(item).get("value")) for index, item in enumerate(parameters)
    ]
    found = [
        *((here, value) for here, value in values if isinstance(value, str)),
        *texts(artifacts, "[Artifact]", f"{path}.artifacts"),
    ]
    yield from variable_problems(found, own)


def _calls_in(templates: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every step and task of these templates and of the inline templates in them."""
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
    """Yield the mistakes in what a step or task loops over; its items come into scope."""
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
    """Yield outputs that a task uses of tasks it does not wait for. Its hooks run later, and are not checked."""
    name = as_text(task.get("name"))
    for here, text in texts(_without(task, "inline", "hooks"), "Task", path):
        for variable in variables_in(text)[0] if "{{" in text else ():
            root, _, rest = variable.strip().partition(".")
            other, _, member = rest.partition(".")
            at_once = here.startswith(f"{path}.arguments.") and text.startswith("{{tasks.")
            taken = root == "tasks" and (member.startswith("outputs.") or at_once)
            if taken and f"tasks.{other}" in scope.nodes and not order.has(name, other):
                yield here, f"is from {quoted(other)}, which the task does not wait for: add it to its dependencies"
                break
