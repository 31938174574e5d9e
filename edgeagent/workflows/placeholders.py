"""Finds what Argo would replace in a workflow although it should be plain data: `{{…}}` in what a trigger brings.

Argo replaces it wherever it finds it, and more than once: in the value of a parameter it would be taken for the
workflow's own text, and the sender of the value would learn what the workflow can read. A placeholder that two values
form together, one ending in `{` and the next beginning with it, cannot be seen in either value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from edgeagent.wire.messages import OURS
from edgeagent.workflows.names import quoted

# `{{`, also where a reader of JSON within the text (`withParam`) would find it: one or both written as \\u007b.
_PLACEHOLDER = re.compile(r"\{\{|\\u007[bB]\{|(?:\{|\\u007[bB])\\+u007[bB]")


def is_placeholder(text: str) -> bool:
    """Whether Argo would replace something in this text."""
    return _PLACEHOLDER.search(text) is not None


def placeholders(workflow: dict[str, Any]) -> Iterator[str]:
    """The paths, ready to show, where Argo would replace something in a checked workflow's arguments or annotations."""
    for member, items in (workflow["spec"].get("arguments") or {}).items():
        for index, item in enumerate(items if isinstance(items, list) else [items]):
            if any(map(is_placeholder, _texts(item))):
                name = f" {quoted(item['name'])}" if isinstance(item, dict) and "name" in item else ""
                yield f"spec.arguments.{member[:100]}[{index}]{name}"
    for key, text in (workflow["metadata"].get("annotations") or {}).items():
        if key.startswith(OURS) and is_placeholder(text):
            yield f"metadata.annotations[{quoted(key)}]"


def _texts(value: object) -> Iterator[str]:
    """Every text in it, including names of members."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, list):
            waiting.extend(each)
        elif isinstance(each, dict):
            waiting.extend(each)
            waiting.extend(each.values())
