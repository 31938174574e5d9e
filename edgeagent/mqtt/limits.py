"""The limits of a broker, and which of them keeps a publication from being written: pure."""

from __future__ import annotations

import msgspec

from edgeagent.mqtt.handshake import LARGEST_PACKET_BYTES
from edgeagent.mqtt.reason_codes import QOS_NOT_SUPPORTED, RECEIVE_MAXIMUM_EXCEEDED, RETAIN_NOT_SUPPORTED
from edgeagent.ports.link import Abilities, Publication


class BrokerLimits(msgspec.Struct, frozen=True):
    """What a broker takes, as its CONNACK says or as we assume.

    `receive_max`: how many publications at QoS 1 and 2 may be unacknowledged. `aliases`: how many topic aliases it
    allows.
    """

    receive_max: int
    max_packet_bytes: int = LARGEST_PACKET_BYTES
    aliases: int = 0
    abilities: Abilities = Abilities()

    def obstacle(self, publication: Publication, *, room: int, highest_qos: int) -> int:
        """The reason code of the limit that a publication would break, other than its size; 0: none.

        `highest_qos`: the highest QoS that the session is made for.
        """
        if publication.qos > highest_qos:
            return QOS_NOT_SUPPORTED
        if publication.qos and room <= 0:
            return RECEIVE_MAXIMUM_EXCEEDED
        return RETAIN_NOT_SUPPORTED if publication.retain and not self.abilities.retains else 0
