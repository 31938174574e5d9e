"""Peers of an agent that mean no good, or are broken: on its HTTP port, on both its brokers, and as its engine.

Each method goes on for ever and keeps to loopback; what it sends comes from the chance that it is given. None of them
does what an access list must prevent, such as to answer in the engine's name that a workflow has been started.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
from collections.abc import Callable
from random import Random
from typing import Any

from edgeagent.ports.link import Publication
from tests.fakes.mosquitto import MqttClient

AGENT = "gw-1"
_RESPONSE, _STATUS = f"argo/workflows/response/{AGENT}", f"argo/workflows/status/{AGENT}"
_PAUSE_S = 0.02
_PATIENCE_S = 0.5
_NUMBERS: list[Any] = [10**30, -1, 0, 99, 600, 2**31, 2**63, -(2**63), 1.5, 1e308, "200", None, True, [], {}]
_TEXTS: list[Any] = [
    "",
    "x" * 2000,
    "x" * 200_000,
    "\x1b]0;title\x07",
    "\u202e",
    "\x00",
    "{{workflow.name}}",
    "\x9b2J\n",
    5,
    None,
]
_TIMES: list[Any] = ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59", "2026-02-30T00:00:00Z", 5, "1e9", " " * 65]
_REPLY_TO = ["$SYS/x", _RESPONSE, _STATUS, "argo/workflows/trigger", "argo/workflows/response/monitor"]
_NO_JSON = [b"", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 5000, b"NaN", b"\x00" * 300_000, b'{"temp":1e400}']


class Hostile:
    """Owns what is sent to one agent by peers that mean no good; a test runs as many of its methods as it likes.

    Each of them goes on until cancelled, and counts in `done`. Must never do what an access list has to prevent.

    Args:
        random: chance, of a seed that the test tells.
        uplink: the URL of the broker that the engine is on.
        local: the URL of the broker that the devices are on.
        http_port: the agent's.
        known: a correlation id that the agent has given out, None while there is none.

    Attributes:
        done: how often each of them came round.
    """

    def __init__(
        self, random: Random, *, uplink: str, local: str, http_port: int, known: Callable[[], str | None]
    ) -> None:
        self.done: dict[str, int] = {}
        self._random = random
        self._uplink = uplink
        self._local = local
        self._port = http_port
        self._known = known
        self._requests = _requests()

    async def http_client(self) -> None:
        """Requests that are no requests, never end, are too much at once, or whose answers nobody reads."""
        loop = asyncio.get_running_loop()
        while True:
            with socket.socket() as sock, contextlib.suppress(OSError, TimeoutError):
                sock.setblocking(False)
                async with asyncio.timeout(_PATIENCE_S):
                    await loop.sock_connect(sock, ("127.0.0.1", self._port))
                    await loop.sock_sendall(sock, self._random.choice(self._requests))
                    await loop.sock_recv(sock, self._random.choice([1, 100_000]))
            await self._came_round("http")

    async def device(self) -> None:
        """Payloads and topics that can be no events, on the devices' broker."""
        async with MqttClient(self._local, "hostile-device") as client:
            while True:
                name = self._random.choice(["x" * 60_000, "a b", "{{a}}", "\u202e", "boiler-hostile"])
                payload = self._random.choice([*_NO_JSON, self._random.randbytes(1000), b'{"temp":99,"id":[]}'])
                await _publish(client, f"sensors/{name}/data", payload)
                await self._came_round("device")

    async def lying_engine(self) -> None:
        """Answers and statuses with what no engine says, also of triggers that wait for their answer."""
        async with MqttClient(self._uplink, "lying-engine") as client:
            while True:
                topic, content = self._random.choice([self._answer, self._status])()
                payload = json.dumps(content).encode() if self._random.random() < 0.9 else self._random.choice(_NO_JSON)
                reply_to = self._random.choice([None, *_REPLY_TO])
                await _publish(client, topic, payload, response_topic=reply_to, retain=self._random.random() < 0.01)
                await self._came_round("engine")

    async def stranger(self) -> None:
        """Triggers and queries in somebody else's name, on the engine's broker."""
        async with MqttClient(self._uplink, "stranger") as client:
            while True:
                topic, payload = self._random.choice([self._trigger, self._query, self._presence])()
                await _publish(client, topic, payload, response_topic=self._random.choice([None, *_REPLY_TO]))
                await self._came_round("stranger")

    async def usurper(self) -> None:
        """Takes the agent's session away from it, with what the broker kept for it."""
        while True:
            await asyncio.sleep(self._random.uniform(1, 4))  # between two of them the agent gets something done
            async with MqttClient(self._uplink, f"edgeagent-{AGENT}-up") as client:
                await client.wait_up()
            await self._came_round("usurper")

    async def _came_round(self, who: str) -> None:
        self.done[who] = self.done.get(who, 0) + 1
        await asyncio.sleep(_PAUSE_S)

    def _answer(self) -> tuple[str, dict[str, Any]]:
        answer: dict[str, Any] = {
            "correlation_id": self._known() or "0" * 32,
            "code": 503,
            "retryable": True,
            "error": "later",
        }
        member = self._random.choice(["retry_after_s", "retryable", "duplicate", "error", "detail", "namespace"])
        # A number that happens to be good makes the trigger wait; that it is refused for good is the engine's to say.
        answer[member] = self._random.choice([10**30, -1, "200", [], {}, *_TEXTS]) if member != "retryable" else 10**30
        if self._random.random() < 0.5:
            answer["code"] = self._random.choice([10**30, -1, 600, 1.5, []])
        return _RESPONSE, answer

    def _status(self) -> tuple[str, dict[str, Any]]:
        status: dict[str, Any] = {"namespace": "plant", "workflowId": "none", "status": "Running"}
        member = self._random.choice([*status, "message", "progress", "agent", "startedAt", "finishedAt"])
        status[member] = self._random.choice([*_NUMBERS, *_TEXTS, *_TIMES])
        return _STATUS, {**status, "correlation_id": f"{self._random.getrandbits(128):032x}"}

    def _trigger(self) -> tuple[str, bytes]:
        known = self._known() or "0" * 32
        workflow = {"metadata": {"name": f"overheat-{known}"}, "spec": {"workflowTemplateRef": {"name": "none"}}}
        trigger: dict[str, Any] = {
            "namespace": "plant",
            "workflow": workflow,
            "correlation_id": known,
            "reply_to": _RESPONSE,
        }
        trigger[self._random.choice(["attempt", "namespace", "reply_to"])] = self._random.choice([*_NUMBERS, *_TEXTS])
        return "argo/workflows/trigger", self._random.choice([json.dumps(trigger).encode(), *_NO_JSON])

    def _query(self) -> tuple[str, bytes]:
        query: dict[str, Any] = {"agent": AGENT, "correlation_ids": [self._known() or "0" * 32], "reply_to": _RESPONSE}
        query[self._random.choice([*query])] = self._random.choice([*_NUMBERS, *_TEXTS])
        return "argo/workflows/status/query", json.dumps(query).encode()

    def _presence(self) -> tuple[str, bytes]:
        return "edgeagent/dispatch/edgeagent/zz", self._random.choice(_NO_JSON)


async def _publish(client: MqttClient, topic: str, payload: bytes, **properties: Any) -> None:
    """Publish as soon as there is a connection with room: a broker may well end those of hostile peers."""
    while client.link is None or not client.link.room:  # noqa: ASYNC110  only asking tells
        await asyncio.sleep(_PAUSE_S)
    client.link.publish([Publication(0, topic, payload, **properties)])


def _requests() -> list[bytes]:
    post = b"POST /v1/events/boiler-hostile HTTP/1.1\r\nHost: localhost\r\n"
    chunked = post + b"Transfer-Encoding: chunked\r\n"
    bomb = gzip.compress(b"0" * 50_000_000, 9)
    asked = b"GET /v1/triggers?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    return [
        b"\xff" * 1000,
        b"\r\n" * 5000,
        b"\x16\x03\x01\x02\x00\x01" + b"x" * 500,
        asked * 30,
        b"GET /v1/triggers/" + b"a" * 32 + b"?wait=300 HTTP/1.1\r\nHost: localhost\r\n\r\n" + asked * 5,
        b"GET /v1/triggers/" + b"9" * 5000 + b" HTTP/1.1\r\nHost: [::1]elsewhere.example\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000000\r\n\r\n" + b"[" * 1_000_000,
        post + b"Content-Length: 11\r\nTransfer-Encoding: chunked\r\n\r\n",
        post + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(bomb), bomb),
        chunked + b"\r\n" + b"1\r\n[\r\n" * 20_000 + b"0\r\n\r\n",
        chunked + b"\r\nffffffffffffffff\r\n",
        post + b"Content-Length: 200000\r\n\r\n" + b"[" * 100_000 + b"]" * 100_000,
    ]
