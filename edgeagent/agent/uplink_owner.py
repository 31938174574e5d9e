"""The owner of the uplink's connection: it hands each callback to its part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeagent.agent.announcer import StateAnnouncer
from edgeagent.agent.answers import Answers
from edgeagent.agent.notices import ConnectionNotices
from edgeagent.agent.reporter import DaysReporter
from edgeagent.agent.request_door import RequestDoor
from edgeagent.agent.sender import Sender
from edgeagent.agent.status_queries import StatusQueries
from edgeagent.errors import UplinkError
from edgeagent.ports.link import Ack, Link, Message

if TYPE_CHECKING:
    from edgeagent.agent.canaries import Canaries


class UplinkOwner:
    """The owner of the uplink's connection (`ports.link.LinkOwner`).

    Owns nothing but the link. Promises that the agent's state is announced on each connection before any trigger, and
    that each callback reaches every part that it concerns, in one order. Must never decide anything about triggers.
    """

    def __init__(
        self,
        sender: Sender,
        answers: Answers,
        queries: StatusQueries,
        notices: ConnectionNotices,
        announcer: StateAnnouncer,
        canaries: Canaries | None,
        reporter: DaysReporter,
        requests: RequestDoor | None,
    ) -> None:
        self._sender = sender
        self._answers = answers
        self._queries = queries
        self._notices = notices
        self._announcer = announcer
        self._canaries = canaries
        self._reporter = reporter
        self._requests = requests
        self._link: Link | None = None

    @property
    def blocked(self) -> str:
        """Why the broker takes nothing for now although we are connected; "" if it does."""
        return self._link.blocked if self._link is not None else ""

    def on_up(self, link: Link, *, session_present: bool) -> None:
        """Connected; see `LinkOwner`."""
        self._notices.up()
        self._link = link
        self._announcer.up(link)
        self._sender.up(link)
        self._queries.up(link, session_present=session_present)
        self._reporter.up(link)
        if self._requests is not None:
            self._requests.up(link)
        if self._canaries is not None:
            self._canaries.up(link)

    def on_down(self, error: UplinkError) -> None:
        """Not connected; see `LinkOwner`."""
        self._notices.down(error)
        self._link = None
        self._announcer.down()
        self._queries.down()
        self._reporter.down()
        if self._requests is not None:
            self._requests.down(error)
        if self._canaries is not None:
            self._canaries.down()
        self._sender.down()

    def on_messages(self, messages: Sequence[Message]) -> None:
        """Answers and status updates; see `LinkOwner`."""
        if self._link is not None:
            self._answers.received(self._link, messages)

    def on_acks(self, acks: Sequence[Ack]) -> None:
        """The broker answered triggers; see `LinkOwner`."""
        self._announcer.acknowledged(acks)
        self._queries.acknowledged(acks)
        if self._canaries is not None:
            self._canaries.acknowledged(acks)
        if self._requests is not None:
            self._requests.acknowledged(acks)
        self._sender.acknowledged(acks)

    def on_room(self) -> None:
        """The link takes more; see `LinkOwner`."""
        self._sender.room()
