"""The listener's broker with clients that are told what they get, without a socket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeagent.config.tables import Mqtt, MqttAllow
from edgeagent.listener.access import Permissions, Rights
from edgeagent.listener.broker import Admitted, DeviceBroker, DeviceDelivery, Published
from edgeagent.listener.changes import Changes
from edgeagent.listener.packets import Connect, Publish, Subscribe, TopicSubscription
from edgeagent.listener.queue import Room
from edgeagent.listener.reasons import Reason
from edgeagent.listener.retained import Retained
from edgeagent.listener.sessions import Session, Sessions
from edgeagent.listener.subscriptions import Subscriptions

EVERYTHING = Permissions(Mqtt(allow=[MqttAllow(publish=("#",), subscribe=("#",))]), "edgeagent/{source}").of(None, "c")


class Devices:
    """A broker, and clients that may do everything unless it is said otherwise."""

    def __init__(
        self,
        *,
        max_waiting: int = 10,
        queue: int = 5,
        max_retained: int = 10,
        room: Room | None = None,
        subscriptions: Subscriptions | None = None,
    ) -> None:
        """Nobody is connected."""
        self.now = 1000.0
        self.changes = Changes()
        self.retained = Retained(max_retained, 1 << 20)
        self.sessions = Sessions(max_waiting, queue, room)
        self.broker = DeviceBroker(self.sessions, subscriptions or Subscriptions(), self.retained, self.changes)

    def connect(
        self,
        client_id: str,
        *,
        clean: bool = True,
        expiry_s: int = 0,
        user: str | None = None,
        rights: Rights = EVERYTHING,
        connection: object = None,
        version: int = 5,
        **more: Any,
    ) -> Admitted:
        """Connect; it must be let in."""
        answer = self.try_to_connect(
            Connect(version, client_id, clean, session_expiry_s=expiry_s, **more),
            user=user,
            rights=rights,
            connection=connection,
        )
        assert isinstance(answer, Admitted), answer
        return answer

    def try_to_connect(
        self, connect: Connect, *, user: str | None = None, rights: Rights = EVERYTHING, connection: object = None
    ) -> Admitted | Reason:
        """Connect, or be told why not."""
        return self.broker.connect(connect, user, rights, connection or object(), "id", self.now)

    def subscribe(self, session: Session, *filters: str, qos: int = 2, **more: Any) -> tuple[int, ...]:
        """Subscribe; the codes."""
        subscriptions = tuple(TopicSubscription(each, qos, **more) for each in filters)
        return self.broker.subscribe(session, Subscribe(1, subscriptions), EVERYTHING).codes

    def publish(self, topic: str, payload: bytes = b"x", by: Session | None = None, **more: Any) -> Published:
        """Publish at QoS 1, unless it is said otherwise."""
        return self.broker.publish(Publish(topic, payload, **{"qos": 1, **more}), by, self.now)

    def leave(self, session: Session, **more: Any) -> Sequence[Publish]:
        """End a session's connection."""
        return self.broker.gone(session, session.connection, self.now, **{"is_normal": True, **more})


def told(deliveries: Sequence[DeviceDelivery]) -> dict[str, tuple[bytes, int]]:
    """Who gets what now: payload and QoS by client id; each client once."""
    found = {each.session.client_id: (each.parcel.publish.payload, each.parcel.qos) for each in deliveries}
    assert len(found) == len(deliveries)
    return found


def waiting(session: Session) -> list[bytes]:
    """The payloads that wait in a session."""
    return [each.publish.payload for each in session.queue]
