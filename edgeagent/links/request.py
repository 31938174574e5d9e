"""What a connection asks of a broker, whatever its protocol."""

from __future__ import annotations

import msgspec

from edgeagent.ports.link import PREFETCH, Subscription, Will


class LinkRequest(msgspec.Struct, frozen=True):
    """What the session asks for one connection, without the password, so that it may be printed.

    `address` names the broker. `answers_first`: see `session.keep_connected`. `unwanted`: topic filters to unsubscribe
    from, which a session that the broker kept may still have. `mark`: the value of the property `MARK` on every
    publication, if the protocol has properties. `needs_acks`: a broker that acknowledges nothing is refused.
    `prefetch`: how many unacknowledged messages the broker may send.
    """

    address: str
    client_id: str
    keepalive_s: int
    session_expiry_s: int
    max_packet_bytes: int
    username: str | None = None
    will: Will | None = None
    subscriptions: tuple[Subscription, ...] = ()
    answers_first: bool = False
    unwanted: tuple[str, ...] = ()
    mark: str = ""
    needs_acks: bool = False
    prefetch: int = PREFETCH
