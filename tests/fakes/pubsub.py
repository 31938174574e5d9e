"""A server of Pub/Sub's REST API in a thread: topics, subscriptions with filters and deadlines, and faults on demand.

It holds to what the API's reference says of limits, which a lenient server would let pass: at most 1,000 messages and
10^7 bytes a request, one ordering key, attributes within their lengths.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from types import TracebackType
from typing import Any, NamedTuple, Self

PROJECT = "plant-42"
_CALL = re.compile(r"/v1/(?P<name>projects/[^/]+/(?:topics|subscriptions)/[^/:]+)(?::(?P<verb>\w+))?")
_FILTER = re.compile(r'attributes\.agent = "([^"]*)"')

_MAX_REQUEST_BYTES = 10_000_000

Json = dict[str, Any]


class Asked(NamedTuple):
    """A request that came: `verb` is "" for the look at a resource."""

    verb: str
    name: str
    body: Json
    bearer: str


class Fault(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


class Garbage(Exception):
    """An answer 200 with this as its body."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self.body = body


class _Subscription:
    def __init__(self, topic: str, agent: str, deadline_s: float) -> None:
        self.topic = topic
        self.agent = agent
        self.deadline_s = deadline_s
        self.waiting: deque[Json] = deque()
        self.leased: dict[str, tuple[Json, float]] = {}

    def expire(self, now_s: float) -> None:
        for ack_id, (message, until_s) in list(self.leased.items()):
            if until_s <= now_s:
                del self.leased[ack_id]
                self.waiting.append(message)


class FakePubSub:
    """The server: `with FakePubSub() as server`; `server.host` is for `PUBSUB_EMULATOR_HOST`.

    Attributes:
        asked: every request, in order.
        published: every message that was taken, in order, by topic.
        judge: looks at each request before it is handled, and may raise a `Fault`, or `Garbage`.
        ahead_s: by how much the `Date` of the answers is ahead of the clock.
        context: for TLS.
        pull_wait_s: how long a pull waits for a message.
    """

    def __init__(self, pull_wait_s: float = 0.5, context: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        self.published: dict[str, list[Json]] = {}
        self.judge: Callable[[Asked], None] = lambda _: None
        self.ahead_s = 0.0
        self.pull_wait_s = pull_wait_s
        self.permissions: set[str] | None = {"pubsub.topics.publish", "pubsub.subscriptions.consume"}
        self._topics: set[str] = set()
        self._subscriptions: dict[str, _Subscription] = {}
        self._lock = threading.Condition()
        self._number = 0
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def host(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def topic(self, name: str) -> str:
        """Create a topic; returns its path."""
        path = f"projects/{PROJECT}/topics/{name}"
        self._topics.add(path)
        return path

    def drop_topic(self, name: str) -> None:
        """Delete a topic."""
        self._topics.discard(f"projects/{PROJECT}/topics/{name}")

    def subscription(self, name: str, topic: str, *, agent: str = "", deadline_s: float = 10.0) -> str:
        """Create a subscription of a topic, with a filter on the agent; returns its path."""
        path = f"projects/{PROJECT}/subscriptions/{name}"
        self._subscriptions[path] = _Subscription(self.topic(topic), agent, deadline_s)
        return path

    def put(self, where: str, data: bytes, /, **attributes: str) -> None:
        """Publish a message by hand on the topic `where`."""
        body = {"messages": [{"data": base64.b64encode(data).decode(), "attributes": attributes}]}
        with self._lock:
            self._publish(f"projects/{PROJECT}/topics/{where}", body)

    def unacknowledged(self, name: str) -> int:
        """How many messages a subscription has, delivered or not."""
        with self._lock:
            found = self._subscriptions[f"projects/{PROJECT}/subscriptions/{name}"]
            return len(found.waiting) + len(found.leased)

    def verbs(self) -> list[str]:
        """The verbs of the requests that came."""
        return [asked.verb for asked in self.asked]

    def answer(self, asked: Asked) -> Json:
        """What a request is answered."""
        with self._lock:
            self.asked.append(asked)
            self.judge(asked)
            return self._handled(asked)

    def _handled(self, asked: Asked) -> Json:
        if asked.verb == "testIamPermissions":
            if self.permissions is None:
                raise Fault(501, "not implemented here")
            exists = asked.name in self._topics or asked.name in self._subscriptions
            return {"permissions": [name for name in asked.body["permissions"] if name in self.permissions and exists]}
        subscription = self._subscriptions.get(asked.name)
        if asked.name not in self._topics and subscription is None:
            raise Fault(404, f"Resource not found (resource={asked.name.rpartition('/')[2]}).")
        if subscription is None:
            return self._publish(asked.name, asked.body) if asked.verb == "publish" else {"name": asked.name}
        if asked.verb == "pull":
            return self._pull(subscription, asked.body)
        if asked.verb == "":
            filtered = f'attributes.agent = "{subscription.agent}"' if subscription.agent else ""
            return {"topic": subscription.topic, "filter": filtered}
        return self._leased(subscription, asked)

    def _leased(self, subscription: _Subscription, asked: Asked) -> Json:
        """Acknowledge, extend or give back."""
        for ack_id in asked.body["ackIds"]:
            message, _ = subscription.leased.pop(ack_id, ({}, 0.0))
            if message and asked.verb == "modifyAckDeadline":
                if asked.body["ackDeadlineSeconds"]:
                    subscription.leased[ack_id] = (message, time.monotonic() + asked.body["ackDeadlineSeconds"])
                else:
                    subscription.waiting.append(message)
        self._lock.notify_all()
        return {}

    def _publish(self, topic: str, body: Json) -> Json:
        messages = body["messages"]
        if not 1 <= len(messages) <= 1000:
            raise Fault(400, "The value for message_count is too large")
        if len({message.get("orderingKey", "") for message in messages}) > 1:
            raise Fault(400, "In a single publish request, all messages must have the same ordering key")
        for message in messages:
            for key, value in message["attributes"].items():
                if not 1 <= len(key.encode()) <= 256 or len(value.encode()) > 1024:
                    raise Fault(400, "One or more attributes are too long")
        ids = []
        for message in messages:
            self._number += 1
            ids.append(str(self._number))
            self.published.setdefault(topic, []).append(message)
            for subscription in self._subscriptions.values():
                if subscription.topic == topic and subscription.agent in {"", message["attributes"].get("agent")}:
                    subscription.waiting.append(message)
        self._lock.notify_all()
        return {"messageIds": ids}

    def _pull(self, subscription: _Subscription, body: Json) -> Json:
        until_s = time.monotonic() + (0.0 if body.get("returnImmediately") else self.pull_wait_s)
        while True:
            now_s = time.monotonic()
            subscription.expire(now_s)
            if subscription.waiting or now_s >= until_s:
                break
            self._lock.wait(min(until_s - now_s, 0.05))
        received: list[Json] = []
        while subscription.waiting and len(received) < body["maxMessages"]:
            message = subscription.waiting.popleft()
            self._number += 1
            ack_id = f"ack-{self._number}"
            subscription.leased[ack_id] = (message, now_s + subscription.deadline_s)
            received.append({"ackId": ack_id, "message": message | {"messageId": str(self._number)}})
        return {"receivedMessages": received} if received else {}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone is no fault."""


def _whole(body: BufferedIOBase, length: int) -> bytes:
    content = body.read(length)
    if len(content) < length:
        raise ConnectionError("the client has gone, and asked for nothing")
    return content


def _handler(server: FakePubSub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self._answer(_whole(self.rfile, int(self.headers["Content-Length"])))

        def do_GET(self) -> None:
            self._answer(b"")

        def _answer(self, content: bytes) -> None:
            status, body = 200, b""
            try:
                body = json.dumps(server.answer(self._asked(content))).encode()
            except Garbage as exc:
                body = exc.body
            except Fault as exc:
                status = exc.status
                body = json.dumps({"error": {"code": status, "message": exc.message, "status": "X"}}).encode()
            self.send_response_only(status)
            self.send_header("Date", formatdate(time.time() + server.ahead_s, usegmt=True))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _asked(self, content: bytes) -> Asked:
            if (call := _CALL.fullmatch(self.path)) is None:
                raise Fault(404, "Not Found")
            if len(content) > _MAX_REQUEST_BYTES:
                raise Fault(400, "Request payload size exceeds the limit.")
            bearer = self.headers.get("Authorization", "")
            return Asked(call["verb"] or "", call["name"], json.loads(content or b"{}"), bearer)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
            """Say nothing."""

    return Handler
