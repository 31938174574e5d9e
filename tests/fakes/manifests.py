"""The manifests in deploy/, as documents, as they are and with everything optional put into force."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
DISPATCHER, ARGO_EVENTS = "dispatcher.yaml", "argo-events.yaml"

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
