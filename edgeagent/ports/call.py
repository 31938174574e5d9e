"""A call of the operator's interface: its arguments, its result, and its form as an HTTP request.

The server decodes requests and the client encodes them from the same `Call`, so that they cannot differ.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

import msgspec

JSON = "application/json"
NDJSON = "application/x-ndjson"

A = TypeVar("A", bound=msgspec.Struct)
R = TypeVar("R", bound=msgspec.Struct)


class Call(msgspec.Struct, Generic[A, R], frozen=True):
    """One call. `A` is the Struct of its arguments, `R` that of its result.

    The members of `A` are sent as follows: a member that `path` names in braces is part of the path; those of a GET are
    query parameters; those of a POST form a JSON object, the body. `lines` names a list that is the body alone, one
    JSON value a line; the other members are then query parameters. The `description` in a member's `Meta` is the
    sentence for a caller who sent an invalid value.

    `on_tcp`: whether TCP offers it too. `for_page`: whether TCP does because the status page needs it. `changes`:
    whether it changes the outbox. `max_body_bytes`: the largest request body. `work_bytes`: about how much memory it
    holds beside the body, if that is more than an ordinary request does.
    """

    name: str
    method: Literal["GET", "POST"]
    path: str
    arguments: type[A]
    result: type[R]
    changes: bool = False
    max_body_bytes: int = 0
    lines: str = ""
    work_bytes: int = 0
    on_tcp: bool = False
    for_page: bool = False

    @property
    def prefix(self) -> str:
        """The part of the path before the argument in it."""
        return self.path.partition("{")[0]

    def in_path(self) -> msgspec.structs.FieldInfo | None:
        """The argument that ends the path, if any."""
        return next((field for field in msgspec.structs.fields(self.arguments) if self._is_in_path(field)), None)

    def in_query(self) -> list[msgspec.structs.FieldInfo]:
        """The arguments that are query parameters."""
        if self.method == "POST" and not self.lines:
            return []
        fields = msgspec.structs.fields(self.arguments)
        return [field for field in fields if field.name != self.lines and not self._is_in_path(field)]

    def in_body(self) -> list[msgspec.structs.FieldInfo]:
        """The arguments in the body: the list given by `lines`, or the members of a JSON object."""
        if self.method == "GET":
            return []
        return [field for field in msgspec.structs.fields(self.arguments) if self.lines in {"", field.name}]

    def _is_in_path(self, field: msgspec.structs.FieldInfo) -> bool:
        return f"{{{field.encode_name}}}" in self.path


class CallRequest(msgspec.Struct, frozen=True):
    """An encoded call. `target`: path and query. `body`: None if there is none."""

    target: str
    body: bytes | None
    media_type: str


def request_of(call: Call[A, Any], arguments: A) -> CallRequest:
    """Encode a call with these arguments."""
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
