"""Everything that happens to a gateway in years, within minutes: faults of every kind at once, at random moments.

    async with field(directory, pace_s=0.2) as here:
        storm = Storm(here, seed)
        growth = await storm.rage(duration_s)
        await here.all_is_done()

The line, the machine and the programs are harmed, each at moments of its own. The programs are left alone for the last
part of the time, so that memory and descriptors can be compared (`Growth`).
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from random import Random

from tests.fakes.field import Field, rules
from tests.fakes.growth import Growth
from tests.waiting import until

# The programs are killed in this part of the time, and then left alone.
_KILLING_PART = 0.6
_STARTED = "event=agent_started"
_START_S = 0.5  # an agent that dies again does so within this time
_DIES_AGAIN = 0.3
# The most that a harm lasts, and that lies before it, in times between two events of a device.
_HARM_PACES, _PAUSE_PACES = 10, 20
_BLOCK_BYTES = 1 << 16


class Storm:
    """What is done to a field. `done`: which harm, and how often."""

    def __init__(self, here: Field, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self._here = here
        self._seed = seed
        self._over = asyncio.Event()
        self._agent_is_there = asyncio.Lock()  # held while it is not

    async def rage(self, duration_s: float) -> Growth:
        """Let devices report and harm everything for so long; then everything is whole again.

        Returns: what the programs took while they were left alone.
        """
        began_s = time.monotonic()
        ends_s = began_s + duration_s
        chance = [Random(self._seed - number) for number in (1, 2, 3)]  # noqa: S311  for tests
        growth = Growth([self._here.agent, *self._here.dispatchers])
        async with self._here.devices(self._seed), asyncio.TaskGroup() as group:
            programs = self._kill_and_watch(chance[0], began_s + duration_s * _KILLING_PART, growth)
            watching = group.create_task(programs)
            line = self._harm(chance[1], ends_s, self._cut, self._stall, self._swallow, self._cloud)
            machine = self._harm(chance[2], ends_s, self._full, self._clock, self._reload, self._rotate)
            await asyncio.gather(line, machine)
            self._over.set()
            await watching
        return growth

    async def _kill_and_watch(self, random: Random, ends_s: float, growth: Growth) -> None:
        ways = self._kill_agent, self._stop_agent, self._kill_dispatcher, self._kill_local, self._restart_local
        await self._harm(random, ends_s, *ways)
        await growth.watch(self._over)

    async def _harm(self, random: Random, ends_s: float, *ways: Callable[[Random], Awaitable[None]]) -> None:
        while time.monotonic() < ends_s:
            await asyncio.sleep(random.uniform(0, _PAUSE_PACES * self._here.pace_s))
            way = random.choice(ways)
            await way(random)
            self.done[way.__name__.strip("_")] += 1

    def _a_while(self, random: Random) -> Awaitable[None]:
        return asyncio.sleep(random.uniform(0, _HARM_PACES * self._here.pace_s))

    async def _cut(self, random: Random) -> None:
        await self._here.proxy.cut()
        await self._a_while(random)
        await self._here.proxy.heal()

    async def _stall(self, random: Random) -> None:
        self._here.proxy.stalled = True
        await self._a_while(random)
        await self._cut(random)
        self._here.proxy.stalled = False

    async def _swallow(self, random: Random) -> None:
        self._here.proxy.swallow_upward = True
        await self._a_while(random)
        await self._cut(random)
        self._here.proxy.swallow_upward = False

    async def _cloud(self, random: Random) -> None:
        await self._here.cloud.stop()
        await self._a_while(random)
        await self._here.cloud.start()

    async def _full(self, random: Random) -> None:
        ballast = self._here.card / "ballast"

        def fill() -> None:
            with suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(_BLOCK_BYTES))

        await asyncio.to_thread(fill)
        await self._a_while(random)
        ballast.unlink()

    async def _clock(self, random: Random) -> None:
        self._here.agent.set_clock(timedelta(hours=random.choice([0, 0, random.uniform(-9000, 9000)])))

    async def _reload(self, random: Random) -> None:
        text = self._here.agent.config_file.read_text("utf-8")
        text_of_rules = rules(spare=random.choice([True, False]))
        self._here.agent.config_file.write_text(text[: text.index("\n[[rule]]")] + text_of_rules, "utf-8")
        async with self._agent_is_there:
            self._here.agent.send_signal(signal.SIGHUP)

    async def _rotate(self, _: Random) -> None:
        self._here.certificates.issue("client", "gw-1")

    async def _kill_agent(self, random: Random) -> None:
        async with self._agent_is_there:
            await self._here.agent.kill()
            while random.random() < _DIES_AGAIN:
                self._here.agent.spawn()
                await asyncio.sleep(random.uniform(0, _START_S))
                await self._here.agent.kill()
            await self._start_agent(random)

    async def _stop_agent(self, random: Random) -> None:
        async with self._agent_is_there:
            assert await self._here.agent.stop() == 0
            await self._start_agent(random)

    async def _start_agent(self, random: Random) -> None:
        await self._a_while(random)
        started = self._here.agent.log.count(_STARTED)
        self._here.agent.spawn()
        await until(
            lambda: self._here.agent.log.count(_STARTED) > started, "the agent's start", seen=self._here.agent.tail
        )

    async def _kill_dispatcher(self, random: Random) -> None:
        dispatcher = random.choice(self._here.dispatchers)
        await dispatcher.kill()
        await self._a_while(random)
        dispatcher.spawn()

    async def _kill_local(self, random: Random) -> None:
        await self._here.local.kill()
        self._here.forget_local()
        await self._a_while(random)
        await self._here.local.start()

    async def _restart_local(self, random: Random) -> None:
        await self._here.local.stop()
        await self._a_while(random)
        await self._here.local.start()
