"""The stage: it starts and ends broker, dispatcher, line and agent, and the demo's own subscription."""

from __future__ import annotations

import asyncio
from pathlib import Path

from edgeagent.demo import broker, configs
from edgeagent.demo.child import Child, edgeagent
from edgeagent.demo.device import DeviceClient
from edgeagent.demo.line import Line
from edgeagent.demo.monitor import Monitor
from edgeagent.demo.tally import DemoTally
from edgeagent.errors import AgentUnreachable, CommandFailed

_READY_TIMEOUT_S = 60.0


class Stage:
    """Owns every program of the demo. `close` ends all of them, whatever their state."""

    def __init__(self, directory: Path, wanted_broker: str | None, tally: DemoTally) -> None:
        """Create the stage; nothing is started yet.

        Raises:
            CommandFailed: this machine has no broker.
        """
        self.broker_port, self.http_port, self.mqtt_port = broker.free_ports(3)
        self.broker = broker.choose(wanted_broker, self.broker_port, directory)
        self.line = Line(self.broker_port)
        self._directory = directory
        self._monitor = Monitor(self.broker_port, tally)
        self._listening: asyncio.Task[None] | None = None
        self.agent_config = directory / "config.toml"
        self.agent = Child("agent", edgeagent("run", self.agent_config), directory)
        self._dispatcher = Child("dispatcher", edgeagent("dispatch", directory / "dispatch.toml"), directory)

    async def open(self) -> None:
        """Start everything; return when the agent accepts events and the dispatcher triggers.

        Raises:
            EdgeAgentError: something did not start.
        """
        configs.write_dispatcher(self._directory, broker_port=self.broker_port)
        line_port = await self.line.open()
        configs.write_agent(self._directory, line_port=line_port, http_port=self.http_port, mqtt_port=self.mqtt_port)
        await self.broker.child.start()
        await self.broker.child.ready(lambda: broker.accepts(self.broker_port), _READY_TIMEOUT_S)
        self._listening = asyncio.create_task(self._monitor.run())
        await self._dispatcher.start()
        await self.agent.start()
        await self.broker.child.ready(self._hears, _READY_TIMEOUT_S)
        # Not before it has subscribed: until then the broker keeps nothing for it.
        await self._dispatcher.ready(lambda: self._dispatcher.logged("event=broker_connected"), _READY_TIMEOUT_S)
        await self.agent_ready()
        await self.agent.ready(self._agent_connected, _READY_TIMEOUT_S)

    async def agent_ready(self) -> None:
        """Wait until the agent accepts events.

        Raises:
            ChildFailed: it does not in time.
        """
        client = DeviceClient(self.http_port)
        try:
            await self.agent.ready(client.ready, _READY_TIMEOUT_S)
        finally:
            await client.close()

    async def watch(self) -> None:
        """Wait for a failure; never returns.

        Raises:
            EdgeAgentError: one of the programs ended, or the demo's own connection to the broker did.
        """
        if self._listening is None:
            raise CommandFailed("the demo has not been started")
        children = (self.broker.child, self._dispatcher, self.agent)
        await asyncio.gather(asyncio.shield(self._listening), *(child.watch() for child in children))

    async def close(self) -> None:
        """End everything that was started, the agent first, so that it can disconnect cleanly."""
        await self.agent.stop()
        await self._dispatcher.stop()
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
        await self.line.close()
        await self.broker.child.stop()

    async def _hears(self) -> bool:
        """Whether the demo's own subscription is in place."""
        if self._listening is not None and self._listening.done():
            self._listening.result()
        return self._monitor.listens

    async def _agent_connected(self) -> bool:
        client = DeviceClient(self.http_port)
        try:
            return (await client.stats()).uplink.connected
        except AgentUnreachable:
            return False
        finally:
            await client.close()
