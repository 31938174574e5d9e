from __future__ import annotations

import json

import msgspec
import pytest

from edgeagent.errors import (
    Draining,
    EdgeAgentError,
    EventConflict,
    MessageError,
    OutboxError,
    OutboxFull,
    RecordTooLarge,
    StorageFailed,
)
from edgeagent.httpapi.access import Admission
from edgeagent.httpapi.problem import Answer, problem_for
from edgeagent.httpapi.request import request_head
from edgeagent.httpapi.routes import Routes
from edgeagent.httpapi.stream import WatchRoutes
from edgeagent.ports.device import Place, TriggerQuery
from edgeagent.wire.messages import State
from tests.fakes.device_port import CORRELATION_ID, FakeDevice, FakeOperator, FakeWatch, dead_letter, report

pytestmark = pytest.mark.virtual_time

OTHER_ID = "0" * 32


class Calls:
    """The calls of a Unix socket (or of TCP), without any socket; called, it sends a request."""

    def __init__(self, *, on_tcp: bool = False, page: bool = False) -> None:
        self.device = FakeDevice()
        self.operator = FakeOperator()
        access, watch = Admission("localhost", None) if on_tcp else None, WatchRoutes(FakeWatch())
        self.routes = Routes(self.device, self.operator, access, watch, max_event_bytes=1000, page=page)

    async def __call__(self, method: str, target: str, body: bytes = b"") -> Answer:
        """The answer to a request without headers."""
        request = request_head(method.encode(), target.encode(), [(b"host", b"localhost")])
        try:
            return await self.routes.plan(request).answer(request, body)
        except EdgeAgentError as exc:
            return problem_for(exc)


async def test_no_call_is_found_by_accident() -> None:
    call = Calls(on_tcp=True)
    for target in ("/", "/v1", "/v1/event/s", "/healthz/", "//healthz", "/v1/dead", "/v1/dead/x", "*"):
        assert (await call("GET", target)).status == 404


@pytest.mark.parametrize(
    ("method", "target", "allow"),
    [
        ("GET", "/v1/events/s", b"POST, OPTIONS"),
        ("PUT", "/v1/events", b"POST, OPTIONS"),
        ("POST", "/v1/triggers", b"GET, HEAD, OPTIONS"),
        ("DELETE", f"/v1/triggers/{CORRELATION_ID}", b"GET, HEAD, OPTIONS"),
        ("CONNECT", "/healthz", b"GET, HEAD, OPTIONS"),
        ("GET", "/v1/dead/replay", b"POST, OPTIONS"),
    ],
)
async def test_a_method_that_a_call_does_not_take_is_405_with_those_it_takes(
    method: str, target: str, allow: bytes
) -> None:
    answer = await Calls()(method, target)
    assert (answer.status, answer.headers) == (405, ((b"allow", allow),))


@pytest.mark.parametrize(
    ("target", "source"),
    [
        ("/v1/events/boiler-1", "boiler-1"),
        ("/v1/events/plant/hall-2?ignored", "plant/hall-2"),
        ("/v1/events/a%2Fb//c/", "a/b//c/"),
        ("/v1/events/K%C3%A4lte", "Kälte"),
        ("http://gateway:8745/v1/events/absolute", "absolute"),
    ],
)
async def test_everything_after_the_prefix_is_the_source(target: str, source: str) -> None:
    call = Calls()
    assert (await call("POST", target, b"1")).status == 202
    assert [event.source for event in call.device.events] == [source]


@pytest.mark.parametrize(
    "target", ["/v1/events/", "/v1/events/%", "/v1/events/100%x", "/v1/events/%FF", "/v1/events/%20"]
)
async def test_a_path_that_holds_no_source_is_400(target: str) -> None:
    answer = await Calls()("POST", target, b"1")
    assert answer.status == 400
    assert json.loads(answer.body)["detail"].startswith("source: ")


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (MessageError("event", "data", "is not JSON"), 400, None),
        (EventConflict("boiler-1", "e-1"), 409, None),
        (RecordTooLarge(2000, 1000), 413, None),
        (OutboxFull(10, 10), 503, b"5"),
        (StorageFailed("sync", "x", "no space left"), 503, b"5"),
        (OutboxError("the first was refused"), 503, b"5"),
        (Draining(), 503, b"10"),
        (EdgeAgentError("unforeseen"), 500, None),
    ],
)
async def test_each_error_has_its_status_and_a_problem_document(
    error: EdgeAgentError, status: int, retry_after: bytes | None
) -> None:
    call = Calls()
    call.device.failure = error
    answer = await call("POST", "/v1/events/boiler-1", b"1")
    assert (answer.status, answer.media_type) == (status, b"application/problem+json")
    assert dict(answer.headers).get(b"retry-after") == retry_after
    document = json.loads(answer.body)
    assert document.keys() == {"title", "status", "detail"}
    assert document["status"] == status


async def test_an_empty_batch_never_reaches_the_agent() -> None:
    call = Calls()
    call.device.failure = Draining()
    answer = await call("POST", "/v1/events", b"[]")
    assert (answer.status, answer.body) == (202, b'{"accepted":[]}')


async def test_triggers_are_listed_as_asked() -> None:
    call = Calls()
    call.device.reports[CORRELATION_ID] = report()
    answer = await call("GET", "/v1/triggers?source=a%2Fb&rule=overheat&state=failed&limit=7")
    assert [member["correlation_id"] for member in json.loads(answer.body)["triggers"]] == [CORRELATION_ID]
    await call("GET", "/v1/triggers?source=&state=&limit=")
    assert call.device.queries == [TriggerQuery("a/b", "overheat", State.FAILED, 7), TriggerQuery()]


async def test_a_list_is_continued_where_an_earlier_answer_ended() -> None:
    call = Calls()
    call.device.reports = {str(number): report(f"{number:032}") for number in range(3)}
    first = json.loads((await call("GET", "/v1/triggers?limit=3")).body)
    assert first["next"] == f"0.{0:032}.e-1"
    await call("GET", f"/v1/triggers?limit=3&after={first['next']}")
    assert call.device.queries[-1].after == Place(0, "e-1", f"{0:032}")
    assert "next" not in json.loads((await call("GET", "/v1/triggers?limit=4")).body), "nothing more can come"


@pytest.mark.parametrize(
    ("target", "begin"),
    [
        ("/v1/triggers?after=1.x.e-1", "after: must be `next` of an earlier answer"),
        ("/v1/triggers?limit=0", "limit: must be 1 to 1000"),
        ("/v1/triggers?limit=1001", "limit: "),
        ("/v1/triggers?limit=%D9%A3", "limit: "),
        ("/v1/triggers?state=done", "state: must be one of buffered, "),
        ("/v1/triggers?sorce=a", "sorce: is not a parameter here: known are after, limit, rule, "),
        ("/v1/triggers?source=a&source=b", "a parameter comes twice"),
        ("/v1/triggers?source=%FF", "the query cannot be read"),
        ("/v1/triggers?" + "&".join("a=1" for _ in range(9)), "the query cannot be read"),
        (f"/v1/triggers/{CORRELATION_ID}?wait=301", "wait: must be 0 to 300"),
        (f"/v1/triggers/{CORRELATION_ID}?wait=-1", "wait: "),
        (f"/v1/triggers/{CORRELATION_ID}?wait=nan", "wait: "),
        (f"/v1/triggers/{CORRELATION_ID}?wait=1e2", "wait: "),
    ],
)
async def test_a_query_that_cannot_be_meant_is_400(target: str, begin: str) -> None:
    answer = await Calls()("GET", target)
    assert answer.status == 400
    assert json.loads(answer.body)["detail"].startswith(begin)


@pytest.mark.parametrize("correlation_id", [OTHER_ID, "x", "", "../stats", CORRELATION_ID.upper()])
async def test_a_trigger_that_is_not_known_is_404(correlation_id: str) -> None:
    call = Calls()
    call.device.reports[CORRELATION_ID] = report()
    assert (await call("GET", f"/v1/triggers/{CORRELATION_ID}")).status == 200
    assert (await call("GET", f"/v1/triggers/{correlation_id}")).status == 404


async def test_readiness_says_why_not() -> None:
    call = Calls()
    assert (await call("GET", "/readyz")).status == 200
    call.device.reason_not_ready = "the outbox is full"
    answer = await call("GET", "/readyz")
    assert (answer.status, json.loads(answer.body)["detail"]) == (503, "the outbox is full")
    assert (await call("GET", "/healthz")).status == 200


async def test_dead_letters_are_listed_shown_and_replayed() -> None:
    call = Calls()
    call.operator.dead = [dead_letter()]
    listed = json.loads((await call("GET", "/v1/dead")).body)["dead"]
    assert [letter["reason"] for letter in listed] == ["Invalid workflow definition"]
    assert json.loads((await call("GET", f"/v1/dead/{CORRELATION_ID}")).body) == listed[0]
    assert (await call("GET", f"/v1/dead/{OTHER_ID}")).status == 404
    body = json.dumps({"correlation_ids": [CORRELATION_ID, OTHER_ID]}).encode()
    assert json.loads((await call("POST", "/v1/dead/replay", body)).body) == {"replayed": [CORRELATION_ID]}


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"correlation_ids": "all"}', b'{"correlation_ids": ["\xff"]}'])
async def test_a_replay_of_nothing_named_is_400(body: bytes) -> None:
    answer = await Calls()("POST", "/v1/dead/replay", body)
    assert answer.status == 400
    assert json.loads(answer.body)["detail"].startswith("correlation_ids: ")


async def test_a_list_ends_at_its_bound_in_bytes_and_says_so() -> None:
    call = Calls()
    long = msgspec.structs.replace(report(), message="\x01" * 1024, error="\x01" * 1024)
    call.device.reports = {str(number): long for number in range(1000)}
    answer = await call("GET", "/v1/triggers?limit=1000")
    assert len(answer.body) <= (1 << 20) + 100
    listed = json.loads(answer.body)
    assert listed["truncated"] is True
    assert len(listed["triggers"]) == (1 << 20) // len(msgspec.json.encode(long))
    call.device.reports = {str(number): report() for number in range(1000)}
    listed = json.loads((await call("GET", "/v1/triggers?limit=1000")).body)
    assert len(listed["triggers"]) == 1000, "reports as they usually are fit"
    assert "truncated" not in listed


@pytest.mark.parametrize(
    ("target", "allow"),
    [
        ("/v1/events/s", b"POST, OPTIONS"),
        ("/v1/stats", b"GET, HEAD, OPTIONS"),
        ("*", b"GET, POST, HEAD, OPTIONS"),
    ],
)
async def test_options_tells_what_a_path_takes(target: str, allow: bytes) -> None:
    answer = await Calls()("OPTIONS", target)
    assert (answer.status, answer.body, answer.headers) == (204, b"", ((b"allow", allow),))


async def test_options_of_nothing_is_404() -> None:
    assert (await Calls()("OPTIONS", "/nowhere")).status == 404
