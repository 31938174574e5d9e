"""A device as it is in the field: the paho client with its own thread, which comes back and sends again by itself."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MessageState, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.waiting import until

# A message at QoS 2 that was received and is to be released, on the next connection.
_RELEASE = MessageState.MQTT_MS_RESEND_PUBREL


class _Client(paho.Client):
    """paho, but for a fault of it.

    When an attempt to connect fails, it publishes anew what it had only to release, and without DUP: whoever receives
    that and does not know the packet id takes it for another message (MQTT 3.1.1, 3.3.1-1 and 4.3.3).
    """

    def _messages_reconnect_reset_out(self) -> None:
        released = [each for each in self._out_messages.values() if each.state == _RELEASE]
        super()._messages_reconnect_reset_out()
        for each in released:
            each.state = _RELEASE


_VERSIONS = {"3.1": paho.MQTTv31, "3.1.1": paho.MQTTv311, "5": paho.MQTTv5}


class PahoDevice:
    """Connected while the context is open.

    Args:
        port: of the listener on loopback.
        client_id: its session is kept while it is away.
        version: `"3.1"`, `"3.1.1"` or `"5"`.
        will: topic and payload.
        transport: what it connects by.

    Attributes:
        acknowledged: the numbers of messages that were acknowledged to the end.
        messages: topic, payload, QoS and retain flag of what came.
        connects: the return codes of CONNACK; `present`: whether a session was there.
    """

    def __init__(
        self,
        port: int,
        client_id: str,
        *,
        version: str = "3.1.1",
        will: tuple[str, bytes] | None = None,
        transport: Literal["tcp", "websockets"] = "tcp",
    ) -> None:
        self.acknowledged: set[int] = set()
        self.messages: list[tuple[str, bytes, int, bool]] = []
        self.connects: list[int] = []
        self.present: list[bool] = []
        self._port = port
        self._version = version
        self._numbers: dict[int, int] = {}
        self._early: set[int] = set()
        clean = None if version == "5" else False
        self._client = _Client(
            CallbackAPIVersion.VERSION2, client_id, clean, protocol=_VERSIONS[version], transport=transport
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.max_inflight_messages_set(100)
        self._client.max_queued_messages_set(0)
        if will is not None:
            self._client.will_set(will[0], will[1], 1)
        self._client.on_connect = self._connected
        self._client.on_publish = self._published
        self._client.on_message = self._came

    def publish(self, topic: str, payload: bytes, qos: int, *, number: int = -1, retain: bool = False) -> None:
        """Hand a message to the client; `number` is noted when it is acknowledged."""
        info = self._client.publish(topic, payload, qos, retain)
        assert info.rc in {MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN}, info.rc
        if info.mid in self._early:
            self._early.discard(info.mid)
            self.acknowledged.add(number)
        else:
            self._numbers[info.mid] = number

    def subscribe(self, topic_filter: str, qos: int = 1) -> None:
        """Subscribe, without waiting for the answer."""
        self._client.subscribe(topic_filter, qos)

    async def until(self, condition: Callable[[PahoDevice], object], what: str) -> None:
        """Return when this holds."""
        await until(lambda: condition(self), what, seen=lambda: (self.connects, self.messages[-5:]))

    async def __aenter__(self) -> Self:
        """Connect, and go on trying."""
        properties: dict[str, Any] = {}
        if self._version == "5":
            kept = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            kept.SessionExpiryInterval = 3600
            properties = {"clean_start": False, "properties": kept}
        self._client.connect_async("127.0.0.1", self._port, keepalive=30, **properties)
        self._client.loop_start()
        await self.until(lambda device: device.connects, "CONNACK")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    # In the client's thread.

    def _connected(self, _: Any, __: Any, flags: Any, reason: Any, ___: Any) -> None:
        self.present.append(bool(flags.session_present))
        self.connects.append(int(reason.value))

    def _published(self, _: Any, __: Any, mid: int, ___: Any, ____: Any) -> None:
        number = self._numbers.pop(mid, None)
        if number is None:
            self._early.add(mid)
        else:
            self.acknowledged.add(number)

    def _came(self, _: Any, __: Any, message: Any) -> None:
        self.messages.append((message.topic, message.payload, message.qos, bool(message.retain)))
