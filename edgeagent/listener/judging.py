"""What becomes of devices and sessions that are here when users or rights have changed (contract section 2)."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from edgeagent.listener.access import Permissions, Rights
from edgeagent.listener.broker import DeviceBroker
from edgeagent.listener.client import ConnectedDevice
from edgeagent.listener.packets import Unsubscribe
from edgeagent.listener.reasons import Reason
from edgeagent.listener.sessions import Session

if TYPE_CHECKING:
    from edgeagent.listener.users import Users


def judge(
    broker: DeviceBroker, clients: Collection[ConnectedDevice], permissions: Permissions, users: Users | None
) -> tuple[int, int]:
    """Judge everybody anew. Returns how many clients are disconnected, and how many subscriptions have ended.

    A user who is not there any more is disconnected, unless a certificate says who it is. Everybody else stays, with
    other rights: subscriptions that are not allowed any more end, those of sessions without a connection too, and so
    does what waits by them, and a will that may not be published any more.
    """
    revoked = 0
    for session in broker.sessions:
        revoked += _revoke(broker, session, permissions.of(session.user, session.client_id))
    gone = 0
    for client in list(clients):
        if client.session is None or client.is_over:
            continue
        user = client.session.user
        if user is not None and client.certificate_user is None and (users is None or not users.knows(user)):
            gone += 1
            client.disconnect(Reason.NOT_AUTHORIZED, "this user may not come in any more")
        else:
            client.rights = permissions.of(user, client.session.client_id)
    return gone, revoked


def _revoke(broker: DeviceBroker, session: Session, rights: Rights) -> int:
    """End what a session may not have any more. Returns how many subscriptions that are."""
    will = session.will
    if will is not None and not rights.may_publish(will.message.topic):
        session.will = session.will_at = None
        broker.counts.denied += 1
    filters = [each for each in broker.subscriptions.of(session.client_id) if not rights.may_subscribe(each)]
    if not filters:
        return 0
    broker.unsubscribe(session, Unsubscribe(0, tuple(filters)))
    broker.counts.dropped += session.queue.discard(lambda parcel: not rights.may_subscribe(parcel.publish.topic))
    if isinstance(session.connection, ConnectedDevice):
        session.connection.replays = None  # retained messages that were still to be found, for all of its filters
    return len(filters)
