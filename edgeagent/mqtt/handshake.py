"""What a connection asks of the broker, for every engine: this module knows no packets."""

from __future__ import annotations

import msgspec

from edgeagent.mqtt.qos2 import Qos2Handshakes
from edgeagent.ports.link import PREFETCH, Subscription, Will

# The receive maximum that we announce in CONNECT.
RECEIVE_MAX = PREFETCH
# The protocol allows 2**28 bytes, where the codec panics; half of that leaves room for properties beside the payload.
LARGEST_PACKET_BYTES = 1 << 27


class Handshake(msgspec.Struct, frozen=True):
    """The content of CONNECT and SUBSCRIBE, without the password, so that it may be printed.

    `address` only names the broker in errors. `qos2`: the session's QoS 2 handshakes; None: nothing is published at QoS
    2. `answers_first`: see `session.keep_connected`. `unwanted`: topic filters to unsubscribe from, which a session
    that the broker kept may still have. `mark`: the value of the user property `MARK` on every publication, over MQTT
    5. `needs_acks`: a broker that takes only QoS 0 is refused. `plain`: the broker is assumed to keep no retained
    messages.
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
        """Whether to begin a new session: none is kept, or the QoS 2 state was lost with an earlier process.

        Packet ids that the broker still holds at QoS 2, and we do not, would make it discard the messages under them.
        """
        return self.session_expiry_s == 0 or (self.qos2 is not None and not self.qos2.begun)
