"""What only the Unix socket offers: the calls of the machine's operator."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, TypeVar

import msgspec

from edgeagent.errors import MessageError
from edgeagent.events.misfit import json_reason
from edgeagent.httpapi.plan import Plan, parameters_of
from edgeagent.httpapi.problem import Answer, Refused, json_answer
from edgeagent.httpapi.request import Request
from edgeagent.ports.operator import OperatorPort
from edgeagent.ports.transfer import ExportedTrigger

# Many correlation ids, or ranges of seqs; and a part of an export file, of which one line may be as large as an event.
_MAX_LIST_BYTES = 1 << 20
_MAX_IMPORT_BYTES = 16 << 20
_MAX_PAGE = 1000
_MAX_SEQ_DIGITS = 19
_DEAD = "/v1/dead/"
_LOGS = frozenset({"normal", "high", "windows", "parked", "dead"})
_EVENT_LOGS = frozenset({"normal", "high"})
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)

_Seq = Annotated[int, msgspec.Meta(ge=1, le=(1 << 63) - 1)]


class _Named(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/dead/replay` and `/v1/dead/discard`."""

    correlation_ids: list[str]


class _Exported(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/outbox/exported`: for each log ranges of seqs, ends excluded."""

    ranges: dict[str, list[tuple[_Seq, _Seq]]]


T = TypeVar("T")


def operator_plans(operator: OperatorPort) -> tuple[dict[str, Mapping[str, Plan]], dict[str, Mapping[str, Plan]]]:
    """The calls by their whole path, and those by the beginning of it."""
    calls = _Calls(operator)
    exact: dict[str, Mapping[str, Plan]] = {
        "/v1/dead": {"GET": Plan(calls.list_dead)},
        "/v1/dead/replay": {"POST": Plan(calls.replay, _MAX_LIST_BYTES)},
        "/v1/dead/discard": {"POST": Plan(calls.discard, _MAX_LIST_BYTES)},
        "/v1/outbox/waiting": {"GET": Plan(calls.waiting)},
        "/v1/outbox/find": {"GET": Plan(calls.find)},
        "/v1/outbox/exported": {"POST": Plan(calls.exported, _MAX_LIST_BYTES)},
        "/v1/outbox/import": {"POST": Plan(calls.take_in, _MAX_IMPORT_BYTES, weigh=len)},
        "/v1/outbox/overview": {"GET": Plan(calls.overview)},
        "/v1/outbox/verify": {"GET": Plan(calls.verify)},
        "/v1/outbox/recorded": {"GET": Plan(calls.recorded)},
        "/v1/reload": {"POST": Plan(calls.reload)},
    }
    return exact, {_DEAD: {"GET": Plan(calls.get_dead)}}


class _Calls:
    """Each call by its name."""

    def __init__(self, operator: OperatorPort) -> None:
        self._operator = operator

    async def list_dead(self, _request: Request, _body: bytes) -> Answer:
        return json_answer({"dead": await self._operator.dead_letters()})

    async def get_dead(self, request: Request, _body: bytes) -> Answer:
        correlation_id = request.path.removeprefix(_DEAD)
        for letter in await self._operator.dead_letters():
            if letter.correlation_id == correlation_id:
                return json_answer(letter)
        raise Refused(404, f"{correlation_id}: no dead letter with this correlation id is kept")

    async def replay(self, _request: Request, body: bytes) -> Answer:
        wanted = _decoded(body, _Named, "replay", "correlation_ids", "a list of correlation ids").correlation_ids
        return json_answer({"replayed": await self._operator.replay(wanted)})

    async def discard(self, _request: Request, body: bytes) -> Answer:
        wanted = _decoded(body, _Named, "discard", "correlation_ids", "a list of correlation ids").correlation_ids
        return json_answer({"discarded": await self._operator.discard(wanted)})

    async def waiting(self, request: Request, _body: bytes) -> Answer:
        parameters = parameters_of(request, {"log", "from", "limit"})
        limit = _number(parameters, "limit", 100)
        if not 1 <= limit <= _MAX_PAGE:
            raise MessageError("query", "limit", f"must be 1 to {_MAX_PAGE}")
        return json_answer(await self._operator.waiting(_log_of(parameters), _number(parameters, "from", 0), limit))

    async def find(self, request: Request, _body: bytes) -> Answer:
        text = parameters_of(request, {"id"}).get("id")
        if not text:
            raise MessageError("query", "id", "is missing: a correlation id, the beginning of one, or an event's id")
        return json_answer({"found": await self._operator.find_waiting(text)})

    async def exported(self, _request: Request, body: bytes) -> Answer:
        ranges = _decoded(body, _Exported, "exported", "ranges", "ranges of seqs by log").ranges
        if not ranges.keys() <= _LOGS:
            raise MessageError("exported", "ranges", f"the logs are {', '.join(sorted(_LOGS))}")
        return json_answer({"released": await self._operator.release_exported(ranges)})

    async def take_in(self, request: Request, body: bytes) -> Answer:
        parameters = parameters_of(request, {"digest", "number"})
        digest, number = parameters.get("digest", ""), _number(parameters, "number", 0)
        if not _DIGEST.fullmatch(digest):
            raise MessageError("query", "digest", "must be the digest of the export file")
        if number < 1:
            raise MessageError("query", "number", "must be the number of the first trigger, from 1 on")
        triggers = [
            _decoded(line, ExportedTrigger, "import", f"line {index}", "a trigger")
            for index, line in enumerate(body.splitlines(), 1)
        ]
        return json_answer(await self._operator.take_in(digest, number, triggers))

    async def overview(self, _request: Request, _body: bytes) -> Answer:
        return json_answer(await self._operator.overview())

    async def verify(self, request: Request, _body: bytes) -> Answer:
        parameters = parameters_of(request, {"log", "from"})
        return json_answer(await self._operator.verify(_log_of(parameters), _number(parameters, "from", 0)))

    async def recorded(self, request: Request, _body: bytes) -> Answer:
        parameters = parameters_of(request, {"log", "from"})
        log = _log_of(parameters, _EVENT_LOGS)
        return json_answer(await self._operator.recorded(log, _number(parameters, "from", 0)))

    async def reload(self, _request: Request, _body: bytes) -> Answer:
        return json_answer(await self._operator.reload())


def _decoded(data: bytes, kind: type[T], what: str, member: str, wanted: str) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (ValueError, RecursionError) as exc:  # msgspec's errors are ValueErrors
        raise MessageError(what, member, f"must be {wanted}: {json_reason(exc)}") from exc


def _log_of(parameters: Mapping[str, str], known: frozenset[str] = _LOGS) -> str:
    log = parameters.get("log", "normal")
    if log not in known:
        raise MessageError("query", "log", f"must be one of {', '.join(sorted(known))}")
    return log


def _number(parameters: Mapping[str, str], name: str, default: int) -> int:
    text = parameters.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdecimal() or len(text) > _MAX_SEQ_DIGITS:
        raise MessageError("query", name, "must be a whole number")
    return int(text)
