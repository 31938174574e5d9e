"""The manifests in deploy/, as documents, as they are and with everything optional put into force."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
DISPATCHER, ARGO_EVENTS, ARGO_EVENTS_PUBSUB = "dispatcher.yaml", "argo-events.yaml", "argo-events-pubsub.yaml"

# A comment that is a sentence has one blank behind its sign; YAML that is commented out none, or its indentation.
_OPTIONAL_LINE = re.compile(r"^( *)#((?:  )*[^\s#].*)$", re.MULTILINE)
# The same in C takes a tenth of the time.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Document = dict[str, Any]


def text_of(name: str, *, optional: bool = False) -> str:
    """The text of a file; with `optional`, everything that is commented out is in force."""
    text = (DEPLOY / name).read_text("utf-8")
    return _OPTIONAL_LINE.sub(r"\1\2", text) if optional else text


def documents(name: str, *, optional: bool = False) -> list[Document]:
    """The documents of a file, in order."""
    return [document for document in yaml.load_all(text_of(name, optional=optional), Loader=_LOADER) if document]


def the(kind: str, name: str, file: str, *, optional: bool = False) -> Document:
    """The one document of this kind and name."""
    (found,) = [
        document
        for document in documents(file, optional=optional)
        if (document["kind"], document["metadata"]["name"]) == (kind, name)
    ]
    return found


def as_messages(value: Any) -> Any:
    """A manifest in the form in which Argo Events' API document describes it.

    Three kinds of members are written as plain JSON but described as the messages that hold them: durations, amounts
    and whole resources.
    """
    if isinstance(value, list):
        return [as_messages(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    result: Document = {}
    for key, inner in value.items():
        if key in {"factor", "jitter", "resource"}:
            result[key] = {"value": base64.b64encode(json.dumps(inner).encode()).decode()}
        elif key == "duration":
            assert re.fullmatch(r"\d+(ms|s|m|h)", inner)
            result[key] = {"strVal": inner}
        else:
            result[key] = as_messages(inner)
    return result
