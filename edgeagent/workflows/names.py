"""What the parts of the workflow check share: reading unknown JSON, and the forms of names."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from typing import Any

# A finding: the key path below the workflow (`spec.templates[0].name`) and what is wrong there.
Finding = tuple[str, str]

TEMPLATE_TYPES = (
    "container", "containerSet", "steps", "script", "resource", "dag", "suspend", "data", "http", "plugin",
)  # fmt: skip
# Far more than any workflow has, and far less than Python's recursion limit.
MAX_DEPTH = 100
TOO_DEEP = f"is nested deeper than {MAX_DEPTH} levels"
MAX_TEMPLATE_NAME_CHARS = 128
MAX_LABEL_CHARS = 63

_LABEL_TEXT = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?", re.ASCII)
_TEMPLATE_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]*", re.ASCII)
_PARAMETER_NAME = re.compile(r"[-a-zA-Z0-9_]+", re.ASCII)
# Around a variable in a placeholder: two characters of the private use area, which no name has.
_BEGIN, _END = "\ue000", "\ue001"
_PLACEHOLDER = re.compile(f"{_BEGIN}[^{_END}]*{_END}")
_MAX_QUOTED_CHARS = 100  # about one line
_MAX_LISTED = 5


def is_too_deep(workflow: Any) -> bool:
    """Whether it is nested too deep for Python to walk it."""
    level = [workflow]
    for _ in range(MAX_DEPTH):
        deeper: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                deeper.extend(value.values())
            elif isinstance(value, list):
                deeper.extend(value)
        if not deeper:
            return False
        level = deeper
    return True


def as_object(value: Any) -> dict[str, Any]:
    """The object, or an empty one if the value is none."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """The list, or an empty one if the value is none."""
    return value if isinstance(value, list) else []


def as_text(value: Any) -> str:
    """The text, or an empty one if the value is none."""
    return value if isinstance(value, str) else ""


def has_tag(text: str) -> bool:
    """Whether the engine fills something into this text, or tries to."""
    return "{{" in text


def is_open(text: str) -> bool:
    """Whether it contains an expression (`{{=…}}`), whose value only the engine knows."""
    return "{{=" in text


def placeholder(variable: str) -> str:
    """The placeholder for a variable whose value only the engine will know."""
    return f"{_BEGIN}{variable}{_END}"


def is_unknown(text: str) -> bool:
    """Whether a part of it will be known only to the engine."""
    return _BEGIN in text or is_open(text)


def is_label_value(text: str) -> bool:
    """Whether Kubernetes accepts this text as the value of a label, and it is not empty."""
    return len(text) <= MAX_LABEL_CHARS and _LABEL_TEXT.fullmatch(text) is not None


def is_template_name(text: str) -> bool:
    """Whether templates, steps and tasks can have this name."""
    return len(text) <= MAX_TEMPLATE_NAME_CHARS and _TEMPLATE_NAME.fullmatch(text) is not None


def is_parameter_name(text: str) -> bool:
    """Whether parameters and artifacts can have this name."""
    return _PARAMETER_NAME.fullmatch(text) is not None


def quoted(value: object) -> str:
    """A value from outside, quoted for a person and cut to a length that fits a sentence."""
    if isinstance(value, str):
        value = value.replace(_BEGIN, "{{").replace(_END, "}}")[:80]
    text = repr(value)
    return text if len(text) <= _MAX_QUOTED_CHARS else f"{text[: _MAX_QUOTED_CHARS - 3]}..."


def listed(names: Collection[str]) -> str:
    """Names for a person: the first few."""
    shown = ", ".join(name[:80] for name in islice(names, _MAX_LISTED))
    return f"{shown}, and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else shown or "none"


def named(entries: list[Any], path: str) -> Iterator[tuple[str, str]]:
    """The names in a list of parameters, templates and the like, each with its key path."""
    for index, entry in enumerate(entries):
        yield f"{path}[{index}].name", as_text(as_object(entry).get("name"))


def parameter_names(names: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    """Yield the mistakes in names of parameters or artifacts, given with key paths, as by `named`."""
    return _name_problems(names, "letters, digits, '-' and '_'", is_parameter_name)


def template_names(names: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    """Yield the mistakes in names of templates, steps, tasks or containers; see `parameter_names`."""
    form = f"letters, digits and '-', at most {MAX_TEMPLATE_NAME_CHARS}"
    return _name_problems(names, form, is_template_name)


def _name_problems(names: Iterable[tuple[str, str]], form: str, fits: Callable[[str], bool]) -> Iterator[Finding]:
    seen: set[str] = set()
    for path, name in names:
        if not name:
            yield path, "is required"
        elif is_open(name):
            continue
        elif not fits(_PLACEHOLDER.sub("x", name)):
            yield path, f"must be {form}, is {quoted(name)}"
        elif name in seen:
            yield path, f"{quoted(name)} is the name of an earlier one: each needs its own"
        seen.add(name)
