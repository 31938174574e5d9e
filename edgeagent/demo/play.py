"""The play: the readings one after another, and in between a failing line, a killed agent, a restored line."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from edgeagent.demo import series
from edgeagent.demo.device import DeviceClient
from edgeagent.demo.scene import SAMPLE_S, Display, News, Scene
from edgeagent.demo.sensor import Sensor
from edgeagent.demo.series import LOSS_BELOW_L_S, Reading
from edgeagent.demo.stage import Stage
from edgeagent.demo.tally import DemoTally, promised_for
from edgeagent.errors import AgentUnreachable
from edgeagent.wire.messages import State

# It takes half a minute where nothing else runs.
DEADLINE_S = 180.0

_POLL_AGENT_S = 0.2
# Long enough for a person to see it.
_AGENT_LIES_S = 1.0
# The line should fail between a trigger and its answer; without a trigger, it fails after this time.
_MID_TRIGGER_S = 2.0
_POLL_S = 0.02
_MAX_LATE_S = 0.1
_REPORTS_SHOWN = 20


class Play:
    """Owns the course of the demo; it ends with every promise checked. `sense`, `poll`, `show` run beside `perform`."""

    def __init__(self, stage: Stage, display: Display, scene: Scene) -> None:
        self._stage = stage
        self._display = display
        self._scene = scene
        self._tally: DemoTally = scene.tally
        self._plan = series.plan(scene.readings)
        self._losses = {loss.start: loss for loss in series.losses(scene.readings)}
        self._sensor = Sensor(stage.mqtt_port)
        self._device = DeviceClient(stage.http_port)
        self._operator = DeviceClient(stage.http_port)
        self._drains = False
        self._began_s = asyncio.get_running_loop().time()
        self._due_s = self._began_s

    async def perform(self) -> list[str]:
        """Play everything and wait for the end; returns what is wrong then.

        Raises:
            EdgeAgentError: something cannot continue.
        """
        scene = self._scene
        self._scene.stats = await self._device.stats()
        stage = self._stage
        self.tell(f"Started: {stage.broker.name} on port {stage.broker_port}, dispatcher, agent on {stage.http_port}.")
        self.tell(f"The sensor speaks MQTT straight to the agent, on port {stage.mqtt_port}.")
        self._due_s = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(DEADLINE_S):
                for index, reading in enumerate(scene.readings):
                    await self._hour(index, reading)
                self.tell(f"All {self._tally.events:,} readings are acknowledged.")
                while not await self._all_done():  # noqa: ASYNC110  other processes set no event of ours
                    await asyncio.sleep(_POLL_AGENT_S)
        except TimeoutError:
            return [f"it is not done after {DEADLINE_S:g} s", *await self._problems()]
        return await self._problems()

    async def sense(self) -> None:
        """Keep the sensor connected, until cancelled."""
        await self._sensor.run()

    async def poll(self) -> None:
        """Read the agent's counters and reports repeatedly, until cancelled."""
        while True:
            self._tell_drained()
            try:
                self._scene.stats = await self._operator.stats()
                self._scene.reports = await self._operator.reports(limit=_REPORTS_SHOWN)
            except AgentUnreachable:
                pass  # it is not running yet, or was killed; if it should be running, `Stage.watch` reports that
            await asyncio.sleep(_POLL_AGENT_S)

    async def show(self) -> None:
        """Show the scene as it changes, until cancelled."""
        loop = asyncio.get_running_loop()
        next_s = loop.time()
        while True:
            self._scene.elapsed_s = loop.time() - self._began_s
            if self._scene.current is not None:
                self._scene.sample()
            self._display.refresh(self._scene)
            next_s = max(next_s + SAMPLE_S, loop.time())
            await asyncio.sleep(next_s - loop.time())

    def tell(self, text: str) -> None:
        """Report something that happened to the display."""
        self._scene.elapsed_s = asyncio.get_running_loop().time() - self._began_s
        news = News(self._scene.elapsed_s, text)
        self._scene.news.append(news)
        self._display.tell(self._scene, news)

    async def close(self) -> None:
        """Close the connections to the agent."""
        await self._device.close()
        await self._operator.close()

    async def _hour(self, index: int, reading: Reading) -> None:
        """Play one reading, and what happens with it."""
        self._scene.current = reading
        if loss := self._losses.get(index):
            self.tell(
                f"LOSS of water: {reading.flow_l_s:.0f} l/s at {reading.hour}; {len(loss)} hours below "
                f"{LOSS_BELOW_L_S:g} l/s."
            )
        if index == self._plan.line_fails:
            self._stage.line.lose_answers()
        await self._sensor.send(reading)
        promised = promised_for(reading)
        self._tally.accepted(promised)
        if index == self._plan.line_fails:
            await self._cut(promised)
        elif index == self._plan.kill:
            await self._kill()
        elif index == self._plan.heal:
            self._heal()
        await self._pace(reading.pace_s)

    async def _pace(self, pace_s: float) -> None:
        """Wait until the next hour is due. Short delays are made up for; an outage is not."""
        now_s = asyncio.get_running_loop().time()
        self._due_s = max(self._due_s + pace_s, now_s - _MAX_LATE_S)
        await asyncio.sleep(max(0.0, self._due_s - now_s))

    async def _cut(self, promised: Sequence[str]) -> None:
        """Cut the line in the middle of a trigger: it has reached the dispatcher, and its answer is lost."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + _MID_TRIGGER_S
        while not all(self._tally.was_created(one) for one in promised) and loop.time() < deadline_s:  # noqa: ASYNC110  it has a deadline
            await asyncio.sleep(_POLL_S)
        self._stage.line.cut()
        self._scene.line_works = False
        self.tell("UPLINK CUT, an answer lost on the way. What comes now waits on disk.")

    async def _kill(self) -> None:
        waiting = self._tally.waiting
        process_id = await self._stage.agent.kill()
        self._scene.agent_runs = False
        self.tell(f"AGENT KILLED (kill -9 {process_id}): the whole gateway; {waiting} triggers wait.")
        await asyncio.sleep(_AGENT_LIES_S)
        await self._stage.agent.start()
        await self._stage.agent_ready()
        self._scene.agent_runs = True
        self._scene.stats = await self._device.stats()
        pending = self._scene.stats.account.triggers.pending
        self.tell(f"Agent started again: it has {pending} triggers on its disk, still no uplink.")

    def _heal(self) -> None:
        self._stage.line.heal()
        self._drains = True
        self._scene.line_works = True
        self.tell(f"Uplink restored: {self._tally.waiting} triggers wait until the agent tries it again.")

    def _tell_drained(self) -> None:
        tally = self._tally
        if self._drains and not tally.waiting:
            self._drains = False
            self.tell(
                f"Drained: {tally.started} workflows started. {tally.sent_again} triggers came again; "
                f"{tally.known_before} times the answer was: known."
            )

    async def _all_done(self) -> bool:
        """Whether every promise is kept, and the agent knows it."""
        if self._tally.lost:
            return False
        try:
            self._scene.stats = await self._device.stats()
            reported = await self._reported()
        except AgentUnreachable:
            return False
        return not self._scene.stats.account.triggers.pending and self._tally.promised <= reported

    async def _reported(self) -> set[str]:
        """The triggers that the agent reports as succeeded."""
        return {report.correlation_id for report in await self._device.reports(f"&state={State.SUCCEEDED}")}

    async def _problems(self) -> list[str]:
        stats = self._scene.stats = await self._device.stats()
        return list(self._tally.problems(stats.account.events, stats.account.triggers, await self._reported()))
