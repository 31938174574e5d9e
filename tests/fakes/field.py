"""A whole gateway with devices of every kind, the line, the cloud: what `storm` is let loose on.

    async with field(directory, pace_s=0.2) as here:
        async with here.devices(seed):
            ...
        await here.all_is_done()

Devices report by every way, each event with an id of its own, and send it again until it is acknowledged.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from edgeagent.cli.client import AgentRefused
from edgeagent.errors import AgentUnreachable
from edgeagent.ports.link import TAKEN, Ack, Publication
from edgeagent.wire import topics
from tests.fakes.argo_server import FakeArgo
from tests.fakes.cards import mounted
from tests.fakes.certificates import Certificates
from tests.fakes.clocked_program import ClockedAgent
from tests.fakes.dispatch_group import ArgoDispatcher
from tests.fakes.mosquitto import Mosquitto, MqttClient, free_port
from tests.fakes.tcp_proxy import TcpProxy
from tests.waiting import until, until_answer

_PATIENCE_S = 900.0  # until everything has come, when nothing is harmed any more
_STATUS_PACES = 120  # so many events later a status that was lost is asked for
_FULL_DISK_ANSWERS = {503, 507}
_PICTURE_BYTES = (20_000, 200_000)
_RULE = """
[[rule]]
name = "{name}"
source = "{source}"
namespace = "plant"
template = "inspect"
enabled = {enabled}
priority = "{priority}"
arguments = {{ n = "id"{more} }}
"""
_tokens = itertools.count()
_FREELY = '[[mqtt.allow]]\npublish = ["#"]\nsubscribe = ["#"]'


def rules(*, spare: bool) -> str:
    """Those of the agent; with one more that wants nothing."""
    more = ', url = "body.url"'
    return "".join(
        _RULE.format(name=name, source=source, enabled=str(enabled).lower(), priority=priority, more=arguments)
        for name, source, priority, arguments, enabled in (
            ("overheat", "boiler-*", "normal", "", True),
            ("alarm", "smoke-*", "high", "", True),
            ("frame", "cam-*", "normal", more, True),
            ("spare", "spare-*", "normal", "", spare),
        )
    )


class Field:
    """What `field` has started, and what was promised to its devices.

    Attributes:
        promised: the ids of events that were acknowledged.
        pictures: the SHA-256 of each picture, by the event's id.
    """

    def __init__(self, directory: Path, cloud: Mosquitto, local: Mosquitto, proxy: TcpProxy, argo: FakeArgo) -> None:
        self.promised: set[str] = set()
        self.pictures: dict[str, str] = {}
        self.cloud, self.local, self.proxy, self.argo = cloud, local, proxy, argo
        self.card = directory / "agent" / "state"
        self._by_local: set[str] = set()
        self._over = asyncio.Event()

    def equip(
        self,
        agent: ClockedAgent,
        own_port: int,
        dispatchers: list[ArgoDispatcher],
        certificates: Certificates,
        pace_s: float,
    ) -> None:
        """The programs, the port of the agent's listener, and how long a device waits between two events."""
        self.agent, self.own_port, self.dispatchers = agent, own_port, dispatchers
        self.certificates, self.pace_s = certificates, pace_s

    @asynccontextmanager
    async def devices(self, seed: int) -> AsyncIterator[None]:
        """Devices that report all the while; then what they are about to send is sent."""
        chance = [Random(seed + number) for number in range(6)]  # noqa: S311  for tests
        local_url, own_url = self.local.url, f"mqtt://127.0.0.1:{self.own_port}"
        async with (
            MqttClient(local_url, "plc") as plc,
            MqttClient(own_url, "sensor") as sensor,
            asyncio.TaskGroup() as group,
        ):
            for device in (
                self._http_device("boiler-1", chance[0]),
                self._http_device("smoke-1", chance[1]),
                self._camera("cam-1", chance[2]),
                self._mqtt_device(plc, "sensors/boiler-2/data", "boiler-2", chance[3]),
                self._mqtt_device(sensor, "events/boiler-3", "boiler-3", chance[4]),
                self._mqtt_device(sensor, "events/smoke-3", "smoke-3", chance[5]),
            ):
                group.create_task(device)
            yield
            self._over.set()

    def forget_local(self) -> None:
        """The local broker is gone, with what it has acknowledged and not passed on; it promised no more."""
        self.promised -= self._by_local - self.started.keys()
        self._by_local.clear()

    async def _http_device(self, source: str, random: Random) -> None:
        async def post(event_id: str) -> None:
            await self.agent.send(source, {"id": event_id}, Idempotency_Key=event_id)

        await self._report(source, random, lambda event_id: self._until_taken(lambda: post(event_id)))

    async def _camera(self, source: str, random: Random) -> None:
        async def picture(event_id: str) -> None:
            data = random.randbytes(random.randint(*_PICTURE_BYTES))
            self.pictures[event_id] = sha256(data).hexdigest()
            headers = {"Content_Type": "image/jpeg", "Idempotency_Key": event_id}
            path = f"/v1/events/{source}"
            await self._until_taken(lambda: self.agent.request("POST", path, data, **headers))

        await self._report(source, random, picture)

    async def _mqtt_device(self, client: MqttClient, topic: str, source: str, random: Random) -> None:
        async def publish(event_id: str) -> None:
            await delivered(client, topic, json.dumps({"id": event_id}).encode())
            if topic.startswith("sensors/"):
                self._by_local.add(event_id)

        await self._report(source, random, publish)

    async def _report(self, source: str, random: Random, send: Callable[[str], Awaitable[object]]) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            event_id = f"{source}-{number}"
            await send(event_id)
            self.promised.add(event_id)
            await asyncio.sleep(random.uniform(0, 2 * self.pace_s))

    async def _until_taken(self, send: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await send()
            except AgentUnreachable:
                pass
            except AgentRefused as refused:
                if refused.status not in _FULL_DISK_ANSWERS:
                    raise
            else:
                return
            await asyncio.sleep(self.pace_s)

    @property
    def started(self) -> dict[str, list[str]]:
        """The names of the workflows that were started for each event."""
        found: dict[str, list[str]] = defaultdict(list)
        for workflow in self.argo.workflows():
            found[arguments(workflow)["n"]].append(workflow["metadata"]["name"])
        return found

    async def all_is_done(self) -> dict[str, int]:
        """Each event that was acknowledged has one workflow, no event has two, and the agent knows that they succeeded.

        Returns: the account in triggers.
        """
        stats = await self.agent.stats(
            lambda stats: not stats["account"]["triggers"]["pending"], "nothing to be pending", deadline_s=_PATIENCE_S
        )
        await until(lambda: self.promised <= self.started.keys(), "all workflows", seen=self._missing)
        started = self.started
        assert [names for names in started.values() if len(names) > 1] == []
        account: dict[str, int] = stats["account"]["triggers"]
        assert stats["account"]["balanced"], account
        count = len(self.argo.workflows())
        assert account == {**dict.fromkeys(account, 0), "accepted": count, "settled": count}
        for workflow in self.argo.workflows():
            if (url := arguments(workflow).get("url")) is not None:
                data = await asyncio.to_thread(Path(url.removeprefix("file://")).read_bytes)
                assert sha256(data).hexdigest() == self.pictures[arguments(workflow)["n"]]
        for state in ("buffered", "published", "triggered", "running", "unknown"):
            path = f"/v1/triggers?limit=1000&state={state}"
            await until_answer(
                lambda: self.agent.get(path),  # noqa: B023  awaited here
                lambda listed: not listed["triggers"],
                f"no trigger to be {state}",
                deadline_s=_PATIENCE_S,
            )
        return account

    def _missing(self) -> str:
        missing = self.promised - self.started.keys()
        return f"{len(missing)} of {len(self.promised)} are missing: {sorted(missing)[:20]}\n{self.agent.tail()}"


def arguments(workflow: dict[str, Any]) -> dict[str, str]:
    """Those of a workflow."""
    return {entry["name"]: entry["value"] for entry in workflow["spec"]["arguments"]["parameters"]}


async def delivered(client: MqttClient, topic: str, payload: bytes) -> None:
    """Publish until the broker has taken it for somebody, over as many connections as that takes."""
    for token in _tokens:
        await client.until(lambda: client.link is not None and client.link.room > 0, "room")
        assert client.link is not None
        downs = len(client.downs)
        client.link.publish([Publication(token, topic, payload)])

        def answers(token: int = token) -> list[Ack]:
            return [ack for ack in client.acks if ack.token == token]

        def is_over(downs: int = downs, answers: Callable[[], list[Ack]] = answers) -> bool:
            return bool(answers()) or len(client.downs) > downs

        await client.until(is_over, "an answer")
        found = answers()
        client.acks = [ack for ack in client.acks if ack not in found]
        if found and found[0].outcome is TAKEN:
            return
        await asyncio.sleep(0.1)  # nobody is there at the moment


@asynccontextmanager
async def field(directory: Path, *, pace_s: float) -> AsyncIterator[Field]:
    """An agent on a card of its own, its devices' broker, a line to a broker with TLS, dispatchers, an Argo Server."""
    for name in ("certificates", "cloud", "local", "store"):
        (directory / name).mkdir()
    certificates = Certificates(directory / "certificates")
    plain, own = free_port(), free_port()
    config = [f"listener {plain} 127.0.0.1", "allow_anonymous true", "max_queued_messages 0"]
    async with (
        Mosquitto(directory / "cloud", listener=certificates.listener(), config=config, scheme="mqtts") as cloud,
        Mosquitto(directory / "local", config=["max_queued_messages 0"]) as local,
        TcpProxy(cloud.port) as proxy,
        FakeArgo(auto=True, strict=False) as argo,
    ):
        argo.templates.add(("plant", "inspect"))
        dispatchers = [
            ArgoDispatcher(directory / f"d{number}", f"mqtt://127.0.0.1:{plain}", argo.url) for number in (0, 1)
        ]
        tls = "\n".join(f'{key} = "{file}"' for key, file in certificates.client.items())
        tables = {
            "uplink": f'{tls}\ntrigger_topic = "{topics.AGENTS_TRIGGER}"\n'
            'response_timeout = "30s"\nkeepalive = "5s"\nconnect_timeout = "5s"',
            "outbox": 'max_bytes = "32MiB"\nsegment_bytes = "256KiB"\nmax_event_bytes = "64KiB"',
            "artifacts": f'store = "file://{directory}/store"\ninline_max = "16KiB"',
            "relay": f'status_timeout = "{_STATUS_PACES * pace_s:g}s"',
            "local": f'url = "{local.url}"\n'
            '[[local.subscribe]]\ntopic = "sensors/+/data"\nsource = "{1}"\nid = "body.id"',
            "mqtt": f'listen = "127.0.0.1:{own}"\n{_FREELY}\n'
            '[[mqtt.subscribe]]\ntopic = "events/+"\nsource = "{1}"\nid = "body.id"',
        }
        here = Field(directory, cloud, local, proxy, argo)
        with mounted(here.card):
            agent = ClockedAgent(
                directory / "agent",
                f"mqtts://127.0.0.1:{proxy.port}",
                timedelta(0),
                rules=rules(spare=False),
                tables=tables,
            )
            # Its clock is read thousands of times a second, and the file is too, unless it may be a second old.
            del agent.environment["FAKETIME_NO_CACHE"]
            agent.environment["FAKETIME_CACHE_DURATION"] = "1"
            here.equip(agent, own, dispatchers, certificates, pace_s)
            async with dispatchers[0], dispatchers[1], agent:
                await agent.logged("link_up", 2)
                yield here
