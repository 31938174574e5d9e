"""Workflows for the tests of their check, built from small parts: each is one that Argo takes, unless changed."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def runs(name: str = "work", **members: Any) -> Json:
    """A template that runs a container."""
    return {"name": name, "container": {"image": "alpine:3"}, **members}


def takes(*names: str) -> Json:
    """Inputs: parameters of these names, which somebody must give."""
    return {"parameters": [{"name": name} for name in names]}


def gives(**values: Any) -> Json:
    """Arguments: parameters with these values."""
    return {"parameters": [{"name": name, "value": value} for name, value in values.items()]}


def writes(*names: str) -> Json:
    """Outputs: parameters of these names, each from a file."""
    return {"parameters": [{"name": name, "valueFrom": {"path": f"/tmp/{name}"}} for name in names]}  # noqa: S108


def step(name: str = "a", template: str = "work", **members: Any) -> Json:
    """A step or a task."""
    return {"name": name, "template": template, **members}


def one(template: Json, **spec: Any) -> Json:
    """A workflow of one template, where it begins."""
    return {"spec": {"entrypoint": template.get("name", ""), "templates": [template], **spec}}


def steps(*calls: Json, worker: Json | None = None, **members: Any) -> Json:
    """A workflow whose entrypoint takes these steps, one after the other; they may call `work`."""
    main = {"name": "main", "steps": [[call] for call in calls], **members}
    return {"spec": {"entrypoint": "main", "templates": [main, worker or runs()]}}


def dag(*tasks: Json, worker: Json | None = None, **members: Any) -> Json:
    """A workflow whose entrypoint has these tasks; they may call `work`. `members`: of the dag."""
    main = {"name": "main", "dag": {"tasks": list(tasks), **members}}
    return {"spec": {"entrypoint": "main", "templates": [main, worker or runs()]}}


def says(text: str, **members: Any) -> Json:
    """A template whose container has this argument."""
    return {"name": "work", "container": {"image": "alpine:3", "args": [text]}, **members}
