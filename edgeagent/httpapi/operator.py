"""The operator's calls over HTTP, made from their table; TCP offers only those that it says, or that the page needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar, get_args

import msgspec

from edgeagent.errors import MessageError
from edgeagent.events.misfit import json_reason
from edgeagent.httpapi.plan import WORK_BYTES, Plan, parameters_of
from edgeagent.httpapi.problem import JSON, Answer, Refused, json_answer
from edgeagent.httpapi.request import Request, percent_decoded
from edgeagent.ports.call import A, Call
from edgeagent.ports.operator import CALLS, OperatorPort

# msgspec accepts more forms of a number than a query may have: "1.0", "1e3".
_WHOLE_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)

T = TypeVar("T")


def operator_plans(
    operator: OperatorPort, *, on_tcp: bool, page: bool
) -> tuple[dict[str, Mapping[str, Plan]], dict[str, Mapping[str, Plan]]]:
    """The plans by their whole path, and those by the beginning of it.

    `on_tcp`: only of the calls for that; with `page`, of those too that the status page needs. There a browser may be
    the caller, so a change must be sent as JSON: a page of another site cannot do that without asking first, and is
    refused then.
    """
    exact: dict[str, Mapping[str, Plan]] = {}
    below: dict[str, Mapping[str, Plan]] = {}
    for call in CALLS:
        if on_tcp and not (call.on_tcp or (page and call.for_page)):
            continue
        plan = Plan(
            _answerer(operator, call, needs_type=on_tcp and call.method == "POST"),
            call.max_body_bytes,
            work_bytes=call.work_bytes or WORK_BYTES,
            weigh=len if call.lines else None,
        )
        (exact if call.in_path() is None else below)[call.prefix] = {call.method: plan}
    return exact, below


def _answerer(
    operator: OperatorPort, call: Call[Any, Any], *, needs_type: bool
) -> Callable[[Request, bytes], Coroutine[Any, Any, Answer]]:
    async def answer(request: Request, body: bytes) -> Answer:
        media_type = request.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if needs_type and media_type != JSON:
            raise Refused(415, "Content-Type: must be application/json")
        return json_answer(await operator.perform(call, arguments_of(call, request, body)))

    return answer


def arguments_of(call: Call[A, Any], request: Request, body: bytes) -> A:
    """The arguments in a request; the inverse of `request_of`.

    Raises:
        MessageError: an argument is missing, out of bounds, or unknown; names it.
    """
    in_query = call.in_query()
    if call.method == "POST" and call.in_body() and not call.lines:
        return _body(call, body)
    values: dict[str, Any] = {}
    if (in_path := call.in_path()) is not None:
        text = percent_decoded(request.path.removeprefix(call.prefix), in_path.encode_name)
        values[in_path.name] = _parameter("path", in_path, text)
    if in_query:
        parameters = parameters_of(request, {field.encode_name for field in in_query})
        values |= {field.name: _parameter("query", field, parameters.get(field.encode_name)) for field in in_query}
    for field in call.in_body():
        values[field.name] = _lines(call, field, body)
    return call.arguments(**values)


def _body(call: Call[A, Any], body: bytes) -> A:
    try:
        return msgspec.json.decode(body, type=call.arguments)
    except (ValueError, RecursionError) as exc:  # msgspec's errors are ValueErrors
        members = call.in_body()
        at_fault = next((one for one in members if f"`$.{one.encode_name}" in str(exc)), members[0])
        raise MessageError(call.name, at_fault.encode_name, f"{_wanted(at_fault)}: {json_reason(exc)}") from exc


def _parameter(place: str, field: msgspec.structs.FieldInfo, text: str | None) -> Any:
    if text is None and not field.required:
        return field.default
    kind, *_ = get_args(field.type)
    if kind is int and text is not None and not _WHOLE_NUMBER.fullmatch(text):
        raise MessageError(place, field.encode_name, "must be a whole number")
    try:
        return msgspec.convert(text, field.type, strict=False)
    except msgspec.ValidationError as exc:
        raise MessageError(place, field.encode_name, _wanted(field)) from exc


def _lines(call: Call[A, Any], field: msgspec.structs.FieldInfo, body: bytes) -> list[Any]:
    sequence, *_ = get_args(field.type)
    [kind] = get_args(sequence)
    decoder = msgspec.json.Decoder(kind)
    found: list[Any] = []
    for number, line in enumerate(body.splitlines(), 1):
        try:
            found.append(decoder.decode(line))
        except (ValueError, RecursionError) as exc:
            raise MessageError(call.name, f"line {number}", f"{_wanted(field)}: {json_reason(exc)}") from exc
    return found


def _wanted(field: msgspec.structs.FieldInfo) -> str:
    """The sentence about a wrong value, made from the argument's description."""
    return next(meta.description or "" for meta in get_args(field.type) if isinstance(meta, msgspec.Meta))
