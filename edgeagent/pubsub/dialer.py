"""Makes the links of a session to Pub/Sub (`links.driver`)."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import AsyncIterator

from edgeagent.common.finding import Finding
from edgeagent.config.tables import Broker, CloudConnection, Connection
from edgeagent.links.driver import Dialer
from edgeagent.links.request import LinkRequest
from edgeagent.links.trial import BrokerTrial
from edgeagent.ports.link import LinkOwner
from edgeagent.pubsub.client import PubSubClient, base_url
from edgeagent.pubsub.credentials import EMULATOR_HOST, Credentials, ServiceClock, choose
from edgeagent.pubsub.link import PubSubLink
from edgeagent.pubsub.resources import place_of
from edgeagent.pubsub.terms import PubSubTerms
from edgeagent.wire import topics

_log = logging.getLogger(__name__)


def announce(connection: Connection) -> None:
    """Log where the credentials come from."""
    source = credentials(connection, ServiceClock()).source()
    extra = {"event": "pubsub_credentials", "source": source}
    _log.info("%s by Google Pub/Sub's REST API; credentials: %s", connection.addresses[0], source, extra=extra)


def dialer(connection: Connection, *, exactly_once: bool) -> Dialer:  # noqa: ARG001  the checks refuse qos = 2
    """See `links.driver.LinkEngine`."""
    return _PubSubDialer(connection)


async def findings(table: str, connection: Connection, trial: BrokerTrial) -> AsyncIterator[Finding]:
    """See `links.driver.LinkEngine`."""
    from edgeagent.pubsub.checkup import pubsub_findings  # noqa: PLC0415  for the doctor only

    async for finding in pubsub_findings(table, connection, trial.mark):
        yield finding


def credentials(connection: Connection, clock: ServiceClock) -> Credentials:
    """Where the bearers for this connection come from."""
    assert isinstance(connection, CloudConnection)  # noqa: S101  the checks refuse the scheme elsewhere
    return choose(
        connection.addresses[0],
        credentials_file=connection.credentials_file,
        token_file=connection.token_file,
        clock=clock,
        environ=os.environ,
    )


def terms(connection: Connection, request: LinkRequest) -> PubSubTerms:
    """What the links of this connection do: an agent publishes triggers and pulls answers, a dispatcher the reverse."""
    assert isinstance(connection, CloudConnection)  # noqa: S101  as above
    place = place_of(request.address)
    is_dispatcher = isinstance(connection, Broker)
    name = topics.with_agent(connection.subscription, request.mark)
    return PubSubTerms(
        request.address,
        place.beside(connection.answer_topic) if isinstance(connection, Broker) else place.topic_path,
        place.subscription_path(name) if request.subscriptions and name else "",
        topics.TRIGGER if is_dispatcher else topics.response_topic(request.mark),
        request.subscriptions,
    )


class _PubSubDialer:
    """Owns the credentials and the service's clock, which outlive a link."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._clock = ServiceClock()
        self._credentials = credentials(connection, self._clock)

    async def dial(
        self,
        request: LinkRequest,
        owner: LinkOwner,
        context: ssl.SSLContext | None,
        password: bytes | None,  # noqa: ARG002  the checks refuse one
    ) -> PubSubLink:
        """See `links.driver.Dialer`."""
        client = PubSubClient(
            request.address,
            self._credentials,
            self._clock,
            base_url=base_url(os.environ.get(EMULATOR_HOST, "")),
            context=context,
            timeout_s=self._connection.connect_timeout,
        )
        link = PubSubLink(client, self._clock, owner, terms(self._connection, request))
        link.start()
        return link

    def ended(self) -> str:
        """See `links.driver.Dialer`: the next attempt asks for the same."""
        return ""
