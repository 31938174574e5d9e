"""What clients and the listener say to each other, the same for MQTT 5, 3.1.1 and 3.1.

A codec makes these of bytes and bytes of these; sessions, subscriptions and wills are made of them. What a version does
not have has the default here. Everything is checked: topics and filters are well formed UTF-8, numbers are in range.
"""

from __future__ import annotations

from typing import Final

import msgspec

# The protocol level, as CONNECT says it.
MQTT_31: Final = 3
MQTT_311: Final = 4
MQTT_5: Final = 5

UserProperties = tuple[tuple[str, str], ...]

NEVER_EXPIRES: Final = 0xFFFFFFFF  # a session expiry interval that means: keep it

# `TopicSubscription.retain_handling`: when the retained messages are sent.
RETAINED_ALWAYS: Final = 0
RETAINED_IF_NEW: Final = 1


class Publish(msgspec.Struct, frozen=True, gc=False):
    """A message, as a client published it or as it goes to one.

    `packet_id`: 0 at QoS 0, and until an outgoing one is given its own. `duplicate`: it may have come before.
    `expiry_s`: how long it is worth something, None: for ever. `is_text`: the payload is said to be UTF-8.
    `subscription_ids`: outgoing only, which subscriptions of the receiver it matched.
    """

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    duplicate: bool = False
    packet_id: int = 0
    expiry_s: int | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    user_properties: UserProperties = ()
    is_text: bool = False
    subscription_ids: tuple[int, ...] = ()


class ClientWill(msgspec.Struct, frozen=True, gc=False):
    """What to publish when the connection ends without a DISCONNECT, `delay_s` after that."""

    message: Publish
    delay_s: int = 0


class Connect(msgspec.Struct, frozen=True, gc=False):
    """CONNECT.

    `client_id`: "" asks for one to be given. `clean_start`: forget the session that is there. `keep_alive_s`: 0 is off.
    `session_expiry_s`: how long the session outlives the connection; before MQTT 5, which has no such number, 0 with
    clean_start and else NEVER_EXPIRES. `max_packet_bytes`: larger ones must not be sent to it, None: no bound of its
    own. `receive_maximum`: how many messages above QoS 0 it takes before it acknowledges one.
    """

    version: int
    client_id: str
    clean_start: bool
    keep_alive_s: int = 0
    user: str | None = None
    password: bytes | None = None
    will: ClientWill | None = None
    session_expiry_s: int = 0
    receive_maximum: int = 65535
    max_packet_bytes: int | None = None
    topic_alias_maximum: int = 0
    request_problem_information: bool = True
    authentication_method: str | None = None
    user_properties: UserProperties = ()

    def __repr__(self) -> str:
        """Without the password, so that it may be printed."""
        return f"Connect(version={self.version}, client_id={self.client_id!r}, user={self.user!r})"


class ConnAck(msgspec.Struct, frozen=True, gc=False):
    """What CONNACK says to a client that is let in, beyond the limits of the listener, which the codec adds.

    `assigned_client_id`: what a client is called that gave no id. `session_expiry_s`, `keep_alive_s`: other values than
    it asked for, which it must go by; before MQTT 5 nobody can tell it.
    """

    session_present: bool = False
    assigned_client_id: str | None = None
    session_expiry_s: int | None = None
    keep_alive_s: int | None = None


class TopicSubscription(msgspec.Struct, frozen=True, gc=False):
    """One topic filter of a SUBSCRIBE, with the highest QoS that is asked for."""

    topic_filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = RETAINED_ALWAYS


class Subscribe(msgspec.Struct, frozen=True, gc=False):
    """SUBSCRIBE. `subscription_id`: None without one."""

    packet_id: int
    subscriptions: tuple[TopicSubscription, ...]
    subscription_id: int | None = None


class Unsubscribe(msgspec.Struct, frozen=True, gc=False):
    """UNSUBSCRIBE."""

    packet_id: int
    topic_filters: tuple[str, ...]


class PubAck(msgspec.Struct, frozen=True, gc=False):
    """PUBACK: the receiver has the message at QoS 1, or says why not."""

    packet_id: int
    reason: int = 0


class PubRec(msgspec.Struct, frozen=True, gc=False):
    """PUBREC: the receiver has the message at QoS 2, or says why not."""

    packet_id: int
    reason: int = 0


class PubRel(msgspec.Struct, frozen=True, gc=False):
    """PUBREL: the sender forgets the message at QoS 2."""

    packet_id: int
    reason: int = 0


class PubComp(msgspec.Struct, frozen=True, gc=False):
    """PUBCOMP: the receiver forgets the packet id."""

    packet_id: int
    reason: int = 0


class PingReq(msgspec.Struct, frozen=True, gc=False):
    """PINGREQ."""


class Disconnect(msgspec.Struct, frozen=True, gc=False):
    """DISCONNECT. `session_expiry_s`: a new interval for the session, None: as CONNECT said."""

    reason: int = 0
    session_expiry_s: int | None = None


class Auth(msgspec.Struct, frozen=True, gc=False):
    """AUTH, of which the listener has no method."""

    reason: int = 0


class PacketReleased(msgspec.Struct, frozen=True, gc=False):
    """A client forgets a message at QoS 2 (PUBREL), and waits for its PUBCOMP. `is_known`: on this connection."""

    packet_id: int
    is_known: bool


class ConnectionEnded(msgspec.Struct, frozen=True, gc=False):
    """A connection is over, and why.

    `publishes_will`: whether its will counts, which only a DISCONNECT without a reason takes back. `is_by_client`: it
    said goodbye, or just closed its side. `session_expiry_s`: what its DISCONNECT said of the session, None: nothing.
    """

    reason: int
    text: str
    publishes_will: bool = True
    is_by_client: bool = False
    session_expiry_s: int | None = None


Packet = Connect | Publish | PubAck | PubRec | PubRel | PubComp | Subscribe | Unsubscribe | PingReq | Disconnect | Auth

# What a connection has for the broker.
Input = Connect | Publish | PacketReleased | Subscribe | Unsubscribe | ConnectionEnded
