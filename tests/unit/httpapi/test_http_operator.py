from __future__ import annotations

import json

import pytest

from edgeagent.errors import ConfigError, EdgeAgentError, OutboxFull, Problem
from edgeagent.httpapi.problem import Answer, problem_for
from edgeagent.httpapi.request import request_head
from edgeagent.httpapi.routes import Routes
from tests.fakes.device_port import CORRELATION_ID, FakeDevice, FakeOperator, dead_letter

DIGEST = "ab" * 32
LINE = (
    b'{"agent":"gw-1","source":"s","id":"1","rule":"r","type":"event","time":"2026-03-20T11:00:00Z","is_json":true,'
    b'"accepted_ms":1,"log":"normal","data":"1"}'
)
CALLS = (
    ("POST", "/v1/dead/discard"),
    ("GET", "/v1/outbox/waiting"),
    ("GET", "/v1/outbox/find"),
    ("POST", "/v1/outbox/exported"),
    ("POST", "/v1/outbox/import"),
    ("GET", "/v1/outbox/overview"),
    ("GET", "/v1/outbox/verify"),
    ("GET", "/v1/outbox/recorded"),
    ("POST", "/v1/reload"),
)


class Calls:
    """The calls of a Unix socket (or, without an operator, of TCP), without any socket."""

    def __init__(self, *, has_operator: bool = True) -> None:
        self.operator = FakeOperator()
        self._routes = Routes(FakeDevice(), self.operator if has_operator else None, None, max_event_bytes=1000)

    async def __call__(self, method: str, target: str, body: bytes = b"") -> Answer:
        """The answer to a request without headers."""
        request = request_head(method.encode(), target.encode(), [])
        try:
            return await self._routes.plan(request).answer(request, body)
        except EdgeAgentError as exc:
            return problem_for(exc)


@pytest.mark.parametrize(("method", "target"), CALLS)
async def test_devices_cannot_reach_what_is_the_operators(method: str, target: str) -> None:
    assert (await Calls(has_operator=False)(method, target)).status == 404


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
    assert call.operator.calls == [
        ("waiting", "high", 7, 3),
        ("waiting", "normal", 0, 100),
        ("find", "a+b c"),
        ("verify", "dead", 9),
        ("recorded", "high", 4),
        ("exported", {"high": [(1, 4)]}),
        ("import", DIGEST, 5, 2),
    ]


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
