"""A real Mosquitto for tests, and a small MQTT 5 client to stand on its other side.

    async with Mosquitto(tmp_path) as broker, MqttClient(broker.url, "watcher", "a/#") as client:
        ack = await client.publish("a/b", b"1", content_type="text/plain")   # waits for the broker's answer
        message = await client.message("a/+")                                # waits for the next one that fits
        await broker.restart()                                               # the client comes back by itself
        await client.wait_up(2)

Everything that waits does so by tests/waiting.py, and fails with the reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import pwd
import random
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edgeagent.common.units import Duration
from edgeagent.config.tables import Connection
from edgeagent.errors import UplinkError
from edgeagent.links.drain import SessionDrain
from edgeagent.links.session import keep_connected
from edgeagent.links.subscribed import SubscribedTopics
from edgeagent.ports.link import Ack, Link, Message, Publication, Subscription, Will
from edgeagent.wire import topics
from tests.ending import end
from tests.waiting import DEADLINE_S, until_accepting, until_told


def free_port() -> int:
    """A TCP port on loopback that nobody listens on at the moment.

    No two calls of one test run give the same one soon, and nobody gets one of these from the kernel meanwhile.
    """
    for port in _ports:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("the ports never end")


def _own_ports() -> Iterator[int]:
    """Ports below those that the kernel gives out by itself, of a part that no other test process of a run has."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    count = _PORTS // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    first = _FIRST_PORT + worker * count
    start = random.SystemRandom().randrange(count)
    return (first + (start + number) % count for number in itertools.count())


_FIRST_PORT, _PORTS = 10_000, 20_000  # from 30,000 on a demo takes its own; Linux gives out 32,768 and more
_ports = _own_ports()

# Twice the default: that a machine is busy is no failed attempt.
_CONNECT_TIMEOUT = Duration(20)


class Mosquitto:
    """A broker in its own directory, on its own free port; retained messages and sessions survive `restart`.

    Args:
        directory: where its configuration, log and database go; it must exist.
        config: further lines of mosquitto.conf, after the first listener's.
        listener: lines for the listener, such as the ones of TLS, in place of `allow_anonymous true`.
        port: where to listen; the default is a free one.
        scheme: of `url`: "mqtts" when the listener speaks TLS.
    """

    def __init__(
        self,
        directory: Path,
        *,
        config: Sequence[str] = (),
        listener: Sequence[str] = ("allow_anonymous true",),
        port: int | None = None,
        scheme: str = "mqtt",
    ) -> None:
        self.directory = directory
        self.port = port or free_port()
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self._lines = [
            # As root it would become the user mosquitto, who cannot write here.
            f"user {pwd.getpwuid(os.geteuid()).pw_name}",
            f"log_dest file {self.log_file}",
            "log_type all",
            "persistence true",
            f"persistence_location {directory}/",
            f"listener {self.port} 127.0.0.1",
            *listener,
            *config,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log_file(self) -> Path:
        """Where it writes what it does."""
        return self.directory / "mosquitto.log"

    async def start(self) -> None:
        """Start it and wait until it accepts connections."""
        self._process = self._spawn()
        try:
            await until_accepting(self._process, [self.port], self._said)
        except BaseException:
            await self.kill()
            raise

    async def stop(self) -> None:
        """Stop it cleanly; nothing happens when it does not run."""
        await self._end(subprocess.Popen.terminate)

    async def kill(self) -> None:
        """End it like a power cut: sessions and retained messages are as of the last clean stop."""
        await self._end(subprocess.Popen.kill)

    async def restart(self) -> None:
        """Stop it cleanly and start it on the same port with the same directory."""
        await self.stop()
        await self.start()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _spawn(self) -> subprocess.Popen[bytes]:
        program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            raise RuntimeError("mosquitto is missing, and these tests need it: apt-get install mosquitto")
        file = self.directory / "mosquitto.conf"
        file.write_text("\n".join([*self._lines, ""]), "utf-8")
        # Its messages go to the log file; on stderr it only complains about a configuration that it cannot use.
        return subprocess.Popen([program, "-c", str(file)], stderr=subprocess.PIPE)

    def _said(self) -> str:
        assert self._process is not None
        return self._process.stderr.read().decode() if self._process.stderr else ""

    async def _end(self, how: Callable[[subprocess.Popen[bytes]], None]) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        how(process)
        try:
            await asyncio.to_thread(process.wait, DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stderr:
            process.stderr.close()


class MqttClient:
    """An MQTT 5 client for tests, on the project's own link: reconnects by itself, acknowledges what it receives.

    Args:
        url: the broker.
        client_id: its id.
        subscribe: topic filters (QoS 1, no retained messages) or `Subscription`s.
        session_expiry_s: how long the broker keeps the session; 0: it starts clean.
        auto_acknowledge: False: the test calls `acknowledge`.
        will: its last will, published by the broker after `die`.
        exactly_once: it may publish at QoS 2.
        answers_first: see `keep_connected`.
        kept, mark, leave: as `keep_connected`'s.
        connection: further keys of the connection (`username="u"`, `ca_file=...`).

    Attributes:
        messages: everything received, in order, whether or not `message` gave it out.
        acks: everything that came back for publications.
        ups: `session_present` of each connection.
        downs: why each connection or attempt ended.
        link: the connection at the moment, None while there is none.
    """

    def __init__(
        self,
        url: str,
        client_id: str,
        *subscribe: str | Subscription,
        session_expiry_s: float = 0,
        auto_acknowledge: bool = True,
        will: Will | Callable[[], Will] | None = None,
        exactly_once: bool = False,
        answers_first: bool = False,
        subscribed: SubscribedTopics | None = None,
        mark: str = "",
        drain: SessionDrain | None = None,
        **connection: Any,
    ) -> None:
        self.messages: list[Message] = []
        self.acks: list[Ack] = []
        self.ups: list[bool] = []
        self.downs: list[UplinkError] = []
        self.link: Link | None = None
        self.auto_acknowledge = auto_acknowledge
        self._unread: list[Message] = []
        self._next_token = 0
        self._changed = asyncio.Event()
        self._client_id = client_id
        connection = {"connect_timeout": _CONNECT_TIMEOUT, **connection}
        self._connection = Connection(url=url, session_expiry=Duration(session_expiry_s), **connection)
        self._subscriptions = [Subscription(item) if isinstance(item, str) else item for item in subscribe]
        self._will = will
        self._exactly_once = exactly_once
        self._answers_first = answers_first
        self._subscribed = subscribed
        self._mark = mark
        self._drain = drain
        self._session: asyncio.Task[None] | None = None

    async def publish(self, topic: str, payload: bytes = b"", **properties: Any) -> Ack:
        """Publish at QoS 1 and wait for the answer; `properties` are further fields of `Publication`."""
        assert self.link is not None, f"{self._client_id} is not connected: {self.downs}"
        token = self._next_token
        self._next_token += 1
        self.link.publish([Publication(token, topic, payload, **properties)])
        await self.until(lambda: any(ack.token == token for ack in self.acks), f"an answer to a publish on {topic}")
        return next(ack for ack in self.acks if ack.token == token)

    async def publish_all(self, topic: str, count: int, *, at_once: int = 1000) -> None:
        """Publish the numbers below `count` until each is acknowledged, over as many connections as that takes."""
        pending = dict.fromkeys(range(count))
        while pending:
            await self.until(lambda: self.link is not None and self.link.room > 0, "room")
            assert self.link is not None
            batch, downs = [*islice(pending, min(at_once, self.link.room))], len(self.downs)
            self.link.publish([Publication(number, topic, b"%d" % number) for number in batch])
            wanted = len(self.acks) + len(batch)
            await self.until(
                lambda: len(self.acks) >= wanted or len(self.downs) > downs,  # noqa: B023  awaited here
                "acknowledgements",
            )
            for ack in self.acks:
                pending.pop(ack.token, None)

    async def message(self, topic_filter: str = "#") -> Message:
        """The next message that fits the filter and was not given out before."""

        def find() -> Message | None:
            return next((message for message in self._unread if topics.matches(topic_filter, message.topic)), None)

        await self.until(lambda: find() is not None, f"a message on {topic_filter}")
        message = find()
        assert message is not None
        self._unread.remove(message)
        return message

    def acknowledge(self, *messages: Message) -> None:
        """Acknowledge messages by hand (`auto_acknowledge=False`)."""
        assert self.link is not None, f"{self._client_id} is not connected: {self.downs}"
        self.link.acknowledge(messages)

    async def wait_up(self, count: int = 1) -> None:
        """Wait until it has been connected and subscribed this many times, and is."""
        await self.until(lambda: len(self.ups) >= count and self.link is not None, f"connection {count}")

    async def wait_down(self, count: int = 1) -> UplinkError:
        """Wait for this many failed attempts and ended connections; the last one's reason."""
        await self.until(lambda: len(self.downs) >= count, f"ending {count}")
        return self.downs[count - 1]

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until something it was told makes the condition true."""

        def seen() -> str:
            return f"ups {self.ups}, downs {[str(down) for down in self.downs]}, {len(self.messages)} messages"

        await until_told(condition, self._changed, f"{what} (client {self._client_id})", seen=seen)

    def start(self) -> None:
        """Begin to connect; for a test in which the broker does not let it in. Else use `async with`."""
        session = keep_connected(
            self._connection,
            self,
            client_id=self._client_id,
            subscriptions=self._subscriptions,
            will=self._will,
            exactly_once=self._exactly_once,
            answers_first=self._answers_first,
            subscribed=self._subscribed,
            mark=self._mark,
            drain=self._drain,
            base_s=0.02,
            cap_s=0.2,
            taken_over_s=0.5,
        )
        self._session = asyncio.create_task(session)

    async def stop(self) -> None:
        """Disconnect gracefully."""
        session, self._session = self._session, None
        if session is not None:
            await end(session)
        self.link = None

    async def die(self) -> None:
        """Go without a DISCONNECT and stay away: the broker publishes the will."""
        assert self.link is not None
        self.link.abort()  # type: ignore[attr-defined]  # the engine's, for the session; no owner may call it
        await self.stop()

    async def __aenter__(self) -> Self:
        self.start()
        try:
            await self.wait_up()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # What the link tells.

    def on_up(self, link: Link, *, session_present: bool) -> None:
        """See `LinkOwner`."""
        self.link = link
        self.ups.append(session_present)
        self._changed.set()

    def on_down(self, error: UplinkError) -> None:
        """See `LinkOwner`."""
        self.link = None
        self.downs.append(error)
        self._changed.set()

    def on_messages(self, messages: Sequence[Message]) -> None:
        """See `LinkOwner`."""
        self.messages += messages
        self._unread += messages
        if self.auto_acknowledge and self.link is not None:
            self.link.acknowledge(messages)
        self._changed.set()

    def on_acks(self, acks: Sequence[Ack]) -> None:
        """See `LinkOwner`."""
        self.acks += acks
        self._changed.set()

    def on_room(self) -> None:
        """See `LinkOwner`."""
        self._changed.set()
