from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from edgeagent.dispatcher.dryrun import DryRun, Walks
from edgeagent.dispatcher.engine import Order
from edgeagent.dispatcher.outcome import Created, Duplicate, Invalid, NameTaken, response_to
from edgeagent.wire.messages import Status

pytestmark = pytest.mark.virtual_time

WORKFLOW = {"spec": {"workflowTemplateRef": {"name": "inspect"}}}
WALL_S = 1_700_000_000.5  # 2023-11-14T22:13:20Z and a half


def order(name: str = "a", *, agent: str = "gw-1", correlation_id: str = "c", generate_name: str = "") -> Order:
    return Order("plant", name, generate_name, agent, correlation_id, 1, "inspect", WORKFLOW)


def test_a_workflow_walks_from_pending_over_running_to_succeeded() -> None:
    walks = Walks(0.3)
    walks.start(order(), "a", 100.0)
    assert walks.next_due_s == pytest.approx(100.3)
    assert walks.due(100.2, WALL_S) == []
    (pending,) = walks.due(100.3, WALL_S)
    expected = Status(
        namespace="plant",
        workflow_id="a",
        status="Pending",
        progress="0%",
        message="dry run: nothing was started",
        correlation_id="c",
        agent="gw-1",
        dry_run=True,
    )
    assert pending == expected
    (running,) = walks.due(100.6001, WALL_S + 1)
    expected = replace(expected, status="Running", progress="50%", started_at="2023-11-14T22:13:21Z")
    assert running == expected
    (succeeded,) = walks.due(100.9001, WALL_S + 2)
    assert succeeded == replace(expected, status="Succeeded", progress="100%", finished_at="2023-11-14T22:13:22Z")
    assert len(walks) == 0
    assert walks.next_due_s is None


def test_walks_that_are_due_together_come_in_the_order_of_their_start() -> None:
    walks = Walks(0.3)
    for name in ("b", "a", "c"):
        walks.start(order(name), name, 100.0)
    names = [(change.workflow_id, change.status) for change in walks.due(200.0, WALL_S)]
    assert names == [(name, state) for state in ("Pending", "Running", "Succeeded") for name in ("b", "a", "c")]


async def test_the_same_trigger_again_is_a_duplicate_and_walks_once() -> None:
    engine = DryRun(step_s=0)
    assert await engine.create(order()) == Created("a")
    assert await engine.create(order()) == Duplicate("a")
    assert [change.status for change in await walked(engine)] == ["Pending", "Running", "Succeeded"]


async def test_a_duplicate_tells_how_far_the_walk_is() -> None:
    engine = DryRun(step_s=0)
    await engine.create(order())
    changes = await walked(engine)
    assert await engine.create(order()) == Duplicate("a", changes[-1])
    assert (changes[-1].status, changes[-1].dry_run) == ("Succeeded", True)


@pytest.mark.parametrize("other", [order(correlation_id="d"), order(agent="gw-2")])
async def test_the_name_of_another_triggers_workflow_is_taken(other: Order) -> None:
    engine = DryRun()
    await engine.create(order())
    assert await engine.create(other) == NameTaken("a")


async def test_a_workflow_that_argo_would_refuse_is_refused_for_good_with_the_first_problems() -> None:
    engine = DryRun(step_s=0)
    steps = [[{"name": "a"}, {"name": "a", "template": "gone"}]]
    refused = replace(order(), workflow={"spec": {"templates": [{"name": "main", "steps": steps}]}})
    outcome = await engine.create(refused)
    assert isinstance(outcome, Invalid)
    assert outcome.detail.split("; ") == [
        "spec.entrypoint is required: the name of the template to begin with",
        "spec.templates[0].steps[0][1].name 'a' is the name of an earlier one: each needs its own",
        "spec.templates[0].steps[0][0] needs template, templateRef or inline: what is to run?",
    ]
    response = response_to(outcome, correlation_id="c", namespace="plant", dry_run=True)
    assert (response.code, response.error, response.retryable) == (400, "Invalid workflow definition", False)
    assert await engine.create(order()) == Created("a"), "a refused workflow must not take its name"


async def test_a_name_in_another_namespace_is_another_name() -> None:
    engine = DryRun()
    await engine.create(order())
    assert await engine.create(Order("prod", "a", "", "gw-2", "d", 1, "inspect", WORKFLOW)) == Created("a")


async def test_a_generated_name_is_a_new_one_each_time() -> None:
    engine = DryRun()
    made = [await engine.create(order("", generate_name="b" * 80)) for _ in range(20)]
    names = {outcome.workflow_id for outcome in made if isinstance(outcome, Created)}
    assert len(names) == 20
    assert all(len(name) == 63 and name.startswith("b" * 58) for name in names)


async def test_only_so_many_names_are_remembered_and_the_oldest_is_forgotten_first() -> None:
    engine = DryRun(max_names=2)
    for name in ("a", "b", "c"):
        await engine.create(order(name))
    assert await engine.create(order("b")) == Duplicate("b")
    assert await engine.create(order("c")) == Duplicate("c")
    assert await engine.create(order("a")) == Created("a")


async def test_a_drained_engine_has_told_the_end_of_every_walk_and_goes_on() -> None:
    engine = DryRun(step_s=0.001)
    changes: list[Status] = []
    running = asyncio.create_task(engine.run(changes.extend))
    for name in ("a", "b"):
        await engine.create(order(name))
        await engine.drain()
        assert (changes[-1].workflow_id, changes[-1].status) == (name, "Succeeded")
    running.cancel()


async def walked(engine: DryRun) -> Sequence[Status]:
    """Everything the engine tells until no walk is left."""
    changes: list[Status] = []
    running = asyncio.create_task(engine.run(changes.extend))
    await engine.drain()
    running.cancel()
    return changes
