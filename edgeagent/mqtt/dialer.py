"""Makes the connections of an MQTT session (`links.driver`)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec

from edgeagent.config.tables import Connection
from edgeagent.links.driver import Dialer
from edgeagent.links.request import LinkRequest
from edgeagent.mqtt import engines
from edgeagent.mqtt.handshake import Handshake
from edgeagent.mqtt.link_driver import MqttLinkDriver
from edgeagent.mqtt.negotiation import Attempt, Negotiation
from edgeagent.ports.link import LinkOwner, Will

if TYPE_CHECKING:
    import ssl

    from edgeagent.common.finding import Finding
    from edgeagent.links.trial import BrokerTrial
    from edgeagent.mqtt.qos2 import Qos2Handshakes

_log = logging.getLogger(__name__)


def announce(connection: Connection) -> None:
    """Log which engine is used, and why."""
    for choice in engines.choices(connection):
        extra = {"event": "mqtt_engine", "engine": choice.engine, "reason": choice.why}
        _log.info("%s by the MQTT engine %s", ", ".join(connection.addresses), choice, extra=extra)


def dialer(connection: Connection, *, exactly_once: bool) -> Dialer:
    """See `links.driver.LinkEngine`."""
    return _MqttDialer(connection, exactly_once=exactly_once)


def findings(table: str, connection: Connection, trial: BrokerTrial) -> AsyncIterator[Finding]:
    """See `links.driver.LinkEngine`."""
    from edgeagent.mqtt.checkup import mqtt_findings  # noqa: PLC0415  only the doctor asks

    return mqtt_findings(table, connection, trial)


class _MqttDialer:
    """Owns the session's QoS 2 state and the negotiation of the will, and remembers the last connection."""

    def __init__(self, connection: Connection, *, exactly_once: bool) -> None:
        self._connection = connection
        self._qos2: Qos2Handshakes | None = None
        if exactly_once:
            from edgeagent.mqtt.qos2 import Qos2Handshakes  # noqa: PLC0415  only for those who use it

            self._qos2 = Qos2Handshakes()
        self._negotiation: Negotiation | None = None
        self._link: MqttLinkDriver | None = None
        self._session_in_doubt = False

    async def dial(
        self, request: LinkRequest, owner: LinkOwner, context: ssl.SSLContext | None, password: bytes | None
    ) -> MqttLinkDriver:
        """See `links.driver.Dialer`."""
        if self._link is not None:
            # One that was up has told its owner; one that was told that the session is there changes nothing.
            self._session_in_doubt = self._link.session_in_doubt or (self._session_in_doubt and not self._link.was_up)
        self._link = None
        if self._negotiation is None:
            self._negotiation = Negotiation(self._connection.version, request.will)
        asked = msgspec.structs.replace(request, will=_renewed(self._negotiation.will, request.will))
        handshake = Handshake(
            **msgspec.structs.asdict(asked),
            qos2=self._qos2,
            plain=self._negotiation.plain,
            session_in_doubt=self._session_in_doubt,
        )
        self._link = await engines.begin(self._connection, handshake, owner, context, password)
        return self._link

    def ended(self) -> str:
        """See `links.driver.Dialer`."""
        attempt = self._link.attempt if self._link is not None else Attempt()
        return "a plainer last will" if self._negotiation is not None and self._negotiation.ended(attempt) else ""


def _renewed(will: Will | None, now: Will | None) -> Will | None:
    """The will as negotiated, with the payload that it has now."""
    return will if will is None or now is None else msgspec.structs.replace(will, payload=now.payload)
