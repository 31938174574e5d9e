"""What a message costs the listener's machine of one connection: from a client's bytes to those of its PUBACK.

A message of 200 bytes at QoS 1, in reads of a hundred (as a window of a hundred brings them) and one by one; and
messages to a client. Neither sockets nor the disk are in it.
"""

from __future__ import annotations

from benchmarks.measure import Checked, least_us, show_checked
from edgeagent.listener.codec import Codec
from edgeagent.listener.codec3 import Codec3
from edgeagent.listener.codec5 import Codec5
from edgeagent.listener.connection import ClientConnection, Limits
from edgeagent.listener.flows import Inbound, Outbound
from edgeagent.listener.packets import MQTT_5, MQTT_311, ConnAck, Publish

_MESSAGES = 50_000
_LONG_MESSAGES = 500_000
_WINDOW = 100
_PAYLOAD = bytes(range(200))
_PLAIN = Publish("events/boiler-1", _PAYLOAD)
_RICH = Publish("events/boiler-1", _PAYLOAD, content_type="application/json", user_properties=(("site", "north"),))
_CONNECT = {
    MQTT_311: b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01d",
    MQTT_5: b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01d",
}
_LIMIT_311_US = 2.5
_LIMIT_5_US = 2.0


def run(*, long: bool) -> None:
    """Print what a message costs. `long`: more messages."""
    messages = _LONG_MESSAGES if long else _MESSAGES
    rows = [
        Checked(
            "MQTT 3.1.1, QoS 1, a read of 100", _received_us(MQTT_311, _PLAIN, _WINDOW, messages), "us", _LIMIT_311_US
        ),
        Checked("MQTT 5, QoS 1, a read of 100", _received_us(MQTT_5, _PLAIN, _WINDOW, messages), "us", _LIMIT_5_US),
        Checked("MQTT 5 with two properties", _received_us(MQTT_5, _RICH, _WINDOW, messages), "us"),
        Checked("MQTT 3.1.1, QoS 1, a read of one", _received_us(MQTT_311, _PLAIN, 1, messages), "us"),
        Checked("MQTT 5, QoS 1, a read of one", _received_us(MQTT_5, _PLAIN, 1, messages), "us"),
        Checked("to a client of MQTT 3.1.1 at QoS 0", _sent_us(MQTT_311, _PLAIN, messages), "us"),
        Checked("to a client of MQTT 5 at QoS 0", _sent_us(MQTT_5, _PLAIN, messages), "us"),
        Checked("to a client of MQTT 5 with two properties", _sent_us(MQTT_5, _RICH, messages), "us"),
    ]
    show_checked("listener, a message", rows)


def _connection(version: int) -> ClientConnection:
    connection = ClientConnection(Limits(), 0.0)
    connection.feed(_CONNECT[version], 0.0)
    connection.accept(ConnAck(), Inbound(), Outbound(), 0.0)
    connection.data_to_send()
    return connection


def _codec(version: int) -> Codec:
    return Codec5(1 << 20, _WINDOW, 0) if version == MQTT_5 else Codec3(version)


def _received_us(version: int, message: Publish, count: int, messages: int) -> float:
    """From the bytes of `count` messages to those of their PUBACKs."""
    connection, codec = _connection(version), _codec(version)
    data = b"".join([codec.publish(message, 1, False, packet_id, False) for packet_id in range(1, count + 1)])

    def way() -> None:
        received = connection.feed(data, 1.0)
        while connection.has_more:
            received += connection.go_on(1.0)
        connection.acknowledge([each.packet_id for each in received if isinstance(each, Publish)])
        if len(connection.data_to_send()) != 4 * count:
            raise AssertionError("a message was not acknowledged")

    return least_us(way, messages // count) / count


def _sent_us(version: int, message: Publish, messages: int) -> float:
    connection = _connection(version)

    def way() -> None:
        if not connection.publish(message, 0, 1.0):
            raise AssertionError("a message was not sent")
        connection.data_to_send()

    return least_us(way, messages)
