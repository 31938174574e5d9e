"""What Kubernetes accepts as labels and annotations, for the gateway's check and for the dispatcher alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeGuard

from edgeagent.common.names import is_dns_subdomain
from edgeagent.workflows.names import Finding, is_label_value, quoted

MAX_ANNOTATIONS_BYTES = 256 << 10


def metadata_problems(metadata: dict[str, Any]) -> Iterator[Finding]:
    """Yield the mistakes in the labels and annotations of an object: key path below it, and reason.

    Args:
        metadata: decoded JSON about which nothing is known.
    """
    for table in ("labels", "annotations"):
        yield from _table_problems(metadata.get(table), f"metadata.{table}")
    labels, annotations = metadata.get("labels"), metadata.get("annotations")
    if _is_object(labels):
        for key, value in labels.items():
            if isinstance(value, str) and not can_label(value):
                yield f"metadata.labels[{quoted(key)}]", f"is {quoted(value)}, which no label can have"
    if _is_object(annotations):
        size_bytes = sum(len(key.encode()) + len(str(text).encode()) for key, text in annotations.items())
        if size_bytes > MAX_ANNOTATIONS_BYTES:
            yield "metadata.annotations", f"have {size_bytes} bytes, at most {MAX_ANNOTATIONS_BYTES} are allowed"


def can_label(text: str) -> bool:
    """Whether a label can have this value; it may be empty."""
    return not text or is_label_value(text)


def _table_problems(texts: object, path: str) -> Iterator[Finding]:
    if texts is None:
        return
    if not _is_object(texts):
        yield path, "must be an object of texts"
        return
    for key, text in texts.items():
        if not _is_key(key):
            yield path, f"has {quoted(key)}, which is not a valid key"
        if not isinstance(text, str):
            yield f"{path}[{quoted(key)}]", "must be a text"


def _is_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    return is_label_value(name) and (not slash or is_dns_subdomain(prefix))


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)
