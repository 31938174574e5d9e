"""What a connection asks of the broker, whichever engine makes it: no packet is known here."""

from __future__ import annotations

import msgspec

from edgeagent.mqtt.qos2 import Qos2Handshakes
from edgeagent.ports.link import PREFETCH, Subscription, Will

# What CONNECT names as our receive maximum.
RECEIVE_MAX = PREFETCH
# The protocol ends at 2**28 bytes, where the codec panics; half of it leaves room for properties beside the payload.
LARGEST_PACKET_BYTES = 1 << 27


class Handshake(msgspec.Struct, frozen=True):
    """What CONNECT and SUBSCRIBE say, without the password, so that this may be printed.

    `address` only names the broker in errors. `qos2`: the session's QoS 2 handshakes; None: nothing is published at
    QoS 2. `answers_first`: see `session.keep_connected`.
    `unwanted`: topic filters that a session which the broker kept may still have, to be given up. `mark`: put as the
    user property `MARK` on everything that is published, over MQTT 5. `needs_acks`: a broker that takes only QoS 0 is
    of no use. `plain`: the broker is taken for one that keeps no retained messages.
    """

    address: str
    client_id: str
    keepalive_s: int
    session_expiry_s: int
    max_packet_bytes: int
    username: str | None = None
    will: Will | None = None
    subscriptions: tuple[Subscription, ...] = ()
    qos2: Qos2Handshakes | None = None
    answers_first: bool = False
    unwanted: tuple[str, ...] = ()
    mark: str = ""
    needs_acks: bool = False
    plain: bool = False

    @property
    def clean_start(self) -> bool:
        """Whether to begin a new session: none is kept, or what was known of QoS 2 ended with an earlier process.

        Packet ids that the broker still holds at QoS 2, and we do not, would make it swallow what comes under them.
        """
        return self.session_expiry_s == 0 or (self.qos2 is not None and not self.qos2.begun)
