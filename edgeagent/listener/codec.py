"""What a connection needs of a codec, whatever version of MQTT its client speaks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from edgeagent.listener.packets import ConnAck, Connect, Packet, Publish


class Codec(Protocol):
    """Bytes into packets and back, for one version of MQTT: `Codec3`, `Codec5`. What a version cannot say is empty."""

    @property
    def version(self) -> int:
        """The protocol level."""

    def connect(self, data: bytes, position: int, body: int, end: int, /) -> Connect:
        """The CONNECT that begins at `position`; raises Malformed."""

    def read(self, data: bytes, position: int, body: int, end: int, /) -> Packet:
        """The packet behind CONNECT that begins at `position`; raises Malformed."""

    def connack(self, reason: int, ack: ConnAck, text: str = "", /) -> bytes:
        """CONNACK."""

    def publish(
        self,
        message: Publish,
        qos: int,
        retain: bool,
        packet_id: int,
        duplicate: bool,
        subscription_ids: tuple[int, ...] = (),
        /,
    ) -> bytes:
        """PUBLISH; raises ValueError when it does not fit the format."""

    def answers(self, kind: int, packet_ids: Sequence[int], reason: int, /) -> bytes:
        """A PUBACK, PUBREC, PUBREL or PUBCOMP for each packet id."""

    def suback(self, packet_id: int, reasons: Iterable[int], /) -> bytes:
        """SUBACK."""

    def unsuback(self, packet_id: int, reasons: Iterable[int], /) -> bytes:
        """UNSUBACK."""

    def disconnect(self, reason: int, text: str = "", /) -> bytes:
        """DISCONNECT."""
