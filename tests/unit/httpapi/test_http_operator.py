from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from edgeagent.errors import ConfigError, EdgeAgentError, OutboxFull, Problem
from edgeagent.httpapi.access import Admission
from edgeagent.httpapi.budget import MAX_REQUEST_BYTES
from edgeagent.httpapi.problem import Answer, problem_for
from edgeagent.httpapi.request import request_head
from edgeagent.httpapi.routes import Routes
from edgeagent.httpapi.stream import WatchRoutes
from edgeagent.ports.call import Call, request_of
from edgeagent.ports.manage import ManageOrder, RequestQuery
from edgeagent.ports.operator import (
    CALLS,
    DataPart,
    DataPlace,
    DeadQuery,
    EventPlace,
    ExportedRanges,
    FindQuery,
    ImportPart,
    LogPlace,
    NamedTrigger,
    NamedTriggers,
    NoArguments,
    WaitingQuery,
)
from edgeagent.ports.report import ReportQuery
from edgeagent.ports.transfer import ExportedTrigger
from edgeagent.ports.where import WhereQuery
from tests.fakes.device_port import CORRELATION_ID, FakeDevice, FakeOperator, FakeWatch, dead_letter

DIGEST = "ab" * 32
LINE = (
    b'{"agent":"gw-1","source":"s","id":"1","rule":"r","type":"event","time":"2026-03-20T11:00:00Z","is_json":true,'
    b'"accepted_ms":1,"log":"normal","data":"1"}'
)
ARGUMENTS: dict[str, msgspec.Struct] = {
    "dead_letters": DeadQuery(7),
    "dead_names": NoArguments(),
    "dead_letter": NamedTrigger(CORRELATION_ID),
    "replay": NamedTriggers([CORRELATION_ID, "a/b"]),
    "discard": NamedTriggers([]),
    "waiting": WaitingQuery("parked", (1 << 63) - 1, 1000),
    "find": FindQuery("boiler 1/é&id=%2F"),
    "release_exported": ExportedRanges({"normal": [(1, 2), (5, 9)], "windows": []}),
    "take_in": ImportPart(DIGEST, 501, [msgspec.json.decode(LINE, type=ExportedTrigger)]),
    "overview": NoArguments(),
    "verify": LogPlace("dead", 7),
    "recorded": EventPlace("high", 7),
    "data": DataPlace("0a" * 32, 1 << 40),
    "take_data": DataPart("0a" * 32, 3, 5, b"\0\xff"),
    "reload": NoArguments(),
    "log_lines": NoArguments(),
    "report": ReportQuery("2026-11-01", "source"),
    "where": WhereQuery("boiler 1/é&id=%2F"),
    "manage": ManageOrder("stop", "boiler 1/é", message="too hot", ttl_s=5),
    "managed": RequestQuery("0198/é&x=%2F"),
    "requests": NoArguments(),
}


class Calls:
    """The calls of a Unix socket (or of TCP), without any socket."""

    def __init__(self, *, on_tcp: bool = False, page: bool = False) -> None:
        self.operator = FakeOperator()
        access, watch = Admission("localhost", None) if on_tcp else None, WatchRoutes(FakeWatch())
        self._routes = Routes(FakeDevice(), self.operator, access, watch, max_event_bytes=1000, page=page)

    async def __call__(self, method: str, target: str, body: bytes = b"") -> Answer:
        """The answer to a request without headers."""
        request = request_head(method.encode(), target.encode(), [(b"host", b"localhost")])
        try:
            return await self._routes.plan(request).answer(request, body)
        except EdgeAgentError as exc:
            return problem_for(exc)


async def test_dead_letters_are_discarded_by_their_ids() -> None:
    call = Calls()
    call.operator.dead = [dead_letter()]
    body = json.dumps({"correlation_ids": [CORRELATION_ID, "0" * 32]}).encode()
    assert json.loads((await call("POST", "/v1/dead/discard", body)).body) == {"discarded": [CORRELATION_ID]}
    assert call.operator.dead == []


async def test_parameters_reach_the_agent_as_they_are_meant() -> None:
    call = Calls()
    await call("GET", "/v1/outbox/waiting?log=high&from=7&limit=3")
    await call("GET", "/v1/outbox/waiting")
    await call("GET", "/v1/outbox/find?id=a%2Bb%20c")
    await call("GET", "/v1/outbox/verify?log=dead&from=9")
    await call("GET", "/v1/outbox/recorded?log=high&from=4")
    await call("POST", "/v1/outbox/exported", b'{"ranges":{"high":[[1,4]]}}')
    await call("POST", f"/v1/outbox/import?digest={DIGEST}&number=5", LINE + b"\n" + LINE)
    line = msgspec.json.decode(LINE, type=ExportedTrigger)
    assert call.operator.calls == [
        ("waiting", WaitingQuery("high", 7, 3)),
        ("waiting", WaitingQuery("normal", 0, 100)),
        ("find", FindQuery("a+b c")),
        ("verify", LogPlace("dead", 9)),
        ("recorded", EventPlace("high", 4)),
        ("release_exported", ExportedRanges({"high": [(1, 4)]})),
        ("take_in", ImportPart(DIGEST, 5, [line, line])),
    ]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
async def test_what_the_client_writes_the_server_reads(call: Call[Any, Any]) -> None:
    """Of every call: one that is added needs arguments here."""
    arguments = ARGUMENTS[call.name]
    calls = Calls()
    calls.operator.dead = [dead_letter()]
    made = request_of(call, arguments)
    answer = await calls(call.method, made.target, made.body or b"")
    assert calls.operator.calls == [(call.name, arguments)]
    assert answer.status == 200
    assert isinstance(msgspec.json.decode(answer.body, type=call.result), call.result)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
async def test_devices_cannot_reach_what_is_the_operators(call: Call[Any, Any]) -> None:
    made = request_of(call, ARGUMENTS[call.name])
    assert (await Calls(on_tcp=True)(call.method, made.target, made.body or b"")).status == (
        200 if call.on_tcp else 404
    )


def test_only_what_tells_a_device_no_more_than_its_lists_is_offered_on_tcp() -> None:
    assert [call.name for call in CALLS if call.on_tcp] == ["report", "where"]


async def test_refusals_are_told_in_the_words_of_the_table() -> None:
    for target, detail in (
        ("/v1/outbox/waiting?log=../x", "log: must be one of dead, high, limited, normal, parked, windows"),
        ("/v1/outbox/recorded?log=dead", "log: must be one of high, normal"),
        ("/v1/outbox/waiting?from=1.0", "from: must be a whole number"),
        ("/v1/outbox/waiting?limit=1e3", "limit: must be a whole number"),
        ("/v1/outbox/waiting?limit=1001", "limit: must be 1 to 1000"),
        ("/v1/outbox/waiting?rule=r", "rule: is not a parameter here: known are from, limit, log"),
        ("/v1/outbox/find", "id: is missing: a correlation id, the beginning of one, or an event's id"),
    ):
        answer = await Calls()("GET", target)
        assert (answer.status, json.loads(answer.body)["detail"]) == (400, detail)
    for target, body, detail in (
        (
            "/v1/dead/replay",
            b"[]",
            "correlation_ids: must be a list of correlation ids: must be an object, is an array",
        ),
        (
            "/v1/outbox/exported",
            b'{"ranges":{"x":[]}}',
            "ranges: the logs are dead, high, limited, normal, parked, windows",
        ),
        (
            f"/v1/outbox/import?digest={DIGEST}&number=0",
            LINE,
            "number: must be the number of the first trigger, from 1 on",
        ),
        (
            f"/v1/outbox/import?digest={DIGEST}&number=1",
            b"{",
            "line 1: must be a trigger: it ends before it is complete",
        ),
    ):
        answer = await Calls()("POST", target, body)
        assert (answer.status, json.loads(answer.body)["detail"]) == (400, detail)


async def test_a_dead_letter_that_is_not_kept_is_404_and_named() -> None:
    answer = await Calls()("GET", "/v1/dead/0190")
    assert (answer.status, json.loads(answer.body)["detail"]) == (
        404,
        "0190: no dead letter with this correlation id is kept",
    )


@pytest.mark.parametrize(
    ("method", "target", "body", "member"),
    [
        ("POST", "/v1/dead/discard", b"[]", "correlation_ids"),
        ("GET", "/v1/outbox/waiting?log=../x", b"", "log"),
        ("GET", "/v1/outbox/waiting?from=-1", b"", "from"),
        ("GET", "/v1/outbox/waiting?from=%D9%A1", b"", "from"),
        ("GET", "/v1/outbox/waiting?limit=1001", b"", "limit"),
        ("GET", "/v1/outbox/waiting?limit=0", b"", "limit"),
        ("GET", "/v1/outbox/find", b"", "id"),
        ("GET", "/v1/outbox/find?id=", b"", "id"),
        ("GET", "/v1/outbox/verify?log=import", b"", "log"),
        ("GET", "/v1/outbox/recorded?log=dead", b"", "log"),
        ("POST", "/v1/outbox/exported", b'{"ranges":{"other":[[1,2]]}}', "ranges"),
        ("POST", "/v1/outbox/exported", b'{"ranges":{"normal":[[0,2]]}}', "ranges"),
        ("POST", "/v1/outbox/exported", b'{"ranges":{"normal":[[1,99999999999999999999]]}}', "ranges"),
        ("POST", "/v1/outbox/import?number=1", LINE, "digest"),
        ("POST", f"/v1/outbox/import?digest={DIGEST}", LINE, "number"),
        ("POST", f"/v1/outbox/import?digest={DIGEST}&number=1", LINE + b"\n{}", "line 2"),
    ],
)
async def test_a_request_that_means_nothing_is_400_with_the_member(
    method: str, target: str, body: bytes, member: str
) -> None:
    answer = await Calls()(method, target, body)
    assert answer.status == 400
    assert json.loads(answer.body)["detail"].startswith(member)


async def test_an_import_that_finds_no_room_is_told_to_come_again() -> None:
    call = Calls()
    call.operator.failure = OutboxFull(10, 10)
    answer = await call("POST", f"/v1/outbox/import?digest={DIGEST}&number=1", LINE)
    assert (answer.status, answer.headers) == (503, ((b"retry-after", b"5"),))


async def test_a_configuration_that_is_refused_is_told_with_every_problem() -> None:
    call = Calls()
    call.operator.failure = ConfigError("c.toml", [Problem("rule[0].name", "x" * 600), Problem("", "second")])
    answer = await call("POST", "/v1/reload")
    assert answer.status == 422
    document = json.loads(answer.body)
    assert document["file"] == "c.toml"
    assert document["problems"] == [{"path": "rule[0].name", "reason": "x" * 600}, {"path": "", "reason": "second"}]


def test_the_memory_of_dead_letters_is_reserved() -> None:
    """Beside floods there is so much left for the Unix socket; a page is made of 1 MiB of data."""
    routes = Routes(FakeDevice(), FakeOperator(), None, WatchRoutes(FakeWatch()), max_event_bytes=1000)
    for target in (b"/v1/dead", b"/v1/dead/names", b"/v1/dead/0190"):
        plan = routes.plan(request_head(b"GET", target, []))
        assert 2 << 20 <= plan.work_bytes <= MAX_REQUEST_BYTES // 8
