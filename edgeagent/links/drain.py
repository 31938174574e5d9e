"""Drains a session before it ends: it has no more subscriptions, and everything that they brought is acknowledged."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from edgeagent.links.driver import LinkDriver

# The default time limit of `unsubscribe`, and how much of it the broker has for its first answer.
DRAIN_TIMEOUT_S = 5.0
UNSUBACK_TIMEOUT_S = 2.0

_log = logging.getLogger(__name__)


class SessionDrain:
    """Empties a session that outlives its connections, so that it may end. Pass it to one `keep_connected`.

    A broker goes on to put messages into the session of an absent client. With a shared subscription these are messages
    that another member could have had: Mosquitto passes none of them on, neither while it keeps the session nor when it
    ends, and the messages of an ended session are lost. So a member that goes for good drains its session first:

        if await drain.unsubscribe():   # while the owner still takes and acknowledges what comes
            ...                         # the last things can be published
        session.cancel()                # DISCONNECT, which ends the session if it is empty, and only then

    A session that is not empty stays with the broker, with the unacknowledged messages, until it expires or the same
    client id connects again. It must never be ended with a message in it.
    """

    def __init__(self) -> None:
        self._begun = False
        self._link: LinkDriver | None = None

    @property
    def begun(self) -> bool:
        """Whether `unsubscribe` was called; then no connection subscribes any more."""
        return self._begun

    def follow(self, link: LinkDriver | None) -> None:
        """Called by the session with the present connection, up or not yet; None: there is none."""
        self._link = link

    async def unsubscribe(self, timeout_s: float = DRAIN_TIMEOUT_S) -> bool:
        """Give up all subscriptions, and wait until everything that they brought is taken and acknowledged.

        The owner goes on to receive messages, including those that the broker had held back so far. Publishing is not
        affected. If this is cancelled, what has begun goes on without being waited for.

        Args:
            timeout_s: the time limit in seconds; the broker's first answer must come within 2 s.

        Returns:
            Whether the session is empty, so that it ends when `keep_connected` is cancelled. It is False, with a
            warning in the log, also if there is no connection or it ends meanwhile.
        """
        self._begun = True
        link, loop = self._link, asyncio.get_running_loop()
        if link is None:
            return _stays("there is no connection")
        deadline_s = loop.time() + timeout_s
        link.unsubscribe()
        await _first_of(link.unsubscribed, link.ended, timeout_s=min(timeout_s, UNSUBACK_TIMEOUT_S))
        if link.unsubscribed.done() and link.unsubscribed.result():
            await _first_of(link.emptied, link.ended, timeout_s=deadline_s - loop.time())
        if link.is_emptied and not link.ended.done():
            return True
        return _stays(_obstacle(link))


async def _first_of(*futures: asyncio.Future[Any], timeout_s: float) -> None:
    await asyncio.wait(futures, timeout=max(0.0, timeout_s), return_when=asyncio.FIRST_COMPLETED)


def _obstacle(link: LinkDriver) -> str:
    if link.ended.done():
        return str(link.ended.result())
    if not link.unsubscribed.done():
        return "the broker has not answered UNSUBSCRIBE"
    if not link.unsubscribed.result():
        return "the broker refuses UNSUBSCRIBE"
    return "some of its messages are not acknowledged yet"


def _stays(why: str) -> bool:
    _log.warning("the session stays with the broker: %s", why, extra={"event": "mqtt_session_stays", "reason": why})
    return False
