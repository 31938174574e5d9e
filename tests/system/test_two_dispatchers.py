from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from random import Random

import pytest

from tests.fakes.dispatch_group import at_once
from tests.fakes.dispatch_scene import Scene, scene

KILLS = 50


def one_led_at_a_time(here: Scene) -> None:
    """By what they logged, and by who published statuses by the broker's log."""
    assert not here.group.leaders_at_once()
    publishers = here.group.publishers()
    assert not at_once(publishers)
    assert len(publishers) <= here.group.leaderships, f"of {here.group.leaderships} leaders: {publishers}"


@pytest.mark.parametrize("victim", [0, 1], ids=["leader", "follower"])
async def test_a_dispatcher_killed_in_mid_stream_that_comes_back_leaves_nothing_unanswered(
    tmp_path: Path, victim: int
) -> None:
    async with scene(tmp_path) as here:
        async with here.feeding():
            await here.group[victim].kill()
            await here.group[victim].start()
        await here.all_is_done()
        assert max(here.monitor.triggers.values()) == 1, "the broker gave it what it had, the agent sent nothing again"
        one_led_at_a_time(here)
        assert here.monitor.present == {"d0", "d1"}


async def test_a_leader_killed_in_mid_stream_that_never_comes_back_is_replaced(tmp_path: Path) -> None:
    # What the broker kept for it is lost with its session, and sent again by the agent.
    async with scene(tmp_path, uplink='response_timeout = "1s"', broker_keys='session_expiry = "1s"') as here:
        async with here.feeding():
            await here.group[0].kill()
        await here.all_is_done()
        one_led_at_a_time(here)
        assert here.monitor.present == {"d1"}


def nothing_had_to_wait(here: Scene) -> None:
    """The agent sends again after its response_timeout of a minute only: it did not have to."""
    assert set(here.monitor.triggers.values()) == {1}
    assert {tuple(answers) for answers in here.monitor.responses.values()} == {((200, False),)}


@pytest.mark.parametrize("leaver", [0, 1], ids=["leader", "follower"])
async def test_a_dispatcher_stopped_for_good_in_mid_stream_leaves_no_trigger_behind(
    tmp_path: Path, leaver: int
) -> None:
    async with scene(tmp_path) as here:
        async with here.feeding():
            assert await here.group[leaver].stop() == 0
        await here.all_is_done()
        nothing_had_to_wait(here)
        one_led_at_a_time(here)
        assert "event=mqtt_session_stays" not in here.group[leaver].log
        assert here.monitor.present == {"d0", "d1"} - {here.group[leaver].instance}


async def test_dispatchers_restarted_one_after_the_other_in_mid_stream_let_no_trigger_wait(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        for member in here.group.members:
            async with here.feeding():
                assert await member.stop() == 0
                await member.start()
        await here.all_is_done()
        nothing_had_to_wait(here)
        one_led_at_a_time(here)


@pytest.mark.soak
@pytest.mark.timeout(1200)
async def test_fifty_kills_of_either_dispatcher_lose_nothing_and_start_nothing_twice(tmp_path: Path) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201  pytest shows it when the test fails
    random = Random(seed)  # noqa: S311  chance for tests
    async with scene(tmp_path, uplink='response_timeout = "5s"') as here:
        for _ in range(KILLS):
            feeding = asyncio.create_task(here.feed(40))
            victim = random.choice(here.group.members)
            await asyncio.sleep(random.uniform(0, 0.6))
            await victim.kill()
            if random.random() < 0.5:
                await victim.start()
            else:
                victim.spawn()  # and so it may be killed before it takes anything
            await feeding
        await here.all_is_done(deadline_s=300)
        assert not here.group.leaders_at_once()
