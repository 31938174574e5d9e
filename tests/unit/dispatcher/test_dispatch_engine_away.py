"""What becomes of triggers while the engine is away, or does not let us in; and while a namespace is full."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest

from edgeagent.dispatcher import gate, starter
from edgeagent.dispatcher.engine import Order
from edgeagent.dispatcher.gate import GateState
from edgeagent.dispatcher.outcome import Created, Duplicate, NameTaken
from edgeagent.errors import EngineRefused, EngineUnavailable
from edgeagent.ports.link import Message
from tests.fakes.dispatching import DOWN, FakeEngine, Stage, trigger
from tests.waiting import turns, until

pytestmark = pytest.mark.virtual_time

AWAY = EngineUnavailable("https://argo.example", "503: no healthy upstream")
BUSY = EngineUnavailable("https://argo.example", "429: Too Many Requests", 7)
REFUSED = EngineRefused("https://argo.example", 401, "the token in /etc/argo.token was refused: token not valid")
ODD = EngineRefused("https://argo.example", 409, "an admission rule of a kind nobody knows")

Start = Callable[..., Awaitable[Stage]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits are short beside how long an order is held, and none is left to chance."""
    monkeypatch.setattr(starter, "_fraction", lambda: 1.0)
    monkeypatch.setattr(starter, "_RETRY_BASE_S", 0.002)
    monkeypatch.setattr(gate, "PROBE_BASE_S", 0.005)
    monkeypatch.setattr(gate, "PROBE_CAP_S", 0.005)


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts dispatchers, connected, with two workers."""
    running: list[asyncio.Task[None]] = []

    async def begin(hold_s: float = 0.3, max_active: int | dict[str, int] | None = None) -> Stage:
        stage = Stage(max_concurrent=3, hold_s=hold_s, max_active=max_active, watched=["plant", "mill"])
        running.append(asyncio.create_task(stage.dispatcher.run()))
        stage.connect()
        await turns()
        return stage

    yield begin
    for task in running:
        task.cancel()


def events(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.__dict__["event"]) for record in caplog.records if record.levelno >= logging.INFO]


def events_but_connection(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [told for told in events(caplog) if not told[1].startswith("broker_")]


async def test_an_engine_that_is_back_in_time_has_kept_nobody_waiting_for_long(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    stage = await start(hold_s=5.0)
    stage.engine.failures = [AWAY]
    stage.dispatcher.on_messages([trigger("a", 1)])
    await until(lambda: len(stage.engine.orders) == 3)
    assert stage.link.published == []
    assert stage.dispatcher.stats().gate is GateState.HOLDING
    stage.engine.failures = []
    await until(lambda: len(stage.link.published) == 1)
    assert stage.contents()[0]["code"] == 200
    assert [order.attempt for order in stage.engine.orders] == [1, *[0] * (len(stage.engine.orders) - 1)], (
        "an attempt without an answer may have started it"
    )
    assert stage.dispatcher.stats().gate is GateState.OPEN
    assert events_but_connection(caplog) == []


@pytest.mark.parametrize(("failure", "retry_after_s"), [(AWAY, 30), (BUSY, 7), (ODD, 30)])
async def test_what_was_held_long_enough_is_given_back_to_be_tried_later(
    start: Start, failure: EngineUnavailable, retry_after_s: float
) -> None:
    stage = await start(hold_s=0.3)
    stage.engine.failures = [failure]
    stage.dispatcher.on_messages([trigger("a", 1)])
    await until(lambda: len(stage.link.published) == 1)
    (content,) = stage.contents()
    assert (content["code"], content["retryable"], content["retry_after_s"]) == (503, True, retry_after_s)
    stage.answer(stage.link.published[0])
    assert stage.link.acknowledged == [1]
    assert len(stage.engine.orders) == 9, "waits of 2, 4, 8, … ms, each twice the one before, and what is left of 0.3 s"


@pytest.mark.parametrize(
    ("message", "waits_s"),
    [
        ("forbidden: RBAC: clusterrole not found", [5, 5]),  # an API server that has just started
        ("forbidden: exceeded quota: q, used: count/workflows=50", [300, 300]),
    ],
)
async def test_what_is_forbidden_a_moment_after_it_was_allowed_is_sent_again_soon(
    start: Start, message: str, waits_s: list[int]
) -> None:
    stage = await start()
    stage.dispatcher.on_messages([trigger("a", 1)])
    await until(lambda: len(stage.link.published) == 1)
    stage.engine.failures = [EngineRefused("https://argo.example", 403, message)]
    stage.dispatcher.on_messages([trigger("b", 2), trigger("c", 3)])
    await until(lambda: len(stage.link.published) == 3)
    answers = stage.contents()[1:]
    assert [answer["code"] for answer in answers] == [403, 403]
    assert [answer["retry_after_s"] for answer in answers] == waits_s


async def test_while_the_engine_is_gone_no_trigger_is_taken_until_a_probe_succeeds(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stage = await start()
    stage.engine.failures = [AWAY]
    stage.dispatcher.on_messages([trigger(name, number) for number, name in enumerate("abcd", 1)])
    await until(lambda: len(stage.link.published) == 2)
    await until(lambda: stage.engine.probes > 1)
    assert {order.name for order in stage.engine.orders} == {"a", "b"}, "the others stay with the broker"
    assert stage.dispatcher.stats().gate is GateState.CLOSED
    stage.engine.failures = []
    await until(lambda: len(stage.link.published) == 4)
    assert [content["code"] for content in stage.contents()] == [503, 503, 200, 200]
    assert events_but_connection(caplog) == [("WARNING", "engine_unavailable"), ("INFO", "engine_available")]


async def test_a_trigger_that_always_fails_does_not_stop_the_others() -> None:
    class Picky(FakeEngine):
        """Chokes on one workflow."""

        async def create(self, order: Order) -> Created | Duplicate | NameTaken:
            """See `Engine`."""
            await asyncio.sleep(0.001)
            if order.name == "poison":
                raise AWAY
            return await super().create(order)

    stage = Stage(Picky(), max_concurrent=3, hold_s=0.03)
    running = asyncio.create_task(stage.dispatcher.run())
    stage.connect(room=1000)
    stage.dispatcher.on_messages([trigger("poison", 1), *(trigger(f"w-{number}", number) for number in range(2, 60))])
    await until(lambda: len(stage.link.published) == 59)
    assert sorted(content["code"] for content in stage.contents()) == [*[200] * 58, 503]
    assert stage.engine.probes == 0
    running.cancel()


async def test_a_generated_name_is_not_tried_again_because_that_could_start_a_second_workflow(start: Start) -> None:
    stage = await start(hold_s=5.0)
    stage.engine.failures = [AWAY]
    workflow = {"metadata": {"generateName": "gen-"}, "spec": {"workflowTemplateRef": {"name": "inspect"}}}
    payload = msgspec.json.encode({"namespace": "plant", "workflow": workflow})
    stage.dispatcher.on_messages([Message("argo/workflows/trigger", payload, 1, 1)])
    await until(lambda: len(stage.link.published) == 1)
    assert len(stage.engine.orders) == 1
    assert stage.contents()[0]["code"] == 503


async def test_a_refused_token_answers_nobody_and_the_trigger_goes_on_when_the_token_is_right(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stage = await start()
    stage.engine.failures = [REFUSED]
    stage.dispatcher.on_messages([trigger(name, number) for number, name in enumerate("abc", 1)])
    await until(lambda: stage.engine.probes > 2)
    assert stage.link.published == []
    assert stage.dispatcher.stats().gate is GateState.UNAUTHORIZED
    assert stage.dispatcher.stats().waiting > 0
    stage.engine.failures = []
    await until(lambda: len(stage.link.published) == 3)
    assert stage.names() == ["a", "b", "c"], "in the order in which they came"
    assert events_but_connection(caplog) == [("ERROR", "engine_unauthorized"), ("INFO", "engine_available")]
    assert "/etc/argo.token" in caplog.text


async def test_a_held_trigger_whose_connection_has_ended_is_left_to_the_broker(start: Start) -> None:
    stage = await start(hold_s=5.0)
    stage.engine.failures = [AWAY]
    stage.dispatcher.on_messages([trigger("a", 1)])
    await until(lambda: len(stage.engine.orders) == 2)
    stage.dispatcher.on_down(DOWN)
    await until(lambda: stage.dispatcher._shares.taken == 0)
    tried = len(stage.engine.orders)
    stage.engine.failures = []
    link = stage.connect()
    stage.dispatcher.on_messages([trigger("a", 1, duplicate=True)])
    await until(lambda: len(link.published) == 1)
    assert len(stage.engine.orders) == tried + 1


@pytest.mark.parametrize("failure", [AWAY, REFUSED])
async def test_the_drain_waits_neither_for_an_engine_that_is_away_nor_for_a_token(
    start: Start, failure: EngineUnavailable | EngineRefused
) -> None:
    stage = await start(hold_s=5.0)
    stage.engine.failures = [failure]
    stage.dispatcher.on_messages([trigger("a", 1)])
    await until(lambda: len(stage.engine.orders) == 1)
    await asyncio.wait_for(stage.dispatcher.drain(), 2)
    assert stage.link.published == []
    assert stage.link.acknowledged == []


async def test_a_full_namespace_holds_its_own_triggers_and_no_others(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stage = await start(max_active=2)
    capacity = stage.dispatcher.capacity
    stage.dispatcher.on_messages([trigger(f"p-{number}", number) for number in range(5)])
    stage.dispatcher.on_messages([trigger(f"m-{number}", 5 + number, namespace="mill") for number in range(2)])
    await until(lambda: len(stage.link.published) == 4)
    await turns()
    assert sorted(stage.names()) == ["m-0", "m-1", "p-0", "p-1"]
    assert stage.dispatcher.stats().waiting == 3
    for finished, expected in (("p-1", "p-2"), ("p-0", "p-3"), ("p-3", "p-4")):
        capacity.finished("plant", finished)
        await until(lambda: stage.names()[-1] == expected)  # noqa: B023  waited for at once
    assert stage.dispatcher.stats().waiting == 0
    capacity.finished("plant", "p-2")
    capacity.finished("plant", "p-4")
    assert [told for told in events_but_connection(caplog) if told[1] != "trigger_answered"] == [
        ("WARNING", "namespace_full"),
        ("INFO", "namespace_relaxed"),
    ]


async def test_a_full_key_of_a_template_holds_its_own_triggers_and_those_received_first_go_first(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stage = await start(max_active={"plant/*": 2, "plant/inspect": 1})
    capacity = stage.dispatcher.capacity
    names = {"i-1": "inspect", "i-2": "inspect", "r-3": "report", "i-4": "inspect", "r-5": "report"}
    for number, (name, template) in enumerate(names.items()):
        stage.dispatcher.on_messages([trigger(name, number, template=template)])
    await until(lambda: len(stage.link.published) == 2)
    await turns()
    assert sorted(stage.names()) == ["i-1", "r-3"], "i-2 waits for plant/inspect, r-3 does not"
    stats = stage.dispatcher.stats()
    assert stats.waiting == 3
    assert [(use.key, use.active, use.most) for use in stats.limits] == [("plant/*", 2, 2), ("plant/inspect", 1, 1)]
    for finished, expected in (("i-1", "i-2"), ("i-2", "i-4"), ("r-3", "r-5")):
        capacity.finished("plant", finished)
        await until(lambda: stage.names()[-1] == expected)  # noqa: B023  waited for at once
    capacity.finished("plant", "i-4")
    capacity.finished("plant", "r-5")
    told = [(vars(record)["event"], vars(record)["limit"]) for record in caplog.records if "limit" in vars(record)]
    assert sorted(told) == [
        ("namespace_full", "plant/*"),
        ("namespace_full", "plant/inspect"),
        ("namespace_relaxed", "plant/*"),
        ("namespace_relaxed", "plant/inspect"),
    ]


async def test_triggers_that_wait_for_room_are_left_to_the_broker_at_the_end_of_a_connection_and_of_the_process(
    start: Start,
) -> None:
    stage = await start(max_active=1)
    stage.dispatcher.on_messages([trigger("a", 1), trigger("b", 2)])
    await until(lambda: stage.dispatcher.stats().waiting == 1)
    stage.dispatcher.on_down(DOWN)
    assert stage.dispatcher.stats().waiting == 0
    link = stage.connect()
    stage.dispatcher.on_messages([trigger("b", 1, duplicate=True)])
    await until(lambda: stage.dispatcher.stats().waiting == 1)
    await asyncio.wait_for(stage.dispatcher.drain(), 2)
    assert (link.published, link.acknowledged) == ([], [])


async def test_a_creation_that_came_to_nothing_makes_room_again(start: Start) -> None:
    stage = await start(hold_s=0.0, max_active=1)
    stage.engine.failures = [AWAY]
    stage.dispatcher.on_messages([trigger("a", 1)])
    await until(lambda: len(stage.link.published) == 1)
    stage.engine.failures = []
    stage.dispatcher.on_messages([trigger("b", 2)])
    await until(lambda: len(stage.link.published) == 2)
    assert stage.contents()[1]["code"] == 200
