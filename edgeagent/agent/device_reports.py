"""Reports to the devices that are connected to the agent itself, in the place of a link to a broker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from edgeagent.listener.packets import Publish
from edgeagent.listener.server import MqttListener
from edgeagent.listener.store import ListenerStore
from edgeagent.ports.link import TRACEPARENT, Abilities, Ack, Publication

# So many may be retained and not on disk yet; from half of it on they are written at once.
_MAX_WAITING = 64


class DeviceReports:
    """A `ReportLink` to the listener: what it takes is acknowledged when what is retained by it is on disk."""

    abilities = Abilities()

    def __init__(
        self, listener: MqttListener, store: ListenerStore, acknowledged: Callable[[Sequence[Ack]], None]
    ) -> None:
        """`acknowledged`: is told what was taken."""
        self._listener = listener
        self._store = store
        self._acknowledged = acknowledged
        self._waiting = 0

    @property
    def room(self) -> int:
        """See `ReportLink`."""
        return _MAX_WAITING - self._waiting

    def publish(self, publications: Sequence[Publication]) -> None:
        """See `ReportLink`."""
        for each in publications:
            self._listener.publish(
                Publish(
                    each.topic,
                    each.payload,
                    qos=each.qos,
                    retain=each.retain,
                    expiry_s=each.expiry_s,
                    content_type=each.content_type,
                    user_properties=((TRACEPARENT, each.traceparent),) if each.traceparent else (),
                    is_text=True,
                )
            )
        self._keep([Ack(each.token) for each in publications if each.retain])
        # What waits in sessions is in memory until the listener's end, so that there is nothing to wait for.
        self._acknowledged([Ack(each.token) for each in publications if not each.retain])

    def _keep(self, acks: Sequence[Ack]) -> None:
        if not acks:
            return
        self._waiting += len(acks)
        kept = partial(self._kept, acks)
        if self._waiting * 2 >= _MAX_WAITING:
            self._store.when_kept(kept)
        else:
            self._store.when_written(kept)

    def _kept(self, acks: Sequence[Ack]) -> None:
        self._waiting -= len(acks)
        self._acknowledged(acks)
