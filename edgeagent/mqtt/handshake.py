"""What a connection asks of the broker, for every engine: this module knows no packets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeagent.links.request import LinkRequest
from edgeagent.ports.link import PREFETCH

if TYPE_CHECKING:
    from edgeagent.mqtt.qos2 import Qos2Handshakes

# The receive maximum that we announce in CONNECT.
RECEIVE_MAX = PREFETCH
# The protocol allows 2**28 bytes, where the codec panics; half of that leaves room for properties beside the payload.
LARGEST_PACKET_BYTES = 1 << 27


class Handshake(LinkRequest, frozen=True):
    """The content of CONNECT and SUBSCRIBE, without the password.

    `qos2`: the session's QoS 2 handshakes; None: nothing is published at QoS 2. `plain`: the broker is assumed to keep
    no retained messages. `session_in_doubt`: an attempt since the last connection may have begun a new session, so the
    one before it may be lost although the broker has one.
    """

    qos2: Qos2Handshakes | None = None
    plain: bool = False
    session_in_doubt: bool = False

    @property
    def clean_start(self) -> bool:
        """Whether to begin a new session: none is kept, or the QoS 2 state was lost with an earlier process.

        Packet ids that the broker still holds at QoS 2, and we do not, would make it discard the messages under them.
        """
        return self.session_expiry_s == 0 or (self.qos2 is not None and not self.qos2.begun)
