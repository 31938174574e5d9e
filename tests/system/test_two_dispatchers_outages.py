from __future__ import annotations

import asyncio
import json
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edgeagent.wire import topics
from edgeagent.wire.messages import LABEL_AGENT, LABEL_CORRELATION_ID
from tests.fakes.argo_server import FakeArgo
from tests.fakes.dispatch_group import GROUP, ArgoDispatcher
from tests.fakes.dispatch_scene import Scene, scene
from tests.fakes.tcp_proxy import TcpProxy
from tests.waiting import until

EVENTS = 60


def ago(minutes: int) -> str:
    """A time as Kubernetes writes it."""
    return (datetime.now(UTC) - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def put_finished(argo: FakeArgo, name: str, minutes: int) -> None:
    """A workflow of the agent that ended so long ago."""
    labels = {LABEL_AGENT: "gw-1", LABEL_CORRELATION_ID: name}
    metadata: dict[str, Any] = {"namespace": "plant", "name": name, "labels": labels}
    spec = {"workflowTemplateRef": {"name": "inspect"}}
    argo.put(
        {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": metadata, "spec": spec, "status": {}}
    )
    argo.advance("plant", name, phase="Failed", startedAt=ago(minutes + 1), finishedAt=ago(minutes))


async def all_are_published(here: Scene) -> None:
    """Wait until the broker has acknowledged every trigger that was promised."""
    await here.monitor.until(lambda: here.monitor.triggers.keys() >= set(here.promised), "the triggers")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_what_finishes_while_every_dispatcher_is_down_is_told_from_the_kept_cursor_on(
    tmp_path: Path, how: signal.Signals
) -> None:
    async with scene(tmp_path, FakeArgo()) as here:
        await here.feed(EVENTS)
        await here.settled()
        for name in here.names:
            here.argo.advance("plant", name, phase="Running", progress="0/1")
        await asyncio.gather(*(member.stop(how) for member in here.group.members))
        assert not here.monitor.finals
        for name in here.names:
            here.argo.advance("plant", name, phase="Succeeded", progress="1/1")
        # A leader keeps the first cursor after a minute; this one says what was told before the test began.
        put_finished(here.argo, "told-before", minutes=60)
        put_finished(here.argo, "ended-since", minutes=5)
        cursor = json.dumps({"finished": ago(minutes=10)}).encode()
        await here.monitor.publish(topics.cursor_topic(GROUP, "plant"), cursor, retain=True)
        await here.group.start()
        finals = here.monitor.finals
        await until(lambda: finals.keys() >= here.names | {"ended-since"}, "every end", seen=lambda: sorted(finals))
        await here.all_is_done(besides={"told-before", "ended-since"})
        assert finals["ended-since"].keys() == {"Failed"}
        assert "told-before" not in finals


async def test_a_leader_that_was_cut_off_tells_nothing_old_when_it_comes_back(tmp_path: Path) -> None:
    async with (
        scene(tmp_path, FakeArgo()) as here,
        TcpProxy(here.broker.port) as proxy,
        ArgoDispatcher(tmp_path / "a0", proxy.url, here.argo.url) as first,
    ):
        await first.logged("status_leader")
        await here.feed(EVENTS)
        await here.settled()
        proxy.swallow_upward = True
        for name in here.names:
            here.argo.advance("plant", name, phase="Running")
        await until(lambda: proxy.swallowed_bytes > 0, "something to be swallowed", seen=first.tail)
        await proxy.cut()
        proxy.swallow_upward = False
        for name in here.names:
            here.argo.advance("plant", name, phase="Succeeded")
        await here.all_is_done()
        await proxy.heal()
        await first.logged("status_leader", 3)  # leads, does not, leads again
        await here.feed(1)
        await here.settled()
        here.argo.advance("plant", f"overheat-{here.promised[-1]}", phase="Succeeded")
        await here.all_is_done()
        assert not here.monitor.went_back


@pytest.mark.soak
async def test_a_leader_that_stood_still_for_a_while_is_replaced_and_tells_nothing_old_afterwards(
    tmp_path: Path,
) -> None:
    keys = 'keepalive = "1s"\nsession_expiry = "2s"'
    async with scene(tmp_path, FakeArgo(), uplink='response_timeout = "4s"', broker_keys=keys) as here:
        feeding = asyncio.create_task(here.feed(EVENTS))
        await here.answered(EVENTS // 4)
        here.group[0].send_signal(signal.SIGSTOP)
        await here.group[1].logged("status_leader", here.group[1].log.count("event=status_leader") + 1)
        await feeding
        await here.settled()
        for name in here.names:
            here.argo.advance("plant", name, phase="Running")
            here.argo.advance("plant", name, phase="Succeeded")
        await here.all_is_done()
        here.group[0].send_signal(signal.SIGCONT)
        await here.group[0].logged("status_leader", here.group[0].log.count("event=status_leader") + 2)
        await here.all_is_done()
        assert not here.monitor.went_back


async def test_while_the_engine_is_away_triggers_wait_and_nothing_becomes_a_dead_letter(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await here.feed(EVENTS)
        await here.answered(EVENTS // 2)
        await here.argo.stop()
        answered = len(here.monitor.responses)
        await here.feed(EVENTS)
        await all_are_published(here)
        for member in here.group.members:
            await member.logged("engine_watch_unavailable")
        assert len(here.monitor.responses) <= answered + 2 * 16, "answered are those at most that were created before"
        await here.argo.start()
        await here.all_is_done()
        assert all(code == 200 for answers in here.monitor.responses.values() for code, _ in answers)
        assert set(here.monitor.triggers.values()) == {1}


@pytest.mark.soak
async def test_an_engine_that_is_away_for_longer_is_told_with_503_and_everything_is_tried_again(tmp_path: Path) -> None:
    async with scene(tmp_path, uplink='response_timeout = "5s"') as here:
        await here.feed(EVENTS)
        await here.settled()
        await here.argo.stop()
        await here.feed(EVENTS)
        await all_are_published(here)
        members = here.group.members
        await until(
            lambda: all("event=engine_unavailable" in member.log for member in members),
            "both to miss the engine",
            seen=here.group.tails,
        )
        assert {code for answers in here.monitor.responses.values() for code, _ in answers} == {200, 503}
        stats = await here.agent.get("/v1/stats")
        assert stats["account"]["triggers"]["dead"] == 0
        await here.argo.start()
        await until(
            lambda: all(
                (200, False) in answers or (200, True) in answers for answers in here.monitor.responses.values()
            ),
            "everything to be started",
            seen=here.group.tails,
            deadline_s=120,
        )
        await here.all_is_done()


async def test_a_token_that_ran_out_stops_everything_and_a_renewed_one_starts_it_again(tmp_path: Path) -> None:
    token = tmp_path / "argo.token"
    token.write_text("old\n")
    argo = FakeArgo(auto=True, token="old")  # noqa: S106  of the fake
    async with scene(tmp_path, argo, engine_keys=f'token_file = "{token}"') as here:
        await here.feed(EVENTS)
        await here.all_is_done()
        argo.token = "new"  # noqa: S105  of the fake
        answered = len(here.monitor.responses)
        await here.feed(EVENTS)
        await all_are_published(here)
        await here.group.logged("engine_unauthorized")
        assert len(here.monitor.responses) == answered, "nobody is told that his trigger was refused"
        token.write_text("new\n")
        await here.all_is_done()
        assert all(code == 200 for answers in here.monitor.responses.values() for code, _ in answers)
        assert set(here.monitor.triggers.values()) == {1}
        assert not any("old" in member.log or "Bearer" in member.log for member in here.group.members)
