"""The manifests in deploy/, as documents, as they are and with everything optional put into force."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
# A directory for kustomize, and files.
DISPATCHER, ARGO_EVENTS, ARGO_EVENTS_PUBSUB = "kubernetes", "argo-events.yaml", "argo-events-pubsub.yaml"
# What kustomize itself makes of the directory's example, because not every machine has kustomize.
_RENDERED = Path(__file__).parents[1] / "golden" / "kubernetes"
_SOURCES = "# Made by `python -m tests.fakes.manifests` from sources with this digest: "

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
    """The documents of a file, or those that kustomize makes of a directory, in order."""
    text = _rendered(optional=optional).read_text("utf-8") if name == DISPATCHER else text_of(name, optional=optional)
    return parsed(text)


def parsed(text: str) -> list[Document]:
    """The documents in a text."""
    return [document for document in yaml.load_all(text, Loader=_LOADER) if document]


def sources() -> list[str]:
    """The names of the files that kustomize takes."""
    return sorted(str(file.relative_to(DEPLOY)) for file in (DEPLOY / DISPATCHER).rglob("*") if file.is_file())


def is_stale(*, optional: bool) -> bool:
    """Whether the sources say something else than when they were given to kustomize; comments in YAML do not count."""
    return not _rendered(optional=optional).read_text("utf-8").startswith(f"{_SOURCES}{_digest(optional=optional)}\n")


def render(*, optional: bool) -> None:
    """Give the sources to kustomize, which kubectl brings, and keep what it makes of them."""
    with tempfile.TemporaryDirectory() as work:
        for name in sources():
            file = Path(work, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text_of(name, optional=optional and name.endswith(".yaml")), "utf-8")
        command = ["kubectl", "kustomize", f"{work}/{DISPATCHER}/example"]
        made = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    _RENDERED.mkdir(exist_ok=True)
    _rendered(optional=optional).write_text(f"{_SOURCES}{_digest(optional=optional)}\n{made}", "utf-8")


def _rendered(*, optional: bool) -> Path:
    return _RENDERED / ("optional.yaml" if optional else "example.yaml")


def _digest(*, optional: bool) -> str:
    digest = hashlib.sha256()
    for name in sources():
        is_yaml = name.endswith(".yaml")
        text = text_of(name, optional=optional and is_yaml)
        digest.update(json.dumps([name, parsed(text) if is_yaml else text]).encode())
    return digest.hexdigest()


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


if __name__ == "__main__":
    for everything in (False, True):
        render(optional=everything)
