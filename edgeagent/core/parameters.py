"""Parameters: values of the event that become arguments of the workflow.

`arguments = { temp = "body.temp", site = { value = "north" } }`: a path into the envelope, or a constant. Values
are texts, as Argo's parameters are: a number as it is in plain decimal, an object as its JSON text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from edgeagent.core.paths import MISSING, Path, compile_path, lookup, text_of
from edgeagent.errors import MessageError

_PARAMETER_NAME = re.compile(r"[-a-zA-Z0-9_]+", re.ASCII)


class _Parameter(NamedTuple):
    name: str
    path: Path | None
    constant: str


class Parameters:
    """A rule's arguments, compiled."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        """Compile arguments that have no `argument_problems`."""
        self._parameters = [_compile(name, value) for name, value in arguments.items()]
        self.names = tuple(parameter.name for parameter in self._parameters)
        self.needs_envelope = any(parameter.path is not None for parameter in self._parameters)

    def values(self, envelope: Any) -> list[str]:
        """The values of `names` in an event's envelope.

        Raises:
            MessageError: the event has no value for a parameter; names the parameter.
        """
        return [_value(parameter, envelope) for parameter in self._parameters]


def argument_problems(arguments: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong in a rule's `arguments`: parameter name and reason."""
    for name, value in arguments.items():
        if not _PARAMETER_NAME.fullmatch(name):
            yield name, "a parameter's name has letters, digits, '-' and '_' only"
        try:
            _compile(name, value)
        except ValueError as exc:
            yield name, str(exc)


def _compile(name: str, value: Any) -> _Parameter:
    if isinstance(value, str):
        return _Parameter(name, compile_path(value), "")
    if isinstance(value, dict) and value.keys() == {"value"} and isinstance(value["value"], (str, int, float, bool)):
        return _Parameter(name, None, text_of(value["value"]))
    raise ValueError('must be a path such as "body.temp", or a constant such as { value = "north" }')


def _value(parameter: _Parameter, envelope: Any) -> str:
    if parameter.path is None:
        return parameter.constant
    value = lookup(parameter.path, envelope)
    if value is MISSING:
        raise MessageError("parameter", parameter.name, f"the event has no {'.'.join(parameter.path)}")
    return text_of(value)
