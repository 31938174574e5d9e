from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from edgeagent.agent.notices import ConnectionNotices
from edgeagent.agent.uplink_owner import UplinkOwner
from edgeagent.common.elapsed import Instant
from edgeagent.errors import Unavailable
from edgeagent.ports.link import Ack
from edgeagent.wire.agent_state import parse_agent_state
from tests.fakes.announcing import announcing
from tests.fakes.link import FakeLink

pytestmark = pytest.mark.virtual_time

TRIGGER = 7


class FakeSender:
    """Notes how much room it was left when it was told."""

    def __init__(self) -> None:
        self.room: list[int] = []
        self._link: Any = None

    def up(self, link: Any) -> None:
        """A connection."""
        self._link = link
        self.room.append(link.room)

    def down(self) -> None:
        """Nothing to do."""

    def acknowledged(self, acks: Sequence[Ack]) -> None:
        """Answers."""
        del acks
        self.room.append(self._link.room)


class FakeAsking:
    """Notes whether the session was there."""

    def __init__(self) -> None:
        self.sessions: list[bool] = []

    def up(self, link: Any, *, session_present: bool) -> None:
        """A connection."""
        del link
        self.sessions.append(session_present)

    def down(self) -> None:
        """Nothing to do."""

    def acknowledged(self, acks: Sequence[Ack]) -> None:
        """Nothing was asked."""


class FakeReporter:
    """Ignores everything."""

    def up(self, link: Any) -> None:
        """A connection."""

    def down(self) -> None:
        """Nothing to do."""


def make() -> tuple[UplinkOwner, FakeSender]:
    sender: Any = FakeSender()
    answers: Any = None
    asking: Any = FakeAsking()
    reporter: Any = FakeReporter()
    return UplinkOwner(
        sender,
        answers,
        asking,
        ConnectionNotices("uplink", ["mqtt://b"], "kept", lambda: Instant(0, 0, b"")),
        announcing().announcer,
        None,
        reporter,
        None,
    ), sender


def said(link: FakeLink) -> list[str]:
    return [parse_agent_state(publication.payload).state for publication in link.published]


async def test_online_is_said_on_each_connection_before_any_trigger() -> None:
    owner, sender = make()
    for _ in range(2):
        link = FakeLink(room=5)
        owner.on_up(link, session_present=True)
        owner.on_acks([Ack(TRIGGER)])
        assert said(link) == ["online"]
        owner.on_down(Unavailable("mqtt://b", "gone"))
    assert sender.room == [4, 4, 4, 4]


async def test_online_is_said_later_when_handshakes_from_before_take_all_the_room() -> None:
    owner, sender = make()
    link = FakeLink(room=0)
    owner.on_up(link, session_present=True)
    owner.on_acks([Ack(TRIGGER)])
    assert said(link) == []
    link.room = 1
    owner.on_acks([Ack(TRIGGER)])
    owner.on_acks([Ack(TRIGGER)])
    assert said(link) == ["online"]
    assert sender.room == [0, 0, 0, 0]
