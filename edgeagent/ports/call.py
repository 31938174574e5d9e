"""A call of the operator's interface: what it takes, what it returns, and how it travels over HTTP.

The server reads requests, and the client writes them, by the same `Call`, so that neither has a form of its own.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, NamedTuple, TypeVar
from urllib.parse import quote

import msgspec

JSON = "application/json"
NDJSON = "application/x-ndjson"

A = TypeVar("A", bound=msgspec.Struct)
R = TypeVar("R", bound=msgspec.Struct)


class Call(NamedTuple, Generic[A, R]):
    """One call. `A` is the Struct of its arguments, `R` the one of its result.

    The members of `A` travel as follows: one that `path` names in braces stands there; those of a GET are parameters
    of the query; those of a POST are the members of a JSON object, its body. `lines` names the member, a list, that
    is the body of its own, one JSON value a line; then the others are parameters. In `A` the `description` of a
    member's `Meta` is the sentence that somebody reads who sent something else.

    `changes`: it changes the outbox. `max_body_bytes`: of a request.
    """

    name: str
    method: Literal["GET", "POST"]
    path: str
    arguments: type[A]
    result: type[R]
    changes: bool = False
    max_body_bytes: int = 0
    lines: str = ""

    @property
    def prefix(self) -> str:
        """The path as far as it is the same for all arguments."""
        return self.path.partition("{")[0]

    def in_path(self) -> msgspec.structs.FieldInfo | None:
        """The argument that is the end of the path."""
        return next((field for field in msgspec.structs.fields(self.arguments) if self._is_in_path(field)), None)

    def in_query(self) -> list[msgspec.structs.FieldInfo]:
        """The arguments that are parameters of the query."""
        if self.method == "POST" and not self.lines:
            return []
        fields = msgspec.structs.fields(self.arguments)
        return [field for field in fields if field.name != self.lines and not self._is_in_path(field)]

    def in_body(self) -> list[msgspec.structs.FieldInfo]:
        """The arguments that are the body: one whose lines they are, or the members of a JSON object."""
        if self.method == "GET":
            return []
        return [field for field in msgspec.structs.fields(self.arguments) if self.lines in {"", field.name}]

    def _is_in_path(self, field: msgspec.structs.FieldInfo) -> bool:
        return f"{{{field.encode_name}}}" in self.path


class CallRequest(NamedTuple):
    """A call on its way. `target`: path and query. `body`: None where there is none."""

    target: str
    body: bytes | None
    media_type: str


def request_of(call: Call[A, Any], arguments: A) -> CallRequest:
    """The request that brings these arguments."""
    target, in_path = call.path, call.in_path()
    if in_path is not None:
        target = call.prefix + quote(str(getattr(arguments, in_path.name)), safe="")
    parameters = [f"{one.encode_name}={quote(str(getattr(arguments, one.name)), safe='')}" for one in call.in_query()]
    if parameters:
        target += "?" + "&".join(parameters)
    if call.lines:
        lines = b"\n".join(msgspec.json.encode(line) for line in getattr(arguments, call.lines))
        return CallRequest(target, lines, NDJSON)
    return CallRequest(target, msgspec.json.encode(arguments) if call.in_body() else None, JSON)
