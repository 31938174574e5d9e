"""The owner of the uplink's connection: it hands each callback to its part, and publishes that the agent is online."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from edgeagent.agent.answers import Answers
from edgeagent.agent.notices import ConnectionNotices
from edgeagent.agent.sender import Sender
from edgeagent.agent.status_queries import StatusQueries
from edgeagent.errors import UplinkError
from edgeagent.ports.link import Ack, Link, Message, Publication

# Tokens of triggers count from 1; these are the state's, and the one below is a query's (`status_queries`).
_ONLINE, _OFFLINE = -1, -2


class UplinkOwner:
    """The owner of the uplink's connection (`ports.link.LinkOwner`).

    Owns the retained state, `online` or `offline`. Promises that `online` is published on each connection before any
    trigger, and that each callback reaches every part that it concerns, in one order. Must never decide anything about
    triggers.
    """

    def __init__(
        self, sender: Sender, answers: Answers, queries: StatusQueries, notices: ConnectionNotices, state_topic: str
    ) -> None:
        self._sender = sender
        self._answers = answers
        self._queries = queries
        self._notices = notices
        self._state_topic = state_topic
        self._link: Link | None = None
        self._left = asyncio.Event()
        self._online_said = False
        self._leaving = False

    def on_up(self, link: Link, *, session_present: bool) -> None:
        """Connected; see `LinkOwner`."""
        self._notices.up()
        self._link = link
        self._online_said = False
        self._say_online()
        self._sender.up(link)
        self._queries.up(link, session_present=session_present)

    def on_down(self, error: UplinkError) -> None:
        """Not connected; see `LinkOwner`."""
        self._notices.down(error)
        self._link = None
        self._left.set()
        self._queries.down()
        self._sender.down()

    def on_messages(self, messages: Sequence[Message]) -> None:
        """Answers and status updates; see `LinkOwner`."""
        if self._link is not None:
            self._answers.received(self._link, messages)

    def on_acks(self, acks: Sequence[Ack]) -> None:
        """The broker answered triggers; see `LinkOwner`."""
        if self._leaving and any(ack.token == _OFFLINE for ack in acks):
            self._left.set()
        if not self._online_said:
            self._say_online()
        self._queries.acknowledged(acks)
        self._sender.acknowledged(acks)

    def on_room(self) -> None:
        """The link takes more; see `LinkOwner`."""
        self._sender.room()

    async def leave(self) -> None:
        """Publish that the agent goes offline, and wait until the broker has that or the connection ends."""
        if self._link is None:
            return
        self._left.clear()
        self._leaving = True
        self._say(_OFFLINE, b"offline")
        await self._left.wait()

    def _say_online(self) -> None:
        """Publish `online` once, before any trigger; what the link still completes may take all the room at first."""
        if self._link is not None and not self._online_said and self._link.room > 0:
            self._online_said = True
            self._say(_ONLINE, b"online")

    def _say(self, token: int, state: bytes) -> None:
        if self._link is not None:
            retain = self._link.abilities.retains
            self._link.publish([Publication(token=token, topic=self._state_topic, payload=state, retain=retain)])
