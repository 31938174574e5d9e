"""What the session needs of a protocol: connections that it can watch and end, and what makes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Protocol

from edgeagent.config.tables import Connection
from edgeagent.errors import UplinkError
from edgeagent.links.request import LinkRequest
from edgeagent.ports.link import Link, LinkOwner

if TYPE_CHECKING:
    import ssl

    from edgeagent.common.finding import Finding
    from edgeagent.links.trial import BrokerTrial


class LinkDriver(Link, Protocol):
    """One connection: a `ports.link.Link`, and what the session needs beside it.

    It makes every call of `LinkOwner` except `on_down`, which the session makes. After the connection has ended it must
    never write anything, nor take anything from the broker.

    Attributes:
        up: done when connected and subscribed (None, just before `on_up`), or when that failed (the error).
        ended: done with the reason when the connection has ended, whoever ended it.
        lost: done when the socket is closed.
        unsubscribed: done when the broker has answered `unsubscribe`: whether it gave up all subscriptions.
        emptied: done when nothing that they brought is left to take. Not done if the connection ends before.
        unwanted_unsubscribed: done when the broker has answered for `LinkRequest.unwanted`: whether it gave up all.
    """

    up: asyncio.Future[UplinkError | None]
    ended: asyncio.Future[UplinkError]
    lost: asyncio.Future[None]
    unsubscribed: asyncio.Future[bool]
    emptied: asyncio.Future[None]
    unwanted_unsubscribed: asyncio.Future[bool]

    @property
    def taken_over(self) -> bool:
        """Whether the connection ended because another client took the session."""

    @property
    def awaited(self) -> str:
        """What the broker has not answered, of what is asked for before `up`; "" if the link does not tell."""

    @property
    def is_emptied(self) -> bool:
        """Whether ending the session would lose nothing, after `unsubscribe`."""

    def unsubscribe(self) -> None:
        """Give up all subscriptions as soon as the link is up; `unsubscribed` and `emptied` report the progress."""

    def close(self) -> None:
        """End the connection gracefully: the broker discards the will, and the session if it `is_emptied`."""

    def abort(self) -> None:
        """End the connection at once, without a word: the broker publishes the will."""


class LinkFutures:
    """The futures of a `LinkDriver`, which say what they say there; none is done."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.up: asyncio.Future[UplinkError | None] = loop.create_future()
        self.ended: asyncio.Future[UplinkError] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self.unsubscribed: asyncio.Future[bool] = loop.create_future()
        self.emptied: asyncio.Future[None] = loop.create_future()
        self.unwanted_unsubscribed: asyncio.Future[bool] = loop.create_future()

    @property
    def awaited(self) -> str:
        """See `LinkDriver.awaited`: it does not tell."""
        return ""


class Dialer(Protocol):
    """Makes the connections of one session, and owns what its protocol remembers from one to the next."""

    async def dial(
        self, request: LinkRequest, owner: LinkOwner, context: ssl.SSLContext | None, password: bytes | None
    ) -> LinkDriver:
        """Begin to connect, with TLS if a context is given; the link's `up` says how that ended.

        Raises:
            Denied: this configuration allows no connection; the text says what to change.
            OSError, UnicodeError: the address cannot be reached.
        """

    def ended(self) -> str:
        """Learn from how the last attempt ended. If the next one asks for less, and is made at once: for what."""


class LinkEngine(Protocol):
    """The module with which a protocol's package is driven: `links.engines` names it by the URL's scheme."""

    def announce(self, connection: Connection) -> None:
        """Log how the connections will be made."""

    def dialer(self, connection: Connection, *, exactly_once: bool) -> Dialer:
        """What makes the connections of one session; `exactly_once`: the owner publishes at QoS 2."""

    def findings(self, table: str, connection: Connection, trial: BrokerTrial) -> AsyncIterator[Finding]:
        """The doctor's findings about a broker; `table`: of the configuration, for the remedies."""
