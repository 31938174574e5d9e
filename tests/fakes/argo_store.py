"""The workflows that a fake Argo Server knows, without any HTTP: versions, changes, pages, the archive.

A workflow is a dict of JSON that is replaced at a change and never changed itself, so that whoever holds one, a watch
or a test, holds the state of that moment.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from tests.fakes.argo_rules import (
    ALREADY_EXISTS,
    INTERNAL,
    NOT_FOUND,
    Fields,
    Json,
    Refusal,
    Selector,
    check_object,
    check_workflow,
    invalid,
    with_text_values,
)

LABEL_PHASE = "workflows.argoproj.io/phase"
LABEL_COMPLETED = "workflows.argoproj.io/completed"
LABEL_RESUBMITTED = "workflows.argoproj.io/resubmitted-from-workflow"
_NOT_RESUBMITTED = frozenset({LABEL_PHASE, LABEL_COMPLETED, "workflows.argoproj.io/workflow-archiving-status"})
_LABEL_CREATOR = "workflows.argoproj.io/creator"
FINAL_PHASES = frozenset({"Succeeded", "Failed", "Error"})

OPERATIONS = frozenset({"stop", "terminate", "suspend", "resume", "retry"})
_SHUTDOWN = {"stop": "Stop", "terminate": "Terminate"}

MAX_OBJECT_BYTES = 3 << 19  # etcd's limit of a request
_KEPT_CHANGES = 20_000  # what a watch can go back; etcd is compacted too
_GENERATED = "bcdfghjklmnpqrstvwxz2456789"

Kind = Literal["ADDED", "MODIFIED", "DELETED"]


class Change(NamedTuple):
    """One change: the workflow after it and before it. A deleted one has no after, and its last state before."""

    version: int
    after: Json | None
    before: Json | None

    def seen_by(self, namespace: str, selector: Selector) -> tuple[Kind, Json] | None:
        """What a watch tells of it: one whose labels begin or cease to fit appears or goes, as in Kubernetes."""
        before = self.before if _fits(self.before, namespace, selector) else None
        if self.after is not None and _fits(self.after, namespace, selector):
            return "MODIFIED" if before else "ADDED", self.after
        # What goes is told with its last state, under the version of its going.
        return ("DELETED", _versioned(before, self.version)) if before else None


class ArgoStore:
    """Workflows by namespace and name, and what has changed.

    Args:
        now: tells the time; each time in a workflow is a call of it.

    Attributes:
        templates: (namespace, name) of the WorkflowTemplates that exist; those of the whole cluster as ("", name).
        archives: whether the server has an archive. One without never says by itself that a list goes on.
        listeners: called with each change, at once.
    """

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.templates: set[tuple[str, str]] = set()
        self.archives = False
        self.listeners: set[Callable[[Change], None]] = set()
        self.version = 100
        self._now = now
        self._live: dict[tuple[str, str], Json] = {}
        self._archived: dict[tuple[str, str], Json] = {}
        self._listed: dict[tuple[str, str], Json] = {}  # archived ones that lists have
        self._changes: deque[Change] = deque(maxlen=_KEPT_CHANGES)
        self._forgotten = self.version  # a watch cannot go back before this version
        self._uids = 0
        self._random = random.Random(0)  # noqa: S311  endings of names, the same in each run

    def create(self, namespace: str, request: Json, size_bytes: int = 0) -> Json:
        """Do what a create asks for.

        Args:
            namespace: the path's, which wins over the request's.
            request: a WorkflowCreateRequest, decoded.
            size_bytes: how large it came; more than etcd takes is refused as etcd does it.

        Raises:
            Refusal: in the order in which Argo and then Kubernetes look.
        """
        asked = request.get("workflow")
        if not isinstance(asked, dict):
            raise invalid("workflow body not specified")
        check_workflow(asked, lambda name, cluster: ("" if cluster else namespace, name) in self.templates)
        metadata = dict(asked.get("metadata") or {})
        metadata["namespace"] = metadata.get("namespace") or namespace
        spec = with_text_values(asked.get("spec") or {})
        if (request.get("createOptions") or {}).get("dryRun"):
            return whole({**asked, "metadata": metadata, "spec": spec})
        check_object(metadata, namespace)
        if size_bytes > MAX_OBJECT_BYTES:
            raise Refusal(500, INTERNAL, "etcdserver: request is too large")
        metadata["name"] = metadata.get("name") or self._generated(metadata["generateName"])
        if (namespace, metadata["name"]) in self._live:
            unable = ", the server was not able to generate a unique name for the object"
            message = f'workflows.argoproj.io "{metadata["name"]}" already exists'
            raise Refusal(409, ALREADY_EXISTS, message + (unable if metadata.get("generateName") else ""))
        if request.get("serverDryRun"):
            return whole({**asked, "metadata": metadata, "spec": spec})
        return self.put({"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": metadata, "spec": spec})

    def put(self, workflow: Json) -> Json:
        """Store a workflow as it is, with an identity, a time of creation and a version; `metadata.name` is needed."""
        self._uids += 1
        metadata = dict(workflow["metadata"])
        if labels := metadata.get("labels"):
            metadata["labels"] = {key: text for key, text in labels.items() if not key.startswith(_LABEL_CREATOR)}
        uid = f"{self._uids:08x}-0000-4000-8000-{self._uids:012x}"
        metadata = {"uid": uid, "creationTimestamp": self._time(), "generation": 1, **metadata}
        return self._store(whole({**workflow, "metadata": metadata}))

    def resubmit(self, namespace: str, name: str) -> Json:
        """What `argo resubmit` does: another workflow of the same specification, labels and annotations; returns it."""
        workflow = self.get(namespace, name)
        metadata = workflow["metadata"]
        kept = {key: text for key, text in (metadata.get("labels") or {}).items() if key not in _NOT_RESUBMITTED}
        base = metadata.get("generateName") or f"{name}-"
        copy: Json = {
            "name": self._generated(base),
            "generateName": base,
            "namespace": namespace,
            "labels": {**kept, LABEL_RESUBMITTED: name},
            "annotations": dict(metadata.get("annotations") or {}),
        }
        return self.put({**workflow, "metadata": copy, "status": None})

    def operate(self, namespace: str, name: str, operation: str, message: str = "") -> Json:
        """Do one of `OPERATIONS` to a live workflow, as Argo's server does; returns it as it is then.

        The controller acts on it later: a workflow that is being stopped is still running (`advance`).

        Raises:
            Refusal: there is none, or it is finished or not, and cannot be changed so.
        """
        workflow = self._live.get((namespace, name))
        if workflow is None:
            raise Refusal(404, NOT_FOUND, f'workflows.argoproj.io "{name}" not found')
        spec, status = dict(workflow["spec"]), dict(workflow["status"])
        phase = status.get("phase")
        if operation == "retry":
            if phase not in FINAL_PHASES - {"Succeeded"}:
                raise Refusal(500, INTERNAL, "workflow must be Failed/Error to retry")
            self._store({**workflow, "spec": spec})
            return self.advance(namespace, name, {"phase": "Running"})
        if phase in FINAL_PHASES:
            raise Refusal(500, INTERNAL, f"cannot shutdown a completed workflow: workflow: {name!r}")
        if operation in _SHUTDOWN:
            spec["shutdown"] = _SHUTDOWN[operation]
        elif operation == "suspend":
            spec["suspend"] = True
        else:
            spec.pop("suspend", None)
        if message:
            status["message"] = message
        return self._store({**workflow, "spec": spec, "status": status})

    def remove(self, namespace: str, name: str) -> Json:
        """What a request to delete does; returns the workflow's last state.

        Raises:
            Refusal: 404, no live workflow has this name.
        """
        if (namespace, name) not in self._live:
            raise Refusal(404, NOT_FOUND, f'workflows.argoproj.io "{name}" not found')
        return self.delete(namespace, name)

    def find(self, namespace: str, name: str) -> Json | None:
        """The workflow, live or archived."""
        key = namespace, name
        return self._live.get(key) or self._archived.get(key)

    def get(self, namespace: str, name: str) -> Json:
        """The workflow, live or archived.

        Raises:
            Refusal: 404, there is none.
        """
        found = self.find(namespace, name)
        if found is None:
            raise Refusal(404, NOT_FOUND, f'workflows.argoproj.io "{name}" not found')
        return found

    def all(self) -> list[Json]:
        """Every live workflow, in the order of creation."""
        return list(self._live.values())

    def page(self, namespace: str, selector: Selector, limit: int, offset: int, *, counted: bool = False) -> Json:
        """A WorkflowList, the newest first. The offset counts what there is now, so that pages shift under changes.

        `counted`: the list asks for the number of those that remain. Else only an archive is asked for more.
        """
        found = [
            workflow
            for (own, _), workflow in reversed((self._listed | self._live).items())
            if own == namespace and selector.selects(workflow)
        ]
        items = found[offset : offset + limit] if limit else found[offset:]
        metadata: Json = {"resourceVersion": str(self.version)}
        rest = len(found) - offset - len(items)
        if rest > 0 and (counted or self.archives):
            metadata["continue"] = str(offset + len(items))
        if counted:
            metadata["remainingItemCount"] = rest
        return {"metadata": metadata, "items": items or None}

    def since(self, resource_version: str) -> list[Change]:
        """With what a watch begins: what exists (`` and `0`), or the changes after a version.

        Raises:
            Refusal: the version is no number, or its changes are forgotten.
        """
        if resource_version in {"", "0"}:
            return [Change(self.version, workflow, None) for workflow in self._live.values()]
        if not resource_version.isdecimal():
            raise invalid(f'Invalid value: "{resource_version}": resourceVersion: strconv.ParseUint: invalid syntax')
        version = int(resource_version)
        if version < self._forgotten:
            raise self.too_old(version)
        return [change for change in self._changes if change.version > version]

    def too_old(self, version: int) -> Refusal:
        """The refusal of a watch from a forgotten version."""
        return invalid(f"too old resource version: {version} ({self.version})")

    def forget(self) -> None:
        """Every version up to now is too old. The next one is another, even if nothing changes."""
        self._changes.clear()
        self.version += 1
        self._forgotten = self.version

    def advance(self, namespace: str, name: str, status: Json) -> Json:
        """Change the status as the controller does; what is given stands, the rest follows from the phase."""
        workflow = self._live[namespace, name]
        before = workflow["status"]
        after = {**before, **status}
        metadata = workflow["metadata"]
        if "phase" in status:
            after = {**self._consequences(before, status["phase"]), **status}
            completed = "true" if status["phase"] in FINAL_PHASES else "false"
            labels = {**(metadata.get("labels") or {}), LABEL_PHASE: status["phase"], LABEL_COMPLETED: completed}
            metadata = {**metadata, "labels": labels}
        return self._store({**workflow, "metadata": metadata, "status": after})

    def _consequences(self, before: Json, phase: str) -> Json:
        """The status with this phase: times, the first progress, and a new run when a finished one goes on."""
        after = {"progress": "0/0", **before, "phase": phase}
        if before.get("phase") in FINAL_PHASES and phase not in FINAL_PHASES:
            after |= {"startedAt": None, "finishedAt": None}
            after.pop("message", None)
        if phase != "Pending" and after["startedAt"] is None:
            after["startedAt"] = self._time()
        if phase in FINAL_PHASES and after["finishedAt"] is None:
            after["finishedAt"] = self._time()
        return after

    def delete(self, namespace: str, name: str) -> Json:
        """The live workflow goes, as by a person or its ttl; returns its last state."""
        workflow = self._live.pop((namespace, name))
        self._changed(None, workflow)
        return workflow

    def archive(self, namespace: str, name: str, *, listed: bool) -> Json:
        """The live workflow goes, and stays to be found by `get`, if `listed` also by `page`; its last state."""
        workflow = self._archived[namespace, name] = self.delete(namespace, name)
        if listed:
            self._listed[namespace, name] = workflow
        return workflow

    def _store(self, workflow: Json) -> Json:
        metadata = workflow["metadata"]
        key = metadata["namespace"], metadata["name"]
        before = self._live.get(key)
        after = _versioned(workflow, self.version + 1)
        self._live[key] = after
        self._changed(after, before)
        return after

    def _changed(self, after: Json | None, before: Json | None) -> None:
        self.version += 1
        change = Change(self.version, after, before)
        if len(self._changes) == _KEPT_CHANGES:
            self._forgotten = self._changes[0].version
        self._changes.append(change)
        for listener in tuple(self.listeners):
            listener(change)

    def _time(self) -> str:
        return self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _generated(self, base: str) -> str:
        return base[:58] + "".join(self._random.choices(_GENERATED, k=5))


def whole(workflow: Json) -> Json:
    """The workflow as Go writes it: members that it never leaves out stand there, unset times as null."""
    return {
        **workflow,
        "metadata": {"creationTimestamp": None, **workflow.get("metadata", {})},
        "spec": {"arguments": {}, **workflow.get("spec", {})},
        "status": {"startedAt": None, "finishedAt": None, **(workflow.get("status") or {})},
    }


def cleaned(workflow: Json, fields: Fields) -> Json:
    """The workflow with the wanted fields only, and with what Go writes all the same."""
    return whole(fields.clean(workflow)) if fields else workflow


def cleaned_list(page: Json, fields: Fields) -> Json:
    """A WorkflowList with the wanted fields only: also its own `metadata` goes when it is not asked for."""
    if not fields:
        return page
    kept = fields.clean(page)
    items: list[Any] = kept.get("items") or []
    return {"metadata": kept.get("metadata", {}), "items": [whole(item) for item in items] or None}


def _fits(workflow: Json | None, namespace: str, selector: Selector) -> bool:
    return workflow is not None and workflow["metadata"]["namespace"] == namespace and selector.selects(workflow)


def _versioned(workflow: Json, version: int) -> Json:
    return {**workflow, "metadata": {**workflow["metadata"], "resourceVersion": str(version)}}
