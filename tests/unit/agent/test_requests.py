"""What becomes of the agent's requests about workflows: kept, sent, sent again, answered, expired."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent.agent.request_door import RequestDoor
from edgeagent.agent.requests import MAX_CUT_REST_MS, MAX_ENDED, MAX_READS_ENDED, MAX_WAITING, RESEND_MS
from edgeagent.config.tables import Uplink
from edgeagent.errors import Denied, MessageError, NotFound, RequestsFull, StorageFailed
from edgeagent.outbox.files import Filesystem, OsFilesystem
from edgeagent.ports.link import UNHEARD, Ack, PublishRefused
from edgeagent.ports.manage import ManagedRequest, ManageOrder, RequestQuery
from edgeagent.ports.where import Course
from edgeagent.rules.ruleset import RuleSet
from edgeagent.rules.spec import RuleSpec
from edgeagent.wire.manage import ManageRequest, parse_manage_request
from tests.ending import end
from tests.fakes.faulty_filesystem import FaultyFilesystem
from tests.fakes.link import FakeLink
from tests.fakes.turned_clock import TurnedClock
from tests.waiting import turns, until

ID = "a" * 32
NAME = f"overheat-{ID}"
STOP = ManageOrder("stop", ID)
CUT = Denied("amqp://broker", "the broker says ACCESS_REFUSED (403)")


def course(workflow_id: str | None = NAME, namespace: str | None = "plant") -> Course:
    return Course(ID, "e-1", "boiler-1", "overheat", "running", workflow_id, namespace, [], None)


class Gateway:
    """The requests of gw-1 on a disk, with a connection that a test makes and cuts."""

    def __init__(self, directory: Path, filesystem: Filesystem | None = None, settle: Any = "engine") -> None:
        self.path = directory / "requests"
        self.clock = TurnedClock()
        rules = RuleSet([RuleSpec("overheat", "plant", template="inspect")])
        uplink = Uplink(settle=settle)
        self.door = RequestDoor("gw-1", uplink, rules, self.clock, filesystem or OsFilesystem(), directory)
        self.link = FakeLink()

    def up(self) -> FakeLink:
        """A new connection."""
        self.link = FakeLink()
        self.door.up(self.link)
        return self.link

    async def sent(self, count: int = 1) -> list[ManageRequest]:
        """Wait until so many were published on this connection."""
        await until(lambda: len(self.link.published) >= count, f"{count} publications")
        return [parse_manage_request(publication.payload) for publication in self.link.published]

    async def answer(self, request: ManageRequest, code: int, **members: Any) -> bool:
        """The dispatcher answers."""
        answer = {"request_id": request.request_id, "code": code, **members}
        return await self.door.answered(msgspec.json.encode(answer))

    def found(self, made: ManagedRequest) -> ManagedRequest:
        """What is known of a request now."""
        return self.door.find(RequestQuery(made.request_id))


@contextlib.asynccontextmanager
async def running(gateway: Gateway) -> AsyncIterator[Gateway]:
    task = asyncio.create_task(gateway.door.run())
    try:
        yield gateway
    finally:
        await end(task)


async def test_a_request_goes_on_the_agents_own_topic_and_its_answer_ends_it(tmp_path: Path) -> None:
    async with running(Gateway(tmp_path)) as gateway:
        gateway.up()
        made = await gateway.door.ask(ManageOrder("stop", ID, message="too hot"), course())
        [request] = await gateway.sent()
        [publication] = gateway.link.published
        assert publication.topic == "argo/workflows/manage/gw-1"
        assert publication.response_topic == request.reply_to == "argo/workflows/response/gw-1"
        assert publication.correlation_data == request.request_id.encode()
        assert publication.expiry_s == 3600
        assert (request.operation, request.namespace, request.workflow_id) == ("stop", "plant", NAME)
        assert (request.correlation_id, request.agent, request.message) == (ID, "gw-1", "too hot")
        assert await gateway.answer(request, 200, status="Workflow is stopped")
        ended = gateway.found(made)
        assert (ended.state, ended.why) == ("done", "Workflow is stopped")
        assert ended.answer is not None
        assert ended.answer["code"] == 200


async def test_what_waits_survives_a_crash_and_keeps_its_id(tmp_path: Path) -> None:
    before = Gateway(tmp_path)
    made = await before.door.ask(STOP, course())
    assert (made.state, made.why) == ("waiting", "the uplink is down: it is sent when it is up")
    async with running(Gateway(tmp_path)) as gateway:
        gateway.up()
        [request] = await gateway.sent()
        assert request.request_id == made.request_id
        await gateway.answer(request, 403, error="Not allowed", detail="another's", retryable=False)
    assert Gateway(tmp_path).path.exists()
    after = Gateway(tmp_path)
    async with running(after):
        await until(lambda: bool(after.door.newest().requests), "what was kept")
        kept = after.found(made)
        assert (kept.state, kept.why) == ("refused", "Not allowed: another's")


async def test_a_request_that_cannot_be_kept_is_not_made(tmp_path: Path) -> None:
    disk = FaultyFilesystem()
    disk.fail(errno.EIO, "replace")
    async with running(Gateway(tmp_path, disk)) as gateway:
        gateway.up()
        with pytest.raises(StorageFailed):
            await gateway.door.ask(STOP, course())
        assert gateway.door.newest().requests == []
        assert gateway.link.published == []


async def test_an_answer_that_cannot_be_kept_is_offered_again(tmp_path: Path) -> None:
    disk = FaultyFilesystem()
    async with running(Gateway(tmp_path, disk)) as gateway:
        gateway.up()
        made = await gateway.door.ask(STOP, course())
        [request] = await gateway.sent()
        disk.fail(errno.EIO, "replace")
        with pytest.raises(StorageFailed):
            await gateway.answer(request, 200)
        disk.heal()
        assert await gateway.answer(request, 200)
        assert gateway.found(made).state == "done"
    assert msgspec.json.decode(gateway.path.read_bytes())[0]["state"] == "done"


async def test_it_is_sent_again_on_each_connection_and_without_an_answer(tmp_path: Path) -> None:
    async with running(Gateway(tmp_path)) as gateway:
        gateway.up()
        made = await gateway.door.ask(STOP, course())
        [first] = await gateway.sent()
        gateway.door.down(CUT)
        gateway.up()
        [second] = await gateway.sent()
        gateway.clock.ms += RESEND_MS
        gateway.door.acknowledged([Ack(gateway.link.published[0].token)])
        third = (await gateway.sent(2))[1]
        assert first.request_id == second.request_id == third.request_id == made.request_id


async def test_one_that_the_connection_ends_over_again_and_again_leaves_the_uplink_its_peace(tmp_path: Path) -> None:
    async with running(Gateway(tmp_path)) as gateway:
        made = await gateway.door.ask(STOP, course())
        for rest_ms in (0, 0, RESEND_MS, 2 * RESEND_MS, 4 * RESEND_MS, MAX_CUT_REST_MS, MAX_CUT_REST_MS):
            gateway.clock.ms += max(rest_ms - 1, 0)
            gateway.up()
            if rest_ms:
                await turns()
                assert gateway.link.published == [], rest_ms
                gateway.clock.ms += 1
                gateway.up()
            await gateway.sent()
            gateway.door.down(CUT)
        assert "may this user publish on argo/workflows/manage/gw-1?" in gateway.found(made).why
        assert "ACCESS_REFUSED" in gateway.found(made).why


async def test_what_rests_goes_at_once_when_the_broker_takes_another_one(tmp_path: Path) -> None:
    async with running(Gateway(tmp_path)) as gateway:
        resting = await gateway.door.ask(STOP, course())
        for _ in range(2):
            gateway.up()
            await gateway.sent()
            gateway.door.down(CUT)
        gateway.up()
        other = await gateway.door.ask(STOP, course())
        [request] = await gateway.sent()
        assert request.request_id == other.request_id
        gateway.door.acknowledged([Ack(gateway.link.published[0].token)])
        assert (await gateway.sent(2))[1].request_id == resting.request_id


async def test_a_trigger_is_shown_with_the_requests_about_its_own_workflow_only(tmp_path: Path) -> None:
    async with running(Gateway(tmp_path)) as gateway:
        await gateway.door.ask(ManageOrder("list", "", namespace="plant"), None)
        await gateway.door.ask(ManageOrder("stop", "other-1", namespace="plant"), None)
        assert gateway.door.of_workflow(course(None)) == ()
        made = await gateway.door.ask(STOP, course(None))
        assert [each.request_id for each in gateway.door.of_workflow(course(None))] == [made.request_id]


async def test_that_nobody_subscribes_is_told(tmp_path: Path) -> None:
    async with running(Gateway(tmp_path)) as gateway:
        gateway.up()
        made = await gateway.door.ask(STOP, course())
        await gateway.sent()
        gateway.door.acknowledged([Ack(gateway.link.published[0].token, UNHEARD)])
        assert "nobody subscribes to argo/workflows/manage/gw-1" in gateway.found(made).why
        gateway.up()
        await gateway.sent()
        refused = PublishRefused(0x87, "not authorized")
        gateway.door.acknowledged([Ack(gateway.link.published[0].token, refused)])
        assert "not authorized" in gateway.found(made).why
        assert gateway.found(made).state == "waiting"


async def test_what_is_not_answered_in_time_expires_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = Gateway(tmp_path)
    made = await gateway.door.ask(ManageOrder("stop", ID, ttl_s=60), course())
    gateway.clock.ms += 60_000
    async with running(gateway):
        await until(lambda: gateway.found(made).state == "expired", "its end")
        gateway.up()
        await gateway.door.ask(STOP, course())
        [request] = await gateway.sent()
        assert request.request_id != made.request_id
    assert [record.levelname for record in caplog.records if record.__dict__.get("event") == "manage_expired"] == [
        "WARNING"
    ]


async def test_a_retryable_answer_is_asked_for_again_and_so_is_a_workflow_not_started_yet(tmp_path: Path) -> None:
    async with running(Gateway(tmp_path)) as gateway:
        gateway.up()
        made = await gateway.door.ask(STOP, course(workflow_id=None, namespace=None))
        [request] = await gateway.sent()
        assert (request.workflow_id, request.namespace) == ("", "plant")
        await gateway.answer(request, 404, error="Workflow not found", retryable=False)
        assert gateway.found(made).state == "waiting"
        gateway.clock.ms += 5_000
        await gateway.answer(request, 503, error="Engine is not available", retry_after_s=30)  # wakes it
        assert "503" in gateway.found(made).why
        gateway.clock.ms += 30_000
        gateway.door.acknowledged([Ack(gateway.link.published[-1].token)])
        await gateway.sent(2)
        await gateway.answer(request, 200)
        assert gateway.found(made).state == "done"


async def test_a_workflow_with_a_name_that_is_missing_is_missing(tmp_path: Path) -> None:
    async with running(Gateway(tmp_path)) as gateway:
        gateway.up()
        made = await gateway.door.ask(STOP, course())
        [request] = await gateway.sent()
        await gateway.answer(request, 404, error="Workflow not found", retryable=False)
        assert gateway.found(made).state == "refused"


async def test_reading_needs_no_disk_and_its_large_answers_are_forgotten(tmp_path: Path) -> None:
    async with running(Gateway(tmp_path)) as gateway:
        gateway.up()
        for _ in range(MAX_READS_ENDED + 2):
            await gateway.door.ask(ManageOrder("list", namespace="plant"), None)
        for request in await gateway.sent(MAX_READS_ENDED + 2):
            await gateway.answer(request, 200, workflows=[])
        assert len(gateway.door.newest().requests) == MAX_READS_ENDED
        assert not gateway.path.exists()


@pytest.mark.slow
async def test_requests_are_bounded(tmp_path: Path) -> None:
    async with running(Gateway(tmp_path)) as gateway:
        for _ in range(MAX_WAITING):
            await gateway.door.ask(STOP, course())
        with pytest.raises(RequestsFull):
            await gateway.door.ask(STOP, course())
        gateway.up()
        for request in await gateway.sent(MAX_WAITING):
            await gateway.answer(request, 200)
        for _ in range(5):
            await gateway.door.ask(STOP, course())
        for request in (await gateway.sent(MAX_WAITING + 5))[MAX_WAITING:]:
            await gateway.answer(request, 200)
        assert len(gateway.door.newest().requests) == MAX_ENDED


async def test_an_answer_to_no_request_changes_nothing(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    assert await gateway.door.answered(b'{"request_id": "stranger", "code": 200}')
    assert not await gateway.door.answered(b'{"request_id": 7}')
    assert not await gateway.door.answered(b'{"correlation_id": "c", "error": "see \\"request_id\\""}')
    assert gateway.door.newest().requests == []


async def test_an_answer_to_a_trigger_may_have_a_request_id_of_the_engines_own(tmp_path: Path) -> None:
    async with running(Gateway(tmp_path)) as gateway:
        gateway.up()
        made = await gateway.door.ask(STOP, course())
        await gateway.sent()
        trigger = b'{"request_id": "trace-7", "code": 200, "workflowId": "w", "correlation_id": "c0ffee"}'
        assert not await gateway.door.answered(trigger)
        assert not await gateway.door.answered(b'{"request_id": "trace-7", "code": 200}', b"c0ffee")
        forgotten = b'{"request_id": "forgotten", "code": 200}'
        assert await gateway.door.answered(forgotten, b"forgotten")
        assert await gateway.door.answered(forgotten, None)
        assert gateway.found(made).state == "waiting"


async def test_what_was_not_asked_for_is_not_kept(tmp_path: Path) -> None:
    nested: dict[str, Any] = {}
    for _ in range(900):
        nested = {"a": nested}
    status = {"namespace": "plant", "workflowId": NAME, "status": "Running"}
    async with running(Gateway(tmp_path)) as gateway:
        gateway.up()
        made = await gateway.door.ask(STOP, course())
        [request] = await gateway.sent()
        await gateway.answer(request, 200, object=nested, workflows=[status] * 100, workflow=status)
        answer = gateway.found(made).answer
        assert answer is not None
        assert (answer["workflow"], answer.keys() & {"object", "workflows"}) == (status, set())
        assert len(gateway.path.read_bytes()) < 2000
        read = await gateway.door.ask(ManageOrder("get", ID, whole=True), course())
        await gateway.answer((await gateway.sent(2))[1], 200, object=nested, workflow=status)
        answer = gateway.found(read).answer
        assert answer is not None
        assert "object" not in answer


async def test_a_late_second_answer_changes_nothing(tmp_path: Path) -> None:
    async with running(Gateway(tmp_path)) as gateway:
        gateway.up()
        made = await gateway.door.ask(STOP, course())
        [request] = await gateway.sent()
        await gateway.answer(request, 200)
        assert await gateway.answer(request, 403, error="Not allowed")
        assert gateway.found(made).state == "done"


async def test_where_has_the_requests_about_a_trigger(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    assert gateway.door.of_workflow(course()) == ()
    first = await gateway.door.ask(STOP, course())
    second = await gateway.door.ask(ManageOrder("delete", ID), course())
    await gateway.door.ask(ManageOrder("stop", "other", namespace="plant"), None)
    assert [each.request_id for each in gateway.door.of_workflow(course())] == [first.request_id, second.request_id]


async def test_what_names_nothing_is_refused(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    with pytest.raises(MessageError, match="namespace"):
        await gateway.door.ask(ManageOrder("list"), None)
    with pytest.raises(MessageError, match="id"):
        await gateway.door.ask(ManageOrder("stop", namespace="plant"), None)
    with pytest.raises(NotFound):
        gateway.door.find(RequestQuery("unknown"))


async def test_an_agent_that_hears_no_answers_asks_nothing(tmp_path: Path) -> None:
    with pytest.raises(MessageError, match="settle"):
        await Gateway(tmp_path, settle="broker").door.ask(STOP, course())


async def test_a_damaged_file_is_told_and_does_not_keep_the_agent_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "requests").write_bytes(b"\x00\x00")
    async with running(Gateway(tmp_path)) as gateway:
        await until(lambda: any(r.__dict__.get("event") == "manage_requests_lost" for r in caplog.records), "the error")
        await gateway.door.ask(STOP, course())
        assert len(gateway.door.newest().requests) == 1


async def test_requests_are_counted_by_operation_and_by_what_became_of_them(tmp_path: Path) -> None:
    async with running(Gateway(tmp_path)) as here:
        assert here.door.figures() is None, "most agents never make one"
        here.up()
        for _ in range(3):
            await here.door.ask(STOP, course())
        done, refused, _ = await here.sent(3)
        await here.answer(done, 200)
        await here.answer(refused, 403, error="Not allowed", retryable=False)
        figures = here.door.figures()
        assert figures is not None
        assert figures.counts == {("stop", "made"): 3, ("stop", "done"): 1, ("stop", "refused"): 1}
        assert figures.waiting == 1
